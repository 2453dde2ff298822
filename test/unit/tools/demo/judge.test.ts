import t from 'tap';
import { recordAt, recordMagic, sectorBytes } from '../../../../tools/chaos/guest/service.ts';
import type { ClientsReport } from '../../../../tools/demo/client-program.ts';
import { isWhole, judge } from '../../../../tools/demo/judge.ts';

type Row = readonly [counter: number, client: number, number: number];

function diskOf(rows: readonly Row[]): Buffer {
  const disk = Buffer.alloc(16 * sectorBytes);
  for (const [counter, client, number] of rows) {
    const at = counter * sectorBytes;
    disk.writeUInt32LE(recordMagic, at + recordAt.magic);
    disk.writeBigUInt64LE(BigInt(client), at + recordAt.client);
    disk.writeBigUInt64LE(BigInt(number), at + recordAt.number);
    disk.writeBigUInt64LE(BigInt(counter), at + recordAt.counter);
    disk.writeBigUInt64LE(BigInt(counter), at + recordAt.counterAgain);
  }
  return disk;
}

function report(rows: readonly Row[], more: Partial<ClientsReport> & { asked?: number } = {}): ClientsReport {
  const { asked = rows.length, ...rest } = more;
  return {
    summary: { asked, answers: rows.length, retransmissions: 0, longestSilenceMs: 1, medianMs: 1, worstMs: 1 },
    silenceMs: 0,
    violations: [],
    told: rows.map(([counter, client, number]) => [`${counter}`, `${client}`, `${number}`] as const),
    settled: true,
    ...rest,
  };
}

const rows: readonly Row[] = [
  [1, 1, 1],
  [2, 2, 1],
  [3, 1, 2],
];

t.test('answers that are all in the history are whole', (t) => {
  const verdict = judge(report(rows), diskOf(rows));
  t.same(verdict, { answers: 3, lost: 0, doubled: 0, invented: 0, problems: [] });
  t.ok(isWhole(verdict));
  t.end();
});

t.test('no answer at all is no proof', (t) => {
  t.notOk(isWhole(judge(report([]), diskOf([]))));
  t.end();
});

t.test('what is wrong is counted and named', (t) => {
  const cases = [
    { name: 'an answer that is not on the disk', clients: report(rows), disk: rows.slice(0, 2), lost: 1 },
    {
      name: 'an answer that another request has on the disk',
      clients: report(rows),
      disk: [...rows.slice(0, 2), [3, 2, 2] as const],
      lost: 1,
    },
    { name: 'an answer behind the end of the disk', clients: report([...rows, [99, 1, 3]]), disk: rows, lost: 1 },
    { name: 'a request without an answer', clients: report(rows, { asked: 4, settled: false }), disk: rows, lost: 1 },
    { name: 'a record that nobody was told', clients: report(rows.slice(0, 2)), disk: rows, invented: 1 },
    {
      name: 'what the clients themselves saw',
      clients: report(rows, { violations: ['client 1 was told 2 and 3'] }),
      disk: rows,
      doubled: 1,
    },
  ];
  for (const { name, clients, disk, lost = 0, invented = 0, doubled = 0 } of cases) {
    const verdict = judge(clients, diskOf(disk));
    t.match(verdict, { lost, invented, doubled }, name);
    t.ok(verdict.problems.length > 0, `${name}: named`);
    t.notOk(isWhole(verdict), `${name}: not whole`);
  }
  t.end();
});

t.test('more answers than the disk has room for are called that', (t) => {
  const { problems } = judge(report([...rows, [99, 1, 3]]), diskOf(rows));
  t.match(problems[0], /room for 16 records/);
  t.end();
});
