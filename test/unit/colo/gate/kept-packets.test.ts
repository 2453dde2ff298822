import { setTimeout as wait } from 'node:timers/promises';
import { type Test, test } from 'tap';
import { specification } from '../../../../src/colo/core/rules.ts';
import { KeptPackets } from '../../../../src/colo/gate/kept-packets.ts';
import { TapWriter } from '../../../../src/colo/gate/tap-writer.ts';
import { epoch as e } from '../../../../src/colo/protocol/numbers.ts';
import { close, createPipe, type Fd, tryRead, tryWrite } from '../../../../src/host/libc/descriptors.ts';
import { replayedOf } from '../../../../src/vmm/platform/replayed-packets.ts';
import { fakeTap, packet, seedOf } from './fake-taps.ts';

function keptRig(t: Test, boundBytes?: number) {
  const taps = [fakeTap(t), fakeTap(t)] as const;
  let overflows = 0;
  const kept = new KeptPackets(
    taps.map(({ fd }) => fd),
    specification,
    boundBytes,
    undefined,
    () => overflows++,
  );
  const stage = (kind: 'output' | 'input', epoch: number, seed: number, card = 0): void =>
    kept.stage({ kind, epoch: e(epoch), card, data: packet(seed) });
  const replayed = (standsAt: number): number[] =>
    [0, 1].flatMap((card) =>
      replayedOf(kept.inputsToReplay(e(standsAt)), card).map((bytes) => seedOf(bytes) + 100 * card),
    );
  return { kept, taps, stage, replayed, overflows: () => overflows };
}

test('a takeover sends what the checkpoint explains and did not leave, by card and in order', async (t) => {
  const { kept, taps, stage } = keptRig(t);
  stage('output', 1, 1);
  stage('output', 2, 2);
  stage('output', 2, 3, 1);
  stage('output', 2, 4);
  stage('output', 3, 5);
  kept.left(e(1));
  t.equal(await kept.sendKept(e(2)), 3);
  t.strictSame([taps[0].written(), taps[1].written()], [[2, 4], [3]]);
});

test('the guest gets again what its checkpoint does not contain, by card and in order', async (t) => {
  const { kept, stage, replayed } = keptRig(t);
  stage('input', 1, 1);
  stage('input', 2, 2);
  stage('input', 3, 3, 1);
  stage('input', 3, 4);
  kept.committed(e(1));
  t.strictSame(replayed(1), [2, 4, 103]);
  t.strictSame(replayed(2), [4, 103], 'received, and not loaded before');
});

test('holds on to no bytes of the message', async (t) => {
  const { kept, replayed } = keptRig(t);
  const data = packet(7);
  kept.stage({ kind: 'input', epoch: e(0), card: 0, data });
  data.fill(0);
  t.strictSame(replayed(-1), [7]);
});

test('a peer that sends what is no packet is refused', async (t) => {
  const { kept } = keptRig(t);
  const refused = (card: number, bytes: number): void => {
    t.throws(() => kept.stage({ kind: 'input', epoch: e(0), card, data: new Uint8Array(bytes) }), {
      code: 'COLO_PROTOCOL',
      message: /^invalid message: input: .* is no packet of this machine$/,
    });
  };
  refused(2, 64);
  refused(0, 25);
  refused(0, 0);
  refused(0, 65_563);
});

test('beyond the bound the oldest go, are counted, and that is told once', async (t) => {
  const { kept, stage, replayed, overflows } = keptRig(t, 1000);
  stage('input', 0, 0);
  t.equal(overflows(), 0, 'while there is room nothing is said');
  for (let seed = 1; seed < 20; seed++) stage('input', 0, seed);
  t.equal(overflows(), 1);
  const { bytes, dropped } = kept.facts;
  t.ok(bytes <= 1000 && dropped > 0);
  t.strictSame(
    replayed(-1),
    Array.from({ length: 20 - dropped }, (_, index) => dropped + index),
  );
  kept.clear();
  t.strictSame([replayed(-1), kept.facts.bytes], [[], 0]);
});

test('a pairing that is over leaves nothing behind in the next one', async (t) => {
  const { kept, taps, stage } = keptRig(t);
  kept.left(e(50));
  kept.clear();
  stage('output', 1, 1);
  await kept.sendKept(e(1));
  t.strictSame(taps[0].written(), [1]);
});

test('a TAP that is full for a while gets all; one that stays full holds no takeover up', async (t) => {
  const { kept, taps, stage } = keptRig(t);
  for (const seed of [1, 2, 3]) stage('output', 0, seed);
  taps[0].fill();
  const sent = kept.sendKept(e(0));
  await wait(5);
  taps[0].drain();
  t.equal(await sent, 3);
  t.strictSame(taps[0].written(), [1, 2, 3]);
  taps[0].fill();
  stage('output', 0, 4, 1);
  t.equal(await kept.sendKept(e(0)), 1);
  t.strictSame(taps[1].written(), [4]);
});

test('throws away what piled up in the TAPs, and waits for nobody who fills them', async (t) => {
  const [reader, writer] = createPipe();
  t.teardown(() => {
    close(reader);
    close(writer);
  });
  const kept = new KeptPackets([reader], specification);
  for (let seed = 0; seed < 10; seed++) tryWrite(writer, packet(seed));
  kept.drainTaps();
  t.ok(tryRead(reader, new Uint8Array(64)) < 0);

  const zero = (await import('node:fs')).openSync('/dev/zero', 'r');
  t.teardown(async () => (await import('node:fs')).closeSync(zero));
  new TapWriter([zero as Fd]).drain(10);
  t.pass('it came back');
});
