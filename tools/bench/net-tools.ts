import * as v from 'valibot';
import type { ProgramRequest } from '../images/program-files.ts';

/** Programs of Debian that make the traffic: streams and floods, and requests that wait for their answers. */
export const iperfProgram: ProgramRequest = { package: 'iperf3', path: 'usr/bin/iperf3' };
export const sockperfProgram: ProgramRequest = { package: 'sockperf', path: 'usr/bin/sockperf' };

/** Work as the receiving side saw it. */
export interface Traffic {
  readonly requests: number;
  readonly seconds: number;
  readonly uncounted?: number;
}

const IperfReport = v.object({
  end: v.object({ sum_received: v.object({ bytes: v.number(), seconds: v.number() }) }),
});
const IperfError = v.object({ error: v.string() });

/** What arrived, in requests of `requestBytes`, from the JSON of an iperf3 client. What was lost is nobody's merit. */
export function parseIperf(text: string, requestBytes: number): Traffic {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new Error(`iperf3 gave no JSON: ${text.slice(0, 500)}`, { cause });
  }
  if (v.is(IperfError, json)) throw new Error(`iperf3 failed: ${json.error}`);
  const report = v.safeParse(IperfReport, json);
  const { bytes = 0, seconds = 0 } = report.success ? report.output.end.sum_received : {};
  if (!(bytes > 0) || !(seconds > 0)) throw new Error(`iperf3 does not say what arrived: ${text.slice(-500)}`);
  return { requests: bytes / requestBytes, seconds };
}

/**
 * Round trips in the middle of a sockperf run; those of its warm-up and end are carried but not counted. In a run so short
 * or so slow that nothing falls into its middle, all of them count.
 */
export function parseSockperf(text: string): Traffic {
  const figures = (part: string): { messages: number; seconds: number } | undefined => {
    const match = new RegExp(`\\[${part}\\] RunTime=([\\d.]+) sec;.*ReceivedMessages=(\\d+)`).exec(text);
    return match === null ? undefined : { seconds: Number(match[1]), messages: Number(match[2]) };
  };
  const total = figures('Total Run');
  const middle = figures('Valid Duration');
  const valid = middle !== undefined && middle.messages > 0 && middle.seconds > 0 ? middle : total;
  if (total === undefined || valid === undefined || !(valid.messages > 0) || !(valid.seconds > 0)) {
    throw new Error(`sockperf does not say how many answers came: ${text.slice(-500)}`);
  }
  return { requests: valid.messages, seconds: valid.seconds, uncounted: Math.max(0, total.messages - valid.messages) };
}
