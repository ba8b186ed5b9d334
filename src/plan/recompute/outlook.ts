/** What a walk chooses by: when each value is needed next, and what it would cost to compute it again. */
import { Bits } from "./bits.js";
import type { Columns } from "./columns.js";

/** The parts of a walk's state on which that depends, by value: see {@link Residency}. */
export interface State {
  readonly resident: Uint8Array;
  readonly ran: Uint8Array;
  readonly nextUse: Int32Array;
  readonly claims: Uint8Array;
}

/**
 * An outlook on the rest of a walk, for the values whose units have run. A change to one value is a change to few others:
 * these are marked, and worked out anew before somebody looks. (Working out all of them at each look took a third of a walk.)
 */
export class Outlook {
  /** By value: the unit that needs it next, by itself or for computing another one again; Infinity for none. */
  readonly needed: Float64Array;
  /** By value: what computing it again costs, with all that is not in memory on the way. */
  readonly again: Float64Array;
  /** By value: what giving it up is worth at this moment, for a walk to put in; NaN where that may have changed. */
  readonly worth: Float64Array;
  /** Values of which the one or the other is to be worked out. */
  private readonly unsure: Bits;
  private readonly unpriced: Bits;

  constructor(
    private readonly columns: Columns,
    private readonly state: State,
  ) {
    const count = state.ran.length;
    this.needed = new Float64Array(count);
    this.again = new Float64Array(count);
    this.worth = new Float64Array(count).fill(Number.NaN);
    this.unsure = new Bits(count);
    this.unpriced = new Bits(count);
  }

  /** Notes that a value is looked at from now on. */
  add(v: number): void {
    this.unsure.add(v);
    this.unpriced.add(v);
  }

  /** Notes that other things may wait for a value than before. */
  wait(v: number): void {
    this.unsure.add(v);
  }

  /** Notes that a value came into memory or left it, so that others cost less or more. */
  move(v: number): void {
    const { dependents, dependentsFrom } = this.columns;
    const { ran } = this.state;
    const last = dependentsFrom[v + 1] as number;
    for (let i = dependentsFrom[v] as number; i < last; i++) {
      const user = dependents[i] as number;
      if (ran[user] === 1) this.unpriced.add(user);
    }
  }

  /** Works out what has changed. Values come after what they are computed from. */
  update(): void {
    const { unsure, unpriced, needed, again, worth } = this;
    const { inputs, inputsFrom } = this.columns;
    const { resident, claims } = this.state;
    for (let v = unpriced.from(0); v !== -1; v = unpriced.from(v + 1)) {
      unpriced.delete(v);
      worth[v] = Number.NaN;
      const cost = this.costOf(v);
      if (cost === again[v]) continue;
      again[v] = cost;
      if (resident[v] === 0) this.move(v);
    }
    for (let v = unsure.upTo(needed.length - 1); v !== -1; v = unsure.upTo(v - 1)) {
      unsure.delete(v);
      worth[v] = Number.NaN;
      const time = this.timeOf(v);
      if (time === needed[v]) continue;
      needed[v] = time;
      if (claims[v] === 0) continue;
      const last = inputsFrom[v + 1] as number;
      for (let i = inputsFrom[v] as number; i < last; i++) unsure.add(inputs[i] as number);
    }
  }

  private costOf(v: number): number {
    const { inputs, inputsFrom, cost } = this.columns;
    const { again } = this;
    const { resident } = this.state;
    let sum = cost[v] as number;
    const last = inputsFrom[v + 1] as number;
    for (let i = inputsFrom[v] as number; i < last; i++) {
      const x = inputs[i] as number;
      if (resident[x] === 0) sum += again[x] as number;
    }
    return sum;
  }

  private timeOf(v: number): number {
    const { uses, usesFrom, dependents, dependentsFrom } = this.columns;
    const { needed } = this;
    const { nextUse, claims } = this.state;
    const next = (usesFrom[v] as number) + (nextUse[v] as number);
    let time = next < (usesFrom[v + 1] as number) ? (uses[next] as number) : Number.POSITIVE_INFINITY;
    const last = dependentsFrom[v + 1] as number;
    for (let i = dependentsFrom[v] as number; i < last; i++) {
      const user = dependents[i] as number;
      if (claims[user] === 1 && (needed[user] as number) < time) time = needed[user] as number;
    }
    return time;
  }
}
