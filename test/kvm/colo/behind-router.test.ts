import { execFileSync } from 'node:child_process';
import { test } from 'tap';
import { noEtcd } from '../../support/etcd.ts';
import { noKvm } from '../../support/kvm.ts';
import { behindRouter, routedSegment } from '../../support/routed-segment.ts';
import { SmallPair, smallNetwork } from '../../support/small-pair.ts';
import { ip, noTaps } from '../../support/taps.ts';

/** Of the client and its router: a network of four addresses, too. */
const outside = { router: '198.18.73.1', client: '198.18.73.2', prefix: 30 } as const;
/** Beside what the pair says of itself: the arbiter, the first packet, and a machine that is busy. */
const allowanceMs = 2000;

/** Whether the router was told by the guest itself that it is there. */
function isReachable(router: string): boolean {
  const entry = execFileSync('ip', ['-n', router, 'neighbour', 'show', smallNetwork.guest], { encoding: 'utf8' });
  return entry.includes('REACHABLE');
}

for (const mode of ['comparing', 'buffered'] as const) {
  test(`${mode}: clients behind a router, whose neighbour entry is stale, find the guest where it went`, {
    skip: noKvm() || noTaps() || noEtcd(),
    timeout: 120_000,
  }, async (t) => {
    const { client, guest, prefix, whole, mac } = smallNetwork;
    const segment = routedSegment(t, `${client}/${prefix}`);
    const card = behindRouter(t, segment, `${outside.router}/${outside.prefix}`);
    ip('address', 'add', `${outside.client}/${outside.prefix}`, 'dev', card);
    ip('link', 'set', card, 'up');
    ip('route', 'add', whole, 'via', outside.router);
    const [a, b] = segment.hosts;
    const small = await SmallPair.make(t, { mode, bridges: { a, b } });
    const { failover } = await small.pair.status('b', (status) => status.failover !== undefined);
    // What the router knows is old: it asks there, and not everybody, while its switch knows the host that is lost.
    const entry = [guest, 'lladdr', mac, 'dev', segment.inside, 'nud', 'stale'];
    ip('-n', segment.router, 'neighbour', 'replace', ...entry);
    const silenceMs = await small.failsOver();
    const promisedMs = failover === undefined ? Number.NaN : failover.detectionMs + failover.consentMs;
    t.ok(silenceMs < promisedMs + allowanceMs, `${silenceMs} ms without an answer, of ${promisedMs}`);
    await small.servesDuring(async () => {
      while (!isReachable(segment.router)) await new Promise((resolve) => setTimeout(resolve, 100));
    });
  });
}
