/** The order in which values are computed again that are needed together. */
import { Bits } from "./bits.js";
import type { Columns } from "./columns.js";

/** Where values lead to more that are not in memory, the order is not worked out. */
export const MOST_SOURCES = 256;

/** Chooses among values that are not in memory, at any point of a walk. */
export class Largest {
  /** What is computed on the way to them. */
  private readonly sources: Bits;
  /** By value: the most bytes at once that computing it again takes beyond its own. */
  private readonly beyond: Float64Array;

  /** The inputs of the one that is looked at, the largest first. */
  private readonly order: Int32Array;

  /** @param resident by value, whether it is in memory */
  constructor(
    private readonly columns: Columns,
    private readonly resident: Uint8Array,
  ) {
    this.sources = new Bits(resident.length);
    this.beyond = new Float64Array(resident.length);
    this.order = new Int32Array(resident.length);
  }

  /**
   * Of values that are not in memory, the one that takes most to compute again beyond what it takes itself. It comes first,
   * so that the others do not wait beside what it is computed from (Sethi and Ullman, "The Generation of Optimal Code for
   * Arithmetic Expressions", 1970, who count registers).
   */
  of(missing: readonly number[]): number {
    const { sources, beyond } = this;
    let best = missing[0] as number;
    const isMany = !this.gather(missing);
    // Values come after what they are computed from.
    for (let v = sources.from(0); v !== -1; v = sources.from(v + 1)) {
      sources.delete(v);
      if (!isMany) beyond[v] = this.beyondOf(v);
    }
    if (isMany) return best;
    for (const v of missing) if ((beyond[v] as number) > (beyond[best] as number)) best = v;
    return best;
  }

  /** Collects what some values are computed from, as far as it is not in memory; whether it is not too much. */
  private gather(missing: readonly number[]): boolean {
    const { sources, resident } = this;
    const { inputs, inputsFrom } = this.columns;
    const all = [...missing];
    for (const v of missing) sources.add(v);
    for (let i = 0; i < all.length; i++) {
      if (all.length > MOST_SOURCES) return false;
      const v = all[i] as number;
      const last = inputsFrom[v + 1] as number;
      for (let k = inputsFrom[v] as number; k < last; k++) {
        const x = inputs[k] as number;
        if (resident[x] === 1 || sources.has(x)) continue;
        sources.add(x);
        all.push(x);
      }
    }
    return true;
  }

  private beyondOf(v: number): number {
    const { beyond, resident } = this;
    const { inputs, inputsFrom, bytes, workspace } = this.columns;
    const { order } = this;
    let count = 0;
    const last = inputsFrom[v + 1] as number;
    for (let i = inputsFrom[v] as number; i < last; i++) {
      const x = inputs[i] as number;
      if (resident[x] === 1) continue;
      let at = count++;
      for (; at > 0 && (beyond[order[at - 1] as number] as number) < (beyond[x] as number); at--) {
        order[at] = order[at - 1] as number;
      }
      order[at] = x;
    }
    let [held, most] = [0, 0];
    for (let i = 0; i < count; i++) {
      const x = order[i] as number;
      held += bytes[x] as number;
      most = Math.max(most, held + (beyond[x] as number));
    }
    return Math.max(most - (bytes[v] as number), held + (workspace[v] as number));
  }
}
