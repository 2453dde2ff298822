import type { Socket } from 'node:net';
import { JsonSplitter } from './json-splitter.ts';
import type { Monitor } from './monitor.ts';
import type { CommandTable } from './qmp-command.ts';
import { greeting, type Json } from './qmp-protocol.ts';
import { QmpSession } from './qmp-session.ts';

/** A question longer than this is not QMP; its client is let go. */
const questionLimitBytes = 1024 * 1024;
/** Answers and events a client may leave unread before it is let go. */
const unreadLimitBytes = 1024 * 1024;
/** Questions answered before others have their turn: the console is on this thread, too. */
const questionsInTurn = 64;

/** A client on a socket. It holds no more than the limits above, whatever the client does or does not do. */
export class QmpConnection {
  readonly #socket: Socket;
  readonly #monitor: Monitor;
  readonly #session: QmpSession;
  readonly #splitter = new JsonSplitter(questionLimitBytes);
  /** An answer is on its way, or the next turn. */
  #waiting = false;
  /** The client will ask nothing more. */
  #atEnd = false;

  constructor(socket: Socket, monitor: Monitor, table?: CommandTable) {
    this.#socket = socket;
    this.#monitor = monitor;
    this.#session = new QmpSession(monitor, (event) => this.#send(event), table);
    socket.on('data', (chunk: Buffer) => {
      this.#splitter.push(chunk);
      if (!this.#waiting) this.#converse();
    });
    socket.on('end', () => {
      this.#atEnd = true;
      if (!this.#waiting) this.#converse();
    });
    socket.on('close', () => this.#session.close());
    this.#send(greeting);
  }

  get negotiated(): boolean {
    return this.#session.negotiated;
  }

  /** Answers what there is, a question after the other. */
  #converse(): void {
    this.#waiting = false;
    for (let count = 0; count < questionsInTurn; count++) {
      if (this.#socket.destroyed) return;
      // A machine that has ended answers nobody; its socket is about to go.
      const piece = this.#monitor.machine.state === 'ended' ? undefined : this.#splitter.next();
      if (piece === undefined) {
        if (this.#atEnd) this.#socket.end();
        else this.#socket.resume();
        return;
      }
      // An event that the question causes leaves with its answer: a client that shares the processor wakes once.
      this.#socket.cork();
      const answer = this.#session.answer(piece);
      if (answer instanceof Promise) {
        this.#socket.uncork();
        this.#wait();
        void answer.then((message) => {
          this.#send(message);
          this.#session.answered();
          this.#converse();
        });
        return;
      }
      this.#send(answer);
      this.#socket.uncork();
      this.#session.answered();
      if (this.#splitter.overflowed) {
        this.#socket.destroySoon();
        return;
      }
    }
    this.#wait();
    setImmediate(() => this.#converse());
  }

  /** Nothing is read meanwhile: what a client sends on waits in the kernel. */
  #wait(): void {
    this.#waiting = true;
    this.#socket.pause();
  }

  #send(message: Json): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) return;
    this.#socket.write(`${JSON.stringify(message)}\r\n`);
    if (this.#socket.writableLength > unreadLimitBytes) this.#socket.destroy();
  }
}
