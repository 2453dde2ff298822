import { peerOf } from '../../../../src/colo/protocol/numbers.ts';
import type { Fault } from '../../faults.ts';
import type { Watchdog } from '../invariants/watchdog.ts';
import type { World } from '../world.ts';
import { hostileFrame } from './hostile-frame.ts';

/** Makes it happen. */
export function applyFault(world: World, watchdog: Watchdog, { kind, side: role, durationMs, amount }: Fault): void {
  const { agenda, network, arbiter, primary } = world;
  const side = world.side(role);
  const later = (undo: () => void): void => agenda.after(durationMs, undo);
  switch (kind) {
    case 'process-killed':
      side.die(true);
      return;
    case 'power-lost':
      side.die(false);
      return;
    case 'frozen':
      side.freeze(durationMs);
      return;
    case 'thread-hangs':
      side.hung = true;
      side.unwell();
      later(() => {
        side.hung = false;
        side.well();
      });
      return;
    case 'clock-jumps':
      world.lineage.clocksHonest = false;
      side.clock.jump((amount - 0.5) * 2000);
      return;
    case 'clock-rate':
      world.lineage.clocksHonest = false;
      side.clock.setRate(agenda.now, 0.3 + amount * 2);
      later(() => side.clock.setRate(agenda.now, 1));
      return;
    case 'direction-cut':
      network.cut(role);
      later(() => network.heal(role));
      return;
    case 'link-cut':
      network.cut('primary');
      network.cut('secondary');
      later(() => {
        network.heal('primary');
        network.heal('secondary');
      });
      return;
    case 'connection-breaks':
      network.break();
      return;
    case 'link-slow':
      network.slow(role, 2 + amount * 150);
      later(() => {
        network.slow(role, 0);
      });
      return;
    case 'link-fades': {
      // What the other side sends comes later and later, then what this side sends does not come at all.
      const other = peerOf(role);
      const upTo = 100 + amount * 300;
      network.clogged[other] = { since: agenda.now, upTo };
      agenda.after(upTo / 0.8, () => network.cut(role));
      agenda.after(upTo / 0.8 + durationMs, () => {
        network.heal(role);
        network.clogged[other] = undefined;
      });
      return;
    }
    case 'card-stalls':
      // One card for clients and peer: for a while nothing goes out, and the peer is told that the connection broke.
      side.tap.busyUntil = agenda.now + 60 + amount * 100;
      network.break(role);
      return;
    case 'tap-busy':
      side.tap.busyUntil = agenda.now + Math.min(durationMs, 300);
      return;
    case 'disk-slow':
      side.disk.latencyMs = 1 + amount * 60;
      later(() => {
        side.disk.latencyMs = 0.1;
      });
      return;
    case 'disk-full':
      // A write that finds no room fails; later there is some.
      side.disk.broken = 'no space left on device';
      later(() => {
        side.disk.broken = undefined;
      });
      return;
    case 'disk-fails':
      side.disk.broken = 'input/output error';
      return;
    case 'term-disk-fails':
      side.termDiskFails = true;
      later(() => {
        side.termDiskFails = false;
      });
      return;
    case 'load-fails':
      world.secondary.loadFails = true;
      later(() => {
        world.secondary.loadFails = false;
      });
      return;
    case 'arbiter-down':
      arbiter.down = true;
      later(() => {
        arbiter.down = false;
      });
      return;
    case 'arbiter-mute':
      arbiter.mute = true;
      later(() => {
        arbiter.mute = false;
      });
      return;
    case 'arbiter-cut':
      arbiter.cutFrom[role] = true;
      later(() => {
        arbiter.cutFrom[role] = false;
      });
      return;
    case 'hostile-peer': {
      const frame = hostileFrame(world, role, amount);
      if (frame === undefined) return;
      watchdog.attacked(role);
      side.hostile(frame);
      return;
    }
    case 'falls-silent':
      network.fallSilent(role);
      return;
    case 'guest-resets':
      primary.reset();
      return;
    case 'guest-powers-off':
      primary.powerOff();
      return;
    case 'asked-checkpoint':
      side.post({ kind: 'command', command: { name: 'checkpoint' } });
      return;
    case 'asked-delay':
      side.post({ kind: 'command', command: { name: 'set-checkpoint-delay', delayMs: 10 + amount * 500 } });
      return;
    case 'asked-switchover':
      primary.post({ kind: 'command', command: { name: 'switchover' } });
      return;
    case 'asked-protect':
      primary.post({ kind: 'command', command: { name: 'protect' } });
      return;
    case 'asked-unprotect':
      side.post({ kind: 'command', command: { name: 'unprotect' } });
      return;
    case 'asked-lost-heartbeat':
      side.post({ kind: 'command', command: { name: 'lost-heartbeat', sure: false } });
      return;
    case 'asked-failover':
      side.post({ kind: 'command', command: { name: 'failover', sure: false } });
      return;
    default:
      kind satisfies never;
  }
}
