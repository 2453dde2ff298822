import { keyWords } from '../packet/flow-key.ts';

const numberFields = [
  'isn',
  'offset',
  'firstTime',
  'lastTime',
  'timeOffset',
  'peerNext',
  'sentEnd',
  'window',
  'windowScale',
  'finEnd',
  'peerFinEnd',
] as const;
const flagFields = [
  'isKnown',
  'isFixed',
  'hasTime',
  'isTimeKnown',
  'hasPeerNext',
  'hasFin',
  'isFinAcked',
  'hasPeerFin',
  'isPeerFinAcked',
  'isReset',
] as const;

/** A connection as it travels: the words of its key, and the fields of TranslatedFlow. */
export type FlowState = { readonly key: readonly number[] } & Readonly<
  Record<(typeof numberFields)[number], number> & Record<(typeof flagFields)[number], boolean>
>;

/** Whether somebody may still speak in it: the others are remembered for what may come late. */
export function goesOn({ isKnown, isReset, isFinAcked, isPeerFinAcked }: FlowState): boolean {
  return isKnown && !isReset && !(isFinAcked && isPeerFinAcked);
}

/** What a survivor translates, as part of the checkpoints that it gives its next standby. */
export interface TranslatorState {
  readonly flows: readonly FlowState[];
}

/**
 * Checks what a peer sent.
 *
 * @param most connections that there is room for
 * @throws RangeError: this is no such state
 */
export function checkedTranslatorState(state: unknown, most: number): TranslatorState {
  const flows = isRecord(state) ? state.flows : undefined;
  if (!Array.isArray(flows) || flows.length > most) {
    throw new RangeError(`the translated connections of a checkpoint are not a list of at most ${most}`);
  }
  return { flows: flows.map((flow, at) => checkedFlow(flow, at)) };
}

function checkedFlow(flow: unknown, at: number): FlowState {
  const fail = (what: string): never => {
    throw new RangeError(`translated connection ${at} of a checkpoint has no valid ${what}`);
  };
  if (!isRecord(flow)) return fail('fields');
  const key: unknown = flow.key;
  if (!Array.isArray(key) || key.length !== keyWords || !key.every(isInt32)) return fail('key');
  for (const field of numberFields) if (!isInt32(flow[field])) fail(field);
  for (const field of flagFields) if (typeof flow[field] !== 'boolean') fail(field);
  const entries = [...numberFields, ...flagFields].map((field) => [field, flow[field]]);
  return { ...Object.fromEntries(entries), key: [...key] } as FlowState;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function isInt32(value: unknown): value is number {
  return typeof value === 'number' && (value | 0) === value;
}
