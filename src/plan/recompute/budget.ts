/**
 * The search for what to compute again so that a program, placed, fits a budget at the least cost.
 *
 * In small programs that is a shortest path. In others it is a portfolio of walks with different scores and of the dynamic
 * program where the forward pass is a chain, of what is best kept where memory is shortest, and of local search from the best
 * of them. It is bounded by counts and not by a clock, so a plan is the same on every machine.
 */

import { cheapest } from "./exact.js";
import type { Model } from "./model.js";
import { sparesOf } from "./moments.js";
import { chainOf } from "./stages.js";
import { type Choices, isRoute, type Route, route, SCORES } from "./walk.js";

/** A route and the bytes of temporaries that its program takes, placed. */
export interface Fitted<P> {
  readonly route: Route;
  readonly placed: P & { readonly bytes: number };
}

/** The least that was found, where the budget is below it. */
export interface Least {
  readonly bytes: number;
  /** The unit that needs it. */
  readonly unit: number;
}

/** How often a limit is moved because what keeps to it takes more than the budget when it is placed, or less. */
const MAX_MOVES = 8;
/** Stretches over which the local search tries to keep a value after all. */
const MAX_TRIES = 24;
/**
 * Shares of the budget within which the cheapest route is looked for whose program fits, placed; and of how many ways to
 * each state, where the first cannot be placed.
 */
const EXACT_TRIES: readonly (readonly [share: number, ways: number])[] = [
  [1, 8],
  [31 / 32, 8],
  [30 / 32, 8],
  [29 / 32, 8],
  [1, 64],
];
/** Halvings of the interval in which the least limit lies. */
const HALVINGS = 10;
/** How near to the least limit so far another way must come to be followed: placed, it may take less all the same. */
const NEAR = 1.5;
/** Shares of the budget that chains are planned for: what a program needs at once is not known to the byte. */
const SHARES = [1, 0.8];
/** How many of the ways to choose are tried with each of them, and with what is kept at a moment. */
const CHAIN_WAYS = 2;

/** Ways to choose, of which no single one is best on every graph. */
function portfolio(dropAfter: ReadonlyMap<number, number>): Choices[] {
  return [false, true].flatMap((joinOften) => SCORES.map((score) => ({ score, dropAfter, joinOften })));
}

/**
 * Finds the cheapest route whose program fits.
 * @param budget bytes
 * @param place lowers and places the program of a route
 */
export function fitBudget<P>(
  model: Model,
  budget: number,
  dropAfter: ReadonlyMap<number, number>,
  place: (route: Route) => P & { readonly bytes: number },
): Fitted<P> | Least {
  let best: (Fitted<P> & { readonly choices: Choices; readonly limit: number }) | null = null;
  /** Tries a way to choose, with limits that come nearer to what fits. */
  const attempt = (choices: Choices): boolean => {
    let most = budget;
    let fits = false;
    for (let i = 0; i < MAX_MOVES; i++) {
      const found = route(model, most, choices);
      if (!isRoute(found) || (best !== null && found.cost >= best.route.cost)) return fits;
      const placed = place(found);
      const over = placed.bytes - budget;
      if (over <= 0) {
        best = { route: found, placed, choices, limit: most };
        fits = true;
        if (-over < budget / 128) return true;
        most -= over;
      } else if (fits) return true;
      else most = Math.min(most, found.peakBytes) - Math.max(over, budget / 128);
    }
    return fits;
  };
  /** Local search: the costliest values are kept after all, one by one, and others go in their place. */
  const refine = (done: Route | null): Route | null => {
    const found = best as (Fitted<P> & { readonly choices: Choices }) | null;
    if (found === null || found.route === done) return done;
    const pinned = new Set<number>();
    for (const gap of costliest(model, found.route).slice(0, MAX_TRIES)) {
      pinned.add(gap);
      if (!attempt({ ...found.choices, pinned })) pinned.delete(gap);
    }
    return (best as unknown as Fitted<P>).route;
  };
  for (const [share, ways] of EXACT_TRIES) {
    let placed = { bytes: 0 } as Fitted<P>["placed"];
    const accepts = (route: Route): boolean => {
      placed = place(route);
      return placed.bytes <= budget;
    };
    const optimum = cheapest(model, share * budget, dropAfter, accepts, ways);
    if (optimum !== null) return { route: optimum, placed };
  }
  const ways = portfolio(dropAfter);
  for (const choices of ways) attempt(choices);
  const chain = chainOf(model);
  for (const share of SHARES) {
    const spare = chain(share * (budget - model.argumentBytes));
    if (spare !== null) for (const choices of ways.slice(0, CHAIN_WAYS)) attempt({ ...choices, spare });
  }
  if (best === null) {
    const least = leastOf(model, dropAfter, place);
    const { fitted, unit } = least;
    if (fitted !== null && fitted.placed.bytes <= budget) return fitted;
    return { bytes: fitted?.placed.bytes ?? Number.POSITIVE_INFINITY, unit };
  }
  const refined = refine(null);
  for (const spare of sparesOf(model, budget)) {
    for (const choices of ways.slice(0, CHAIN_WAYS)) attempt({ ...choices, spare });
  }
  refine(refined);
  return best as unknown as Fitted<P>;
}

/** The stretches at whose ends values are computed again, the costliest first. */
function costliest({ values }: Model, { actions }: Route): number[] {
  const total = new Map<number, number>();
  for (const action of actions) {
    if (!("again" in action)) continue;
    action.again.forEach((v, i) => {
      const gap = action.gaps[i] as number;
      total.set(gap, (total.get(gap) ?? 0) + (values[v]?.cost ?? 0));
    });
  }
  return [...total.keys()].sort((a, b) => (total.get(b) as number) - (total.get(a) as number) || a - b);
}

/** The least memory that any of the ways to choose gets by with. */
function leastOf<P>(
  model: Model,
  dropAfter: ReadonlyMap<number, number>,
  place: (route: Route) => P & { readonly bytes: number },
): { readonly fitted: Fitted<P> | null; readonly unit: number } {
  let least: ReturnType<typeof leastOf<P>> = { fitted: null, unit: 0 };
  let lowest = Number.POSITIVE_INFINITY;
  for (const choices of portfolio(dropAfter)) {
    // A way that needs much more than one before is not followed any further.
    let [low, middle, high] = [0, NEAR * lowest, Number.POSITIVE_INFINITY];
    let unit = 0;
    const found: Route[] = [];
    for (let i = 0; i <= HALVINGS; i++) {
      const next = route(model, middle, choices);
      if (isRoute(next)) {
        found.push(next);
        high = next.peakBytes;
      } else {
        if (i === 0) break;
        low = middle;
        unit = next.unit;
      }
      middle = (low + high) / 2;
    }
    // What keeps to the lowest limit need not be placed in the least.
    for (const each of found.reverse()) {
      const best = least.fitted?.placed.bytes ?? Number.POSITIVE_INFINITY;
      if (each !== found[0] && each.peakBytes >= best) break;
      const placed = place(each);
      if (placed.bytes < best) least = { fitted: { route: each, placed }, unit };
    }
    if (high < lowest) least = { ...least, unit };
    lowest = Math.min(lowest, high);
  }
  return least;
}
