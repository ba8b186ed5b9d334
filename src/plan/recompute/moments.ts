/** The moments of a schedule at which memory is shortest, and what to keep there: starts for the search for a budget. */
import { Choice, type Keepable } from "./keep.js";
import type { Model, Value, Work } from "./model.js";
import { aliveBytes, type Spare } from "./stages.js";

/**
 * Where values are few, each is a large share of a budget, and it counts which of them fill it. In programs with more, walks
 * were measured to come as near.
 */
const MAX_VALUES = 100;
/** So many moments are looked at, those with the most bytes alive, and those of them that cost most are chosen for. */
const [MAX_MOMENTS, MAX_CHOSEN] = [12, 3];
/** How often a value is settled in the search for the best choice. */
const BRANCHES = 10;
/** Shares of the budget that are filled at a moment: others may need more room. */
const SHARES = [1, 0.97, 0.94, 0.9, 0.85];

/** What may be kept before a unit runs. */
function choiceBefore({ values, work }: Model, unit: number): Choice {
  const later = new Set(work.slice(unit).flatMap(({ inputs }) => inputs));
  const held = new Set((work[unit] as Work).inputs);
  return new Choice(
    values.map((value, v): Keepable => {
      const { inputs, bytes, kept, until } = value;
      if (value.unit >= unit) return { inputs: [], bytes: 0, cost: 0, needed: false };
      const cost = held.has(v) || until < unit ? Number.POSITIVE_INFINITY : value.cost;
      return { inputs: cost === Number.POSITIVE_INFINITY ? [] : inputs, bytes, cost, needed: later.has(v) || kept };
    }),
  );
}

/** What may go before such a moment, for several shares of a budget. */
export function* sparesOf(model: Model, budget: number): Iterable<Spare> {
  const { values, work, argumentBytes } = model;
  if (values.length > MAX_VALUES) return;
  const alive = aliveBytes(model, 0).map((bytes, unit) => bytes + argumentBytes + (work[unit] as Work).workspace);
  const most = [...alive.keys()].filter((unit) => (alive[unit] as number) > budget);
  most.sort((a, b) => (alive[b] as number) - (alive[a] as number) || a - b);
  const moments = most.slice(0, MAX_MOMENTS).map((unit) => {
    const { outputs, workspace } = work[unit] as Work;
    const during = outputs.reduce((sum, v) => sum + (values[v] as Value).bytes, argumentBytes + workspace);
    const choice = choiceBefore(model, unit);
    return { unit, during, choice, bound: choice.within(budget - during, 0).bound };
  });
  moments.sort((a, b) => b.bound - a.bound);
  for (const { unit, during, choice } of moments.slice(0, MAX_CHOSEN)) {
    for (const share of SHARES) {
      const { keeping } = choice.within(share * budget - during, BRANCHES);
      if (keeping === null) break;
      yield (v, time, needed) => time < unit && needed >= unit && !keeping.kept.has(v);
    }
  }
}
