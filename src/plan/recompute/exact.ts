/**
 * The least that a small program must compute again: a shortest path over what has run and what is in memory.
 *
 * The search is A* (Hart, Nilsson and Raphael 1968). What a state cannot come by for less is known well: everything that
 * is gone and waited for has to be computed again at least once, and what that takes if it is gone as well. So a path
 * costs more only as it gives something up, and states where the wrong values went are left behind early.
 */

import type { Host, Model, Value, Work } from "./model.js";
import type { Action, Route } from "./route.js";

/** Values of a program that is small: sets of them are bits of one number. */
const MAX_VALUES = 30;
/** States that are looked at: for one way to each, and for each of several; and ways to the end. */
const MAX_STATES = 4000;
const STATES_A_WAY = 2500;
const MAX_ROUTES = 40;
/**
 * Shares of the budget within which the cheapest route is looked for whose program fits, placed; and of how many ways to
 * each state, where the first cannot be placed: in another order, it may.
 */
const TRIES: readonly (readonly [share: number, ways: number])[] = [
  [1, 8],
  [31 / 32, 8],
  [30 / 32, 8],
  [29 / 32, 8],
  [1, 64],
];
/** Of the values that a unit can leave for later, so many are chosen from. */
const MAX_CHOICES = 4;

/** A program under way. Sets of values are bits, the lowest for value 0. */
interface State {
  /** The unit that runs next. */
  readonly unit: number;
  readonly there: number;
  /** Values that their units have left for later, and nothing has computed yet. */
  readonly left: number;
  readonly cost: number;
  /** The cost, and what it takes at least to get back what is waited for. */
  readonly least: number;
  readonly peakBytes: number;
  readonly from: State | null;
  /** What was done last; null if that was giving something up. */
  readonly action: Action | null;
  /** Names all that was done but for giving up, which is no part of a route. */
  readonly history: number;
}

/** States by rising least cost, and of those the ones that have come furthest. */
class Queue {
  private readonly heap: State[] = [];

  private static isBefore(a: State, b: State): boolean {
    return a.least < b.least || (a.least === b.least && (a.unit > b.unit || (a.unit === b.unit && a.cost > b.cost)));
  }

  push(state: State): void {
    const { heap } = this;
    let at = heap.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!Queue.isBefore(state, heap[parent] as State)) break;
      heap[at] = heap[parent] as State;
      at = parent;
    }
    heap[at] = state;
  }

  pop(): State | undefined {
    const { heap } = this;
    const [first] = heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && Queue.isBefore(heap[child + 1] as State, heap[child] as State)) child++;
      if (!Queue.isBefore(heap[child] as State, last)) break;
      heap[at] = heap[child] as State;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function setOf(values: readonly number[]): number {
  return values.reduce((set, v) => set | (1 << v), 0);
}

/** What a host reads, as a set, and the chains computed within it, inputs first. */
interface Need {
  readonly reads: number;
  readonly joined: readonly number[];
}

class Search {
  private readonly values: readonly Value[];
  private readonly inputs: readonly number[];
  private readonly kept: number;
  /** By unit: what has been computed before it, what it or a later one reads, and all that could be computed from. */
  private readonly ran: number[] = [0];
  private readonly awaited: number[];
  private readonly useful: number[];
  /** By unit: what is given up after it in any case. */
  private readonly dropped: number[];
  private readonly best = new Map<string, number>();
  private readonly histories = new Map<string, Set<number>>();
  private readonly queue = new Queue();

  constructor(
    private readonly model: Model,
    private readonly limit: number,
    dropAfter: ReadonlyMap<number, number>,
    private readonly ways: number,
    private readonly most: number,
  ) {
    const { values, work } = model;
    this.values = values;
    this.inputs = values.map(({ inputs }) => setOf(inputs));
    this.kept = setOf([...values.keys()].filter((v) => this.value(v).kept));
    this.awaited = new Array<number>(work.length + 1).fill(0);
    this.useful = new Array<number>(work.length + 1).fill(0);
    for (const { outputs } of work) this.ran.push((this.ran.at(-1) as number) | setOf(outputs));
    for (let unit = work.length - 1; unit >= 0; unit--) {
      this.awaited[unit] = (this.awaited[unit + 1] as number) | setOf((work[unit] as Work).inputs);
      this.useful[unit] = this.withSources((this.awaited[unit] as number) & (this.ran[unit] as number), 0);
    }
    this.dropped = work.map((_, unit) => setOf([...dropAfter].flatMap(([v, after]) => (after === unit ? [v] : []))));
  }

  run(accepts: (route: Route) => boolean): Route | null {
    this.queue.push({
      unit: 0,
      there: 0,
      left: 0,
      cost: 0,
      least: 0,
      peakBytes: 0,
      from: null,
      action: null,
      history: 0,
    });
    const refused = new Set<string>();
    for (let states = 0; states < this.most; states++) {
      const state = this.queue.pop();
      if (state === undefined) return null;
      if (state.unit < this.model.work.length) {
        if (this.isNew(state)) this.expand(state);
        continue;
      }
      const route = routeTo(state);
      const key = JSON.stringify(route.actions);
      if (refused.has(key)) continue;
      if (accepts(route)) return route;
      if (refused.add(key).size === MAX_ROUTES) return null;
    }
    return null;
  }

  /** Whether a state is among the cheapest, and was not reached in the same way before. */
  private isNew(state: State): boolean {
    const key = keyOf(state);
    if (this.ways === 1) return state.cost <= (this.best.get(key) ?? 0);
    const histories = this.histories.get(key) ?? new Set();
    if (histories.size === this.ways || histories.has(state.history)) return false;
    this.histories.set(key, histories.add(state.history));
    return true;
  }

  private value(v: number): Value {
    return this.values[v] as Value;
  }

  private bytesOf(set: number): number {
    let bytes = 0;
    for (let rest = set; rest !== 0; rest &= rest - 1) bytes += this.value(lowest(rest)).bytes;
    return bytes;
  }

  /** Some values, and what they are computed from as far as it is not there. */
  private withSources(wanted: number, there: number): number {
    let all = wanted;
    // Values are numbered in the order of their units: what they are computed from comes before.
    for (let v = this.values.length - 1; v >= 0; v--) if ((all >> v) & 1) all |= (this.inputs[v] as number) & ~there;
    return all;
  }

  /** What is gone and has to be computed again. */
  private claimed(unit: number, there: number): number {
    return this.withSources((this.awaited[unit] as number) & (this.ran[unit] as number) & ~there, there);
  }

  /** Takes down a state, unless it was reached for less. */
  private reach(
    from: State,
    unit: number,
    there: number,
    left: number,
    paid: number,
    alive: number,
    action: Action | null,
  ): void {
    const held = there & ((this.useful[unit] as number) | this.kept);
    const cost = from.cost + paid;
    let least = cost;
    for (let rest = this.claimed(unit, held); rest !== 0; rest &= rest - 1) {
      const v = lowest(rest);
      least += this.costOf(v, Math.min(this.value(v).cost, this.joinedCost(v)), left);
    }
    const peakBytes = Math.max(from.peakBytes, alive);
    const history = action === null ? from.history : historyOf(from.history, action);
    const state = { unit, there: held, left, cost, least, peakBytes, from, action, history };
    // Of the ways to the end more than one is wanted: some can be placed and others not.
    if (this.ways === 1 && unit < this.model.work.length) {
      const key = keyOf(state);
      if (cost >= (this.best.get(key) ?? Number.POSITIVE_INFINITY)) return;
      this.best.set(key, cost);
    }
    this.queue.push(state);
  }

  private joinedCost(v: number): number {
    const { cost, bytes, flops } = this.value(v);
    return Math.max(flops, cost - 2 * bytes);
  }

  private costOf(v: number, cost: number, left: number): number {
    return (left >> v) & 1 ? Math.max(0, cost - this.value(v).ownCost) : cost;
  }

  /** What a host reads before `unit` runs and what is computed within it; null where something else is missing. */
  private need(unit: number, host: Host, own: number, there: number): Need | null {
    let reads = 0;
    let within = own;
    const joined: number[] = [];
    const visit = ({ inputs, joins }: Host): boolean =>
      inputs.every((x) => {
        if ((within >> x) & 1) return true;
        if ((there >> x) & 1) {
          reads |= 1 << x;
          return true;
        }
        if (!joins.includes(x) || unit > this.value(x).until || !visit(this.value(x))) return false;
        within |= 1 << x;
        joined.push(x);
        return true;
      });
    return visit(host) ? { reads, joined } : null;
  }

  private expand(state: State): void {
    const { unit, there, left } = state;
    const live = this.model.argumentBytes + this.bytesOf(there);
    this.runUnit(state, live);
    for (let rest = this.claimed(unit, there); rest !== 0; rest &= rest - 1)
      this.computeAgain(state, lowest(rest), live);
    for (let rest = there & ~this.kept; rest !== 0; rest &= rest - 1) {
      this.reach(state, unit, there & ~(rest & -rest), left, 0, 0, null);
    }
  }

  private runUnit(state: State, live: number): void {
    const { unit, there, left } = state;
    const work = this.model.work[unit] as Work;
    const need = this.need(unit, work, 0, there);
    if (need === null) return;
    const { joined } = need;
    const paid = joined.reduce((sum, v) => sum + this.costOf(v, this.joinedCost(v), left), 0);
    const chains = work.outputs.filter((v) => this.value(v).elementwise && !this.value(v).kept);
    const some = chains.length === work.outputs.length ? chains.slice(1) : chains;
    for (const deferred of subsets(some)) {
      if (joined.length + deferred.length > 0 && !this.model.fits([work], joined, deferred)) continue;
      const outputs = work.outputs.filter((v) => !deferred.includes(v));
      for (const taken of this.takenOver(outputs, need.reads)) {
        const alive = live + this.bytesOf(setOf(outputs)) - this.bytesOf(taken) + work.workspace;
        if (alive > this.limit) continue;
        const after = (there & ~taken) | setOf(outputs);
        const still = (left & ~setOf(joined)) | setOf(deferred);
        this.reach(state, unit + 1, after & ~(this.dropped[unit] as number), still, paid, alive, {
          unit,
          joined,
          deferred,
        });
      }
    }
  }

  private computeAgain(state: State, v: number, live: number): void {
    const { unit, there, left } = state;
    const value = this.value(v);
    const need = unit > value.until ? null : this.need(unit, value, 1 << v, there);
    if (need === null) return;
    const { joined } = need;
    if (joined.length > 0 && !this.model.fits([value], joined, [])) return;
    const inner = joined.reduce((sum, x) => sum + this.costOf(x, this.joinedCost(x), left), 0);
    for (const taken of this.takenOver([v], need.reads)) {
      const alive = live + value.bytes - this.bytesOf(taken) + value.workspace;
      if (alive > this.limit) continue;
      const still = left & ~setOf([v, ...joined]);
      const action = { again: [v], joined, gaps: [] };
      this.reach(
        state,
        unit,
        (there & ~taken) | (1 << v),
        still,
        inner + this.costOf(v, value.cost, left),
        alive,
        action,
      );
    }
  }

  /** The sets of values that outputs may be written over, which ends their lives. */
  private takenOver(outputs: readonly number[], reads: number): readonly number[] {
    let sets = [0];
    for (const v of outputs) {
      const found = this.value(v).reuses.filter((x) => ((reads & ~this.kept) >> x) & 1);
      const over = (set: number): number[] => found.map((x) => set | (1 << x)).filter((other) => other !== set);
      sets = [...new Set([...sets, ...sets.flatMap(over)])];
    }
    return sets;
  }
}

function lowest(set: number): number {
  return 31 - Math.clz32(set & -set);
}

function subsets(values: readonly number[]): readonly (readonly number[])[] {
  const count = 2 ** Math.min(values.length, MAX_CHOICES);
  return Array.from({ length: count }, (_, set) => values.filter((_, i) => (set >> i) & 1));
}

/** Adds an action to the name of what was done before it (Fowler, Noll and Vo's hash). */
function historyOf(before: number, action: Action): number {
  const done = "again" in action ? [-1, setOf(action.again)] : [action.unit, setOf(action.deferred)];
  return [...done, setOf(action.joined)].reduce((hash, part) => Math.imul(hash ^ part, 16777619), before);
}

function keyOf({ unit, there, left }: State): string {
  return `${unit} ${there} ${left}`;
}

function routeTo(end: State): Route {
  const actions: Action[] = [];
  for (let at: State | null = end; at !== null; at = at.from) if (at.action !== null) actions.push(at.action);
  return {
    actions: actions.reverse(),
    cost: end.cost,
    peakBytes: end.peakBytes,
    given: { last: new Int32Array(0), gaps: new Set(), stayed: new Set() },
  };
}

/**
 * Finds the cheapest route of a small program.
 * @param budget bytes that may be alive at once
 * @param dropAfter values that are given up in any case, and the unit after which
 * @param accepts whether a route will do; if not, the next one is looked for
 * @returns null where there is none, where the program is not small, or where looking takes too long
 */
export function cheapest(
  model: Model,
  budget: number,
  dropAfter: ReadonlyMap<number, number>,
  accepts: (route: Route) => boolean,
): Route | null {
  if (model.values.length > MAX_VALUES) return null;
  let fits = true;
  for (const [share, ways] of TRIES) {
    if (!fits && share < 1) continue;
    const first = new Search(model, share * budget, dropAfter, 1, MAX_STATES).run(() => true);
    // What does not fit, or is not found, does not fit into less.
    if (first === null && share === 1) return null;
    fits = first !== null;
    if (first === null) continue;
    if (accepts(first)) return first;
    const other = new Search(model, share * budget, dropAfter, ways, STATES_A_WAY * ways).run(accepts);
    if (other !== null) return other;
  }
  return null;
}
