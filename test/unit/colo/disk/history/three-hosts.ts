import { setShared } from '../../../../../src/block/replicated/changed-blocks.ts';
import { HotRegions } from '../../../../../src/block/replicated/hot-regions.ts';
import { decodeRegionFile, encodeSector, regionSectorBytes } from '../../../../../src/block/replicated/region-file.ts';
import { Difference } from '../../../../../src/colo/disk/history/difference.ts';
import {
  decodeHistory,
  encodeHistory,
  type History,
  suspicionOf,
} from '../../../../../src/colo/disk/history/history.ts';
import { newSharedChanges } from '../../../../../src/colo/disk/history/primary-changes.ts';
import { type DiskRange, SyncPlan } from '../../../../../src/colo/disk/sync-plan.ts';
import { blockBytes, disks, HostDisk, none, places, regions, sizes, union } from './host-disk.ts';

/** Ways in which it could be wrong, each of which the checks must notice. */
export const mutants = [
  'a write does not wait for its mark',
  'a mark goes before the standby has made the write durable',
  "a mark goes before the primary's own disk is flushed",
  'what the standby laid down counts as durable',
  'a new generation begins before the primary has flushed its disk',
  'any generation is trusted',
  'the generation before the last one is trusted on',
  'what was not sent when the link was lost is forgotten',
  'what was written without a standby is forgotten',
  'what the host that comes back may have written is forgotten',
  'what is settled counts as durable at once',
  'a machine that is run anew forgets what it had marked',
  'a machine that is run anew forgets what its last standby had marked',
  'what the last standby had marked is forgotten before it is settled',
  'a log that is given up is believed later',
  'a write does not wait until nobody believes a log that is given up',
  'a new log marks only what the one that was given up had marked',
  'a new log has the id of the one that was given up',
  'a generation goes out though it could not be written down',
] as const;
export type Mutant = (typeof mutants)[number];

interface Change {
  readonly place: number;
  readonly value: number;
  /** The log that knows of it. */
  readonly hot: HotRegions | undefined;
}

interface Write {
  readonly place: number;
  readonly value: number;
  readonly epoch: number;
}
type Sent = Write | { readonly end: number } | { readonly sync: number };

/** The side whose guest runs. */
interface Running {
  readonly host: HostDisk;
  hot: HotRegions;
  readonly difference: Difference;
  readonly shared: Int32Array<SharedArrayBuffer>;
  generations: string[];
  /** Changes that wait for marks; and those in the ring, of which the disk's own write is not done. */
  waiting: Change[];
  writing: Change[];
  marking: 'no' | 'written';
  sweeping: boolean;
  log: 'kept' | 'to be given up' | 'being given up' | 'given up';
}

/** The side that stands by. */
interface Standing {
  readonly host: HostDisk;
  /** What is on its way, and what is to be laid down. */
  stream: Sent[];
  log: Write[];
  committed: number;
  /** Of the primary at the last commit. */
  plan: SyncPlan | undefined;
  phase: 'meeting' | 'syncing' | 'equal' | 'protecting';
  ring: Write[];
  epoch: number;
  history: History | undefined;
  generation: string | undefined;
  asked: number | undefined;
  /** When that was asked, all was settled. */
  isWhole: boolean;
  syncs: number[];
  /** Durable, and told: through this epoch. */
  through: number;
  /** P's disk at the ends of epochs, as its guest sees it. */
  ends: Map<number, Map<number, number>>;
}

/**
 * Three hosts that take turns as primary and standby of one guest, and die in any moment, with or without what was not flushed: all that
 * decides which blocks may differ is the real thing, all that moves data is a model. One step at a time.
 */
export class ThreeHosts {
  readonly hosts: readonly HostDisk[];
  /** What went wrong. */
  wrong: string | undefined;
  readonly counts = {
    givenUp: 0,
    begunAgain: 0,
    anew: 0,
    protected: 0,
    known: 0,
    all: 0,
    takeovers: 0,
    cuts: 0,
    sent: 0,
  };
  readonly #random: (limit: number) => number;
  readonly #mutant: Mutant | undefined;
  #running: Running;
  #standing: Standing | undefined;
  /** The region that the guest works in. */
  #home = 0;
  #ids = 1;
  #value = 1_000_000;

  constructor(random: (limit: number) => number, mutant?: Mutant) {
    this.#random = random;
    this.#mutant = mutant;
    this.hosts = ['a', 'b', 'c'].map((name, index) => new HostDisk(name, (index + 1) * 10_000));
    this.#running = this.#start(this.hosts[0] as HostDisk);
  }

  step(): void {
    const random = this.#random;
    const what = random(100);
    if (what < 22) this.#write();
    else if (what < 42) this.#io();
    else if (what < 88) for (let count = 0; count < 4; count++) this.#pair();
    else if (what < 90) for (let count = 0; count < 3; count++) this.#sweep();
    // Most primaries die when somebody can take over.
    else if (what === 90) {
      if (random(this.#standing?.phase === 'protecting' ? 3 : 60) === 0) this.#killPrimary();
    } else if (what === 91) {
      if (random(6) === 0) this.#killStandby();
    } else if (what === 92 && random(60) === 0) this.#replace();
    else if (what === 93) {
      const host = random(3) > 0 ? this.#running.host : (this.hosts[random(3)] as HostDisk);
      if (random(host.isBroken ? 2 : 5) === 0) host.isBroken = !host.isBroken;
    } else this.#join();
  }

  /** Until both disks are equal: nothing else happens any more. */
  finish(): void {
    for (const host of this.hosts) host.isBroken = false;
    this.#join();
    for (let count = 0; count < 20_000 && this.wrong === undefined; count++) {
      this.#io();
      this.#pair();
      const standing = this.#standing;
      if (standing?.phase !== 'protecting' || standing.epoch < 2) continue;
      const { waiting, writing } = this.#running;
      if ([waiting, writing, standing.ring, standing.stream, standing.log].some(({ length }) => length > 0)) continue;
      this.#compare(standing.host, this.#running.host.cache, 'in the end');
      return;
    }
    this.wrong ??= 'it never comes to rest';
  }

  #is(mutant: Mutant): boolean {
    return this.#mutant === mutant;
  }

  #id(): Uint8Array {
    const id = new Uint8Array(16);
    new DataView(id.buffer).setUint32(0, this.#ids++);
    return id;
  }

  /** A guest that starts where nobody has watched. */
  #start(host: HostDisk): Running {
    return this.#beginLog(this.#run(host, [], true));
  }

  /** `run`, on disks of which something may be known. */
  #startAnew(host: HostDisk): Running {
    const { history } = host;
    if (history === undefined) return this.#start(host);
    this.counts.anew++;
    const running = this.#run(host, [history.generation], false);
    if (!this.#is('a machine that is run anew forgets what it had marked')) {
      running.difference.addRegions(history.regions);
    }
    return running;
  }

  /** The disks are another log's, whatever becomes of that; what can be written of it is. */
  #beginLog(running: Running): Running {
    const { host, hot } = running;
    const id = this.#is('a new log has the id of the one that was given up') ? host.log.id : this.#id();
    host.stampAs(id);
    running.log = 'given up';
    if (host.isBroken) return running;
    const few = this.#is('a new log marks only what the one that was given up had marked');
    const bitmap = few && running.generations.length > 0 ? hot.bitmap : none.map(() => 0xff);
    host.record = undefined;
    host.newLog(id, bitmap);
    running.hot = new HotRegions(sizes, bitmap);
    running.log = 'kept';
    return running;
  }

  #run(host: HostDisk, generations: string[], all: boolean): Running {
    const bitmap = decodeRegionFile(host.log.cache, host.log.id, regions) ?? none;
    const difference = new Difference(sizes);
    if (all) difference.addAll();
    const { blocks } = newSharedChanges('', host.log.id, disks);
    return {
      host,
      hot: new HotRegions(sizes, bitmap),
      difference,
      shared: new Int32Array(blocks),
      generations,
      waiting: [],
      writing: [],
      marking: 'no',
      sweeping: false,
      log: 'kept',
    };
  }

  // The guest, and the io thread

  #write(): void {
    // It works in one place for a while, so that others cool down.
    if (this.#random(30) === 0) this.#home = this.#random(regions);
    const place = places[this.#home * 3 + this.#random(3)] as number;
    // A guest's writes of one block come one after the other.
    if ([...this.#running.waiting, ...this.#running.writing].some((write) => write.place === place)) return;
    const { hot, log } = this.#running;
    const change = { place, value: this.#value++, hot: log === 'given up' ? undefined : hot };
    const isMarked = change.hot?.take(0, place * blockBytes, blockBytes) !== false;
    if (isMarked || this.#is('a write does not wait for its mark')) this.#go(change);
    else this.#running.waiting.push(change);
  }

  #go(change: Change): void {
    const { shared } = this.#running;
    const { place, value } = change;
    const standing = this.#standing;
    if (standing === undefined) setShared(shared, 0, place * blockBytes, blockBytes);
    else standing.ring.push({ place, value, epoch: standing.epoch });
    this.#running.writing.push(change);
  }

  #io(): void {
    const { host, hot, writing, log } = this.#running;
    if (this.#random(2) === 0 && writing.length > 0) {
      const [change] = writing.splice(this.#random(writing.length), 1) as [Change];
      const { place, value } = change;
      host.cache.set(place, value);
      change.hot?.done(0, place * blockBytes, blockBytes, this.#standing?.epoch ?? 0);
      return;
    }
    if (log !== 'kept') this.#giveUp();
    else if (host.isBroken) {
      if (this.#running.waiting.length > 0) this.#running.log = 'to be given up';
    } else if (this.#running.marking === 'written') {
      host.log.durable.set(host.log.cache);
      this.#running.marking = 'no';
      hot.marked();
      this.#goOn();
    } else {
      if (hot.beginMarking()) this.#running.marking = 'written';
      for (const sector of hot.stale) {
        encodeSector(host.log.cache.subarray(sector * regionSectorBytes), host.log.id, sector, hot.bitmap);
      }
      hot.stale.clear();
    }
  }

  #goOn(): void {
    const { hot, log, waiting } = this.#running;
    this.#running.waiting = waiting.filter((change) => {
      if (log !== 'given up' && !hot.isMarked(0, change.place * blockBytes, blockBytes)) return true;
      this.#go(change);
      return false;
    });
  }

  /** A step of it: what says which log knows of the disk is spoilt, and then that is durable. */
  #giveUp(): void {
    const running = this.#running;
    if (running.log === 'given up') return;
    const { stamp } = running.host;
    if (running.log === 'to be given up') {
      running.log = 'being given up';
      if (!this.#is('a log that is given up is believed later')) stamp.cache = 'given up';
      if (!this.#is('a write does not wait until nobody believes a log that is given up')) return;
    } else stamp.durable = stamp.cache;
    this.counts.givenUp++;
    running.log = 'given up';
    this.#goOn();
  }

  #sweep(): void {
    const { hot, host, log } = this.#running;
    const standing = this.#standing;
    if (standing === undefined || log !== 'kept' || host.isBroken) return;
    const early = this.#is('a mark goes before the standby has made the write durable');
    const through = early ? Number.POSITIVE_INFINITY : standing.through;
    if (through < 0) return;
    if (this.#running.sweeping) {
      if (!this.#is("a mark goes before the primary's own disk is flushed")) host.flush();
      this.#running.sweeping = false;
      hot.endSweep(true);
    } else this.#running.sweeping = hot.beginSweep(through) !== undefined;
  }

  // The pair

  #join(): void {
    if (this.#standing !== undefined) return;
    const others = this.hosts.filter((host) => host !== this.#running.host);
    const host = others[this.#random(8) === 0 ? 1 : 0] as HostDisk;
    if (this.#running.log === 'given up' && this.#beginLog(this.#running).log === 'kept') this.counts.begunAgain++;
    const { difference, shared, hot, writing } = this.#running;
    // Nothing is sent of what is in flight; it is waited for before anything is compared.
    difference.begin();
    hot.beginEpochs();
    if (this.#is('what was written without a standby is forgotten')) shared.fill(0);
    else difference.drain(shared);
    this.#standing = {
      host,
      stream: [],
      log: [],
      committed: 0,
      plan: undefined,
      phase: 'meeting',
      ring: [],
      epoch: 0,
      history: undefined,
      generation: undefined,
      asked: undefined,
      isWhole: false,
      syncs: [],
      through: -1,
      ends: new Map(),
    };
    this.#earlier = writing.slice();
  }

  /** In flight when the pairing began: the copy waits for these. */
  #earlier: Change[] = [];

  #pair(): void {
    const standing = this.#standing;
    if (standing === undefined) return;
    const random = this.#random;
    switch (random(6)) {
      case 0:
        if (standing.ring.length > 0) this.#send(standing);
        return;
      case 1:
        this.#receive(standing);
        return;
      case 2:
        this.#lay(standing);
        return;
      case 3:
        this.#durable(standing);
        return;
      case 4:
        if (standing.phase === 'meeting') this.#meet(standing);
        else if (standing.phase === 'syncing') this.#synchronise(standing);
        else this.#checkpoint(standing);
        return;
      default:
        this.#askDurable(standing);
    }
  }

  #send(standing: Standing): void {
    const write = standing.ring.shift() as Write;
    this.#running.difference.wrote(0, write.place * blockBytes, blockBytes);
    standing.stream.push(write);
  }

  #receive(standing: Standing): void {
    const item = standing.stream.shift();
    if (item === undefined) return;
    if ('end' in item) {
      standing.committed = item.end + 1;
      standing.phase = 'protecting';
      this.counts.protected++;
    } else if ('sync' in item) standing.syncs.push(standing.log.length);
    else standing.log.push(item);
  }

  /** All of epoch 0 is laid down as it comes. */
  #lay(standing: Standing): void {
    const [write] = standing.log;
    if (write === undefined || (write.epoch > 0 && write.epoch >= standing.committed)) return;
    standing.log.shift();
    standing.host.cache.set(write.place, write.value);
    standing.syncs = standing.syncs.map((left) => left - 1);
    if (standing.log.length === 0 && standing.phase === 'protecting' && standing.stream.length === 0) {
      const end = standing.ends.get(standing.committed - 1);
      if (end !== undefined) this.#compare(standing.host, end, `epoch ${standing.committed - 1}`);
    }
  }

  #askDurable(standing: Standing): void {
    if (standing.phase === 'meeting' || standing.asked !== undefined) return;
    if (!this.#running.difference.askDurable()) return;
    standing.asked = standing.epoch;
    standing.isWhole = standing.phase !== 'syncing';
    standing.stream.push({ sync: standing.epoch });
  }

  #durable(standing: Standing): void {
    if (standing.asked === undefined || standing.syncs.length === 0 || (standing.syncs[0] as number) > 0) return;
    if (!this.#is('what the standby laid down counts as durable')) standing.host.flush();
    standing.syncs.shift();
    this.#running.difference.durable();
    standing.through = standing.asked - 1;
    const { record } = this.#running.host;
    const early = this.#is('what the last standby had marked is forgotten before it is settled');
    const writes = this.#running.log === 'kept' && !this.#running.host.isBroken;
    if (record !== undefined && writes && (standing.isWhole || early)) {
      this.#running.host.record = { ...record, suspect: none };
    }
    standing.asked = undefined;
  }

  /** A step of it. */
  #meet(standing: Standing): void {
    const running = this.#running;
    const { host } = standing;
    // A standby that cannot write a generation down is none.
    if (host.isBroken) return;
    // On P that goes on without a log, once nobody believes what is written there.
    if (running.host.isBroken && !this.#is('a generation goes out though it could not be written down')) {
      if (running.log === 'kept') running.log = 'to be given up';
      if (running.log !== 'given up') return;
    }
    if (standing.history === undefined && standing.generation === undefined) {
      const known = decodeHistory(encodeHistory(host.history));
      const theirs =
        known !== undefined && this.#is('what the host that comes back may have written is forgotten')
          ? { ...known, regions: none }
          : known;
      const trusted =
        this.#is('any generation is trusted') && theirs !== undefined
          ? [...running.generations, theirs.generation]
          : running.generations;
      const suspicion = suspicionOf(trusted, theirs, none.length);
      this.counts[suspicion.kind]++;
      if (suspicion.kind === 'all') running.difference.addAll();
      else running.difference.addRegions(suspicion.regions);
      // What it has not marked is durable, from then on.
      if (!this.#is('a new generation begins before the primary has flushed its disk')) running.host.flush();
      const generation = Buffer.from(this.#id()).toString('hex');
      standing.generation = generation;
      const suspect = suspicion.kind === 'all' ? none.map(() => 0xff) : suspicion.regions;
      const forgets = this.#is('a machine that is run anew forgets what its last standby had marked');
      const before = running.host.record?.suspect ?? none;
      if (running.log === 'kept' && !running.host.isBroken) {
        running.host.record = { generation, id: running.host.log.id, suspect: forgets ? none : union(before, suspect) };
      }
      const keeps = this.#is('the generation before the last one is trusted on');
      running.generations = [generation, ...(keeps ? running.generations : running.generations.slice(0, 1))];
      return;
    }
    const generation = standing.generation as string;
    if (host.record?.generation !== generation) {
      const id = this.#id();
      host.stampAs(id);
      host.newLog(id, none);
      host.record = { generation, id, suspect: none };
      return;
    }
    if (!this.#is('the generation before the last one is trusted on')) {
      running.generations = running.generations.slice(0, 1);
    }
    // What was under way before is done.
    if (this.#earlier.some((change) => running.writing.includes(change))) return;
    standing.plan = new SyncPlan(running.difference, 0);
    standing.phase = 'syncing';
  }

  #synchronise(standing: Standing): void {
    const { writing, difference, host } = this.#running;
    const range = standing.plan?.next();
    if (range === undefined) {
      standing.phase = 'equal';
      return;
    }
    for (const place of places) {
      if (!isIn(place, range) || ((difference.unsettledIn(0, place >> 4) >> (place & 15)) & 1) === 0) continue;
      const value = writing.find((write) => write.place === place)?.value ?? (host.cache.get(place) as number);
      // A question is answered once all that was sent before is laid down.
      if (range.compares && lastOf(standing, place) === value) continue;
      this.counts.sent++;
      // As SyncRaces has it: never what is older than a change that was sent.
      const later = standing.ring.some((write) => write.place === place);
      if (!later || value !== standing.ring.find((write) => write.place === place)?.value) {
        standing.stream.push({ place, value, epoch: 0 });
      }
    }
    standing.plan?.settled(range);
    if (this.#is('what is settled counts as durable at once')) {
      difference.askDurable();
      difference.durable();
    }
  }

  #checkpoint(standing: Standing): void {
    // The stop: all that the guest wrote is in the ring.
    if (standing.ring.length > 0 || this.#random(3) > 0) return;
    const view = new Map(this.#running.host.cache);
    for (const { place, value } of this.#running.writing) view.set(place, value);
    standing.ends.clear();
    standing.ends.set(standing.epoch, view);
    standing.stream.push({ end: standing.epoch });
    standing.epoch++;
  }

  // What goes wrong

  #killPrimary(): void {
    const { host, writing, waiting } = this.#running;
    // What was on its way to the disk reached it, or not.
    for (const { place, value } of writing) if (this.#random(2) === 0) host.cache.set(place, value);
    waiting.length = 0;
    if (this.#random(2) === 0) host.loses(this.#random);
    const standing = this.#standing;
    this.#standing = undefined;
    if (standing === undefined || standing.phase !== 'protecting') {
      if (standing !== undefined && this.#random(2) === 0) standing.host.loses(this.#random);
      this.#running = this.#startAnew(host);
      return;
    }
    // Both, and the operator starts the primary again.
    if (this.#random(4) === 0) {
      if (this.#random(2) === 0) standing.host.loses(this.#random);
      this.#running = this.#startAnew(host);
      return;
    }
    this.counts.takeovers++;
    // What has arrived of it counts; what is committed is laid down.
    for (const write of standing.log) {
      if (write.epoch === 0 || write.epoch < standing.committed) standing.host.cache.set(write.place, write.value);
    }
    this.#running = this.#run(standing.host, [standing.host.record?.generation as string], false);
  }

  #killStandby(): void {
    const standing = this.#standing;
    if (standing === undefined) return;
    this.counts.cuts++;
    this.#standing = undefined;
    const { difference } = this.#running;
    const unsent = this.#is('what was not sent when the link was lost is forgotten') ? [] : standing.ring;
    for (const { place } of unsent) difference.wrote(0, place * blockBytes, blockBytes);
    // What it had got reached its disk, or not.
    for (const write of standing.log) {
      if (write.epoch > 0 && write.epoch >= standing.committed) break;
      if (this.#random(2) === 0) break;
      standing.host.cache.set(write.place, write.value);
    }
    if (this.#random(2) === 0) standing.host.loses(this.#random);
  }

  /** A new machine in place of one that is off. */
  #replace(): void {
    const off = this.hosts.filter((host) => host !== this.#running.host && host !== this.#standing?.host);
    const host = off[this.#random(off.length)] as HostDisk;
    host.record = undefined;
    for (const place of places) host.cache.set(place, this.#value++);
    host.flush();
  }

  #compare(host: HostDisk, expected: ReadonlyMap<number, number>, when: string): void {
    for (const place of places) {
      if (host.cache.get(place) === expected.get(place)) continue;
      this.wrong ??= `${when}: block ${place} of host ${host.name} is ${host.cache.get(place)}, not ${expected.get(place)}`;
    }
  }
}

/** What the standby has there when it has all that it was sent. */
function lastOf({ stream, log, host }: Standing, place: number): number | undefined {
  const sent = stream.findLast((item): item is Write => 'place' in item && item.place === place);
  return (sent ?? log.findLast((write) => write.place === place))?.value ?? host.cache.get(place);
}

function isIn(place: number, { offset, lengthBytes }: DiskRange): boolean {
  return place * blockBytes >= offset && place * blockBytes < offset + lengthBytes;
}
