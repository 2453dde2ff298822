import * as v from 'valibot';
import type { Monitor } from './monitor.ts';
import { type Json, QmpError } from './qmp-protocol.ts';

/** What a command gives back: at once, or later. Nothing else of the same client runs meanwhile. */
export type Result = object | Promise<object>;

/** Takes what a command does once its answer has been sent. */
export type Afterwards = (effect: () => void) => void;

/** A command that checks its arguments and runs. @throws QmpError for wrong arguments */
export type Command = (monitor: Monitor, given: Json, afterwards: Afterwards) => Result;

export type CommandTable = Readonly<Record<string, Command>>;

/** A command with arguments as the schema's entries say. */
export function command<const Entries extends v.ObjectEntries>(
  entries: Entries,
  run: (
    monitor: Monitor,
    given: v.InferOutput<v.StrictObjectSchema<Entries, undefined>>,
    afterwards: Afterwards,
  ) => Result,
): Command {
  const schema = v.strictObject(entries);
  return (monitor, given, afterwards) => {
    const checked = v.safeParse(schema, given, { abortEarly: true });
    if (!checked.success) throw new QmpError('GenericError', complaint(checked.issues[0]));
    return run(monitor, checked.output, afterwards);
  };
}

/** QEMU's words for an argument that will not do. */
function complaint(issue: v.BaseIssue<unknown>): string {
  const name = (issue.path ?? [])
    .map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '');
  if (issue.type === 'strict_object')
    return `Parameter '${name}' is ${issue.expected === 'never' ? 'unexpected' : 'missing'}`;
  if (issue.type === 'picklist' && typeof issue.input !== 'string') {
    return `Invalid parameter type for '${name}', expected: string`;
  }
  if (issue.type === 'picklist') return `Parameter '${name}' does not accept value '${issue.input}'`;
  return `Invalid parameter type for '${name}', expected: ${issue.expected?.toLowerCase()}`;
}
