import t from 'tap';
import { isWhole } from '../../tools/demo/judge.ts';
import { LabPair } from '../../tools/demo/lab-pair.ts';
import { type Audience, playRound } from '../../tools/demo/round.ts';

const deaf: Audience = { said: () => {}, status: () => {}, clients: () => {}, happened: () => {}, struck: () => {} };

t.test(
  "a Debian guest's clients are answered on when the host of its primary loses its power",
  { timeout: 0 },
  async (t) => {
    const pair = await LabPair.make(() => {});
    t.teardown(() => pair.close());
    const { verdict, silenceMs } = await playRound(pair, deaf, {
      fault: 'power cut',
      protectedMs: 8000,
      afterwardsMs: 4000,
    });
    t.same(verdict.problems, []);
    t.ok(isWhole(verdict), JSON.stringify(verdict));
    t.ok(silenceMs >= pair.detectionMs, `silent for ${silenceMs} ms: a host is not lost before it was silent`);
    t.match(await pair.status('b'), { headline: 'UNPROTECTED', term: 2 });
    t.equal(pair.lab.failure, undefined, 'the lab itself was sound');
  },
);
