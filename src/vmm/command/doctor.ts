import { accessSync, constants, readFileSync } from 'node:fs';
import { freemem, release, totalmem } from 'node:os';
import { IoUring, IoUringUnavailableError } from '../../host/files/io-uring.ts';
import { capability } from '../../host/kvm/abi.ts';
import { KvmDevice } from '../../host/kvm/kvm-device.ts';
import { MiB } from '../../memory/address.ts';
import { hasHardwareVirtualisation } from './hardware.ts';

/** `fail`: nothing runs without it. `warn`: something does not. */
type Verdict = 'ok' | 'warn' | 'fail';

interface Finding {
  readonly subject: string;
  readonly verdict: Verdict;
  readonly found: string;
  readonly remedy?: string;
}

/** As package.json says under `engines`. */
const neededNode = [20, 16] as const;

/** Capabilities that the VMM cannot do without, and those that make it better. */
const needed = ['irqchip', 'userMemory', 'ioeventfd', 'immediateExit'] as const;
const wanted = ['manualDirtyLogProtect2', 'tscDeadlineTimer', 'adjustClock', 'xsave2'] as const;

/** Body of `colo-vmm doctor`: looks at the machine and prints what it found. Exit code 1 if no guest can run. */
export function doctor(json: boolean): number {
  const findings = examine();
  const broken = findings.some((finding) => finding.verdict === 'fail');
  if (json) process.stdout.write(`${JSON.stringify({ ok: !broken, findings }, null, 2)}\n`);
  else for (const line of render(findings)) process.stdout.write(`${line}\n`);
  return broken ? 1 : 0;
}

function examine(): Finding[] {
  return [node(), processor(), ...kvm(), tun(), ioUring(), memory()];
}

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const found = `Node ${process.versions.node}, Linux ${release()}`;
  const [neededMajor, neededMinor] = neededNode;
  if (major > neededMajor || (major === neededMajor && minor >= neededMinor)) {
    return { subject: 'runtime', verdict: 'ok', found };
  }
  return { subject: 'runtime', verdict: 'fail', found, remedy: `install Node ${neededNode.join('.')} or newer` };
}

function processor(): Finding {
  const model = /^model name\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
  if (hasHardwareVirtualisation()) {
    return { subject: 'processor', verdict: 'ok', found: `${model}, with hardware virtualisation` };
  }
  return {
    subject: 'processor',
    verdict: 'warn',
    found: `${model}, no hardware virtualisation: KVM, if any, only interprets guests, and Linux guests need the lab`,
    remedy: 'turn on VT-x or AMD-V (nested, in a virtual machine), or use the emulated lab: npm run lab -- --help',
  };
}

function kvm(): Finding[] {
  const subject = '/dev/kvm';
  let device: KvmDevice;
  try {
    device = new KvmDevice();
  } catch (error) {
    const [found = '', remedy = ''] = (error as Error).message.split(/: (.*)/s);
    return [{ subject, verdict: 'fail', found, remedy }];
  }
  try {
    const missing = needed.filter((name) => device.check(capability[name]) === 0);
    const without = wanted.filter((name) => device.check(capability[name]) === 0);
    const limit = `${device.check(capability.maxVcpus)} vCPUs at most, ${device.check(capability.nrVcpus)} recommended`;
    if (missing.length > 0) {
      const found = `usable, but without ${missing.join(', ')}`;
      return [{ subject, verdict: 'fail', found, remedy: 'use a newer kernel' }];
    }
    const found = `usable; ${limit}`;
    if (without.length === 0) return [{ subject, verdict: 'ok', found }];
    return [
      {
        subject,
        verdict: 'warn',
        found: `${found}; without ${without.join(', ')}`,
        remedy: 'guests run; a newer kernel would make checkpoints or timers better',
      },
    ];
  } finally {
    device.close();
  }
}

function tun(): Finding {
  const subject = '/dev/net/tun';
  try {
    accessSync(subject, constants.R_OK | constants.W_OK);
    return { subject, verdict: 'ok', found: 'usable: guests can have network cards' };
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return {
      subject,
      verdict: 'warn',
      found: missing ? 'missing: guests can have no network card' : 'no permission: guests can have no network card',
      remedy: missing ? 'modprobe tun' : 'run as root, or let an administrator make the TAP for you',
    };
  }
}

function ioUring(): Finding {
  const subject = 'io_uring';
  try {
    new IoUring(1).close();
    return { subject, verdict: 'ok', found: 'usable: disks do not hold up the network' };
  } catch (error) {
    if (!(error instanceof IoUringUnavailableError)) throw error;
    const found = `${error.message}; disks work, but a slow one holds up the network`;
    return { subject, verdict: 'warn', found, remedy: 'Linux 6.0 or newer with sysctl kernel.io_uring_disabled=0' };
  }
}

function memory(): Finding {
  const free = `${Math.floor(freemem() / MiB)} of ${Math.floor(totalmem() / MiB)} MiB free`;
  return { subject: 'memory', verdict: 'ok', found: free };
}

function render(findings: readonly Finding[]): string[] {
  const marks: Readonly<Record<Verdict, string>> = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' };
  const lines = findings.flatMap(({ verdict, subject, found, remedy }) => {
    const line = `${marks[verdict]}  ${subject.padEnd(13)} ${found}`;
    return remedy === undefined ? [line] : [line, `${' '.repeat(20)}-> ${remedy}`];
  });
  const linux = findings.every((finding) => finding.verdict !== 'fail') && hasHardwareVirtualisation();
  lines.push(
    '',
    linux
      ? 'Linux guests run here natively; the lab will use this machine as it is.'
      : 'Linux guests do not run here natively; the lab will emulate a host that can.',
  );
  return lines;
}
