import type { Effect, PrimaryEvent, SecondaryEvent } from '../../../../src/colo/core/events.ts';
import { Primary } from '../../../../src/colo/core/primary/primary.ts';
import { Secondary } from '../../../../src/colo/core/secondary/secondary.ts';
import { defaultSettings, type Settings } from '../../../../src/colo/core/settings.ts';
import { type Message, protocolVersion } from '../../../../src/colo/protocol/messages.ts';
import { epoch, type Role, term } from '../../../../src/colo/protocol/numbers.ts';
import { shape } from '../protocol/messages.ts';

export const settings: Settings = { ...defaultSettings, livePasses: 0 };
const ours = term(3);

/** An effect in a few words, as tests compare them. Timers and what is only told are left out. */
export function words(effects: readonly Effect[]): string[] {
  return effects
    .filter((effect) => effect.kind !== 'timer' && effect.kind !== 'tell')
    .map((effect) => {
      switch (effect.kind) {
        case 'send': {
          const { message } = effect;
          return `send ${message.kind}${'epoch' in message ? ` ${message.epoch}` : ''}`;
        }
        case 'refuse':
          return `refuse ${effect.command}: ${effect.error}`;
        case 'ask-arbiter':
        case 'write-term':
        case 'give-away':
          return `${effect.kind} ${effect.term}`;
        case 'exit':
          return `exit ${effect.exitCode}`;
        case 'permit':
          return `permit ${effect.through}`;
        default:
          return 'epoch' in effect ? `${effect.kind} ${effect.epoch}` : effect.kind;
      }
    });
}

/** A core whose clock stands where a test puts it. */
class Scripted<E> {
  now = 1000;
  readonly #core: { handle(event: E, now: number): readonly Effect[] };
  readonly #peer: Role;

  constructor(core: { handle(event: E, now: number): readonly Effect[] }, peer: Role) {
    this.#core = core;
    this.#peer = peer;
  }

  /** What it wants done about an event. */
  on(event: E): string[] {
    return words(this.#core.handle(event, this.now));
  }

  effects(event: E): readonly Effect[] {
    return this.#core.handle(event, this.now);
  }

  hears(message: Message, theirTerm = ours): string[] {
    const frame = { role: this.#peer, term: theirTerm, message };
    return this.on({ kind: 'frame', frame } as E);
  }

  /** Time passes, and this alarm rings. */
  rings(timer: string, afterMs: number, turned = true): string[] {
    this.now += afterMs;
    return this.on({ kind: 'timer', timer, turned } as E);
  }
}

export type ScriptedPrimary = Scripted<PrimaryEvent> & { readonly core: Primary };
export type ScriptedSecondary = Scripted<SecondaryEvent> & { readonly core: Secondary };

export function newPrimary(changed: Partial<Settings> = {}): ScriptedPrimary {
  const core = new Primary({ pair: 'web', shape, term: ours, settings: { ...settings, ...changed } });
  return Object.assign(new Scripted<PrimaryEvent>(core, 'secondary'), { core });
}

export function newSecondary(changed: Partial<Settings> = {}): ScriptedSecondary {
  const core = new Secondary({ pair: 'web', shape, term: ours, settings: { ...settings, ...changed } });
  return Object.assign(new Scripted<SecondaryEvent>(core, 'primary'), { core });
}

/** A primary that is protected, in epoch 1. */
export function protectedPrimary(changed: Partial<Settings> = {}): ScriptedPrimary {
  const primary = newPrimary(changed);
  protect(primary);
  return primary;
}

/** It is protected then, in epoch 1. */
export function protect(primary: ScriptedPrimary): void {
  seed(primary);
  primary.hears({ kind: 'checkpoint-ready', epoch: epoch(0) });
}

/** Its first checkpoint is on its way then. */
export function seed(primary: ScriptedPrimary): void {
  primary.on({ kind: 'command', command: { name: 'protect' } });
  primary.on({ kind: 'connected' });
  primary.hears({ kind: 'welcome', shape });
  primary.on({ kind: 'disks-in-step' });
  primary.on({ kind: 'passed', epoch: epoch(0), worthAnother: false });
  primary.on({ kind: 'captured', epoch: epoch(0), stateBytes: 8, stoppedMs: 1 });
}

/** How a primary begins. */
export const hello = {
  kind: 'hello',
  version: protocolVersion,
  pair: 'web',
  shape,
  detectMs: 200,
  arbiter: 'manual',
  comparing: 0,
} as const;

/** Everything of a checkpoint but its RECEIVED. */
export function gives(secondary: ScriptedSecondary, n: number): string[] {
  const at = epoch(n);
  secondary.hears({ kind: 'vmstate-send', epoch: at, comparing: 0 });
  secondary.hears({ kind: 'pages-end', epoch: at, items: 0 });
  secondary.hears({ kind: 'vmstate-size', epoch: at, value: 8 });
  secondary.hears({ kind: 'disk-end', epoch: at, items: 0 });
  secondary.hears({ kind: 'packets-end', epoch: at, items: 0 });
  return secondary.hears({ kind: 'vmstate', epoch: at, data: new Uint8Array(8) });
}

/** A secondary that stands at checkpoint 0; P may count on it. */
export function readySecondary(changed: Partial<Settings> = {}): ScriptedSecondary {
  const secondary = newSecondary(changed);
  secondary.hears(hello);
  gives(secondary, 0);
  secondary.on({ kind: 'loaded', epoch: epoch(0) });
  secondary.on({ kind: 'disk-committed', epoch: epoch(0) });
  return secondary;
}

/** A secondary that stands at checkpoint 0 and is counted on. */
export function protectingSecondary(changed: Partial<Settings> = {}): ScriptedSecondary {
  const secondary = readySecondary(changed);
  secondary.hears({ kind: 'protected' });
  return secondary;
}
