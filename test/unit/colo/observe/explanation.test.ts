import { test } from 'tap';
import { type Divergence, type DivergenceReason, meaning } from '../../../../src/colo/compare/divergence.ts';
import { explained } from '../../../../src/colo/observe/explanation.ts';

const web = 'tcp 192.0.2.1:80 - 198.51.100.7:40112';
const none = new Uint8Array(0);

function payload(before: string, primary: string, secondary: string, flow = web): Divergence {
  return {
    reason: 'payload',
    flow,
    position: 211,
    before: Buffer.from(before, 'latin1'),
    primary: Buffer.from(primary, 'latin1'),
    secondary: Buffer.from(secondary, 'latin1'),
  };
}

test('a page that says when it was made', async (t) => {
  t.strictSame(explained(payload('Server: x\r\nDate: Tue, 01 Dec 2026 16:10:0', '2 GMT', '3 GMT')), {
    what: `${web}, byte 211 of what the guest said: "Server: x··Date: Tue, 01 Dec 2026 16:10:0[2 GMT|3 GMT]"`,
    cause:
      'The two guests looked at the clock in different seconds; usual for HTTP servers that send Date. It costs one checkpoint each time.',
    remedy: 'If it is often: --flow port=80,policy=buffer, or switch that header off (nginx: more_clear_headers Date)',
  });
});

for (const [before, primary, secondary, cause] of [
  ['{"at":"2026-12-01T16:1', '0:02', '1:01', /time or a date/],
  ['\r\nExpires: Tue, 01 Dec 2026 16:', '10:00', '11:00', /time or a date/],
  ['stamp 17645', '88000.1', '88001.2', /time or a date/],
  ['\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03', '\x01abc', '\xffxyz', /encrypted \(TLS\)/],
  ['SSH-2.0-OpenSSH_9.', '2', '3', /encrypted \(SSH\)/],
  ['Set-Cookie: session=', 'k2', 'q8', /random numbers/],
  ['', 'a81bc81bdead4e5d', 'c9f00d1234567890', /random numbers/],
  ['worker pid 1', '201 says', '199 says', /process different numbers/],
  ['query took ', '12 ms', '9 ms', /not equally fast/],
  ['you are visitor ', '1204', '1205', /counted differently/],
  ['', 'left first', 'right first', /another order/],
  ['Date: x\r\nname: ', 'left', 'right', /another order/],
] as const) {
  test(`after ${JSON.stringify(before)}, ${JSON.stringify(primary)} and ${JSON.stringify(secondary)}`, async (t) => {
    t.match(explained(payload(before, primary, secondary)).cause, cause);
  });
}

test('a shell', async (t) => {
  const flow = 'tcp [2001:db8::1]:22 - [2001:db8::7]:40112';
  const { cause, remedy } = explained(payload('', '\x00\x9c', '\x11\x22', flow));
  t.match(cause, /encrypted \(SSH\)/);
  t.match(remedy, 'If it is often: --flow port=22,policy=buffer');
});

test('what has no port gets no advice about one', async (t) => {
  const { remedy } = explained(payload('', 'a', 'b', 'icmp 192.0.2.1 - 198.51.100.7'));
  t.equal(remedy, undefined);
});

test('what was not different bytes has a cause of its own', async (t) => {
  const reasons = (Object.keys(meaning) as DivergenceReason[]).filter((reason) => reason !== 'payload');
  const causes = reasons.map((reason) => explained({ reason, flow: web, primary: none, secondary: none }).cause);
  t.equal(new Set(causes).size, reasons.length);
  for (const cause of causes) t.match(cause, /^[A-Z].*\.$/);
  const [mine, theirs] = (['primary', 'secondary'] as const).map(
    (waits) => explained({ reason: 'timeout', waits, flow: web, primary: none, secondary: none }).cause,
  );
  t.match(mine, /the secondary's guest is slower/);
  t.match(theirs, /the primary's guest waits/);
});
