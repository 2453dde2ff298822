import { ioThreadMain } from '../../vmm/io/io-worker.ts';
import { liveTranslator } from '../translate/live-translator.ts';

/** Body of the io thread, which translates the packets of a guest that has taken over as long as it has to (spec A.6). */
export function threadMain(): void {
  ioThreadMain(liveTranslator);
}
