import type { RunState } from './run-state.ts';

/** The part of a machine that the monitor drives. */
export interface MonitoredMachine {
  readonly state: RunState;
  pause(): void;
  resume(): void;
  pressPowerButton(): void;
  stop(by: string, exitCode: number): void;
}

/** A command's failure, in QMP's words. */
class QmpError extends Error {
  readonly errorClass: 'GenericError' | 'CommandNotFound';

  constructor(errorClass: QmpError['errorClass'], message: string) {
    super(message);
    this.errorClass = errorClass;
  }
}

type Json = Readonly<Record<string, unknown>>;
type Command = (machine: MonitoredMachine) => Json | readonly Json[];

const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: 'colo-vmm' };

/** QMP's names for our run states. */
const statusNames: Readonly<Record<RunState, string>> = {
  created: 'prelaunch',
  running: 'running',
  paused: 'paused',
  ended: 'shutdown',
};

const commands: Readonly<Record<string, Command>> = {
  'query-status': (machine) => ({ running: machine.state === 'running', status: statusNames[machine.state] }),
  'query-version': () => version,
  'query-commands': () => ['qmp_capabilities', ...Object.keys(commands)].map((name) => ({ name })),
  // As in QEMU, stopping what stands and continuing what runs are no errors.
  stop: (machine) => {
    if (machine.state === 'running') machine.pause();
    return {};
  },
  cont: (machine) => {
    if (machine.state === 'paused') machine.resume();
    return {};
  },
  system_powerdown: (machine) => {
    machine.pressPowerButton();
    return {};
  },
  quit: (machine) => {
    machine.stop('the monitor', 0);
    return {};
  },
};

/** First line a client gets. */
export const greeting: Json = { QMP: { version, capabilities: [] } };

/** One client's conversation (QMP: JSON objects, one a line). Commands work after `qmp_capabilities`, as in QEMU. */
export class QmpSession {
  readonly #machine: MonitoredMachine;
  #negotiated = false;

  constructor(machine: MonitoredMachine) {
    this.#machine = machine;
  }

  /** The answer to one line. */
  answer(line: string): Json {
    let id: Json = {};
    try {
      const request = parse(line);
      if ('id' in request) id = { id: request.id };
      return { return: this.#execute(request.execute), ...id };
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      const errorClass = error instanceof QmpError ? error.errorClass : 'GenericError';
      return { error: { class: errorClass, desc: error.message }, ...id };
    }
  }

  #execute(name: unknown): Json | readonly Json[] {
    if (typeof name !== 'string') throw new QmpError('GenericError', "QMP input lacks member 'execute'");
    if (name === 'qmp_capabilities') {
      if (this.#negotiated) {
        throw new QmpError('CommandNotFound', 'Capabilities negotiation is already complete, command ignored');
      }
      this.#negotiated = true;
      return {};
    }
    if (!this.#negotiated) {
      throw new QmpError('CommandNotFound', "Expecting capabilities negotiation with 'qmp_capabilities'");
    }
    if (!Object.hasOwn(commands, name)) {
      throw new QmpError('CommandNotFound', `The command ${name} has not been found`);
    }
    return (commands[name] as Command)(this.#machine);
  }
}

function parse(line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new QmpError('GenericError', 'JSON parse error');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new QmpError('GenericError', 'QMP input must be a JSON object');
  }
  return value as Record<string, unknown>;
}
