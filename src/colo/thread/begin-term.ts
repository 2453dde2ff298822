import { ConfigError } from '../../vmm/config/config.ts';
import { exitCode } from '../../vmm/vcpu/guest-end.ts';
import type { HostConfig } from '../command/pair-config.ts';
import { ArbiterDesk } from '../side/arbiter-desk.ts';
import { TermStore } from '../side/term-store.ts';

/** Nothing was begun, for nobody could be asked: the same command may be given again. Its exit code says so to whoever started it. */
export class ArbiterSilentError extends ConfigError {
  readonly exitCode = exitCode.arbiterSilent;
}

export interface TermOptions {
  /** Nobody wants it any more, as soon as that is aborted. */
  readonly stopping?: AbortSignal;
  /** Without a new term this process has a standby in the old one, perhaps. */
  readonly goesOn?: boolean;
}

/**
 * Begins a new term as its primary, before the guest says a word: if the pair's other side has taken over since this one ran
 * last, the arbiter knows (spec B.6), and the guest must not run twice. With a manual arbiter, that is for the operator to know. Of a
 * side that stood by the arbiter knows nothing, for its primary may run on alone in the term that both had: it knows that itself.
 *
 * An answer may be lost, and the term granted all the same; so may whoever hears it, before it has written that down. The next start would
 * take such a term for the other side's takeover. So it is written down who asks, before anything is asked:
 *
 *     term n, asked by H1        H1 asks for n + 1, is granted it, and hears nothing: it ends, and never had the guest
 *     term n, asked by H1, H2    H2 asks for n + 1, and hears that H1 has it: it asks for n + 2
 *     term n + 2                 whoever asked before is forgotten. Only now the guest says a word
 *
 * @param holder who this process is to the arbiter
 * @throws ArbiterSilentError, or another ConfigError, that says what to do
 */
export async function beginTerm(
  config: HostConfig,
  holder: string,
  { stopping, goesOn = false }: TermOptions = {},
): Promise<void> {
  const terms = new TermStore(config.stateDirectory);
  if (terms.isElsewhere) {
    throw new ConfigError(
      `in term ${terms.term} the guest of the pair "${config.pair}" is its other side's, which may run it. ` +
        `Make this machine its standby: colo-vmm standby --name ${config.pair} --listen ... If the other side is off for good: ` +
        `remove "elsewhere" from ${terms.path}; the disks are those of the last checkpoint that came here`,
    );
  }
  const written = (writing: Promise<void>): Promise<void> =>
    writing.catch((error: Error) => {
      throw new ConfigError(`--state: the term cannot be written to ${terms.path}: ${error.message}`);
    });
  if (config.arbiter.kind === 'manual') {
    stopping?.throwIfAborted();
    await written(terms.write(terms.term + 1));
    return;
  }
  const desk = new ArbiterDesk(config.pair, config.arbiter, holder, () => {});
  const giveUp = (): void => desk.close();
  stopping?.throwIfAborted();
  stopping?.addEventListener('abort', giveUp);
  try {
    // A term that the arbiter knows and this side cannot write would be taken for the other side's, and a full disk is the usual way there.
    // A process with a pair in the old term is more than one that asked: its standby may have the guest by an operator's word.
    await written(goesOn ? terms.write(terms.term) : terms.asks(holder));
    const term = await granted({ config, desk, terms, holder, stopping });
    if (!goesOn) ensureNobodyElseStarts(config, terms, holder);
    await written(terms.write(term));
  } finally {
    stopping?.removeEventListener('abort', giveUp);
    desk.close();
  }
}

interface Asking {
  readonly config: HostConfig;
  readonly desk: ArbiterDesk;
  readonly terms: TermStore;
  readonly holder: string;
  readonly stopping: AbortSignal | undefined;
}

/** The term that the arbiter gives to this side: the next one, or the one after those that starts which came to nothing have. */
async function granted({ config, desk, terms, holder, stopping }: Asking): Promise<number> {
  let term = terms.term + 1;
  let verdict = await desk.register(term);
  if (verdict?.kind === 'refused' && terms.askers.includes(verdict.holder)) {
    // That one may have been heard since, and be about to begin.
    ensureNobodyElseStarts(config, terms, holder);
    term = verdict.term + 1;
    verdict = await desk.register(term);
  }
  if (verdict?.kind === 'granted') return term;
  if (verdict === undefined) {
    stopping?.throwIfAborted();
    // Of what this side was told wrongly the same command would hear the same for ever.
    const Failure = desk.isMisconfigured ? ConfigError : ArbiterSilentError;
    throw new Failure(
      `--arbiter: ${desk.facts.problem}; without its answer nobody knows whether the other side of the pair runs this guest. ` +
        'Mend that, or, if the other side is certainly off: --arbiter manual',
    );
  }
  throw new ConfigError(
    `the pair "${config.pair}" is in term ${verdict.term}, this machine was in term ${terms.term}: the other side has ` +
      'taken over since, and runs the guest. Make this machine its standby: colo-vmm standby --name ' +
      `${config.pair} --listen ... If it certainly does not: set "term" to ${verdict.term} in ${terms.path}`,
  );
}

/** What one start takes for a start that came to nothing must not go on. */
function ensureNobodyElseStarts({ pair }: HostConfig, terms: TermStore, holder: string): void {
  if (terms.stillAsks(holder)) return;
  throw new ConfigError(`another process has begun to start the pair "${pair}" with ${terms.path} meanwhile`);
}
