/**
 * Local search for a cheaper route within a limit: values that are computed again are kept after all, one by one, and others
 * go in their place.
 *
 * Where it ends depends on where it starts, so it is done from the routes of several ways to choose. The cheapest is not the
 * best of them: at half of the temporaries of a GPT with two layers, one that cost 10 % more led to one that cost 8 % less.
 */
import type { Effort } from "./effort.js";
import type { Model, Value } from "./model.js";
import { type Choices, isRoute, type Route } from "./route.js";
import { route } from "./walk.js";

/** A route and the way to choose it. */
export interface Chosen {
  readonly choices: Choices;
  readonly found: Route;
}

/** Local search within one limit, with so many walks. */
export class Climb {
  constructor(
    private readonly model: Model,
    private readonly limit: number,
    private walks: number,
    private readonly effort: Effort,
  ) {}

  /** Routes of different costs, the cheapest first, of some ways to choose: those that cost no more than `dearest`. */
  startsOf(ways: readonly Choices[], dearest: number): Chosen[] {
    const starts: Chosen[] = [];
    for (const choices of ways) {
      const found = this.walk({ ...choices, dearest });
      const isNew = found !== null && starts.every((other) => other.found.cost !== found.cost);
      if (isNew) starts.push({ choices, found });
    }
    return starts.sort((a, b) => a.found.cost - b.found.cost);
  }

  /** Keeps values for as long as that makes a route cheaper. */
  from(start: Chosen): Chosen {
    const { choices } = start;
    let best = start;
    const pinned = new Set(choices.pinned);
    const tried = new Set<number>();
    for (;;) {
      const { given, cost } = best.found;
      const gap = costliest(this.model, best.found).find((each) => !tried.has(each));
      if (gap === undefined || this.isOver()) return best;
      tried.add(gap);
      const sunk = new Set(given.gaps);
      sunk.delete(gap);
      const kept = { ...choices, pinned: new Set(pinned).add(gap) };
      // All else may stay as it was, or be chosen anew: neither is better everywhere.
      for (const next of [{ ...kept, expected: given, sunk }, kept]) {
        const found = this.walk({ ...next, dearest: cost });
        if (found === null || found.cost >= cost) continue;
        best = { choices: next, found };
        pinned.add(gap);
        break;
      }
    }
  }

  private isOver(): boolean {
    return this.walks === 0 || this.effort.isSpent();
  }

  private walk(choices: Choices): Route | null {
    if (this.isOver()) return null;
    this.walks--;
    const found = route(this.model, this.limit, choices, this.effort);
    return isRoute(found) ? found : null;
  }
}

/** The stretches at whose ends values are computed again, the first those where that costs most for a byte. */
function costliest({ values }: Model, { actions }: Route): number[] {
  const total = new Map<number, number>();
  for (const action of actions) {
    if (!("again" in action)) continue;
    action.again.forEach((v, i) => {
      const gap = action.gaps[i] as number;
      const { bytes, cost } = values[v] as Value;
      total.set(gap, (total.get(gap) ?? 0) + cost / bytes);
    });
  }
  return [...total.keys()].sort((a, b) => (total.get(b) as number) - (total.get(a) as number) || a - b);
}
