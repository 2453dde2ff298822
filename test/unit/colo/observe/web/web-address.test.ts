import { test } from 'tap';
import { parseWebAddress, whyNotServed } from '../../../../../src/colo/observe/web/web-address.ts';
import { ConfigError } from '../../../../../src/vmm/config/config.ts';

for (const [text, host, port] of [
  ['9100', '127.0.0.1', 9100],
  ['0.0.0.0:9100', '0.0.0.0', 9100],
  ['a.example:80', 'a.example', 80],
  ['[::1]:65535', '::1', 65_535],
] as const) {
  test(`${text} is port ${port} of ${host}`, async (t) => {
    t.strictSame(parseWebAddress('--metrics', text), { host, port });
  });
}

for (const [text, says] of [
  ['0', '--metrics 0: a port is 1 to 65535'],
  ['65536', '--metrics 65536: a port is 1 to 65535'],
  ['100000', '--metrics 100000: a port is 1 to 65535'],
  ['a.example', /^--metrics a\.example: give HOST:PORT, such as .*; a port alone is one of 127\.0\.0\.1$/],
  ['::1:9100', /an IPv6 address is in brackets/],
  ['', /^--metrics : give HOST:PORT/],
] as const) {
  test(`"${text}" is refused in a sentence`, async (t) => {
    try {
      parseWebAddress('--metrics', text);
      t.fail('it is taken');
    } catch (error) {
      t.type(error, ConfigError);
      t.match((error as Error).message, says);
    }
  });
}

test('what the kernel says of an address is said in words, with what to do', async (t) => {
  const at = { host: '::1', port: 80 };
  const error = (code: string) => Object.assign(new Error('as it is'), { code });
  t.equal(
    whyNotServed('--metrics', at, error('EACCES')),
    '--metrics [::1]:80: only root may serve a port below 1024; give another one',
  );
  t.equal(whyNotServed('--metrics', at, error('EOTHER')), '--metrics [::1]:80: as it is');
});
