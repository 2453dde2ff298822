import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';

/** A question or an answer on its way, as a structured clone. */
interface Numbered {
  readonly number: number;
  readonly body: unknown;
}

/** Sends a question, or the answer to it, under the number of the question. */
export function sendNumbered(port: MessagePort, number: number, body: unknown): void {
  port.postMessage({ number, body } satisfies Numbered);
}

/**
 * Takes what was sent under `number`, in a box; undefined if there is no such thing. What is there of earlier numbers is
 * thrown away: whoever sent or wanted that has given up.
 */
export function takeNumbered(port: MessagePort, number: number): { readonly body: unknown } | undefined {
  for (;;) {
    const received = receiveMessageOnPort(port) as { message: Numbered } | undefined;
    if (received === undefined || received.message.number === number) return received?.message;
  }
}
