/** Which values are in memory while a schedule is walked, and which of them are still waited for. */
import { type Columns, columnsOf } from "./columns.js";
import type { Model, Value } from "./model.js";
import type { Choices, Given } from "./route.js";

/** The values that are given up in any case, in a column. */
function dropsOf({ dropAfter }: Choices, count: number): Int32Array | null {
  if (dropAfter === undefined || dropAfter.size === 0) return null;
  const drops = new Int32Array(count).fill(-1);
  for (const [v, unit] of dropAfter) drops[v] = unit;
  return drops;
}

/**
 * The values of a model at some point of a walk. What nothing waits for leaves memory by itself. A value waits for others
 * if it is to be computed from them again: it claims its inputs as soon as that is known.
 */
export class Residency {
  protected readonly values: readonly Value[];
  protected readonly columns: Columns;
  protected readonly given: Given;
  /** For each value, the unit after which it is given up in any case; -1 for none, and null for none at all. */
  protected readonly drops: Int32Array | null;
  protected readonly resident: Uint8Array;
  /** How many of the actions under way read each value. */
  protected readonly locked: Int32Array;
  protected readonly nextUse: Int32Array;
  /** Whether the unit of each value has run, and whether that computed it. */
  protected readonly ran: Uint8Array;
  protected readonly known: Uint8Array;
  /** Whether a value will be computed again, so that it claims its inputs, and by how many each is claimed. */
  protected readonly claims: Uint8Array;
  protected readonly claimed: Int32Array;
  private readonly stack: number[] = [];
  /** Bytes that are alive. */
  protected live: number;
  /** The unit that runs. */
  protected time = 0;

  constructor(
    protected readonly model: Model,
    protected readonly choices: Choices,
  ) {
    const count = model.values.length;
    this.values = model.values;
    this.columns = columnsOf(model);
    this.drops = dropsOf(choices, count);
    this.given = new Int32Array(count).fill(-1);
    this.resident = new Uint8Array(count);
    this.locked = new Int32Array(count);
    this.nextUse = new Int32Array(count);
    this.ran = new Uint8Array(count);
    this.known = new Uint8Array(count);
    this.claims = new Uint8Array(count);
    this.claimed = new Int32Array(count);
    this.live = model.argumentBytes;
  }

  protected value(v: number): Value {
    return this.values[v] as Value;
  }

  /** Whether anything waits for `v`. */
  protected isWanted(v: number): boolean {
    return this.isRead(v) || (this.claimed[v] as number) > 0;
  }

  /** Whether a unit will read `v`. */
  private isRead(v: number): boolean {
    const { usesFrom } = this.columns;
    return (usesFrom[v] as number) + (this.nextUse[v] as number) < (usesFrom[v + 1] as number);
  }

  /** Whether `v` is there, is given up soon in any case, and is wanted again after that. */
  private returns(v: number): boolean {
    if (this.resident[v] === 0) return false;
    const { expected } = this.choices;
    if (expected !== undefined && (this.nextUse[v] as number) <= (expected[v] as number)) return true;
    const drop = this.drops === null ? -1 : (this.drops[v] as number);
    if (this.time > drop) return false;
    return (this.claimed[v] as number) > 0 || (this.value(v).uses.at(-1) ?? -1) > drop;
  }

  /** Brings into line with a change to `v` what it claims, and what nothing waits for any more. */
  protected refresh(changed: number): void {
    const { stack, resident, locked, claimed } = this;
    const { inputs, inputsFrom, kept, bytes } = this.columns;
    stack.push(changed);
    for (let v = stack.pop(); v !== undefined; v = stack.pop()) {
      const wanted = this.isWanted(v);
      if (resident[v] === 1 && !wanted && locked[v] === 0 && kept[v] === 0) {
        resident[v] = 0;
        this.live -= bytes[v] as number;
      }
      // What is sure to go claims its inputs while it is there, or they would be gone when it is computed again.
      const claims = this.returns(v) || (resident[v] === 0 && this.ran[v] === 1 && wanted) ? 1 : 0;
      if (claims === this.claims[v]) continue;
      this.claims[v] = claims;
      for (let i = inputsFrom[v] as number; i < (inputsFrom[v + 1] as number); i++) {
        const x = inputs[i] as number;
        (claimed[x] as number) += claims === 1 ? 1 : -1;
        stack.push(x);
      }
    }
  }

  /** Takes a value out of memory. */
  protected giveUp(v: number): void {
    if (this.isWanted(v)) this.given[v] = this.nextUse[v] as number;
    this.resident[v] = 0;
    this.live -= this.value(v).bytes;
    this.refresh(v);
  }

  /** Brings a value into memory. */
  protected hold(v: number): void {
    this.resident[v] = 1;
    this.ran[v] = 1;
    this.known[v] = 1;
    this.live += this.value(v).bytes;
    this.refresh(v);
  }

  /** Keeps values from being given up until they are unlocked. */
  protected lock(values: readonly number[]): void {
    for (const v of values) (this.locked[v] as number)++;
  }

  protected unlock(values: readonly number[]): void {
    for (const v of values) {
      (this.locked[v] as number)--;
      this.refresh(v);
    }
  }

  /** Moves past the uses up to and including the current unit. */
  protected advance(v: number): void {
    const { uses, usesFrom } = this.columns;
    const from = usesFrom[v] as number;
    let next = from + (this.nextUse[v] as number);
    while (next < (usesFrom[v + 1] as number) && (uses[next] as number) <= this.time) next++;
    this.nextUse[v] = next - from;
    this.refresh(v);
  }
}
