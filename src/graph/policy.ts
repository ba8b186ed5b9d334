/** Policies: which values of a forward pass are kept for the backward pass, and which are computed again there. */
import { ArgumentError } from "./errors.js";

/**
 * Which values of the forward pass the backward pass computes again instead of keeping them.
 *
 * - `"nothing"`: no value is computed twice.
 * - `"cheap"`: what takes elementwise operators, reductions and copies alone.
 * - `"all but products"`: what takes neither a matrix product nor a convolution.
 * - `{ saveOnly }`: all but what is named: names given by `checkpointName`, and operators such as `"matmul"`, by the names
 *   that the memory report and `graph()` show.
 *
 * What an operator computes includes what is fused to it: `"matmul"` keeps a product with the bias and the activation that
 * it ends in, if only these reach memory, and then no product is computed twice.
 */
export type RecomputePolicy =
  | "nothing"
  | "cheap"
  | "all but products"
  | {
      /** Names and operators whose values are kept. Empty: everything is computed again. */
      readonly saveOnly: readonly string[];
    };

const POLICIES = ["nothing", "cheap", "all but products"] as const;

/**
 * What TypeScript has checked already, for callers without it.
 * @throws ArgumentError where `policy` is none
 */
export function expectPolicy(op: string, policy: RecomputePolicy): void {
  const known: readonly unknown[] = POLICIES;
  if (known.includes(policy)) return;
  const saved = (policy as { saveOnly?: unknown } | null)?.saveOnly;
  if (Array.isArray(saved) && saved.every((name) => typeof name === "string")) return;
  throw new ArgumentError(
    `${op}: what to compute again is ${POLICIES.map((name) => JSON.stringify(name)).join(", ")} or { saveOnly: [names] }, not ${JSON.stringify(policy)}`,
  );
}
