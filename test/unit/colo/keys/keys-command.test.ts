import { X509Certificate } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { loadKeySet } from '../../../../src/colo/keys/key-set.ts';
import { keysCommand } from '../../../../src/colo/keys/keys-command.ts';
import { makeAuthority } from '../../../../src/colo/keys/pair-authority.ts';

const asked = { pair: 'web', hosts: 'a.example,10.0.0.2', days: '10' };

test('makes an authority, and a key set for each host that the other one can check', async (t) => {
  const folder = join(t.testdir(), 'keys');
  const made = await keysCommand(folder, asked);
  t.strictSame(made, [join(folder, 'a.example'), join(folder, '10.0.0.2')]);
  const [a, b] = made.map((path) => loadKeySet(path));
  t.match(a, { pair: 'web', host: 'a.example' });
  t.match(b, { pair: 'web', host: '10.0.0.2' });
  t.equal(a?.authority, b?.authority);
  t.not(a?.key, b?.key);
  const certificate = new X509Certificate(b?.certificate ?? '');
  t.ok(certificate.verify(new X509Certificate(a?.authority ?? '').publicKey), 'a can check what b shows');
  t.equal(certificate.checkIP('10.0.0.2'), '10.0.0.2');
});

test('private keys are readable by their owner only, whatever the umask', async (t) => {
  const umask = process.umask(0);
  t.teardown(() => process.umask(umask));
  const folder = join(t.testdir(), 'keys');
  await keysCommand(folder, asked);
  for (const name of ['authority', 'a.example', '10.0.0.2']) {
    t.equal(statSync(join(folder, name, 'key.pem')).mode & 0o777, 0o600, name);
    t.equal(statSync(join(folder, name)).mode & 0o777, 0o700, name);
  }
});

test('no key set has the key that signs', async (t) => {
  const folder = join(t.testdir(), 'keys');
  const made = await keysCommand(folder, asked);
  const signing = readFileSync(join(folder, 'authority', 'key.pem'), 'utf8');
  for (const path of made) {
    for (const file of readdirSync(path)) t.not(readFileSync(join(path, file), 'utf8'), signing, join(path, file));
  }
});

test('a host that is added later is of the same pair', async (t) => {
  const folder = join(t.testdir(), 'keys');
  const [first = ''] = await keysCommand(folder, asked);
  const [third = ''] = await keysCommand(folder, { ...asked, hosts: 'c.example' });
  t.equal(loadKeySet(third).authority, loadKeySet(first).authority);
});

test('validity is as long as was asked for', async (t) => {
  const [path = ''] = await keysCommand(join(t.testdir(), 'keys'), asked);
  const inDays = (days: number): Date => new Date(Date.now() + days * 86_400_000);
  t.ok(loadKeySet(path, inDays(9.9)));
  t.throws(() => loadKeySet(path, inDays(10.1)), {
    message: /pair\.pem expired on .*; make new ones with colo-vmm keys/,
  });
  t.throws(() => loadKeySet(path, inDays(-2)), { message: /is not valid before .*; is this host's clock right\?/ });
});

test('refuses what cannot be a pair or a host, and makes nothing', async (t) => {
  const folder = join(t.testdir(), 'keys');
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ pair: '' }, /--pair : give up to 64 letters/],
    [{ pair: 'a/b' }, /--pair a\/b/],
    [{ pair: '..' }, /--pair \.\.: a name of dots alone is none/],
    [{ hosts: '' }, /"" is neither a host's name nor an address/],
    [{ hosts: 'a,../b' }, /"\.\.\/b" is neither/],
    [{ hosts: 'a,b\n' }, /is neither/],
    [{ hosts: 'a,a' }, /one is there twice/],
    [{ hosts: 'authority' }, /authority is where the authority's files are/],
    [{ days: '0' }, /--days 0: give 1 to 36500/],
    [{ days: '1e9' }, /--days 1e9/],
    [{ days: '36501' }, /--days 36501/],
  ];
  for (const [change, message] of wrong) {
    await t.rejects(keysCommand(folder, { ...asked, ...change }), { code: 'CONFIG', message });
  }
  t.notOk(existsSync(folder));
});

test('a key set that is there stays, and a command that fails leaves nothing of its own', async (t) => {
  const folder = join(t.testdir(), 'keys');
  const [path = ''] = await keysCommand(folder, { ...asked, hosts: 'b' });
  const before = readFileSync(join(path, 'key.pem'), 'utf8');
  await t.rejects(keysCommand(folder, { ...asked, hosts: 'a,b' }), { message: /keys\/b exists; remove it first/ });
  t.equal(readFileSync(join(path, 'key.pem'), 'utf8'), before);
  t.strictSame(readdirSync(folder).sort(), ['authority', 'b']);
});

test('an authority of another pair signs nothing', async (t) => {
  const folder = join(t.testdir(), 'keys');
  await keysCommand(folder, asked);
  await t.rejects(keysCommand(folder, { ...asked, pair: 'mail', hosts: 'c' }), {
    message: /is the authority of the pair "web", not of "mail"; give another folder/,
  });
  t.notOk(existsSync(join(folder, 'c')));
});

test('what is no folder is said to be none', async (t) => {
  const file = join(t.testdir({ file: 'mine' }), 'file');
  await t.rejects(keysCommand(file, asked), {
    code: 'CONFIG',
    message: `${file} is not a folder; give one, which is made if it does not exist`,
  });
  t.equal(readFileSync(file, 'utf8'), 'mine');
});

test('an authority by which no host would be believed signs nothing: it is named, with what is wrong and the remedy', async (t) => {
  const root = t.testdir();
  const [other = ''] = await keysCommand(join(root, 'other'), asked);
  const foreign = readFileSync(join(other, '..', 'authority', 'key.pem'), 'utf8');
  const expired = await makeAuthority('web', -0.5);
  for (const [name, spoil, why] of [
    ['no-certificate', (path: string) => rmSync(join(path, 'certificate.pem')), 'there is no certificate.pem'],
    ['no-key', (path: string) => rmSync(join(path, 'key.pem')), 'there is no key.pem'],
    [
      'damaged-certificate',
      (path: string) => writeFileSync(join(path, 'certificate.pem'), 'nonsense'),
      'certificate.pem is not a certificate in PEM form',
    ],
    [
      'damaged-key',
      (path: string) => writeFileSync(join(path, 'key.pem'), 'nonsense'),
      'key.pem does not belong to certificate.pem',
    ],
    [
      'mixed',
      (path: string) => writeFileSync(join(path, 'key.pem'), foreign),
      'key.pem does not belong to certificate.pem',
    ],
    [
      'expired',
      (path: string) => {
        writeFileSync(join(path, 'certificate.pem'), expired.certificate);
        writeFileSync(join(path, 'key.pem'), expired.key);
      },
      'certificate.pem expired on ',
    ],
  ] as const) {
    const folder = join(root, name);
    await keysCommand(folder, asked);
    const path = join(folder, 'authority');
    spoil(path);
    const error = await keysCommand(folder, { ...asked, hosts: 'c' }).catch((error: unknown) => error);
    t.match(error, { code: 'CONFIG' }, name);
    const { message } = error as Error;
    t.ok(message.startsWith(`${path}: ${why}`), message);
    t.match(message, /; restore it, or make new keys for all hosts in another folder$/);
    t.notOk(existsSync(join(folder, 'c')), name);
  }
});

test('of a key set that will not do, the file and the remedy are named', async (t) => {
  const root = t.testdir();
  const broken = async (name: string, spoil: (path: string) => void, message: RegExp): Promise<void> => {
    const [path = ''] = await keysCommand(join(root, name), asked);
    spoil(path);
    t.throws(() => loadKeySet(path), { code: 'CONFIG', message }, name);
  };
  const [other = ''] = await keysCommand(join(root, 'other'), asked);
  const from = (file: string) => readFileSync(join(other, file), 'utf8');
  const put = (file: string, text: string) => (path: string) => writeFileSync(join(path, file), text);
  await broken('no-pem', put('certificate.pem', 'hello'), /certificate\.pem is not a certificate in PEM form/);
  await broken(
    'mixed',
    put('pair.pem', from('pair.pem')),
    /was not signed by pair\.pem; were files of two pairs mixed\?/,
  );
  await broken('key', put('key.pem', from('key.pem')), /key\.pem does not belong to certificate\.pem/);
  await broken('no-key', put('key.pem', 'hello'), /key\.pem does not belong to certificate\.pem/);
  await broken('no-ca', put('pair.pem', from('certificate.pem')), /pair\.pem is not a certificate of an authority/);
  await broken('open', (path) => chmodSync(join(path, 'key.pem'), 0o640), /other users can read key\.pem: chmod 600 /);
  t.throws(() => loadKeySet(join(root, 'nowhere')), { message: /there is no pair\.pem; name the folder of this host/ });
});
