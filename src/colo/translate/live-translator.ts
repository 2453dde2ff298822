import { defaultTranslateSettings } from './settings.ts';
import { Translator } from './translator.ts';
import type { TranslatorState } from './translator-state.ts';

/** What a guest's connections go on with where it has taken over: another thread's translator, at that moment. */
export interface LiveTranslation {
  readonly state: TranslatorState;
  /** See {@link Translator.takeOver}. */
  readonly aheadTicks: number;
}

/**
 * A translator that goes on from there, and takes up nothing new.
 *
 * @param given a {@link LiveTranslation}, from another thread
 * @throws RangeError if it is none
 */
export function liveTranslator(given: unknown): Translator {
  const { state, aheadTicks } = given as LiveTranslation;
  const seed = Math.floor(Math.random() * 2 ** 32);
  const translator = new Translator({ settings: defaultTranslateSettings, seed, headerBytes: 12 });
  translator.checkpoint(performance.now(), state);
  translator.takeOver(aheadTicks);
  return translator;
}
