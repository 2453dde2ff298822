import { test } from 'tap';
import { gpa, pageSize } from '../../../../src/memory/address.ts';
import { mostHotPages } from '../../../../src/memory/hot-pages.ts';
import { firstFreePage, obedientGuest, obey, signOfLife } from '../../../../tools/bench/obedient-guest.ts';
import { noKvm } from '../../../support/kvm.ts';
import { bootMachine, until } from '../../../support/machines.ts';

const skip = noKvm();

test('thousands of pages are copied as they were, with a vCPU that helps, and it runs on each time', {
  skip,
}, async (t) => {
  const machine = bootMachine(t, obedientGuest(1));
  const area = machine.checkpointArea(16);
  t.teardown(() => area.close());
  const { memory } = machine.ram;
  for (const [round, count, step] of [
    [1, 1700, 2],
    [2, 3500, 1],
    [3, 600, 5],
    [4, 1700, 2],
  ] as const) {
    const pages = Array.from({ length: count }, (_, index) => firstFreePage + index * step);
    for (const page of pages) memory.writeU32(gpa(page * pageSize + 8), page + round);
    await obey(memory, firstFreePage, count, step);
    const before = signOfLife(memory);
    machine.capture(area);
    await until(() => signOfLife(memory) !== before);
    machine.pause();
    const { staging } = area;
    const numbers = [...staging.numbers.subarray(0, staging.count)];
    const staged = new Set(numbers.filter((number) => number >= firstFreePage));
    t.ok(
      pages.every((page) => staged.has(page)),
      'all that were written',
    );
    t.ok(staged.size - pages.length <= mostHotPages, 'and no others than are left writable');
    const wrong = numbers.findIndex((page, place) => {
      if (page < firstFreePage) return false; // the guest still writes there
      return Buffer.compare(staging.slice(place, 1), memory.slice(gpa(page * pageSize), pageSize)) !== 0;
    });
    t.equal(wrong, -1);
    machine.resume();
  }
});
