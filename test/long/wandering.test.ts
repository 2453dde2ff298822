import t from 'tap';
import type { ColoStatus } from '../../src/vmm/monitor/colo-control.ts';
import { isWhole } from '../../tools/demo/judge.ts';
import { LabPair, type Side } from '../../tools/demo/lab-pair.ts';
import { type Audience, Round } from '../../tools/demo/round.ts';

/** `WANDERING_ROUNDS=3` for a look. */
const rounds = Number(process.env.WANDERING_ROUNDS ?? 20);
/** Protected for so long before the next loss, ms. */
const protectedMs = 3000;
/** So seldom that the guest's disk has room for the answers of an hour. */
const asking = { clients: 4, retransmitMs: 300, thinkMs: 500 };

const tell = (text: string): void => t.comment(text);
const quiet = (): void => {};

t.test(`a guest goes from host to host, ${rounds} losses in a row`, { timeout: 0 }, async (t) => {
  const pair = await LabPair.make(quiet, undefined, undefined, 1, 1);
  t.teardown(() => pair.close());
  await pair.renew({ isCompared: true });
  const told: Partial<Record<Side, ColoStatus>> = {};
  const audience: Audience = {
    ...{ said: quiet, clients: quiet, struck: quiet, repaired: quiet, handedOver: quiet, happened: tell },
    status: (side, status) => {
      told[side] = status;
    },
  };
  const round = await Round.begin(pair, audience, asking);
  tell(`protected after ${((await round.protect()) / 1000).toFixed(0)} s`);
  const seen = new Set<string>();
  for (let loss = 1; loss <= rounds; loss++) {
    await round.goOn(protectedMs);
    // The first primary was started to dial a standby, which is gone for good: the third machine finds it.
    const losesStandby = loss === 1 || loss % 7 === 0;
    const lost = pair.nameOf(losesStandby ? pair.standby : pair.primary);
    if (losesStandby) await round.loseStandby();
    else await round.failOver();
    const serves = pair.nameOf(pair.primary);
    t.match(told[pair.primary], { headline: 'UNPROTECTED', term: loss + 1 });
    await round.replace();
    const ms = await round.protect();
    const heir = pair.nameOf(pair.standby);
    seen.add(`${lost} ${serves} ${heir}`);
    tell(
      `loss ${loss}: ${lost} is off, ${serves} has the guest, ${heir} protects it after ${(ms / 1000).toFixed(0)} s`,
    );
    t.not(heir, lost, 'another machine takes the place of the one that was lost');
  }
  await round.goOn(protectedMs);
  const verdict = await round.end();
  t.same(verdict.problems, []);
  t.ok(isWhole(verdict), JSON.stringify(verdict));
  if (rounds >= 3) t.ok(new Set([...seen].map((turn) => turn.split(' ')[1])).size > 1, 'it wandered');
  t.equal(pair.lab.failure, undefined, 'the lab itself was sound');
});
