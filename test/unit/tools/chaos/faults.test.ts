import { test } from 'tap';
import { chooseFaults, faults } from '../../../../tools/chaos/faults.ts';

const namesOf = (list: readonly { readonly name: string }[]): string[] => list.map(({ name }) => name);

test('faults are chosen by words that are in their names, or are not', async (t) => {
  t.strictSame(chooseFaults({ faults: '', isSoak: false }), [...faults]);
  const frozen = namesOf(chooseFaults({ faults: 'freeze', without: 'arbiter', isSoak: false }));
  t.ok(frozen.length >= 6);
  for (const name of frozen) t.match(name, /^(?!.*arbiter).*freeze/);
  t.throws(() => chooseFaults({ faults: 'earthquake', isSoak: false }), /no fault is called earthquake/);
});

test('a soak has only faults that have the standby take over', async (t) => {
  const soak = chooseFaults({ faults: '', isSoak: true });
  const names = namesOf(soak);
  t.ok(names.includes('kill the primary'));
  t.ok(names.includes("lose the primary's host"));
  for (const { name, expected } of soak) t.equal(expected, 'standby', name);
  for (const name of ['nothing', 'kill the standby', 'cut the arbiter']) t.notOk(names.includes(name), name);
  t.throws(
    () => chooseFaults({ faults: 'kill the standby', isSoak: true }),
    /has the standby take over, as a soak wants/,
  );
});
