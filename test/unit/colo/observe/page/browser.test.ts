import { fileURLToPath } from 'node:url';
import { type Test, test } from 'tap';
import { Dashboard } from '../../../../../src/colo/observe/web/dashboard.ts';
import type { MachineWatch } from '../../../../../src/colo/observe/web/machine-watch.ts';
import { ReadOnlyServer } from '../../../../../src/colo/observe/web/read-only-server.ts';
import type { MachineStatus } from '../../../../../src/vmm/client/machine-status.ts';
import type { ColoStatus } from '../../../../../src/vmm/monitor/colo-control.ts';
import { Chromium, debianChromium } from '../../../../support/chromium.ts';
import { desktop, draws, fits, isPainted, phone, says } from '../../../../support/dashboard-page.ts';
import { protectedStatus } from '../../../../support/fake-colo.ts';

const chromium = await debianChromium();
const skip = typeof chromium === 'string' ? false : chromium.reason;
/** As the build, which comes before the tests, makes it. */
const folder = fileURLToPath(new URL('../../../../../dist/dashboard', import.meta.url));

const machine: MachineStatus = {
  ...{ name: 'web', state: 'running', pid: 7, uptimeSeconds: 1, cpus: 1, memoryBytes: 1 << 20, clockBehindMs: 0 },
  ...{ control: '/c', disks: [], cards: [] },
};

/** The page of a machine that says at each moment what `colo` gives, in a browser. */
async function pageOf(t: Test, colo: () => ColoStatus) {
  const watch = { now: async () => ({ at: Date.now(), status: { ...machine, colo: colo() } }), events: [] };
  const dashboard = new Dashboard(watch as unknown as MachineWatch, folder);
  const server = await ReadOnlyServer.listen({ host: '127.0.0.1', port: 0 }, dashboard.routes);
  t.teardown(() => {
    dashboard.close();
    server.close();
  });
  const browser = Chromium.start(t, chromium as string);
  const page = await browser.open(`http://127.0.0.1:${server.port}/`, desktop);
  await page.evaluate(isPainted);
  return page;
}

const textOf = (id: string): string => `document.getElementById('${id}').textContent`;
const isHidden = (id: string): string => `document.getElementById('${id}').hidden`;

test('a browser shows how disks are made equal, while they are', { skip, timeout: 120_000 }, async (t) => {
  const synchronising = { totalBytes: 4096, comparedBytes: 1024, sentBytes: 512, secondsLeft: 2.5 };
  let colo: ColoStatus = { ...protectedStatus, headline: 'PAIRING', disk: { logBytes: 0, synchronising } };
  const page = await pageOf(t, () => colo);
  await page.until(says('PAIRING'));
  t.equal(await page.evaluate("document.querySelector('#sync progress').value"), 0.25);
  t.match(await page.evaluate(textOf('sync')), /Disks are made equal: 1 KiB of 4 KiB compared, 512 B differed/);
  colo = { ...colo, disk: { logBytes: 0, synchronising: { ...synchronising, comparedBytes: 4096 } } };
  await page.until(draws('Disks are made equal'));
  await page.until("document.querySelector('#sync progress').value === 1");

  colo = protectedStatus;
  await page.until(says('PROTECTED'));
  t.equal(await page.evaluate(isHidden('sync')), true);
  await page.until(draws('Disks are made equal')); // it was not long ago
  t.strictSame(page.complaints, []);
});

test('a browser shows what the two guests do not agree on, and how far one is behind', {
  ...{ skip, timeout: 120_000 },
}, async (t) => {
  const divergence = {
    ...{ at: Date.now(), number: 1, times: 1, what: 'tcp 10.0.0.2:80 - 10.0.0.9:4040, byte 7: 0[2|3]' },
    ...{ cause: 'A clock in the answer.', remedy: '--flow port=80,policy=buffer' },
  };
  const compared = { passed: 0, checkpoints: 1, behind: { median: 0.4, worst: 3 } };
  let released = 0;
  let recent = [divergence];
  const page = await pageOf(t, () => {
    released += 10;
    return {
      ...{ ...protectedStatus, mode: 'comparing' },
      compared: { ...compared, recent, released, divergences: released / 10 },
    };
  });
  await page.until(says('PROTECTED'));
  for (const title of ['Both guests agreed', 'Divergences', "The standby's guest is behind"])
    await page.until(draws(title));
  t.equal(await page.evaluate(isHidden('disagreements')), false);
  for (const part of [divergence.what, divergence.cause, divergence.remedy]) {
    t.match(await page.evaluate(textOf('disagree')), part);
  }
  await page.show(phone);
  t.ok(await page.evaluate(fits), 'on a phone nothing is beside the screen');

  recent = [];
  await page.until(isHidden('disagreements'));
  t.strictSame(page.complaints, []);
});
