import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { tryRead, tryWrite } from '../../../src/host/libc/descriptors.ts';
import { Tap } from '../../../src/host/net/tap.ts';
import { Clients } from '../../../tools/chaos/clients.ts';
import { compareDisk } from '../../../tools/chaos/disk-history.ts';
import { announcement, smallGuest, smallGuestMemory } from '../../../tools/chaos/guest/small-guest.ts';
import { noKvm } from '../../support/kvm.ts';
import { forAWhile, until } from '../../support/machines.ts';
import { RawClient } from '../../support/qmp-client.ts';
import { freeName, ip, makeInterface, noTaps } from '../../support/taps.ts';
import { temporaryFolder, VmmProcess } from '../../support/vmm-process.ts';

const skip = noKvm() || noTaps();

type Test = Parameters<typeof temporaryFolder>[0];
const mac = '02:00:00:00:00:07';
const port = 7777;

/** The small guest in a process of its own, behind a TAP. */
class Guest {
  readonly disk: string;
  readonly control: string;
  readonly address: string;
  /** Of the host, in the guest's network. */
  readonly hostAddress: string;
  readonly #vmm: VmmProcess;

  private constructor(t: Test, net: string, diskBytes: number) {
    const folder = temporaryFolder(t);
    // A network of two addresses that no other run has, out of those for benchmarks (RFC 2544).
    const at = Math.floor(Math.random() * 2 ** 15) * 4;
    const dotted = (offset: number): string => `198.${18 + (at >> 16)}.${(at >> 8) & 255}.${(at & 255) + offset}`;
    [this.hostAddress, this.address] = [dotted(1), dotted(2)];
    this.disk = join(folder, 'disk.img');
    this.control = join(folder, 'control');
    const kernel = join(folder, 'small.elf');
    writeFileSync(kernel, smallGuest({ address: this.address, port }));
    writeFileSync(this.disk, '');
    truncateSync(this.disk, diskBytes);
    this.#vmm = new VmmProcess([
      ...['run', '--kernel', kernel, '--memory', smallGuestMemory, '--reboot', 'exit', '--control', this.control],
      ...['--disk', `path=${this.disk}`, '--net', `${net},mac=${mac}`, '--serial', 'stdio,eof=ignore'],
    ]);
    t.teardown(() => this.end());
  }

  static async start(t: Test, net: string, diskBytes = 1 << 20): Promise<Guest> {
    const guest = new Guest(t, net, diskBytes);
    await guest.#vmm.printed(announcement.ready);
    return guest;
  }

  async end(): Promise<void> {
    const { child } = this.#vmm;
    if (child.exitCode === null && child.signalCode === null) await this.#vmm.endedBySignal('SIGTERM');
  }
}

/** A guest that this host asks by UDP. */
async function reachableGuest(t: Test, diskBytes?: number): Promise<Guest> {
  const tap = makeInterface(t as never, 'tap');
  const guest = await Guest.start(t, `tap=${tap}`, diskBytes);
  ip('address', 'add', `${guest.hostAddress}/30`, 'dev', tap);
  return guest;
}

test('answers thousands of requests, also after pauses, and has written each down', { skip }, async (t) => {
  // Fewer sectors than records: it begins again.
  const guest = await reachableGuest(t, 1 << 20);
  const clients = await Clients.open({ address: guest.address, port, clients: 12 });
  t.teardown(() => clients.close());
  const monitor = await new RawClient(t, guest.control).begin();
  clients.start();
  for (let pause = 1; pause <= 5; pause++) {
    await until(() => clients.answers > 600 * pause);
    t.match(await monitor.ask('{"execute":"stop"}'), { event: 'STOP' });
    await forAWhile(30);
    await monitor.next();
    await monitor.ask('{"execute":"cont"}');
    await monitor.next();
  }
  clients.stop();
  t.ok(await clients.settled(10_000), 'all that was asked is answered');
  t.strictSame(clients.violations, []);
  t.equal(clients.told.size, clients.summary.asked, 'each with a number of its own');
  await guest.end();
  t.strictSame(compareDisk(guest.disk, clients.told), []);
});

test('a request that is repeated gets its answer again, an older one none', { skip }, async (t) => {
  const guest = await reachableGuest(t);
  const clients = await Clients.open({ address: guest.address, port, clients: 1, thinkMs: 1 });
  t.teardown(() => clients.close());
  clients.start();
  await until(() => clients.answers >= 10);
  clients.stop();
  await clients.settled(10_000);
  const number = BigInt(clients.answers);
  const before = clients.received;
  for (let time = 0; time < 5; time++) clients.repeat(1n, number);
  await until(() => clients.received >= before + 5);
  clients.repeat(1n, number - 1n);
  clients.repeat(1n, number);
  await until(() => clients.received >= before + 6);
  await forAWhile(50);
  t.equal(clients.received, before + 6, 'nothing for the older one');
  t.strictSame(clients.violations, []);
  t.equal(clients.told.size, Number(number), 'none was counted twice');
  await guest.end();
  t.strictSame(compareDisk(guest.disk, clients.told), []);
});

test('answers ARP and ping, with right checksums, and nothing that is for others', { skip }, async (t) => {
  const bridge = makeInterface(t as never, 'bridge');
  ip('link', 'set', bridge, 'up');
  const guest = await Guest.start(t, `tap=${freeName()},bridge=${bridge}`);
  const tap = new Tap({ name: freeName(), bridge });
  t.teardown(() => tap.close());
  const wire = new Wire(tap, guest);

  const arp = await wire.ask(wire.arp(guest.address));
  t.equal(arp.subarray(0, 6).toString('hex'), wire.mac, 'to whom asked');
  t.equal(arp.readUInt16BE(20), 2, 'a reply');
  t.equal(arp.subarray(22, 28).toString('hex'), mac.replaceAll(':', ''), 'the guest is there');
  t.equal([...arp.subarray(28, 32)].join('.'), guest.address);

  const echo = wire.echo(Buffer.from('is anybody there?'));
  const reply = await wire.ask(echo);
  t.equal(checksum(reply.subarray(14, 34)), 0, "IPv4's checksum");
  t.equal(checksum(reply.subarray(34, echo.length)), 0, "ICMP's checksum");
  t.equal(reply[34], 0, 'an echo reply');
  t.ok(reply.subarray(38, echo.length).equals(echo.subarray(38)), 'of the same content');

  const forOthers = wire.echo(Buffer.from('for others'));
  forOthers.set([2, 0, 0, 0, 0, 8]);
  wire.send(forOthers);
  wire.send(wire.arp('203.0.113.1'));
  t.equal(await wire.next(200), undefined);
});

/** The guest's network as another machine in it has it: frames. */
class Wire {
  readonly mac = '02000000aaaa';
  readonly #tap: Tap;
  readonly #guest: Guest;

  constructor(tap: Tap, guest: Guest) {
    this.#tap = tap;
    this.#guest = guest;
  }

  arp(wanted: string): Buffer {
    const { hostAddress } = this.#guest;
    const head = `ffffffffffff${this.mac}08060001080006040001${this.mac}`;
    return Buffer.concat([hex(head), dotted(hostAddress), hex('000000000000'), dotted(wanted), Buffer.alloc(18)]);
  }

  echo(content: Buffer): Buffer {
    const icmp = Buffer.concat([hex('0800000000010001'), content, Buffer.alloc(content.length & 1)]);
    icmp.writeUInt16BE(checksum(icmp), 2);
    const ip = Buffer.concat([
      hex('450000000000000040010000'),
      dotted(this.#guest.hostAddress),
      dotted(this.#guest.address),
    ]);
    ip.writeUInt16BE(20 + icmp.length, 2);
    ip.writeUInt16BE(checksum(ip), 10);
    return Buffer.concat([hex(`${mac.replaceAll(':', '')}${this.mac}0800`), ip, icmp]);
  }

  send(frame: Buffer): void {
    const packet = Buffer.concat([Buffer.alloc(12), frame]);
    if (tryWrite(this.#tap.fd, packet) !== packet.length) throw new Error('the TAP does not take the packet');
  }

  /** What the guest says to this. */
  async ask(frame: Buffer): Promise<Buffer> {
    // The bridge learns where the guest's TAP is, and a first frame may come too early.
    for (;;) {
      this.send(frame);
      const reply = await this.next(500);
      if (reply !== undefined) return reply;
    }
  }

  /** The guest's next frame. */
  async next(waitMs: number): Promise<Buffer | undefined> {
    const deadline = performance.now() + waitMs;
    const packet = Buffer.alloc(2048);
    while (performance.now() < deadline) {
      const bytes = tryRead(this.#tap.fd, packet);
      const frame = packet.subarray(12, Math.max(12, bytes));
      if (frame.subarray(6, 12).toString('hex') === mac.replaceAll(':', '')) return Buffer.from(frame);
      if (bytes <= 0) await forAWhile(2);
    }
    return undefined;
  }
}

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}

function dotted(address: string): Buffer {
  return Buffer.from(address.split('.').map(Number));
}

/** The checksum of RFC 1071; of what has its checksum in it, 0. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
