import { test } from 'tap';
import { formatPages, pagesResult } from '../../../../../tools/bench/peer/pages.ts';

test('speeds are taken to TCP in the same round, and held against what is wanted', async (t) => {
  const result = pagesResult({ tcp: [1000, 500, 800], tls: [499, 249, 399], plaintext: [600, 300, 500] }, 3);
  t.match(result.ratios, [
    { ratio: 0.499, met: false },
    { ratio: 0.6, met: true },
  ]);
  t.same(result.speeds, { tcp: 800, tls: 399, plaintext: 500 });
  t.match(formatPages(result), /yes +pages .* plaintext, to TCP +0\.6 +at least 0\.5/);
});
