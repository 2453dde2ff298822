import type { MachineEvent } from '../machine/machine-events.ts';
import type { GuestEnd } from '../vcpu/guest-end.ts';
import { type Json, monitorName } from './qmp-protocol.ts';

export type EventName =
  | ('STOP' | 'RESUME' | 'RESET' | 'SHUTDOWN' | 'POWERDOWN' | 'BLOCK_IO_ERROR' | 'GUEST_PANICKED')
  | ('COLO_EXIT' | 'MIGRATION' | 'X_COLO_EVENT');

/** What clients are told when something happens to the machine, in this order. */
export function qmpEvents(event: MachineEvent): readonly (readonly [EventName, Json?])[] {
  switch (event.kind) {
    case 'paused':
      return [['STOP']];
    case 'resumed':
      return [['RESUME']];
    case 'power-button':
      return [['POWERDOWN']];
    case 'reset':
      return [['RESET', resetOf(event.by)]];
    case 'disk-failure': {
      const { disk, operation, stops, noSpace, reason } = event.failure;
      const data = {
        device: disk,
        'node-name': disk,
        operation: operation === 'read' ? 'read' : 'write',
        action: stops ? 'stop' : 'report',
        nospace: noSpace,
        reason,
      };
      return [['BLOCK_IO_ERROR', data]];
    }
    case 'panicked':
      return [['GUEST_PANICKED', { action: panicActionNames[event.action] }]];
    case 'ended': {
      const data = shutdownOf(event.end);
      return event.end.kind === 'reset'
        ? [
            ['RESET', data],
            ['SHUTDOWN', data],
          ]
        : [['SHUTDOWN', data]];
    }
    default:
      return event satisfies never;
  }
}

/** QEMU's GuestPanicAction. */
const panicActionNames = { exit: 'poweroff', pause: 'pause', run: 'run' } as const;

/** Whether the guest caused its end, and QEMU's name for the cause. */
function shutdownOf(end: GuestEnd): { guest: boolean; reason: string } {
  switch (end.kind) {
    case 'power-off':
      return { guest: true, reason: 'guest-shutdown' };
    case 'reset':
      return resetOf(end.by);
    case 'panic':
    case 'triple-fault':
    case 'internal-error':
    case 'entry-failure':
    case 'unknown-exit':
      return { guest: true, reason: 'guest-panic' };
    case 'stopped':
      return { guest: false, reason: reasonOfStop(end.by) };
    case 'vmm-failure':
      return { guest: false, reason: 'host-error' };
    default:
      return end satisfies never;
  }
}

function resetOf(by: string | undefined): { guest: boolean; reason: string } {
  return by === undefined ? { guest: true, reason: 'guest-reset' } : { guest: false, reason: 'host-qmp-system-reset' };
}

function reasonOfStop(by: string): string {
  if (by === monitorName) return 'host-qmp-quit';
  return by.startsWith('SIG') ? 'host-signal' : 'host-ui';
}
