import t from 'tap';
import { runLabCampaign } from '../../tools/chaos/lab/campaign.ts';
import { roundLines } from '../../tools/chaos/lab/report.ts';
import { chooseMode, readModeFacts } from '../../tools/lab/mode.ts';

const rounds = 4;

const skip =
  chooseMode(readModeFacts(), process.env.LAB).mode === 'native'
    ? 'frames of native hosts are not watched: set LAB=emulated'
    : process.getuid?.() === 0
      ? false
      : 'the machine outside the hosts is a namespace: run as root';

t.test('services of a Debian guest outlive what happens to one of its hosts', { timeout: 0, skip }, async (t) => {
  const { results } = await runLabCampaign({
    ...{ rounds, seed: 4663, faults: '', life: 2, modes: ['comparing', 'buffered'], progress: () => {} },
    onRound: (round, result) => {
      for (const line of roundLines(round, rounds, result)) t.comment(line);
      t.same(result.violations, [], `${result.fault}, ${result.moment}`);
      t.ok(result.answers > 0);
    },
  });
  t.equal(results.length, rounds);
});
