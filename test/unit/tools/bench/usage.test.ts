import t from 'tap';
import { parseUsage } from '../../../../tools/bench/usage.ts';

const stat = (name: string): string =>
  `812 (${name}) S 780 812 812 0 -1 4194560 41253 0 12 0 1234 66 0 0 20 0 5 0 9521 1127407616 24601 18446744073709551615`;

t.test('CPU time is that of the program and of the kernel for it', async (t) => {
  t.match(parseUsage(`${stat('node')}\nexits 5217\nmmio_exits 40\n`), { cpuSeconds: 13, exits: 5217, mmioExits: 40 });
});

t.test("a program's name may look like the fields behind it", async (t) => {
  t.equal(parseUsage(`${stat('a) S 1 2 (b')}\nexits 1\nmmio_exits 1\n`).cpuSeconds, 13);
});

t.test('counters that the kernel does not give are no numbers, and mmio_exits are not exits', async (t) => {
  t.match(parseUsage(`${stat('node')}\nexits\nmmio_exits 3\n`), { exits: Number.NaN, mmioExits: 3 });
});

t.test('refuses what is no process', async (t) => {
  t.throws(() => parseUsage('exits 1\nmmio_exits 2\n'), /no \/proc\/PID\/stat/);
});
