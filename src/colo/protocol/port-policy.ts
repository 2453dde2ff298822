import * as v from 'valibot';

/** Connections of one port whose output is not compared, as they travel: what it means is `../compare/flow-policy.ts`' to say. */
export interface PortPolicy {
  /** 1 to 65535. */
  readonly port: number;
  readonly policy: 'compare' | 'buffer' | 'pass';
}

/** More ports no pair has policies for. */
export const mostPortPolicies = 256;

export const portPoliciesSchema = v.pipe(
  v.array(
    v.strictObject({
      port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(0xffff)),
      policy: v.picklist(['compare', 'buffer', 'pass']),
    }),
  ),
  v.maxLength(mostPortPolicies),
);
