import t, { test } from 'tap';
import { HotPages, mostHotPages } from '../../../src/memory/hot-pages.ts';

/** KVM's log of one region: a page that is protected is marked again by the next write, one that is not stays marked. */
class Log {
  readonly hot: HotPages;
  readonly #words: Int32Array;
  /** Exits that writes were. */
  faults = 0;

  constructor(pages = 64 * 64) {
    this.hot = new HotPages(pages);
    this.#words = new Int32Array(pages / 32);
  }

  write(...pages: readonly number[]): void {
    for (const page of pages) {
      const bit = 1 << (page & 31);
      if (((this.#words[page >>> 5] as number) & bit) === 0) this.faults++;
      this.#words[page >>> 5] = (this.#words[page >>> 5] as number) | bit;
    }
  }

  /** The pages that are found dirty. */
  look(): number[] {
    const found: number[] = [];
    this.hot.look();
    for (const [word, marks] of this.#words.entries()) {
      if (marks === 0) continue;
      for (let bit = 0; bit < 32; bit++) if (((marks >>> bit) & 1) === 1) found.push(word * 32 + bit);
      const given = this.hot.toProtect(word, marks);
      t.equal(given & ~marks, 0, 'nothing is protected that was not marked');
      this.#words[word] = marks & ~given;
    }
    return found;
  }

  /** What a look that is no frequent one does. */
  rareLook(): void {
    this.hot.forget();
    this.#words.fill(0);
  }
}

test('a page that is written between all looks faults twice, and then once in 32 looks', async (t) => {
  const log = new Log();
  for (let look = 0; look < 2 + 320; look++) {
    log.write(7, 40, 4095);
    t.strictSame(log.look(), [7, 40, 4095]);
  }
  t.ok(log.faults >= 3 * (2 + 9) && log.faults <= 3 * (2 + 2 * 11), `${log.faults} faults`);
  t.equal(log.hot.count, 3);
});

test('no write is ever missed, whatever was written when', async (t) => {
  const log = new Log();
  let seed = 1;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  for (let look = 0; look < 2000; look++) {
    const written = Array.from({ length: random(12) }, () => random(random(2) === 0 ? 20 : 4096));
    log.write(...written);
    const found = new Set(log.look());
    for (const page of written) if (!found.has(page)) t.fail(`page ${page} at look ${look}`);
    if (random(50) === 0) log.rareLook();
  }
  t.ok(log.hot.count > 0, 'some were left writable');
});

test('a page that is not written any more is no longer told within 32 looks', async (t) => {
  const log = new Log();
  for (let look = 0; look < 5; look++) {
    log.write(100);
    log.look();
  }
  let told = 0;
  for (let look = 0; look < 40; look++) told += log.look().length;
  t.ok(told > 0 && told <= 32, `${told} times`);
  t.equal(log.hot.count, 0);
  t.strictSame(log.look(), []);
});

test('a page that is written now and then is protected each time', async (t) => {
  const log = new Log();
  for (let look = 0; look < 20; look++) {
    if (look % 2 === 0) log.write(5);
    t.strictSame(log.look(), look % 2 === 0 ? [5] : []);
  }
  t.equal(log.hot.count, 0);
});

test('no more than so many are left writable', async (t) => {
  const log = new Log(64 * 64);
  const all = Array.from({ length: 4096 }, (_, page) => page);
  for (let look = 0; look < 100; look++) {
    log.write(...all);
    log.look();
    t.ok(log.hot.count <= mostHotPages, `${log.hot.count}`);
  }
  t.ok(log.hot.count > 400, `${log.hot.count}`);
  t.ok(log.look().length <= mostHotPages, 'and the others are not told when they were not written');
});

test('after a look that takes all marks none is left writable', async (t) => {
  const log = new Log();
  for (let look = 0; look < 3; look++) {
    log.write(9);
    log.look();
  }
  t.equal(log.hot.count, 1);
  log.rareLook();
  t.equal(log.hot.count, 0);
  t.strictSame(log.look(), []);
});
