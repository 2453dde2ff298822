import type { Effect } from '../../../../src/colo/core/events.ts';
import type { Frame } from '../../../../src/colo/protocol/frame.ts';
import type { Message } from '../../../../src/colo/protocol/messages.ts';

/** An event of a core and its effects, for a person; nothing, if it is a mere heartbeat. */
export function traceOf(
  event: { readonly kind: string },
  effects: readonly Effect[],
  core: { readonly phase: string; readonly step: string },
): string | undefined {
  const detail = nameOf(event);
  const done = effects
    .filter((effect) => effect.kind !== 'timer')
    .map(nameOf)
    .join(', ');
  if (detail === 'timer heartbeat' && done === 'send heartbeat') return undefined;
  if (detail === 'frame heartbeat' && (done === '' || done === 'permit' || done === 'send heartbeat')) return undefined;
  return `${detail} -> ${core.phase}/${core.step}${done === '' ? '' : `: ${done}`}`;
}

function nameOf(thing: object & { readonly kind: string }): string {
  const { kind } = thing;
  const rest = thing as Record<string, unknown>;
  const number = (value: unknown) => (value === undefined ? '' : ` ${String(value)}`);
  switch (kind) {
    case 'frame': {
      const { message } = rest.frame as Frame;
      return `frame ${message.kind}${number((message as { epoch?: number }).epoch)}`;
    }
    case 'send':
      return `send ${(rest.message as Message).kind}${number((rest.message as { epoch?: number }).epoch)}`;
    case 'timer':
      return `timer ${String(rest.timer)}`;
    case 'command':
      return `command ${(rest.command as { name: string }).name}`;
    case 'stage':
      return 'stage';
    case 'tell':
      return `tell ${(rest.notice as { kind: string }).kind}`;
    case 'arbiter':
      return `arbiter ${String(rest.answer)} for term ${String(rest.term)}`;
    case 'closed':
      return `closed by ${String(rest.by)}`;
    default:
      return `${kind}${number(rest.epoch ?? rest.term ?? rest.through ?? rest.error)}`;
  }
}
