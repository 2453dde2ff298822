import { test } from 'tap';
import { Owner } from '../../../src/host/ownership.ts';
import { gpa, MiB, pageSize } from '../../../src/memory/address.ts';
import { CheckpointedMemory } from '../../../src/memory/checkpointed-memory.ts';
import { DirtyCollector } from '../../../src/memory/dirty-collector.ts';
import { DirtyingGuest, firstFreePage } from '../../../tools/bench/dirtying-guest.ts';
import { noKvm } from '../../support/kvm.ts';

const skip = noKvm();
const ramBytes = 16 * MiB;
const pages = ramBytes / pageSize - firstFreePage;

for (const isTracked of [false, true]) {
  const how = isTracked ? 'while its pages are tracked for the next standby' : 'on its own';

  test(`a guest finds what it wrote, and writes on, as its RAM is moved under it (${how})`, { skip }, async (t) => {
    const owner = new Owner();
    t.teardown(() => owner.close());
    const ram = owner.own(new CheckpointedMemory(ramBytes));
    const guest = owner.own(new DirtyingGuest(ram));
    const tracker = isTracked ? owner.own(new DirtyCollector(guest.vm, ram).track()) : undefined;
    // KVM has all of it mapped where it was.
    guest.dirty(firstFreePage, pages, 1);
    tracker?.collect();
    const settling = ram.settle();
    t.teardown(() => settling.close());
    let rounds = 1;
    while (settling.leftBytes > 0) {
      settling.prepare();
      settling.move();
      settling.release();
      // Each page has the number of times that the guest has written it, whichever was moved meanwhile.
      guest.dirty(firstFreePage, pages, 1);
      rounds++;
      const [dirty] = tracker?.collect() ?? [];
      if (dirty !== undefined) t.ok(dirty.count >= pages, `${dirty.count} of ${pages} pages are marked`);
      for (let page = firstFreePage; page < firstFreePage + pages; page++) {
        const count = ram.memory.readU32(gpa(page * pageSize));
        if (count === rounds) continue;
        t.fail(`page ${page} was written ${rounds} times and says ${count}, with ${settling.leftBytes} bytes left`);
        return;
      }
    }
    t.equal(rounds, 1 + ramBytes / (2 * MiB));
  });
}
