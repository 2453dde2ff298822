import type { BlockOperation } from '../../devices/block/file-failures.ts';
import { ENOSPC, errnoName } from '../../host/errno.ts';
import type { DiskFailure, IoReport } from './io-report.ts';

/** Notices of one device that the operator sees: a guest can cause as many as it likes. */
const mostNotices = 10;
/** The monitor hears of failures of one disk this often at most, for the same reason. */
const failurePeriodMs = 1000;

/** What the operator and the monitor hear of one device. */
export class DeviceNews {
  readonly #name: string;
  readonly #report: (report: IoReport) => void;
  #noticesLeft = mostNotices;
  #nextFailure = 0;

  /** @param name of the device, for the operator */
  constructor(name: string, report: (report: IoReport) => void) {
    this.#name = name;
    this.#report = report;
  }

  /** Its driver did what no driver may. */
  broken(reason: string): void {
    this.#notice(`the guest's driver broke the rules, and the device has stopped: ${reason}`);
  }

  tapIsGone(tap: string): void {
    const text = `${this.#name}: the TAP ${tap} was removed; the guest's cable is unplugged until the machine is started anew`;
    this.#report({ kind: 'tap-gone', tap, text });
  }

  /** The guest was told of an I/O error. */
  diskFailed(disk: string, operation: BlockOperation, errno: number): void {
    const lasting = operation === 'flush' ? '; data may be lost, and every flush fails until the machine ends' : '';
    this.#notice(`a ${operation} failed with ${errnoName(errno)}, as the guest was told${lasting}`);
    const now = performance.now();
    if (now < this.#nextFailure) return;
    this.#nextFailure = now + failurePeriodMs;
    this.#report({ kind: 'disk-failure', failure: diskFailure(disk, operation, errno, false) });
  }

  /** A write failed, is kept, and the machine is to stop. */
  diskStops(disk: string, errno: number): void {
    this.#report({
      kind: 'stop',
      failure: diskFailure(disk, 'write', errno, true),
      text: `${this.#name}: a write failed with ${errnoName(errno)}; the machine is paused until it is resumed`,
    });
  }

  #notice(text: string): void {
    if (this.#noticesLeft-- > 0) this.#report({ kind: 'notice', text: `${this.#name}: ${text}` });
  }
}

function diskFailure(disk: string, operation: BlockOperation, errno: number, stops: boolean): DiskFailure {
  return { disk, operation, stops, noSpace: errno === ENOSPC, reason: errnoName(errno) };
}
