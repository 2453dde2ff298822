import { type Test, test } from 'tap';
import { Dashboard } from '../../../../../src/colo/observe/web/dashboard.ts';
import type { Heard, MachineWatch } from '../../../../../src/colo/observe/web/machine-watch.ts';
import type { Page } from '../../../../../src/colo/observe/web/read-only-server.ts';
import { Samples } from '../../../../../src/colo/observe/web/samples.ts';
import type { Told } from '../../../../../src/colo/observe/web/told.ts';
import type { MachineStatus } from '../../../../../src/vmm/client/machine-status.ts';
import type { ColoEvent } from '../../../../../src/vmm/monitor/colo-control.ts';
import { protectedStatus } from '../../../../support/fake-colo.ts';

process.env.TZ = 'UTC';

const status: MachineStatus = {
  ...{ name: 'mine', state: 'running', pid: 7, uptimeSeconds: 1, cpus: 1, memoryBytes: 1 << 20, clockBehindMs: 0 },
  ...{ control: '/c', disks: [], cards: [] },
};

function event(number: number, text = `${number}`): ColoEvent {
  return { at: number, monotonicMs: number, topic: 'peer', text };
}

/** A dashboard of whoever says that. */
function dashboard(t: Test, heard: () => Heard, events: readonly ColoEvent[] = [], samples = new Samples()) {
  const folder = t.testdir({ 'page.html': '<h1>', 'page.js': '1', 'page.css': 'a{}' });
  const watch = { now: async () => heard(), events } as unknown as MachineWatch;
  const made = new Dashboard(watch, folder, samples);
  t.teardown(() => made.close());
  const get = async (path: string): Promise<Page> => {
    const [name = '', query] = path.split('?');
    return (await made.routes.get(name)?.(new URLSearchParams(query))) as Page;
  };
  const told = async (query = ''): Promise<Told> => JSON.parse(String((await get(`/now.json${query}`)).body)) as Told;
  return { get, told };
}

test('the page may load what is served beside it, and nothing else', async (t) => {
  const { get } = dashboard(t, () => ({ at: 1, problem: 'none' }));
  const page = await get('/');
  t.equal(String(page.body), '<h1>');
  t.match(page, {
    type: 'text/html; charset=utf-8',
    policy: /^default-src 'none'; script-src 'self'; .*frame-ancestors/,
  });
  t.notMatch(page.policy, 'unsafe');
  t.match(await get('/page.js'), { type: 'text/javascript; charset=utf-8' });
  t.match(await get('/page.css'), { type: 'text/css; charset=utf-8' });
});

test('a pair is told in the words of status', async (t) => {
  const { told } = dashboard(t, () => ({ at: Date.now(), status: { ...status, colo: protectedStatus } }));
  t.match(await told(), {
    name: 'web',
    word: 'PROTECTED',
    state: /^PROTECTED since .*14:02:11 \(/,
    place: 'primary, here; standby b.example, term 1',
    pair: [['checkpoint', /^epoch 15,204, /]],
    machine: [
      ['name', 'mine'],
      ['state', 'running'],
    ],
    history: { words: ['PROTECTED'] },
  });
});

test('what the two guests did not agree on is told as status --why does', async (t) => {
  const recent = [
    { at: Date.now(), number: 1, times: 1, what: 'tcp 10.0.0.2:80: 0[2|3]', cause: 'A clock.', remedy: 'Buffer it' },
  ];
  const compared = { released: 1, passed: 0, divergences: 1, checkpoints: 1, recent };
  let now = compared;
  const { told } = dashboard(t, () => ({
    at: 1,
    status: { ...status, colo: { ...protectedStatus, mode: 'comparing', compared: now } },
  }));
  t.match((await told()).disagreements, [/tcp 10\.0\.0\.2:80: 0\[2\|3\]$/, /A clock\.$/, /Buffer it\.$/]);
  now = { ...compared, recent: [] };
  t.notOk('disagreements' in (await told()));
});

test('that a machine which begins does not answer yet is not remembered', async (t) => {
  const samples = new Samples();
  const { told } = dashboard(t, () => ({ at: 1, problem: 'no such socket' }), [], samples);
  await told();
  await new Promise(setImmediate);
  t.equal(samples.next, 0);
});

test('how far disks are made equal', async (t) => {
  const synchronising = { totalBytes: 4096, comparedBytes: 1024, sentBytes: 512, secondsLeft: 2.5 };
  const colo = { ...protectedStatus, headline: 'PAIRING', disk: { logBytes: 0, synchronising } } as const;
  const { told } = dashboard(t, () => ({ at: 1, status: { ...status, colo } }));
  t.strictSame((await told()).sync, {
    done: 0.25,
    text: 'Disks are made equal: 1 KiB of 4 KiB compared, 512 B differed and copied, about 3 s left',
  });
});

test('how far memory is copied', async (t) => {
  const memory = { totalBytes: 4096, leftBytes: 1024 };
  const colo = { ...protectedStatus, headline: 'PAIRING', memory } as const;
  const { told } = dashboard(t, () => ({ at: 1, status: { ...status, colo } }));
  t.strictSame((await told()).sync, { done: 0.75, text: 'Memory is copied: 1 KiB left of 4 KiB' });
});

test('a machine in no pair, one whose pair hangs, and one that hangs itself', async (t) => {
  let now: Heard = { at: Date.now(), status };
  const { told } = dashboard(t, () => now);
  t.match(await told(), {
    word: 'NO PAIR',
    name: 'mine',
    state: /^NO PAIR since \d\d:/,
    place: /nobody protects this/,
  });
  now = { at: Date.now(), status: { ...status, coloUnknown: 'the colo thread gives no answer' } };
  t.match(await told(), { word: 'NO ANSWER', place: /ask the other side/, pair: [['why', /the colo thread/]] });
  now = { at: Date.now(), problem: 'no answer\u001b[2J within 1 s' };
  t.match(await told(), { word: 'NO ANSWER', pair: [['why', 'no answer [2J within 1 s']], machine: [] });
});

test('a state that the machine does not date is dated here, from when it was first seen', async (t) => {
  const samples = new Samples();
  const begun = Date.now() - 3_600_000;
  let at = begun;
  const { told } = dashboard(t, () => ({ at, problem: 'it hangs' }), [], samples);
  await told();
  at = Date.now();
  t.match((await told()).state, /\(1 h 0 min\)$/);
});

test('the newest events, those first, and no more than stand on the page', async (t) => {
  const events = Array.from({ length: 50 }, (_, number) => event(number));
  const { told } = dashboard(t, () => ({ at: 1, status }), events);
  const shown = (await told()).events;
  t.equal(shown.length, 20);
  t.strictSame(shown[0], { at: 49, topic: 'peer', text: '49' });
});

test('whoever has samples is given those that are new; of another process, all', async (t) => {
  const samples = new Samples();
  for (let second = 1; second <= 3; second++) samples.add({ at: second * 1000, status });
  const { told } = dashboard(t, () => ({ at: 4000, status }), [], samples);
  const all = await told();
  t.match(all.history.columns.at.slice(0, 3), [1, 2, 3]);
  const more = await told(`?from=${all.history.next}`);
  t.strictSame(
    more.history.columns.at.filter((at) => at !== 4),
    [],
  );
  t.match((await told('?from=99')).history.columns.at.slice(0, 3), [1, 2, 3]);
  t.match((await told('?from=x')).history.columns.at.slice(0, 3), [1, 2, 3]);
  t.equal(more.begun, all.begun);
});
