/** Which values are in memory while a schedule is walked, and which of them are still waited for. */
import { Alive } from "./alive.js";
import { Bits } from "./bits.js";
import { type Columns, columnsOf } from "./columns.js";
import type { Model, Value } from "./model.js";
import { Outlook } from "./outlook.js";
import { type Action, type Choices, type Given, gapOf } from "./route.js";

/** The values that are given up in any case, in a column. */
function dropsOf({ dropAfter }: Choices, count: number): Int32Array | null {
  if (dropAfter === undefined || dropAfter.size === 0) return null;
  const drops = new Int32Array(count).fill(-1);
  for (const [v, unit] of dropAfter) drops[v] = unit;
  return drops;
}

/** Choices with nothing left out: walks read them for every value, and objects of one shape are read faster. */
function allOf({ score, dropAfter, pinned, expected, sunk, spare, joinOften, asListed }: Choices) {
  return { score, dropAfter, pinned, expected, sunk, spare, joinOften, asListed };
}

/**
 * The values of a model at some point of a walk. What nothing waits for leaves memory by itself. A value waits for others
 * if it is to be computed from them again: it claims its inputs as soon as that is known.
 */
export class Residency {
  protected readonly values: readonly Value[];
  protected readonly choices: ReturnType<typeof allOf>;
  protected readonly columns: Columns;
  protected readonly given: Given;
  /** For each value, the unit after which it is given up in any case; -1 for none, and null for none at all. */
  protected readonly drops: Int32Array | null;
  protected readonly resident: Uint8Array;
  /** Of what is in memory, what need not stay. */
  protected readonly loose: Bits;
  /** How many of the actions under way read each value. */
  protected readonly locked: Int32Array;
  protected readonly nextUse: Int32Array;
  /** Whether the unit of each value has run, and whether that computed it. */
  protected readonly ran: Uint8Array;
  protected readonly known: Uint8Array;
  /** Whether a value will be computed again, so that it claims its inputs, and by how many each is claimed. */
  protected readonly claims: Uint8Array;
  protected readonly claimed: Int32Array;
  protected readonly outlook: Outlook;
  private readonly stack: number[] = [];
  /** What has been done so far. */
  protected readonly actions: Action[] = [];
  /** By value: how many actions were done when one had read or written it last. */
  private readonly touched: Int32Array;
  /** By unit: how many actions came before it, and the bytes that are free behind it of arguments, less those of states. */
  protected readonly before: Int32Array;
  protected readonly freed: Float64Array;
  /** Bytes that are alive at each action, and those that are now. */
  protected readonly alive = new Alive();
  protected live: number;
  /** The unit that runs. */
  protected time = 0;

  constructor(
    protected readonly model: Model,
    choices: Choices,
  ) {
    const count = model.values.length;
    this.values = model.values;
    this.choices = allOf(choices);
    this.columns = columnsOf(model);
    this.drops = dropsOf(choices, count);
    this.given = { last: new Int32Array(count).fill(-1), gaps: new Set(), stayed: new Set() };
    const [resident, ran, claims] = [new Uint8Array(count), new Uint8Array(count), new Uint8Array(count)];
    const nextUse = new Int32Array(count);
    this.resident = resident;
    this.loose = new Bits(count);
    this.locked = new Int32Array(count);
    this.nextUse = nextUse;
    this.ran = ran;
    this.known = new Uint8Array(count);
    this.claims = claims;
    this.claimed = new Int32Array(count);
    this.outlook = new Outlook(this.columns, { resident, ran, nextUse, claims });
    this.touched = new Int32Array(count);
    this.before = new Int32Array(model.work.length);
    this.freed = new Float64Array(model.work.length);
    for (const { unit, bytes } of model.passingArguments) (this.freed[unit] as number) += bytes;
    for (const { unit, bytes } of choices.expected?.stayed ?? []) (this.freed[unit] as number) -= bytes;
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
    if (expected !== undefined && (this.nextUse[v] as number) <= (expected.last[v] as number)) return true;
    const drop = this.drops === null ? -1 : (this.drops[v] as number);
    if (this.time > drop) return false;
    return (this.claimed[v] as number) > 0 || (this.value(v).uses.at(-1) ?? -1) > drop;
  }

  /** Brings into line with a change to `v` what it claims, and what nothing waits for any more. */
  protected refresh(changed: number): void {
    const { stack, resident, locked, claimed, outlook } = this;
    const { inputs, inputsFrom, kept } = this.columns;
    stack.push(changed);
    for (let v = stack.pop(); v !== undefined; v = stack.pop()) {
      const wanted = this.isWanted(v);
      if (resident[v] === 1 && !wanted && locked[v] === 0 && kept[v] === 0) this.leave(v);
      // What is sure to go claims its inputs while it is there, or they would be gone when it is computed again.
      const claims = this.returns(v) || (resident[v] === 0 && this.ran[v] === 1 && wanted) ? 1 : 0;
      if (claims === this.claims[v]) continue;
      this.claims[v] = claims;
      for (let i = inputsFrom[v] as number; i < (inputsFrom[v + 1] as number); i++) {
        const x = inputs[i] as number;
        (claimed[x] as number) += claims === 1 ? 1 : -1;
        outlook.wait(x);
        stack.push(x);
      }
    }
  }

  /** Takes a value out of memory. */
  protected giveUp(v: number): void {
    if (this.isWanted(v)) {
      this.given.last[v] = this.nextUse[v] as number;
      this.given.gaps.add(gapOf(v, this.nextUse[v] as number));
    }
    this.leave(v);
    this.refresh(v);
  }

  /** What leaves was needless from the action on that touched it last. */
  private leave(v: number): void {
    const bytes = this.columns.bytes[v] as number;
    this.resident[v] = 0;
    this.loose.delete(v);
    this.outlook.move(v);
    this.live -= bytes;
    const [from, to] = [this.touched[v] as number, this.actions.length];
    if (from < to && this.locked[v] === 0) this.alive.correct(from, to, -bytes);
  }

  /** Keeps the states and arguments that have passed and values are computed from again. */
  protected stay(values: readonly number[]): void {
    for (const v of values) {
      for (const source of this.value(v).passing) {
        if (source.unit >= this.time || this.given.stayed.has(source)) continue;
        this.given.stayed.add(source);
        if (this.choices.expected?.stayed.has(source)) continue;
        this.live += source.bytes;
        this.alive.correct((this.before[source.unit] as number) + 1, this.actions.length, source.bytes);
      }
    }
  }

  /** Notes that the unit of a value has run. */
  protected pass(v: number): void {
    this.ran[v] = 1;
    this.outlook.add(v);
  }

  /** Brings a value into memory. */
  protected hold(v: number): void {
    this.touched[v] = this.actions.length + 1;
    this.resident[v] = 1;
    this.known[v] = 1;
    if (this.columns.kept[v] === 0) this.loose.add(v);
    this.outlook.move(v);
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
      this.touched[v] = this.actions.length;
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
    this.outlook.wait(v);
    this.refresh(v);
  }
}
