import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import type { Verdict } from '../../src/colo/arbiter/arbiter.ts';
import { markerName } from '../../src/colo/arbiter/term-folder.ts';
import { bundle } from '../../tools/lab/bundle.ts';
import type { RemoteProcess } from '../../tools/lab/connection.ts';
import type { Host } from '../../tools/lab/host.ts';
import { type Lab, startLab } from '../../tools/lab/lab.ts';
import { vmmFiles } from '../../tools/vmm-files.ts';
import { done, mountNfs, serveNfs } from '../support/nfs.ts';
import type { Answer, Question } from '../support/nfs-questions.ts';

const rounds = 100;
const versions = ['4.2', '3'] as const;
type Version = (typeof versions)[number];

const asker = '/opt/test/asker.mjs';
const termProgram = '/opt/colo-vmm/terms.cjs';
/** An operator hears within this of an arbiter that is gone. */
const longestAnswerMs = 15_000;

const atLink: Answer = { isAtLink: true };
const granted: Verdict = { kind: 'granted' };
const refused = (term: number, holder: string): Verdict => ({ kind: 'refused', term, holder });
const nameOf = (term: number): string => `term-${String(term).padStart(16, '0')}`;
const mountOf = (version: Version): string => `/mnt/nfs-${version}`;
/** Mounted so that a client believes what it has read before for as long as it can. */
const believingMountOf = (version: Version): string => `/mnt/believing-${version}`;

/** A program in a host that asks the arbiter's folder: see nfs-asker.ts. */
class Asker {
  readonly name: string;
  readonly #process: RemoteProcess;
  readonly #answers: AsyncIterator<string>;
  #complaints = '';

  constructor(host: Host, folder: string, by: 'itself' | 'arbiter') {
    this.name = host.name;
    this.#process = host.spawn(['node', asker, folder, ...(by === 'arbiter' ? [termProgram] : [])]);
    this.#process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaints += text;
    });
    this.#answers = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  send(question: Question): void {
    this.#process.stdin.write(`${JSON.stringify(question)}\n`);
  }

  /** Has it link, after it said that it was about to. */
  go(): void {
    this.#process.stdin.write('go\n');
  }

  async answer(): Promise<Answer> {
    const { value, done: isOver } = await this.#answers.next();
    if (isOver === true) throw new Error(`what asks in ${this.name} has ended: ${this.#complaints}`);
    return JSON.parse(value);
  }

  /** Asks for the answer at once: whoever waits before the link is let go. */
  async ask(question: Question): Promise<Answer> {
    this.send(question);
    for (;;) {
      const answer = await this.answer();
      if (!('isAtLink' in answer)) return answer;
      this.go();
    }
  }

  async claim(pair: string, term: number): Promise<Answer> {
    return this.ask({ ask: 'claim', claim: { pair, term, holder: this.name } });
  }

  async end(): Promise<number | null> {
    this.#process.stdin.end();
    return (await this.#process.exit).status;
  }
}

/** A server, and two hosts that have mounted what it serves, in each version and in each way. */
async function nfsLab(t: Test): Promise<{ lab: Lab; server: Host; a: Host; b: Host }> {
  const lab = await startLab({
    hosts: 3,
    memoryMib: 512,
    disks: [{ sizeBytes: 64 * 1024 * 1024 }],
    files: vmmFiles.filter(({ path }) => path === termProgram),
  });
  t.teardown(() => lab.close());
  const [server, a, b] = lab.hosts;
  if (server === undefined || a === undefined || b === undefined) throw new Error('the lab has less than three hosts');
  await serveNfs(server);
  const program = Buffer.from(bundle(new URL('../support/nfs-asker.ts', import.meta.url).href));
  await Promise.all(
    [a, b].map(async (host) => {
      await host.push(program, asker);
      for (const version of versions) {
        await mountNfs(host, server, mountOf(version), version, 'hard');
        await mountNfs(host, server, believingMountOf(version), version, 'hard,nocto,actimeo=600');
      }
    }),
  );
  await done(a, `touch ${mountOf('4.2')}/${markerName}`);
  return { lab, server, a, b };
}

t.test('two hosts ask for terms in a folder that both mount by nfs', { timeout: 0 }, async (t) => {
  const { lab, server, a, b } = await nfsLab(t);
  t.comment(await done(a, `uname -r; grep ' nfs' /proc/mounts`));

  for (const version of versions) {
    await t.test(`NFS ${version}: of two that ask at the same moment one has the term`, { timeout: 0 }, async (t) => {
      const pair = `race-${version}`;
      const askers = [a, b].map((host) => new Asker(host, mountOf(version), 'itself'));
      const [one, other] = askers as [Asker, Asker];
      t.strictSame(await one.ask({ ask: 'register', claim: { pair, term: 1, holder: 'both' } }), {
        verdict: granted,
      });
      const wins = new Map([a, b].map(({ name }) => [name, 0]));
      const wrong: unknown[] = [];
      let holder = '';
      for (let term = 2; term < 2 + rounds; term++) {
        for (const each of askers) each.send({ ask: 'claim', claim: { pair, term, holder: each.name } });
        const looked = await Promise.all(askers.map((each) => each.answer()));
        // In turn, so that none is always the first.
        for (const each of term % 2 === 0 ? [one, other] : [other, one]) each.go();
        const answers = await Promise.all(askers.map((each) => each.answer()));
        const winner = askers.find(
          (_, index) => JSON.stringify(answers[index]) === JSON.stringify({ verdict: granted }),
        );
        holder = winner?.name ?? 'nobody';
        wins.set(holder, (wins.get(holder) ?? 0) + 1);
        const expected = askers.map((each) => ({ verdict: each === winner ? granted : refused(term, holder) }));
        if (JSON.stringify([looked, answers]) !== JSON.stringify([[atLink, atLink], expected])) {
          wrong.push({ term, looked, answers });
        }
      }
      t.strictSame(wrong, [], `of ${rounds} terms each had one holder, whom the other one was told`);
      t.comment(`${[...wins].map(([name, count]) => `${name} had ${count}`).join(', ')}`);
      const term = 1 + rounds;
      const last = { last: { term, holder } };
      for (const each of askers) {
        t.strictSame(await each.ask({ ask: 'check', pair }), last);
        t.equal(await each.end(), 0);
      }
      for (const host of [a, b]) {
        const again = new Asker(host, mountOf(version), 'itself');
        t.strictSame(await again.ask({ ask: 'check', pair }), last, 'who begins anew sees the same');
        const verdict = host.name === holder ? granted : refused(term, holder);
        t.strictSame(await again.claim(pair, term), { verdict });
        await again.end();
      }
    });

    await t.test(`NFS ${version}: what a host has read before gets it no term`, { timeout: 0 }, async (t) => {
      for (const folder of [mountOf(version), believingMountOf(version)]) {
        const pair = `cache-${folder.slice('/mnt/'.length)}`;
        const [one, other] = [a, b].map((host) => new Asker(host, folder, 'itself')) as [Asker, Asker];
        await one.ask({ ask: 'register', claim: { pair, term: 1, holder: 'both' } });
        const look = (term: number) => other.ask({ ask: 'look', pair, name: nameOf(term) });
        /** The other one looks, as an arbiter and as any program, and then the one takes the term. */
        const takeAfterLook = async (term: number) => {
          t.strictSame(await other.ask({ ask: 'check', pair }), {
            last: { term: term - 1, holder: term === 2 ? 'both' : a.name },
          });
          const seen = await look(term);
          t.strictSame(await one.claim(pair, term), { verdict: granted });
          return seen;
        };
        const seen = await takeAfterLook(2);
        const sees = await look(2);
        const isWrong = JSON.stringify(sees) === JSON.stringify(seen);
        t.comment(`${folder}: any other program ${isWrong ? 'sees what was there before' : 'sees the new term'}`);
        // A client of 4.2 has looked anew so far, whatever its options: there the trap may be none.
        if (folder === believingMountOf('3')) t.ok(isWrong, 'the trap is one: any other program falls into it');
        for (let term = 3; term < 8; term++) {
          await takeAfterLook(term);
          t.strictSame(await other.claim(pair, term), { verdict: refused(term, a.name) });
        }
        for (const each of [one, other]) await each.end();
      }
    });

    await t.test(`NFS ${version}: a server that cannot be reached is told in time`, { timeout: 0 }, async (t) => {
      const pair = `cut-${version}`;
      const [one, other] = [a, b].map((host) => new Asker(host, mountOf(version), 'arbiter')) as [Asker, Asker];
      /** One that was late is begun anew, which takes its time in an emulated host. */
      const answered = async (asker: Asker, question: Question): Promise<Answer> => {
        for (let tries = 0; ; tries++) {
          const { ms, ...answer } = await asker.ask(question);
          if (!('problem' in answer) || tries === 20) return answer;
          t.comment(`after ${ms?.toFixed(0)} ms: ${answer.problem}`);
        }
      };
      await answered(one, { ask: 'register', claim: { pair, term: 1, holder: 'both' } });
      await answered(other, { ask: 'check', pair });
      const claim = (asker: Asker, term: number): Question => ({
        ask: 'claim',
        claim: { pair, term, holder: asker.name },
      });

      for (const [term, delayMs] of [
        [2, 0],
        [3, 20],
        [4, 60],
      ] as const) {
        one.send(claim(one, term));
        one.send({ ask: 'check', pair });
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        await lab.network.cut({ from: server.name, to: a.name });
        const answers = [await one.answer(), await one.answer()];
        for (const { ms = 0, ...answer } of answers) {
          t.ok(ms < longestAnswerMs, `after ${ms.toFixed(0)} ms: ${JSON.stringify(answer)}`);
          if ('problem' in answer)
            t.match(
              answer.problem,
              /^the arbiter file \S+ does not answer: no answer within 10000 ms; is the server there\?$/,
            );
        }
        // Which of the two it is depends on how far the one had come.
        const { verdict } = (await answered(other, claim(other, term))) as { verdict: Verdict };
        const holder = verdict.kind === 'granted' ? other.name : one.name;
        await lab.network.restore();
        t.strictSame(await answered(one, claim(one, term)), {
          verdict: holder === one.name ? granted : refused(term, holder),
        });
        t.comment(`cut after ${delayMs} ms, ${holder} has it`);
        for (const asker of [one, other]) {
          t.strictSame(await answered(asker, { ask: 'check', pair }), { last: { term, holder } });
        }
      }

      await lab.network.cut({ from: server.name, to: a.name });
      one.send(claim(one, 5));
      t.equal(await one.end(), 0, 'who waits for it can end');
      await lab.network.restore();
      await other.end();
      t.equal(
        await done(
          a,
          `for i in $(seq 60); do pgrep -f ^colo-vmm:.arbiter > /dev/null || break; sleep 1; done; pgrep -fc ^colo-vmm:.arbiter || true`,
        ),
        '0\n',
        'no process stays',
      );
    });
  }

  t.equal(lab.failure, undefined, 'the lab itself was sound');
});
