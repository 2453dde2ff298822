import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import { isWhole } from '../../tools/demo/judge.ts';
import { LabPair, type Side } from '../../tools/demo/lab-pair.ts';
import { type Audience, Round } from '../../tools/demo/round.ts';

const quiet = (): void => {};
/** What each side said last. */
const told: Partial<Record<Side, ColoStatus>> = {};
const audience: Audience = {
  status: (side, status) => {
    told[side] = status;
  },
  ...{ said: quiet, clients: quiet, happened: quiet, struck: quiet, repaired: quiet, handedOver: quiet },
};

t.test(
  "a Debian guest's clients are answered on when the host of its primary loses its power",
  { timeout: 0 },
  async (t) => {
    const pair = await LabPair.make(() => {});
    t.teardown(() => pair.close());
    await pair.renew({ isCompared: true });
    const round = await Round.begin(pair, audience);
    await round.protect();
    await round.goOn(8000);
    const silenceMs = await round.failOver();
    await sleep(4000);
    const verdict = await round.end();
    t.same(verdict.problems, []);
    t.ok(isWhole(verdict), JSON.stringify(verdict));
    // The last answer may have come up to a heartbeat, a quarter of that time, after the last sign of life.
    t.ok(silenceMs >= 0.75 * pair.detectionMs, `silent for ${silenceMs} ms: a host is not lost before it was silent`);
    t.match(told.b, { headline: 'UNPROTECTED', term: 2 });
    t.equal(pair.lab.failure, undefined, 'the lab itself was sound');
  },
);
