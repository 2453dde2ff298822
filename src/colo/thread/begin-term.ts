import { ConfigError } from '../../vmm/config/config.ts';
import { exitCode } from '../../vmm/vcpu/guest-end.ts';
import type { HostConfig } from '../command/pair-config.ts';
import { ArbiterDesk } from '../side/arbiter-desk.ts';
import { TermStore } from '../side/term-store.ts';

/** Nothing was begun, for nobody could be asked: the same command may be given again. Its exit code says so to whoever started it. */
export class ArbiterSilentError extends ConfigError {
  readonly exitCode = exitCode.arbiterSilent;
}

/**
 * Begins a new term as its primary, before the guest says a word: if the pair's other side has taken over since this one ran
 * last, the arbiter knows (spec B.6), and the guest must not run twice. With a manual arbiter, that is for the operator to know. Of a
 * side that stood by the arbiter knows nothing, for its primary may run on alone in the term that both had: it knows that itself.
 *
 * @param holder who this process is to the arbiter
 * @param stopping nobody wants it any more, as soon as that is aborted
 * @throws ArbiterSilentError, or another ConfigError, that says what to do
 */
export async function beginTerm(config: HostConfig, holder: string, stopping?: AbortSignal): Promise<void> {
  const terms = new TermStore(config.stateDirectory);
  if (terms.isElsewhere) {
    throw new ConfigError(
      `in term ${terms.term} the guest of the pair "${config.pair}" is its other side's, which may run it. ` +
        `Make this machine its standby: colo-vmm standby --name ${config.pair} --listen ... If the other side is off for good: ` +
        `remove "elsewhere" from ${terms.path}; the disks are those of the last checkpoint that came here`,
    );
  }
  const term = terms.term + 1;
  const write = (value: number): Promise<void> =>
    terms.write(value).catch((error: Error) => {
      throw new ConfigError(`--state: the term cannot be written to ${terms.path}: ${error.message}`);
    });
  const desk = new ArbiterDesk(config.pair, config.arbiter, holder, () => {});
  const giveUp = (): void => desk.close();
  stopping?.throwIfAborted();
  stopping?.addEventListener('abort', giveUp);
  try {
    if (config.arbiter.kind !== 'manual') {
      // A term that the arbiter knows and this side does not would be taken for the other side's, and a full disk is the usual way there.
      await write(terms.term);
      const verdict = await desk.register(term);
      if (verdict === undefined) {
        stopping?.throwIfAborted();
        // Of what this side was told wrongly the same command would hear the same for ever.
        const Failure = desk.isMisconfigured ? ConfigError : ArbiterSilentError;
        throw new Failure(
          `--arbiter: ${desk.facts.problem}; without its answer nobody knows whether the other side of the pair runs this guest. ` +
            'Mend that, or, if the other side is certainly off: --arbiter manual',
        );
      }
      if (verdict.kind === 'refused') {
        throw new ConfigError(
          `the pair "${config.pair}" is in term ${verdict.term}, this machine was in term ${terms.term}: the other side has ` +
            'taken over since, and runs the guest. Make this machine its standby: colo-vmm standby --name ' +
            `${config.pair} --listen ... If it certainly does not: set "term" to ${verdict.term} in ${terms.path}`,
        );
      }
    }
    await write(term);
  } finally {
    stopping?.removeEventListener('abort', giveUp);
    desk.close();
  }
}
