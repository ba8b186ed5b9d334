/** Ways through a schedule that compute values again: what they do and cost, and by what they are chosen. */
import type { Passing } from "./model.js";
import type { Spare } from "./stages.js";

/** One thing that the program does: a unit of the schedule, or values of one unit computed again together. */
export type Action =
  | { readonly unit: number; readonly joined: readonly number[]; readonly deferred: readonly number[] }
  | { readonly again: readonly number[]; readonly joined: readonly number[]; readonly gaps: readonly number[] };

/** A way through the schedule. */
export interface Route {
  readonly actions: readonly Action[];
  /** What computing again costs, as {@link Value.cost}. */
  readonly cost: number;
  readonly peakBytes: number;
  readonly given: Given;
}

/** Where no way was found. */
export interface DeadEnd {
  /** The unit that needs more than there is. */
  readonly unit: number;
  /** Bytes that would have to be alive there. */
  readonly bytes: number;
  readonly given: Given;
}

/** What was given up. */
export interface Given {
  /** By value: the last of its uses before which it was; -1 for none. */
  readonly last: Int32Array;
  /** The stretches at whose ends values were not there: see {@link gapOf}. */
  readonly gaps: Set<number>;
  /** The states and arguments that were read after they would have passed. */
  readonly stayed: Set<Passing>;
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

/** How a walk chooses. */
export interface Choices {
  readonly score: Score;
  /** Values that are given up in any case, and the unit after which. */
  readonly dropAfter?: ReadonlyMap<number, number>;
  /** Stretches between two uses of a value over which it is not given up for room: see {@link gapOf}. */
  readonly pinned?: ReadonlySet<number>;
  /** What will be given up in any case, so that it claims its inputs from the start. */
  readonly expected?: Given;
  /** Stretches over which values go in any case, if memory is short within them: so before others. */
  readonly sunk?: ReadonlySet<number>;
  /** Values that are given up before others. */
  readonly spare?: Spare | undefined;
  /** A route that costs more is given up. */
  readonly dearest?: number;
  /** Whether a chain is computed within another even where it is needed once more later. */
  readonly joinOften?: boolean;
  /** Whether values are computed again in the order in which they are read, and not the largest first. */
  readonly asListed?: boolean;
}

const MAX_USES = 2 ** 20;

/** Names the stretch of a value's life before its use number `use`. */
export function gapOf(value: number, use: number): number {
  return value * MAX_USES + use;
}

/** Whether one way costs less than another, or comes further where there is none. */
export function isBetter(a: Route | DeadEnd, b: Route | DeadEnd): boolean {
  if (!isRoute(a)) return !isRoute(b) && a.unit > b.unit;
  return !isRoute(b) || a.cost < b.cost;
}

/** Whether a way was found. */
export function isRoute(found: Route | DeadEnd): found is Route {
  return "actions" in found;
}
