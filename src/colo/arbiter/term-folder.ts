import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { ArbiterError, type TermClaim, type TermRecord, type Verdict } from './arbiter.ts';
import { type Question, ruleOn } from './term-rule.ts';

/**
 * An empty file that somebody made on the shared file system, once. Without it a folder is no arbiter: what is seen may be
 * the empty mount point of a file system that is not mounted.
 */
export const markerName = 'colo-vmm-arbiter';

/** What is called of the file system. */
export type FolderCalls = Pick<
  typeof fs,
  | 'openSync'
  | 'closeSync'
  | 'fstatSync'
  | 'lstatSync'
  | 'readSync'
  | 'writeSync'
  | 'fsyncSync'
  | 'mkdirSync'
  | 'linkSync'
  | 'unlinkSync'
  | 'readdirSync'
>;

/** Nobody but the two sides of a pair writes here; more rounds than this mean that somebody else does. */
const mostRounds = 8;
/** Of the terms before the last one so many stay, for whoever looks at what happened. */
const keptTerms = 8;
/** No folder of a pair's has more names, and no file of ours is larger. */
const mostNames = 10_000;
const mostRecordBytes = 4096;
/** A file that was written aside so long ago belongs to nobody any more. */
const forgottenMs = 3_600_000;
const mostForgotten = 64;

const recordSchema = v.object({ holder: v.pipe(v.string(), v.maxLength(256)) });

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;

/** A pair's folder while a question is dealt with. */
interface OpenFolder {
  readonly fd: number;
  /** How this process names it: by the descriptor, so that it is the same folder whatever is mounted or unmounted meanwhile. */
  readonly base: string;
}

/** What stands in a pair's folder. */
interface Names {
  /** In order. */
  readonly terms: readonly number[];
  readonly asides: readonly string[];
}

/**
 * Terms as files on a file system that both hosts mount: `FOLDER/PAIR/term-0000000000000007` says who has term 7. Whoever makes
 * it has it: it is written aside, made durable, and given its name by link(2), which fails if the name is there; so the file is
 * whole as soon as anybody sees it, and of two that link at the same time one does, on NFS too. The last term is the one of
 * the highest number, and is never removed.
 *
 *     look:  make a file aside           its making has a client of NFS read the folder's names anew
 *            read the names, and the last term's file
 *            rule (see ruleOn)           granted: the folder is made durable first; refused: that is the answer
 *     link:  aside -> term-n             whatever link(2) says, what stands there counts: over NFS an answer that was lost is
 *                                        asked for again, and is then EEXIST because of this very call; so look again
 *
 * All calls block for as long as the file system does: see FileArbiter.
 */
export class TermFolder {
  readonly #folder: string;
  readonly #name: string;
  readonly #calls: FolderCalls;

  constructor(folder: string, calls: FolderCalls = fs) {
    this.#folder = folder;
    this.#name = `file ${folder}`;
    this.#calls = calls;
  }

  /** As Arbiter.register and Arbiter.claim. @throws ArbiterError */
  ask(question: Question, claim: TermClaim): Verdict {
    return this.#inFolder(claim.pair, (folder) => {
      let failure: unknown;
      for (let round = 0; round < mostRounds; round++) {
        const verdict = this.#withAside(folder, claim.holder, (aside) => {
          const { terms } = this.#names(folder);
          const found = ruleOn(question, claim, this.#last(folder, terms), {
            arbiter: this.#name,
            doubt: 'is the right file system mounted there?',
          });
          if (found !== undefined) return found;
          // It could not be made, and nothing has changed since.
          if (failure !== undefined) throw failure;
          try {
            this.#calls.linkSync(aside, join(folder.base, nameOf(claim.term)));
          } catch (error) {
            failure = error;
          }
          return undefined;
        });
        if (verdict === undefined) continue;
        // Who is told must find it after a crash as well.
        if (verdict.kind === 'granted') this.#calls.fsyncSync(folder.fd);
        return verdict;
      }
      throw new ArbiterError(
        `${this.#name}: ${this.#path(claim.pair)} changes all the time; does something else write to it?`,
      );
    });
  }

  /** Whether a claim could be dealt with now: a file can be written, and the last term is read. @throws ArbiterError */
  check(pair: string): TermRecord | undefined {
    return this.#inFolder(pair, (folder) =>
      this.#withAside(folder, '', (aside) => {
        const names = this.#names(folder);
        const last = this.#last(folder, names.terms);
        this.#tidy(folder, aside, names);
        return last;
      }),
    );
  }

  /** Opens the pair's own folder, which is made if need be. The folder that holds it is not: an empty mount point is no arbiter. */
  #inFolder<T>(pair: string, act: (folder: OpenFolder) => T): T {
    const calls = this.#calls;
    const opened: number[] = [];
    const open = (path: string, flags: number): OpenFolder => {
      const fd = calls.openSync(path, O_RDONLY | O_DIRECTORY | flags);
      opened.push(fd);
      return { fd, base: `/proc/self/fd/${fd}` };
    };
    const shown = new Map<string, string>();
    try {
      const outer = open(this.#folder, 0);
      shown.set(outer.base, this.#folder);
      this.#requireMarker(outer);
      const path = join(outer.base, pair);
      try {
        calls.mkdirSync(path, { mode: 0o755 });
        calls.fsyncSync(outer.fd);
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error;
      }
      const folder = open(path, O_NOFOLLOW);
      shown.set(folder.base, this.#path(pair));
      return act(folder);
    } catch (error) {
      if (error instanceof ArbiterError) throw error;
      throw new ArbiterError(`the arbiter ${this.#name} cannot be used: ${explained(error, shown)}`);
    } finally {
      for (const fd of opened) attempt(() => calls.closeSync(fd));
    }
  }

  #requireMarker({ base }: OpenFolder): void {
    try {
      if (this.#calls.lstatSync(join(base, markerName)).isFile()) return;
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
    }
    throw new ArbiterError(
      `the arbiter ${this.#name} cannot be used: there is no file ${markerName} in that folder. Is the file system mounted ` +
        `there? If it is, and the folder is to be an arbiter from now on: touch ${this.#path(markerName)}`,
    );
  }

  /** Has a file that says who the holder is, durable, under a name that means nothing, until `act` has ended. */
  #withAside<T>(folder: OpenFolder, holder: string, act: (aside: string) => T): T {
    const calls = this.#calls;
    const aside = join(folder.base, `.${randomUUID()}`);
    const file = calls.openSync(aside, 'wx', 0o644);
    try {
      try {
        const content = Buffer.from(`${JSON.stringify({ holder })}\n`);
        if (calls.writeSync(file, content) !== content.length) throw new Error(`${aside} could not be written whole`);
        calls.fsyncSync(file);
      } finally {
        calls.closeSync(file);
      }
      return act(aside);
    } finally {
      // That it stays hides nothing that was done: #tidy removes it one day.
      attempt(() => calls.unlinkSync(aside));
    }
  }

  #names({ base }: OpenFolder): Names {
    const terms: number[] = [];
    const asides: string[] = [];
    // Names alone: NFS 3 does not tell what they are, and opendir would ask for each, of which the other side may just have removed one.
    const names = this.#calls.readdirSync(base);
    if (names.length > mostNames)
      throw new Error(`more than ${mostNames} files are in ${base}; does something else write there?`);
    for (const name of names) {
      const term = /^term-\d{16}$/.test(name) ? Number(name.slice('term-'.length)) : undefined;
      if (term !== undefined && Number.isSafeInteger(term)) terms.push(term);
      else if (/^\.[\da-f-]{36}$/.test(name)) asides.push(name);
    }
    return { terms: terms.sort((one, other) => one - other), asides };
  }

  /** Who has the last term. What a stranger may have put there is an error, not a holder. */
  #last({ base }: OpenFolder, terms: readonly number[]): TermRecord | undefined {
    const term = terms.at(-1);
    if (term === undefined) return undefined;
    const path = join(base, nameOf(term));
    const result = v.safeParse(recordSchema, parsed(this.#read(path)));
    if (result.success) return { term, holder: result.output.holder };
    throw new Error(`${path} holds something else than a term's holder; remove what is not colo-vmm's there`);
  }

  /** @returns undefined if it is no file of ours */
  #read(path: string): string | undefined {
    const calls = this.#calls;
    const file = calls.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      if (!calls.fstatSync(file).isFile()) return undefined;
      const content = Buffer.alloc(mostRecordBytes + 1);
      const bytes = calls.readSync(file, content);
      return bytes > mostRecordBytes ? undefined : content.toString('utf8', 0, bytes);
    } finally {
      calls.closeSync(file);
    }
  }

  /** Removes old terms, and what was written aside by processes that are gone. That something stays is no failure. */
  #tidy({ base }: OpenFolder, aside: string, { terms, asides }: Names): void {
    const { lstatSync, unlinkSync } = this.#calls;
    for (const term of terms.slice(0, -keptTerms).slice(0, mostForgotten)) {
      attempt(() => unlinkSync(join(base, nameOf(term))));
    }
    attempt(() => {
      // By the clock that the files have: the server's, not this host's.
      const now = lstatSync(aside).mtimeMs;
      for (const name of asides.slice(0, mostForgotten)) {
        const path = join(base, name);
        attempt(() => {
          if (now - lstatSync(path).mtimeMs > forgottenMs) unlinkSync(path);
        });
      }
    });
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }
}

function nameOf(term: number): string {
  return `term-${String(term).padStart(16, '0')}`;
}

function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
}

function attempt(act: () => void): void {
  try {
    act();
  } catch {
    // Whoever comes next tries again.
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

/** Hard links are all that is asked of a file system, and some have none. */
const noLinks: readonly unknown[] = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/** With paths as an operator knows them. */
function explained(error: unknown, shown: ReadonlyMap<string, string>): string {
  const text = (error as Error).message.replaceAll(/\/proc\/self\/fd\/\d+/g, (base) => shown.get(base) ?? base);
  const { syscall } = error as NodeJS.ErrnoException;
  return syscall === 'link' && noLinks.includes(codeOf(error)) ? `${text}; the file system has no hard links` : text;
}
