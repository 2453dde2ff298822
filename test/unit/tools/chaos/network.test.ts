import { test } from 'tap';
import { cutsInOrder } from '../../../../tools/chaos/net/network.ts';

test('who is cut from the arbiter as well is so before anybody can find the other one silent', async (t) => {
  t.strictSame(cutsInOrder(['link from a', 'arbiter of b', 'link from b', 'clients of b']), [
    ['arbiter of b'],
    ['link from a', 'link from b', 'clients of b'],
  ]);
  t.strictSame(cutsInOrder(['link from a']), [[], ['link from a']]);
});
