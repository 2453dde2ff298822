import t from 'tap';
import type { ColoHeadline, ColoStatus } from '../../../../../src/vmm/monitor/colo-control.ts';
import { recordAt, recordMagic, sectorBytes } from '../../../../../tools/chaos/guest/service.ts';
import type { LabReport } from '../../../../../tools/chaos/lab/clients-program.ts';
import { compareWithDisk, type Found, isExpected, outcomeOf } from '../../../../../tools/chaos/lab/verdict.ts';

const says = (headline: ColoHeadline): Found => ({ status: { headline } as ColoStatus, isGone: false });
const silent: Found = { status: undefined, isGone: false };
const gone: Found = { status: undefined, isGone: true };

t.test('who runs the guest is settled when the other side is gone, or knows', async (t) => {
  t.equal(outcomeOf(says('PROTECTED'), says('PROTECTING')), 'both');
  t.equal(outcomeOf(says('UNPROTECTED'), gone), 'primary');
  t.equal(outcomeOf(says('UNPROTECTED'), says('LISTENING')), 'primary');
  t.equal(outcomeOf(gone, says('UNPROTECTED')), 'standby');
  t.equal(outcomeOf(says('FENCED'), says('UNPROTECTED')), 'standby');
});

t.test('a side that is silent, or has not noticed, settles nothing', async (t) => {
  t.equal(outcomeOf(silent, says('UNPROTECTED')), undefined);
  t.equal(outcomeOf(says('UNPROTECTED'), silent), undefined);
  t.equal(outcomeOf(says('PROTECTED'), says('UNPROTECTED')), undefined);
  t.equal(outcomeOf(says('UNPROTECTED'), says('UNPROTECTED')), undefined, 'two of them are never an outcome');
  t.equal(outcomeOf(says('WAITING'), gone), undefined);
});

t.test('either of the two may be expected, but not that nothing happened', async (t) => {
  t.ok(isExpected('primary', 'either'));
  t.ok(isExpected('standby', 'either'));
  t.notOk(isExpected('both', 'either'));
  t.notOk(isExpected('primary', 'standby'));
  t.ok(isExpected('both', 'both'));
});

function record(client: number, number: number, counter: number): Buffer {
  const sector = Buffer.alloc(sectorBytes);
  sector.writeUInt32LE(recordMagic, recordAt.magic);
  sector.writeBigUInt64LE(BigInt(client), recordAt.client);
  sector.writeBigUInt64LE(BigInt(number), recordAt.number);
  sector.writeBigUInt64LE(BigInt(counter), recordAt.counter);
  sector.writeBigUInt64LE(BigInt(counter), recordAt.counterAgain);
  return sector;
}

const increment = '*2\r\n$4\r\nINCR\r\n$7\r\ncounter\r\n';
/** A disk of the counter service: its first sector, these records, and room for more than anybody was told. */
const counterDisk = (...records: Buffer[]): Buffer =>
  Buffer.concat([Buffer.alloc(sectorBytes), ...records, Buffer.alloc(8 * sectorBytes)]);

const counter = counterDisk(record(1, 1, 1), record(1, 2, 2));
const disk = { counter, redis: Buffer.from(`*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n${increment}${increment}`), damage: [] };
const report: LabReport = {
  counter: {
    summary: { asked: 2, answers: 2, retransmissions: 0, longestSilenceMs: 1, medianMs: 1, worstMs: 1 },
    silenceMs: 0,
    violations: [],
    told: [
      ['1', '1', '1'],
      ['2', '1', '2'],
    ],
    settled: true,
  },
  answers: { redis: 2, connection: 5, page: 1 },
  waiting: [],
  violations: [],
  order: 'stop',
};

t.test('answers that all stand on the disk are right', async (t) => {
  t.same(compareWithDisk(report, disk), []);
});

t.test('whatever is missing, too much or broken is told', async (t) => {
  t.match(compareWithDisk(report, { ...disk, counter: counterDisk(record(1, 1, 1)) }), [/counter: .*not on/]);
  const more = counterDisk(record(1, 1, 1), record(1, 2, 2), record(1, 3, 3));
  t.match(compareWithDisk(report, { ...disk, counter: more }), [/counter: .*nobody was told/]);
  t.match(compareWithDisk(report, { ...disk, redis: Buffer.from(increment) }), [/redis: 2 .* has 1/]);
  t.match(compareWithDisk(report, { ...disk, redis: Buffer.from(increment.repeat(3)) }), [/redis: 2 .* has 3/]);
  t.same(compareWithDisk(report, { ...disk, damage: ['e2fsck: broken'] }), ['e2fsck: broken']);
  t.same(compareWithDisk({ ...report, violations: ['connection: the connection ended'] }, disk), [
    'connection: the connection ended',
  ]);
  t.match(compareWithDisk({ ...report, waiting: ['page'] }, disk), [/never answered: page/]);
  t.match(compareWithDisk({ ...report, answers: { ...report.answers, page: 0 } }, disk), [/page: nobody/]);
});
