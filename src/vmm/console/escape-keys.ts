const CTRL_A = 0x01;

const help = [
  '',
  'Ctrl-A x   end the virtual machine',
  'Ctrl-A p   press its power button',
  'Ctrl-A a   send Ctrl-A to the guest',
  'Ctrl-A h   this help',
  '',
].join('\r\n');

/** What a person can ask for by a key. */
export interface KeyRequests {
  /** Ctrl-A x */
  end(): void;
  /** Ctrl-A p */
  pressPowerButton(): void;
}

/** Takes the VMM's own keys, Ctrl-A and one more, out of what a person types. */
export class EscapeKeys {
  readonly #requests: KeyRequests;
  readonly #show: (text: string) => void;
  #escaped = false;

  constructor(requests: KeyRequests, show: (text: string) => void) {
    this.#requests = requests;
    this.#show = show;
  }

  /** What of `typed` is for the guest. An escape may be cut between two calls. */
  filter(typed: Uint8Array): Uint8Array {
    const forGuest: number[] = [];
    for (const byte of typed) {
      if (!this.#escaped) {
        if (byte === CTRL_A) this.#escaped = true;
        else forGuest.push(byte);
        continue;
      }
      this.#escaped = false;
      switch (String.fromCharCode(byte).toLowerCase()) {
        case 'x':
          this.#requests.end();
          break;
        case 'p':
          this.#requests.pressPowerButton();
          break;
        case 'a':
        case '\x01':
          forGuest.push(CTRL_A);
          break;
        case 'h':
        case '?':
          this.#show(help);
          break;
        default: // not a key of ours: neither is it the guest's
          break;
      }
    }
    return Uint8Array.from(forGuest);
  }
}
