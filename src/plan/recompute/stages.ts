/**
 * Chains in programs: cuts the forward pass where all that crosses is new, as a residual stream or the states of a
 * recurrent network are, asks the dynamic program for chains which results to keep, and tells a walk what may go.
 */
import { type Stage, solveChain } from "./chain.js";
import type { Model, Value } from "./model.js";

/** Whether a value that is not needed before `needed` is to be given up before others, if memory is short at `time`. */
export type Spare = (value: number, time: number, needed: number) => boolean;

/** A crossing value counts if it has this share of the bytes of the largest. */
const COUNTS = 0.1;
/** Fewer stages are no chain, and for more the dynamic program takes too long: stages side by side are made one. */
const [MIN_STAGES, MAX_STAGES] = [3, 100];
/** Amounts of memory that the dynamic program tells apart. */
const AMOUNTS = 250;

/** A stage and its values: those that the backward pass reads, and those from which the next stage starts. */
interface Part extends Stage {
  readonly taped: readonly number[];
  readonly results: readonly number[];
  /** The unit at which going back through it begins. */
  readonly start: number;
}

/** The bytes alive between the units, of values that are computed in `from` or later. */
export function aliveBytes({ values, work }: Model, from: number): number[] {
  const change = new Float64Array(work.length + 1);
  for (const { unit, uses, bytes } of values) {
    if (unit < from) continue;
    (change[unit] as number) += bytes;
    (change[(uses.at(-1) ?? work.length - 1) + 1] as number) -= bytes;
  }
  let live = 0;
  return work.map((_, unit) => {
    live += change[unit] as number;
    return live;
  });
}

/** Parts that are each so many of them in a row. */
function joined(parts: readonly Part[], length: number): Part[] {
  return Array.from({ length: Math.ceil(parts.length / length) }, (_, i) => {
    const run = parts.slice(i * length, (i + 1) * length);
    const { result, results } = run.at(-1) as Part;
    const sum = (of: (part: Part) => number): number => run.reduce((total, part) => total + of(part), 0);
    return {
      cost: sum(({ cost }) => cost),
      result,
      tape: sum(({ tape }) => tape),
      // What a part starts from is there while it runs.
      forward: Math.max(...run.map(({ forward }, k) => forward + (k === 0 ? 0 : (run[k - 1] as Part).result))),
      backward: 0,
      taped: run.flatMap(({ taped }) => taped),
      results,
      start: Math.min(...run.map(({ start }) => start)),
    };
  });
}

/**
 * Takes a model for a chain.
 * @param bytes for its values and workspaces
 * @returns what may go, within a share of these bytes; null if it is no chain, or they are too few
 */
export function chainOf(model: Model, bytes: number): (share: number) => Spare | null {
  const { values, work } = model;
  const sizeOf = (list: readonly number[]): number => list.reduce((sum, v) => sum + (values[v] as Value).bytes, 0);
  const alive = aliveBytes(model, 0);
  // The way turns back where most bytes wait.
  const turn = alive.indexOf(Math.max(...alive)) + 1;
  const later = aliveBytes(model, turn);
  const all: Part[] = [];
  const partOf = new Int32Array(values.length).fill(-1);
  let crossing: number[] = [];
  let members: number[] = [];
  for (let unit = 0; unit < turn; unit++) {
    const { outputs } = work[unit] as Model["work"][number];
    members.push(...outputs);
    for (const v of outputs) partOf[v] = all.length;
    const results = [...crossing, ...outputs].filter((v) =>
      (values[v] as Value).uses.some((use) => use > unit && use < turn),
    );
    crossing = results;
    const largest = Math.max(...results.map((v) => (values[v] as Value).bytes));
    const counts = results.filter((v) => (values[v] as Value).bytes >= COUNTS * largest);
    if (unit < turn - 1 && (counts.length === 0 || !counts.every((v) => members.includes(v)))) continue;
    const taped = members.filter((v) => results.includes(v) || (values[v] as Value).uses.some((use) => use >= turn));
    const reads = taped.flatMap((v) => (values[v] as Value).uses.filter((use) => use >= turn));
    all.push({
      cost: members.reduce((sum, v) => sum + (values[v] as Value).cost, 0),
      result: sizeOf(results),
      tape: sizeOf(taped),
      forward: Math.max(...members.map((v) => sizeOf([v]) + (values[v] as Value).workspace)),
      backward: 0,
      taped,
      results,
      start: Math.min(work.length, ...reads),
    });
    members = [];
  }
  const length = Math.ceil(all.length / MAX_STAGES);
  const parts = joined(all, length);
  for (const [v, part] of partOf.entries()) if (part !== -1) partOf[v] = Math.floor(part / length);
  const count = parts.length;
  if (count < MIN_STAGES || bytes <= 0) return () => null;
  const startOf = (part: number): number =>
    part < 0 ? Number.POSITIVE_INFINITY : Math.max(...parts.slice(part).map(({ start }) => start));
  const starts = parts.map((_, i) => startOf(i));
  const stages = parts.map((part, i) => {
    const units = work.slice(starts[i], startOf(i - 1) + 1);
    const backward = units.map(({ workspace }, k) => workspace + (later[(starts[i] as number) + k] as number));
    return { ...part, backward: Math.max(0, ...backward) };
  });

  const table = solveChain(stages, bytes, bytes / AMOUNTS);
  return (share) => {
    if (table.cost(count, share * bytes) === Number.POSITIVE_INFINITY) return null;
    // For each stage, the values that are held as it is gone back through.
    const kept: Set<number>[] = [];
    const held = new Map<string, readonly number[]>();
    for (const { does, stage } of table.program(count, share * bytes)) {
      const { taped, results } = parts[stage] as Part;
      if (does === "keep") held.set(`keep ${stage}`, results);
      if (does === "drop") held.delete(`keep ${stage}`);
      if (does === "tape") held.set(`tape ${stage}`, taped);
      if (does !== "back") continue;
      kept[stage] = new Set([...held.values()].flat());
      held.delete(`tape ${stage}`);
    }
    return (v, time, needed) => {
      if (partOf[v] === -1) return false;
      let part = count - 1;
      while (part > 0 && (starts[part - 1] as number) <= time) part--;
      const next = time < turn ? turn : startOf(part - 1);
      return needed >= next && !(kept[part] as Set<number>).has(v);
    };
  };
}
