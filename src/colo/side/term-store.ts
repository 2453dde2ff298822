import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { makeFolders } from '../../host/files/make-folders.ts';
import { replaceFile } from '../../host/files/replace-file.ts';
import { ConfigError } from '../../vmm/config/config.ts';

const schema = v.object({
  term: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  elsewhere: v.exactOptional(v.boolean()),
  askers: v.exactOptional(v.array(v.string())),
});

/** Starts that came to nothing one after the other: hours of them, of a unit that systemd tries again and again. */
const mostAskers = 1000;

/**
 * The term of a pair as this side knows it, in a file that survives a loss of power (spec B.6: a term is on disk before it is
 * used).
 */
export class TermStore {
  readonly path: string;
  #term: number;
  #isElsewhere = false;
  #askers: readonly string[] = [];
  #writing: Promise<unknown> = Promise.resolve();

  /**
   * @param directory made if it is not there
   * @throws ConfigError if there is something else than a term
   */
  constructor(directory: string) {
    this.path = join(directory, 'term.json');
    try {
      makeFolders(directory, 0o700);
      const found = read(this.path);
      this.#term = found?.term ?? 0;
      this.#isElsewhere = found?.elsewhere === true;
      this.#askers = found?.askers ?? [];
    } catch (error) {
      throw new ConfigError(`--state ${directory}: ${(error as Error).message}`);
    }
  }

  get term(): number {
    return this.#term;
  }

  /** In this term the guest is the other side's: this one stood by for it, or handed it over, and did not take it since. */
  get isElsewhere(): boolean {
    return this.#isElsewhere;
  }

  /**
   * Holders that meant to ask an arbiter for a later term, the last one last. No term has been written since, so none of them ever had
   * the guest in one that it was granted.
   */
  get askers(): readonly string[] {
    return this.#askers;
  }

  /** On return it is on the disk that this holder asks for a later term. */
  asks(holder: string): Promise<void> {
    return this.#inTurn(async () => {
      const askers = [...this.#askers.filter((asker) => asker !== holder), holder].slice(-mostAskers);
      await this.#replace(this.#term, this.#isElsewhere, askers);
      this.#askers = askers;
    });
  }

  /** Whether the file says still what it did after {@link asks} of that holder: no other process has asked, or written a term, since. */
  stillAsks(holder: string): boolean {
    try {
      const found = read(this.path);
      return found?.term === this.#term && found.askers?.at(-1) === holder;
    } catch {
      return false;
    }
  }

  /** On return the term is on the disk. One after the other. Who asked for it before is forgotten. */
  write(term: number): Promise<void> {
    return this.#write(term, false);
  }

  /** As {@link write}, of a term in which the guest is the other side's. */
  giveAway(term: number): Promise<void> {
    return this.#write(term, true);
  }

  /** Resolves if a term can be written here: what there is has been written once more. A disk that hangs keeps it waiting. */
  prove(): Promise<void> {
    return this.#inTurn(() => this.#replace(this.#term, this.#isElsewhere, this.#askers));
  }

  #write(term: number, elsewhere: boolean): Promise<void> {
    return this.#inTurn(async () => {
      await this.#replace(term, elsewhere, []);
      this.#term = term;
      this.#isElsewhere = elsewhere;
      this.#askers = [];
    });
  }

  #replace(term: number, elsewhere: boolean, askers: readonly string[]): Promise<void> {
    const content = { term, ...(elsewhere ? { elsewhere } : {}), ...(askers.length === 0 ? {} : { askers }) };
    return replaceFile(this.path, `${JSON.stringify(content)}\n`);
  }

  #inTurn(act: () => Promise<void>): Promise<void> {
    const write = this.#writing.then(act);
    this.#writing = write.catch(() => {});
    return write;
  }

  /** Resolves when what was asked for so far is written, or has failed: before that nobody else may have the directory. */
  async settled(): Promise<void> {
    await this.#writing;
  }
}

function read(path: string): v.InferOutput<typeof schema> | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  const result = v.safeParse(schema, parsed);
  if (result.success) return result.output;
  throw new Error(`${path} does not hold the term of a pair; if this machine is to be a new standby, remove it`);
}
