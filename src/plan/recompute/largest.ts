/** The order in which values are computed again that are needed together. */
import type { Value } from "./model.js";

/** Where values lead to more that are not in memory, the order is not worked out. */
export const MOST_SOURCES = 256;

/**
 * Of values that are not in memory, the one that takes most to compute again beyond what it takes itself. It comes first, so
 * that the others do not wait beside what it is computed from (Sethi and Ullman, "The Generation of Optimal Code for
 * Arithmetic Expressions", 1970, who count registers).
 * @param isThere whether a value is in memory
 */
export function largest(missing: readonly number[], values: readonly Value[], isThere: (v: number) => boolean): number {
  const sources = new Set(missing);
  for (const v of sources) {
    if (sources.size > MOST_SOURCES) return missing[0] as number;
    for (const x of (values[v] as Value).inputs) if (!isThere(x)) sources.add(x);
  }
  const beyond = new Map<number, number>();
  const byBeyond = (a: number, b: number): number => (beyond.get(b) as number) - (beyond.get(a) as number);
  for (const v of [...sources].sort((a, b) => a - b)) {
    const { inputs, bytes, workspace } = values[v] as Value;
    let [held, most] = [0, 0];
    for (const x of inputs.filter((input) => !isThere(input)).sort(byBeyond)) {
      held += (values[x] as Value).bytes;
      most = Math.max(most, held + (beyond.get(x) as number));
    }
    beyond.set(v, Math.max(most - bytes, held + workspace));
  }
  return [...missing].sort(byBeyond)[0] as number;
}
