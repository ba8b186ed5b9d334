/**
 * Recomputation: gives up values between their uses and computes them again, so that a program fits its memory.
 *
 * The schedule is walked once with a limit on the bytes alive. Where it is exceeded, the value with the best score is
 * given up: as in dynamic tensor rematerialization (Kirisame et al., ICLR 2021), but with the future known.
 */
import type { Node } from "../graph/tensor.js";
import { isLeaf } from "../graph/walk.js";
import { copyOf } from "./copy.js";
import type { Unit } from "./fuse.js";
import type { Model, Value } from "./recompute-model.js";

/** One thing that the program does: a unit of the schedule, or a value computed again. */
export type Action = { readonly unit: number } | { readonly again: number };

/** A way through the schedule. */
export interface Route {
  readonly actions: readonly Action[];
  /** What computing again costs, as {@link Value.cost}. */
  readonly cost: number;
  readonly flops: number;
  readonly peakBytes: number;
}

/** Where no way was found. */
export interface DeadEnd {
  /** The unit that needs more than there is. */
  readonly unit: number;
  /** Bytes that would have to be alive there. */
  readonly bytes: number;
}

/** How much giving up a value is worth: its bytes, what it costs to get it back, and how long it is not needed. */
export type Score = (bytes: number, cost: number, distance: number) => number;

/** No single score is best on every graph. */
export const SCORES: readonly Score[] = [
  (bytes, cost) => bytes / cost,
  (bytes, cost, distance) => (bytes * distance) / cost,
  (bytes, cost, distance) => (bytes * Math.sqrt(distance)) / cost,
  (bytes, cost, distance) => (Math.sqrt(bytes) * distance) / cost,
  (bytes, cost, distance) => (bytes * bytes * distance) / cost,
  (bytes, _, distance) => bytes * distance,
];

/** A route that computes more than this many times the program's own cost again is given up. */
const MOST_COST = 3;

class Walk {
  private readonly resident: Uint8Array;
  private readonly locked: Uint8Array;
  /** For each value, when it is needed next: by a unit, or for computing another one again. */
  private readonly needed: Float64Array;
  private readonly again: Float64Array;
  private readonly nextUse: Int32Array;
  private readonly actions: Action[] = [];
  private live: number;
  private peak = 0;
  private cost = 0;
  private flops = 0;
  private time = 0;

  constructor(
    private readonly model: Model,
    private readonly limit: number,
    private readonly score: Score,
    private readonly dropAfter: ReadonlyMap<number, number>,
    private readonly pinned: ReadonlySet<number>,
  ) {
    const count = model.values.length;
    this.resident = new Uint8Array(count);
    this.locked = new Uint8Array(count);
    this.needed = new Float64Array(count);
    this.again = new Float64Array(count);
    this.nextUse = new Int32Array(count);
    this.live = model.argumentBytes;
  }

  run(): Route | DeadEnd {
    const { model } = this;
    for (let unit = 0; unit < model.units.length; unit++) {
      this.time = unit;
      const failed = this.execute(unit);
      if (failed !== null) return failed;
      if (this.cost > MOST_COST * model.cost) return { unit, bytes: this.live };
    }
    return { actions: this.actions, cost: this.cost, flops: this.flops, peakBytes: this.peak };
  }

  private value(v: number): Value {
    return this.model.values[v] as Value;
  }

  private execute(unit: number): DeadEnd | null {
    const { inputs, outputs, workspace } = this.model.work[unit] as Model["work"][number];
    for (const v of inputs) {
      const failed = this.fetch(v, inputs);
      if (failed !== null) return failed;
    }
    for (const v of inputs) this.advance(v, unit);
    this.lock(inputs, 1);
    this.look();
    // An output may be written over an input that dies here.
    const takenOver = new Set<number>();
    let bytes = workspace;
    for (const v of outputs) {
      const { reuses } = this.value(v);
      const free = reuses >= 0 && this.resident[reuses] === 1 && this.needed[reuses] === Number.POSITIVE_INFINITY;
      if (free && !takenOver.has(reuses)) takenOver.add(reuses);
      else bytes += this.value(v).bytes;
    }
    const failed = this.makeRoom(bytes);
    this.lock(inputs, 0);
    if (failed !== null) return failed;
    for (const v of outputs) this.hold(v);
    this.live -= [...takenOver].reduce((sum, v) => sum + this.value(v).bytes, 0);
    for (const v of takenOver) this.resident[v] = 0;
    this.actions.push({ unit });
    for (const v of [...inputs, ...outputs]) {
      if (this.dropAfter.get(v) === unit && this.resident[v] === 1) this.release(v);
    }
    this.look();
    for (let v = 0; v < this.resident.length; v++) {
      if (this.resident[v] === 1 && this.needed[v] === Number.POSITIVE_INFINITY && !this.value(v).kept) this.release(v);
    }
    return null;
  }

  private lock(values: readonly number[], change: 0 | 1): void {
    for (const v of values) this.locked[v] = change;
  }

  /** Moves past the uses up to and including `unit`. */
  private advance(v: number, unit: number): void {
    const { uses } = this.value(v);
    let next = this.nextUse[v] as number;
    while (next < uses.length && (uses[next] as number) <= unit) next++;
    this.nextUse[v] = next;
  }

  private hold(v: number): void {
    this.resident[v] = 1;
    this.live += this.value(v).bytes;
  }

  private release(v: number): void {
    this.resident[v] = 0;
    this.live -= this.value(v).bytes;
  }

  /** Works out anew when each value is needed, and what it would cost to compute it again. */
  private look(): void {
    const { values } = this.model;
    const { needed, again, resident, nextUse } = this;
    for (let v = 0; v < values.length; v++) {
      const { uses, cost, inputs } = values[v] as Value;
      needed[v] = uses[nextUse[v] as number] ?? Number.POSITIVE_INFINITY;
      let sum = cost;
      for (const x of inputs) if (resident[x] === 0) sum += again[x] as number;
      again[v] = sum;
    }
    for (let v = values.length - 1; v >= 0; v--) {
      const { unit, inputs } = values[v] as Value;
      if (resident[v] === 1 || unit >= this.time || needed[v] === Number.POSITIVE_INFINITY) continue;
      for (const x of inputs) needed[x] = Math.min(needed[x] as number, needed[v] as number);
    }
  }

  /** Gives values up until so many bytes more may be alive. */
  private makeRoom(bytes: number): DeadEnd | null {
    const { values } = this.model;
    while (this.live + bytes > this.limit) {
      let best = -1;
      let most = 0;
      for (let v = 0; v < values.length; v++) {
        const { kept, bytes: size } = values[v] as Value;
        if (this.resident[v] === 0 || this.locked[v] === 1 || kept || this.pinned.has(v)) continue;
        const distance = (this.needed[v] as number) - this.time;
        const score = this.score(size, this.again[v] as number, Math.min(distance, values.length));
        if (score > most) [best, most] = [v, score];
      }
      if (best === -1) return { unit: this.time, bytes: this.live + bytes };
      this.release(best);
      this.look();
    }
    this.peak = Math.max(this.peak, this.live + bytes);
    return null;
  }

  /** Makes a value resident; `locked` values are not given up for it. */
  private fetch(v: number, locked: readonly number[]): DeadEnd | null {
    if (this.resident[v] === 1) return null;
    const { inputs, bytes, cost, flops, unit } = this.value(v);
    const together = [...locked, ...inputs];
    for (const x of inputs) {
      const failed = this.fetch(x, together);
      if (failed !== null) return failed;
    }
    const before = together.map((x) => this.locked[x] as number);
    this.lock(together, 1);
    this.look();
    const failed = this.makeRoom(bytes + (this.model.work[unit] as Model["work"][number]).workspace);
    together.forEach((x, i) => {
      this.locked[x] = before[i] as number;
    });
    if (failed !== null) return failed;
    this.hold(v);
    this.actions.push({ again: v });
    this.cost += cost;
    this.flops += flops;
    return null;
  }
}

/**
 * Walks a schedule within a limit.
 * @param limit bytes that may be alive at once
 * @param dropAfter values that are given up in any case, and the unit after which
 * @param pinned values that are not given up for room
 */
export function route(
  model: Model,
  limit: number,
  score: Score,
  dropAfter: ReadonlyMap<number, number> = new Map(),
  pinned: ReadonlySet<number> = new Set(),
): Route | DeadEnd {
  return new Walk(model, limit, score, dropAfter, pinned).run();
}

/** Whether a way was found. */
export function isRoute(found: Route | DeadEnd): found is Route {
  return "actions" in found;
}

/** A schedule in which some values are computed again, and what stands for a node of the old one at its end. */
export interface Rebuilt {
  readonly units: readonly Unit[];
  resolve(node: Node): Node;
  /** The original of each value that is computed again. */
  readonly originals: ReadonlyMap<Node, Node>;
  /** All nodes that are computed again. */
  readonly copies: ReadonlySet<Node>;
}

/** Turns a route into units. Nodes that read a value computed again are made anew, on the copy. */
export function rebuild({ units, values }: Model, { actions }: Route): Rebuilt {
  const out: Unit[] = [];
  const current = new Map<Node, Node>();
  const unitOf = new Map(units.flatMap((unit) => unit.nodes.map((node) => [node, unit] as const)));
  const emitted = new Set<Unit>();
  const originals = new Map<Node, Node>();
  const copies = new Set<Node>();
  const viewed = new Map<Node, Map<Node, Node>>();
  const isView = (node: Node): boolean => !isLeaf(node) && node.primitive.lowering.kind === "view";

  const resolve = (node: Node): Node => {
    const known = current.get(node);
    if (!isView(node)) return known ?? node;
    const [input] = node.inputs as [Node];
    const source = resolve(input);
    const views = viewed.get(node) ?? new Map<Node, Node>();
    viewed.set(node, views);
    const done = views.get(source);
    if (done !== undefined) return done;
    const view = source === input ? node : copyOf(node, [source]);
    views.set(source, view);
    out.push({ nodes: [view], head: null });
    return view;
  };
  /** Emits copies of `nodes`; of the originals where nothing that they read has changed, unless `fresh`. */
  const emit = (nodes: readonly Node[], head: Node | null, fresh: boolean): Map<Node, Node> => {
    const made = new Map<Node, Node>();
    for (const node of nodes) {
      const inputs = node.inputs.map((x) => made.get(x) ?? resolve(x));
      made.set(node, !fresh && inputs.every((x, i) => x === node.inputs[i]) ? node : copyOf(node, inputs));
    }
    out.push({ nodes: [...made.values()], head: head === null ? null : (made.get(head) ?? null) });
    return made;
  };

  for (const unit of units) if (isLeaf(unit.nodes[0] as Node)) out.push(unit);
  for (const action of actions) {
    if ("again" in action) {
      const { node, clone } = values[action.again] as Value;
      if (isView(node)) {
        viewed.get(node)?.clear();
        continue;
      }
      const { head } = unitOf.get(node) as Unit;
      const made = emit(clone, head, true);
      for (const each of made.values()) copies.add(each);
      const copy = made.get(node) as Node;
      current.set(node, copy);
      originals.set(copy, node);
      continue;
    }
    const unit = units[action.unit] as Unit;
    const [first] = unit.nodes as [Node];
    if (isLeaf(first) || isView(first) || emitted.has(unit)) continue;
    emitted.add(unit);
    for (const [node, made] of emit(unit.nodes, unit.head, false)) current.set(node, made);
  }
  return { units: out, resolve, originals, copies };
}
