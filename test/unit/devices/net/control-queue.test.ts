import { test } from 'tap';
import { netFeature } from '../../../../src/devices/net/net-shape.ts';
import { feature } from '../../../../src/devices/virtio/mmio-state.ts';
import { mac, type NetRig, netRig } from './net-rig.ts';

const OK = 0;
const ERROR = 1;
const f = netFeature;

function le(value: number | bigint, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, index) => Number((BigInt(value) >> BigInt(8 * index)) & 0xffn));
}

/** Sends a command; the acknowledgement. */
function command(rig: NetRig, ...bytes: number[]): number | undefined {
  rig.control.add([{ read: Uint8Array.from(bytes) }, { write: 1 }]);
  rig.driver.kick(2);
  const answer = rig.control.collectOne();
  return answer.bytes[0];
}

function macOf(rig: NetRig): number[] {
  return [...mac.keys()].map((index) => rig.driver.readConfig(index, 1));
}

const newMac = [0x02, 9, 8, 7, 6, 5];

test('sets the address, and takes the old one back when it is reset', async (t) => {
  const rig = netRig(t);
  t.strictSame(macOf(rig), [...mac]);
  t.equal(command(rig, 1, 1, ...newMac), OK);
  t.strictSame(macOf(rig), newMac);
  t.equal(command(rig, 1, 1, 0x03, 9, 8, 7, 6, 5), ERROR, 'a multicast address');
  t.equal(command(rig, 1, 1, ...newMac.slice(1)), ERROR);
  t.equal(command(rig, 1, 1, ...newMac, 1), ERROR);
  t.equal(command(rig, 1, 1), ERROR);
  t.strictSame(macOf(rig), newMac);
  t.equal(rig.counted('controlCommands'), 1);
  t.equal(rig.counted('controlRefused'), 4);
  rig.driver.reset();
  t.strictSame(macOf(rig), [...mac]);
});

test('understands a command that is cut in any way', async (t) => {
  for (const cut of [1, 2, 3, 7]) {
    const rig = netRig(t);
    const bytes = Uint8Array.of(1, 1, ...newMac);
    rig.control.add([{ read: bytes.subarray(0, cut) }, { read: bytes.subarray(cut) }, { write: 1 }, { write: 5 }]);
    rig.driver.kick(2);
    const { length, bytes: answer } = rig.control.collectOne();
    t.strictSame([length, answer[0]], [1, OK], `cut at ${cut}`);
    t.strictSame(macOf(rig), newMac);
  }
});

test('takes note of receive modes and address tables that make sense', async (t) => {
  const rig = netRig(t);
  t.equal(command(rig, 0, 0, 1), OK);
  t.equal(command(rig, 0, 1, 0), OK);
  t.equal(command(rig, 0, 2, 0), ERROR, 'not agreed on');
  t.equal(command(rig, 0, 0), ERROR);
  t.equal(command(rig, 0, 0, 1, 1), ERROR);
  t.equal(command(rig, 1, 0, ...le(0, 4), ...le(0, 4)), OK);
  t.equal(command(rig, 1, 0, ...le(1, 4), ...newMac, ...le(2, 4), ...newMac, ...newMac), OK);
  t.equal(command(rig, 1, 0, ...le(1, 4), ...newMac), ERROR);
  t.equal(command(rig, 1, 0, ...le(0xffff_ffff, 4), ...le(0, 4)), ERROR);
  t.equal(command(rig, 1, 0, ...le(0, 4), ...le(1, 4)), ERROR);
});

test('sets the offloads that were agreed on, and has room for what they bring', async (t) => {
  const rig = netRig(t);
  t.strictSame(rig.port.offloads.at(-1), 15);
  t.equal(command(rig, 5, 0, ...le(f.guestChecksum | f.guestTso4, 8)), OK);
  t.equal(rig.port.offloads.at(-1), 3);
  t.equal(command(rig, 5, 0, ...le(f.guestTso4, 8)), ERROR, 'without checksums');
  t.equal(command(rig, 5, 0, ...le(f.guestChecksum | (1n << 10n), 8)), ERROR, 'not offered');
  t.equal(command(rig, 5, 0, ...le(0, 7)), ERROR);
  t.equal(command(rig, 5, 1, ...le(0, 8)), ERROR);
  t.equal(rig.port.offloads.at(-1), 3);

  for (let index = 0; index < 100; index++) rig.receive.add([{ write: 1530 }]);
  rig.arrive();
  const taken = () => rig.transport.queues[0]?.position.nextAvail;
  t.equal(taken(), 43);
  rig.transport.pause();
  rig.transport.resume();
  t.equal(command(rig, 5, 0, ...le(0, 8)), OK);
  t.equal(rig.port.offloads.at(-1), 0);
  rig.transport.pause();
  rig.transport.resume();
  rig.arrive();
  t.equal(taken(), 1, '1514 bytes of frame, a tag, a header');
});

test('refuses what was not agreed on, and what nobody knows', async (t) => {
  const rig = netRig(t, { accept: feature.version1 | f.controlQueue });
  t.equal(command(rig, 0, 0, 1), ERROR);
  t.equal(command(rig, 1, 0, ...le(0, 4), ...le(0, 4)), ERROR);
  t.equal(command(rig, 1, 1, ...newMac), ERROR);
  t.equal(command(rig, 3, 0), ERROR);
  t.equal(command(rig, 5, 0, ...le(0, 8)), ERROR);
  t.strictSame(macOf(rig), [...mac]);
  const all = netRig(t);
  for (const known of [2, 4, 6, 7, 255]) t.equal(command(all, known, 0, 1, 0), ERROR, `class ${known}`);
  t.equal(command(all, 1, 2, ...newMac), ERROR);
  t.equal(command(all, 3, 1), ERROR);
});

test('bears commands of no bytes, of too many, and without room for an answer', async (t) => {
  const rig = netRig(t);
  rig.control.add([{ write: 1 }]);
  rig.control.add([{ read: Uint8Array.of(1) }, { write: 1 }]);
  rig.control.add([{ read: new Uint8Array(100_000) }, { write: 1 }]);
  rig.control.add([{ read: Uint8Array.of(1, 1, ...newMac) }]);
  rig.driver.kick(2);
  t.strictSame(
    rig.control.collect().map(({ length, bytes }) => [length, bytes[0]]),
    [
      [1, ERROR],
      [1, ERROR],
      [1, ERROR],
      [0, undefined],
    ],
  );
  t.strictSame(macOf(rig), [...mac], 'a command that cannot be answered is not carried out');
});
