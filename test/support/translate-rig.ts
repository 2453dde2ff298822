import { defaultTranslateSettings, type TranslateSettings } from '../../src/colo/translate/settings.ts';
import { Translator } from '../../src/colo/translate/translator.ts';
import type { TranslatorState } from '../../src/colo/translate/translator-state.ts';

/** A translator, and what becomes of packets in it. */
export class TranslateRig {
  readonly translator: Translator;
  now = 0;

  constructor(settings: Partial<TranslateSettings> = {}, headerBytes: 0 | 12 = 12) {
    this.translator = new Translator({ settings: { ...defaultTranslateSettings, ...settings }, seed: 5, headerBytes });
  }

  /** S's guest sends; what goes to the comparison, or to the network. */
  out(packet: Uint8Array, card = 0): Uint8Array | 'withheld' {
    let isSent = false;
    const after = changed(packet, (bytes, offset) => {
      isSent = this.translator.outgoing(card, bytes, offset, packet.length, this.now);
    });
    return isSent ? after : 'withheld';
  }

  /** A packet for S's guest; what it gets. */
  in(packet: Uint8Array, card = 0): Uint8Array {
    return changed(packet, (bytes, offset) => {
      this.translator.incoming(card, bytes, offset, packet.length, this.now);
    });
  }

  /** Another one, made equal to this one's guest. */
  next(state: TranslatorState = JSON.parse(JSON.stringify(this.translator.save()))): TranslateRig {
    const rig = new TranslateRig();
    rig.now = this.now;
    rig.translator.checkpoint(rig.now, state);
    return rig;
  }
}

/** The packet lies between others, which stay as they are. */
function changed(packet: Uint8Array, change: (bytes: Uint8Array, offset: number) => void): Uint8Array {
  const offset = 7;
  const bytes = new Uint8Array(packet.length + 2 * offset).fill(0xee);
  bytes.set(packet, offset);
  change(bytes, offset);
  const around = [...bytes.subarray(0, offset), ...bytes.subarray(offset + packet.length)];
  if (around.some((byte) => byte !== 0xee)) throw new Error('bytes outside the packet were changed');
  return bytes.slice(offset, offset + packet.length);
}
