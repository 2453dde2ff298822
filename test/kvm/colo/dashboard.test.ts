import { test } from 'tap';
import { Chromium, debianChromium } from '../../support/chromium.ts';
import { desktop, draws, fits, isPainted, phone, says } from '../../support/dashboard-page.ts';
import { noKvm } from '../../support/kvm.ts';
import { freePort, Hosts } from '../../support/two-hosts.ts';

const chromium = await debianChromium();
const skip = noKvm() || (typeof chromium === 'string' ? false : chromium.reason);

test('a page in a browser shows a pair through a failover, by itself', { skip, timeout: 180_000 }, async (t) => {
  const hosts = await Hosts.make(t);
  const [a, b] = [await freePort(), await freePort()];
  const browser = Chromium.start(t, chromium as string);
  await hosts.standby('--insecure', '--disk', hosts.disk('b.img'), '--dashboard', String(b));
  const standby = await browser.open(`http://localhost:${b}/`, phone);
  await standby.until(says('LISTENING'));
  const guest = await hosts.guest('--disk', hosts.disk('a.img'), '--dashboard', `127.0.0.1:${a}`);
  const primary = await browser.open(`http://127.0.0.1:${a}/`, desktop);
  await primary.until(says('NO PAIR'));

  t.equal((await hosts.protect('--insecure', '--checkpoint-delay', '200')).code, 0);
  await primary.evaluate(isPainted);
  await primary.until(says('PROTECTED'));
  await standby.until(says('PROTECTING'));
  for (const title of ['Age of the last checkpoint', 'A checkpoint stops the guest', 'Packets held', 'Disk log']) {
    await primary.until(draws(title));
  }
  t.match(await primary.evaluate('document.title'), 'PROTECTED · web');
  t.match(await primary.evaluate("document.querySelector('#urgent').textContent"), 'nothing is encrypted');
  t.match(await primary.evaluate("document.querySelector('#events').textContent"), 'PROTECTED by 127.0.0.1');
  t.ok(await standby.evaluate(fits), 'on a phone nothing is beside the screen');

  guest.child.kill('SIGKILL');
  await primary.until("!document.querySelector('#lost').hidden");
  await standby.until(says('WAITING'));
  t.equal((await hosts.say('b', 'failover')).code, 0);
  await standby.until(says('UNPROTECTED'));
  t.match(await standby.evaluate("document.querySelector('#place').textContent"), 'survivor, here; term 2');
  t.ok(await standby.evaluate(fits));
  await standby.show({ ...desktop, isDark: true });
  await standby.evaluate(isPainted);
  await standby.until(draws('Disk log'));

  for (const [page, port] of [
    [primary, a],
    [standby, b],
  ] as const) {
    const others = page.asked.filter((url) => !new RegExp(`^http://(127\\.0\\.0\\.1|localhost):${port}/`).test(url));
    t.strictSame(others, [], 'nothing is loaded from elsewhere');
  }
  t.strictSame(standby.complaints, []);
});

test('a page of another origin learns nothing', { skip, timeout: 120_000 }, async (t) => {
  const hosts = await Hosts.make(t);
  const port = await freePort();
  const browser = Chromium.start(t, chromium as string);
  await hosts.standby('--insecure', '--dashboard', String(port));
  // Another name is another origin.
  const page = await browser.open(`http://localhost:${port}/`, desktop);
  await page.until(says('LISTENING'));
  const tried = (attempt: string): Promise<unknown> =>
    page.evaluate(`(${attempt}).then(() => 'learnt', () => 'refused')`);
  t.equal(await tried("fetch('now.json')"), 'learnt', 'its own origin does');
  const there = `http://127.0.0.1:${port}`;
  const stranger = await browser.open('data:text/html,<h1>evil</h1>', desktop);
  await stranger.until("document.querySelector('h1')?.textContent === 'evil'");
  const strangely = (attempt: string): Promise<unknown> =>
    stranger.evaluate(`(${attempt}).then(() => 'learnt', () => 'refused')`);
  t.equal(await strangely(`fetch('${there}/now.json')`), 'refused');
  t.equal(await strangely(`fetch('${there}/now.json', { mode: 'no-cors' })`), 'refused');
  t.equal(
    await strangely(`new Promise((loads, fails) => {
      const frame = document.createElement('script');
      Object.assign(frame, { src: '${there}/page.js', onload: loads, onerror: fails });
      document.body.append(frame);
    })`),
    'refused',
  );
});
