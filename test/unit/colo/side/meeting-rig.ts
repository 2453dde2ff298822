import type { Test } from 'tap';
import type { HostPort } from '../../../../src/colo/command/host-port.ts';
import type { StandbyPlaces } from '../../../../src/colo/command/pair-config.ts';
import { dial } from '../../../../src/colo/link/dial.ts';
import type { Past } from '../../../../src/colo/side/event-log.ts';
import type { Heritage, PrimaryPast } from '../../../../src/colo/side/heritage.ts';
import type { PrimaryMachineCalls, SecondaryMachineCalls } from '../../../../src/colo/side/machine-calls.ts';
import { PrimaryHost } from '../../../../src/colo/side/primary/primary-host.ts';
import { SecondaryHost } from '../../../../src/colo/side/secondary/secondary-host.ts';
import { SignsOfLife } from '../../../../src/colo/side/signs-of-life.ts';
import { TermStore } from '../../../../src/colo/side/term-store.ts';
import { Doorbell } from '../../../../src/host/threads/doorbell.ts';
import { temporaryFolder } from '../../../support/vmm-process.ts';
import { birth, captured, FakeMachineThread, freePort, listener, noPages, shape, someRam } from './host-rig.ts';

/** Of each capture. */
export const stoppedMs = 0.5;

export const heritage: Heritage = {
  why: 'a.example was lost',
  since: 1000,
};

/** What that standby's log had. */
export const past: Past = {
  events: [{ at: 1000, monotonicMs: 5, topic: 'takeover', text: 'this side goes on', event: 'failover' }],
  milestones: { failover: 1 },
};

/** A machine that runs, in that term, and what protects it. */
export async function primary(
  t: Test,
  places: StandbyPlaces,
  more: { readonly term: number; readonly dial?: typeof dial } & Pick<PrimaryPast, 'heritage' | 'before'>,
) {
  const ram = someRam(t);
  const machine = new FakeMachineThread<PrimaryMachineCalls>(t, {
    attach: () => ({ memory: noPages, devices: [], io: undefined, vcpus: [] }),
    collect: () => ({ marked: 0, ram }),
    capture: (given) => ({ ...captured(given), stoppedMs }),
  });
  const bell = new Doorbell();
  t.teardown(() => bell.close());
  const config = { ...birth(t), stateDirectory: temporaryFolder(t) };
  await new TermStore(config.stateDirectory).write(more.term);
  const host = new PrimaryHost(
    { ...config, ...places, insists: true, past: more.heritage && past },
    {
      calls: machine.calls,
      bell: bell.button,
      shape,
      disks: [],
      signs: new SignsOfLife(),
      heritage: more.heritage,
      before: more.before,
      dial: more.dial ?? dial,
    },
    listener(t),
  );
  t.teardown(() => host.close());
  host.start();
  return host;
}

/** A machine that has taken over in term 2, and what protects it from then on. */
export async function survivor(t: Test, port?: number) {
  const at = { host: '127.0.0.1', port: port ?? (await freePort()) };
  return { host: await primary(t, { listen: at }, { term: 2, heritage }), at };
}

/** A standby that looks for its primary there, if it is told where. */
export async function seeker(
  t: Test,
  peers: HostPort | readonly HostPort[] | undefined,
  more: { readonly port?: number; readonly dial?: typeof dial } = {},
) {
  const memory = someRam(t);
  const machine = new FakeMachineThread<SecondaryMachineCalls>(t, {
    shape: () => shape,
    make: () => ({ memory, devices: [], io: undefined }),
  });
  const stateDirectory = temporaryFolder(t);
  const host = new SecondaryHost(
    {
      ...birth(t),
      stateDirectory,
      listen: { host: '127.0.0.1', port: more.port ?? 0 },
      peers: [peers ?? []].flat(),
    },
    { calls: machine.calls, shape, signs: new SignsOfLife(), again: () => {}, dial: more.dial ?? dial },
    listener(t),
  );
  t.teardown(() => host.close());
  await host.start();
  return { host, stateDirectory };
}
