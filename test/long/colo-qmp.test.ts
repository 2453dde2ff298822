import t from 'tap';
import { type Contender, memoryMib } from '../../tools/bench/pair/contender.ts';
import { OurPair } from '../../tools/bench/pair/ours.ts';
import { QemuPair } from '../../tools/bench/pair/qemu.ts';
import { serviceGuest } from '../../tools/demo/guest.ts';
import { LabPair, type Side } from '../../tools/demo/lab-pair.ts';
import { silent } from '../../tools/packages/progress.ts';
import { shapesOf, Transcript } from '../support/qmp-transcript.ts';

/**
 * The same script for QEMU 7.2 in COLO and for our pair, and the shapes of their answers (spec A.8). Checkpoints go on
 * meanwhile and the guest runs, so events come at any time: of them only those of the pair's end are compared. What is found here,
 * unit tests keep.
 */

const capabilities = '{"execute":"qmp_capabilities"}';
const replicate = (given: string): string => `{"execute":"xen-set-replication","arguments":{${given}}}`;
const setDelay = (delay: string): string =>
  `{"execute":"migrate-set-parameters","arguments":{"x-checkpoint-delay":${delay}}}`;
const plain = (...names: string[]): string[] => names.map((name) => `{"execute":"${name}"}`);
const toldOfMigration =
  '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"events","state":true}]}}';
const withNonsense = (...names: string[]): string[] => names.map((name) => `{"execute":"${name}","arguments":{"x":1}}`);

const toPrimary: readonly string[] = [
  ...plain('query-colo-status', 'query-status', 'query-migrate', 'query-xen-replication-status'),
  ...withNonsense('query-colo-status', 'query-migrate', 'query-xen-replication-status'),
  ...withNonsense('xen-colo-do-checkpoint', 'x-colo-lost-heartbeat'),
  ...plain('query-migrate-capabilities', 'query-migrate-parameters', 'migrate-set-parameters'),
  ...['20000', '0', '-1', '4294967296', '1.5', '"500"', '500'].map(setDelay),
  ...plain('query-migrate-parameters'),
  '{"execute":"migrate-set-capabilities","arguments":{"capabilities":[{"capability":"x-colo","state":false}]}}',
  ...[
    '',
    '"enable":true',
    '"enable":1,"primary":true',
    '"enable":true,"primary":true,"failover":true',
    '"enable":true,"primary":true,"failover":false',
    '"enable":true,"primary":false',
  ].map(replicate),
  ...plain('query-colo-status', 'query-status', 'query-migrate'),
];

const toSecondary: readonly string[] = [
  ...plain('query-colo-status', 'query-status', 'query-migrate', 'query-xen-replication-status'),
  ...withNonsense('query-colo-status', 'x-colo-lost-heartbeat'),
  replicate('"enable":true,"primary":true'),
  ...plain('query-colo-status'),
  toldOfMigration,
];

/** What a monitor said to each line. */
type Said = { line: string; said: unknown[] }[];

function isEvent(message: unknown): boolean {
  return 'event' in (message as object);
}

/** Why it ended QEMU says as two of its threads happen to run: the one that fails over, and the one that misses its peer. */
function withoutReason(event: unknown): unknown {
  const { data, ...rest } = event as { data: { mode: string; reason: string } };
  return { ...rest, data: { mode: data.mode, reason: typeof data.reason } };
}

/** The answers to those lines, without events. */
async function tell(monitor: Transcript, lines: readonly string[]): Promise<Said> {
  const heard: Said = [];
  for (const line of lines) {
    heard.push({ line, said: (await monitor.say(line)).filter((message) => !isEvent(message)) });
  }
  return heard;
}

const isExit = (message: unknown): boolean => (message as { event?: unknown }).event === 'COLO_EXIT';

/** MIGRATION that tells of the end. Whether the secondary goes on is the arbiter's word with us, whose primary is alive. */
function isOver(message: unknown): boolean {
  const { event, data } = message as { event?: unknown; data?: { status?: unknown } };
  return event === 'MIGRATION' && (data?.status === 'completed' || data?.status === 'failed');
}

function withoutStatus(event: unknown): unknown {
  const { data, ...rest } = event as { data: { status: string } };
  return { ...rest, data: { status: typeof data.status } };
}

/** That order, which ends the pair: what is answered, and the events that tell of the end, in whatever order they come. */
async function tellEnd(monitor: Transcript, line: string): Promise<Said> {
  const said = await monitor.say(line);
  const answers = said.filter((message) => !isEvent(message));
  for (const isIt of [isExit, isOver]) if (!said.some(isIt)) said.push(...(await monitor.until(isIt)));
  return [
    { line, said: answers },
    { line: '(the end of the pair)', said: said.filter(isExit).map(withoutReason) },
    { line: '(the end of the migration)', said: said.filter(isOver).map(withoutStatus) },
  ];
}

/** A pair is made, both sides are asked, and the secondary takes over. */
async function hear(contender: Contender): Promise<Said> {
  const open = async (side: Side): Promise<Transcript> => {
    const { stdout, stdin } = contender.connect(side);
    const monitor = new Transcript({ output: stdout, input: stdin });
    await monitor.greeting();
    await monitor.say(capabilities);
    return monitor;
  };
  try {
    await contender.boot();
    await contender.protect(() => {});
    await contender.setDelay(20_000);
    const [primary, secondary] = [await open('a'), await open('b')];
    const heard = [...(await tell(primary, toPrimary)), ...(await tell(secondary, toSecondary))];
    heard.push(...(await tellEnd(secondary, '{"execute":"x-colo-lost-heartbeat"}')));
    heard.push(...(await tell(secondary, plain('query-colo-status', 'x-colo-lost-heartbeat', 'query-status'))));
    return heard;
  } finally {
    await contender.end();
  }
}

t.test('each line of the script for a pair is a whole command', async (t) => {
  for (const line of [...toPrimary, ...toSecondary])
    t.type((JSON.parse(line) as { execute: string }).execute, 'string');
});

t.test('a pair answers its clients in the shapes of QEMU 7.2 in COLO', { timeout: 0 }, async (t) => {
  const pair = await LabPair.make(silent, await serviceGuest(silent, memoryMib));
  t.teardown(() => pair.close());
  const theirs = await hear(await QemuPair.make(pair, silent));
  const mine = await hear(new OurPair(pair, { detectionMs: 15_000 }));
  t.equal(mine.length, theirs.length);
  for (const [index, { line, said }] of theirs.entries()) {
    t.strictSame(shapesOf(mine[index]?.said ?? []), shapesOf(said), line);
  }
});
