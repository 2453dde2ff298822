import { Cycles } from './cycles.ts';
import { Overload } from './overload.ts';
import { SlowDisk } from './slow-disk.ts';
import { applyFault } from './world/faults/apply-fault.ts';
import { Violation } from './world/invariants/violation.ts';
import { Watchdog } from './world/invariants/watchdog.ts';
import type { Schedule, WorldOptions } from './world/schedule.ts';
import { World } from './world/world.ts';

/** What came of a schedule. */
export interface Outcome {
  readonly violation: Violation | undefined;
  /** Effects that were done. */
  readonly effects: number;
  readonly faults: number;
  readonly frames: number;
  readonly answered: number;
}

/** Runs a schedule. An error of the cores other than a violation is one too: they never throw. */
export function runSchedule(schedule: Schedule, options: WorldOptions = {}): Outcome {
  const world = new World(schedule, options);
  const watchdog = watch(world);
  const life = lifeOf(world);
  let violation: Violation | undefined;
  try {
    watchdog.start();
    life?.start();
    const { healthy } = schedule;
    if (healthy !== undefined) world.agenda.at(healthy.fromMs, () => heal(world, healthy));
    world.run();
    watchdog.atEnd();
    life?.atEnd();
  } catch (error) {
    violation = error instanceof Violation ? error : new Violation('crash', stackOf(error));
    world.trace(undefined, `VIOLATION ${violation.message}`);
  }
  return {
    violation,
    effects: world.lineage.faults.effects,
    faults: world.lineage.faults.applied,
    frames: world.lineage.worlds.reduce((sum, { network }) => sum + network.frames, 0),
    answered: world.clients.answered,
  };
}

/** What befalls a guest that lives through many pairs. */
function lifeOf(world: World): Cycles | Overload | SlowDisk | undefined {
  const { life } = world.schedule;
  const begin = (next: World): void => watch(next).start();
  if (life === 'cycles') return new Cycles(world, begin);
  if (life === 'overload') return new Overload(world, begin);
  if (life === 'slow-disk') return new SlowDisk(world, begin);
  return undefined;
}

function watch(world: World): Watchdog {
  const watchdog = new Watchdog(world);
  world.strike = (fault) => applyFault(world, watchdog, fault);
  world.notice = (role, notice) => watchdog.told(role, notice);
  return watchdog;
}

/** From now on this side, its clients and the arbiter are well; the other side may not be, and the link between them may break. */
function heal(world: World, { side: role, withoutArbiter }: NonNullable<Schedule['healthy']>): void {
  world.trace(undefined, `-- from now on ${role} is well`);
  const side = world.side(role);
  side.hung = false;
  side.thaw();
  side.well();
  side.termDiskFails = false;
  side.disk.latencyMs = 0.1;
  side.clock.setRate(world.agenda.now, 1);
  // A link so slow that heartbeats still pass is no failure: it would only be slow.
  for (const from of ['primary', 'secondary'] as const) {
    world.network.slow(from, 0);
    world.network.clogged[from] = undefined;
  }
  if (withoutArbiter) return;
  world.arbiter.down = false;
  world.arbiter.mute = false;
  world.arbiter.cutFrom[role] = false;
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
