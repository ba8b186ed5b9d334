/**
 * The search for what to compute again so that a program, placed, fits a budget at the least cost.
 *
 * In small programs that is a shortest path. In others it is a portfolio of walks with different scores and of the dynamic
 * program where the forward pass is a chain, of what is best kept where memory is shortest, and of local search from the best
 * of them. Walks are cheap, and programs are lowered and placed only where their routes are the cheapest that have not been.
 * All is bounded by counts and not by a clock, so a plan is the same on every machine.
 */

import { type Chosen, Climb } from "./climb.js";
import { type Effort, unbounded } from "./effort.js";
import { cheapest } from "./exact.js";
import type { Model } from "./model.js";
import { sparesOf } from "./moments.js";
import { type Choices, type DeadEnd, isRoute, type Route, SCORES } from "./route.js";
import { chainOf } from "./stages.js";
import { AGAIN, again, route } from "./walk.js";

/** A route, and the bytes of temporaries that its program takes if it is placed for so many: see {@link Place}. */
export interface Fitted {
  readonly route: Route;
  readonly bytes: number;
  readonly enough: number;
  readonly isHard?: boolean;
}

/** The routes that need least. */
export interface Least {
  readonly routes: readonly Route[];
  /** The most bytes that are alive at once in the first. */
  readonly peakBytes: number;
  /** The unit that needs more where there are fewer. */
  readonly unit: number;
}

/** What the program of a route takes. */
export interface Placed {
  readonly bytes: number;
  /** What no placement of it comes below. */
  readonly bound: number;
  /** What finding that out took, as {@link Effort} counts it. */
  readonly work: number;
}

/**
 * Lowers and places the program of a route.
 * @param enough bytes into which it is tried to place it; where no placement comes down to them, it is not
 * @param isHard whether much work is spent on that
 */
export type Place = (route: Route, enough: number, isHard?: boolean) => Placed;

/** How often a limit is moved because what keeps to it takes more than the budget when it is placed, or less. */
const MAX_MOVES = 8;
/** The least share of the budget by which it is moved. */
const LEAST_STEP = 1 / 128;
/**
 * Where values are more, few walks and programs can be tried: what would not fit with gaps as in others is not placed, nothing
 * is placed with much work, and limits are moved further.
 */
const LARGE = 1000;
/** The most that is, and how many programs can still be placed when it begins to grow. */
const [MOST_STEP, HURRY] = [1 / 8, 6];
/**
 * Local search starts from so many ways, which cost no more than this many times the best one; from one where that computes no
 * more than this share of the program again.
 */
const [MAX_STARTS, FAR, CHEAP] = [4, 1.5, 0.01];
/** With how many limits it is done at most, each time from half as many ways. */
const ROUNDS = 3;
/**
 * So many programs, the cheapest first, are placed with much work where a little brings them near the budget but not into
 * it. Of ten that were, those that came into it had been at most 3 % above it.
 */
const [HARD, NEARLY] = [1, 1.04];
/**
 * Units in all walks together, in those of local search for a limit besides, and in all programs that are lowered and placed
 * for their cost; and the fewest of any.
 */
const [WALKED_UNITS, CLIMBED_UNITS, PLACED_UNITS, FEWEST] = [150000, 200000, 16000, 12];
/** Of the work that may be done, the shares of walks, of those of local search, and of placing what they find. */
const [WALKING, CLIMBING, PLACING] = [0.4, 0.2, 0.4];
/** Where no way leads through at first and the least that is found is more than this many times the budget, the search ends. */
const HOPELESS = 1.25;
/** How near the least limit is come to, as a share of it. */
const PRECISION = 1 / 512;
/** How near to it another way must come to be followed: placed, it may take less all the same. */
const NEAR = 1.1;
/** Of the routes with the least peaks, so many are placed quickly, and of these so many and the best one as well as can be. */
const [LEAST_PLACED, LEAST_PLACED_WELL] = [6, 2];
/** Shares of the budget that chains are planned for: walks keep more than they must where there is room. */
const SHARES = [1, 0.9, 0.8, 0.7, 0.6, 0.5];
/** How many of the ways to choose are tried with each of them. */
const CHAIN_WAYS = 2;

/** How often something may be done to a program: less often to larger ones. */
function timesFor({ work }: Model, units: number): number {
  return Math.max(FEWEST, Math.floor(units / work.length));
}

/** Ways to choose, of which no single one is best on every graph. */
function portfolio(dropAfter: ReadonlyMap<number, number>): Choices[] {
  return SCORES.map((score) => ({ score, dropAfter }));
}

/** Tells routes apart (Fowler, Noll and Vo's hash of what they do). */
function nameOf({ actions, cost, peakBytes }: Route): string {
  let hash = 0;
  const add = (list: readonly number[]): void => {
    for (const v of [-1, ...list]) hash = Math.imul(hash ^ v, 16777619);
  };
  for (const action of actions) {
    add("again" in action ? action.again : [action.unit, ...action.deferred]);
    add(action.joined);
  }
  return `${actions.length} ${cost} ${peakBytes} ${hash}`;
}

/** A route that has not been placed yet, how it was chosen, and how many before it took too much when they were placed. */
interface Lead {
  readonly choices: Choices;
  readonly limit: number;
  readonly found: Route | DeadEnd;
  /** Whether more walks have been tried in its place. */
  readonly isLast: boolean;
  readonly moves: number;
  /** Whether a dearer one has fitted. */
  readonly isMore: boolean;
}

/** What the program of a route takes, and whether much work was spent on placing it. */
interface Tried extends Placed {
  readonly isHard: boolean;
}

function costOf({ found }: Lead): number {
  return isRoute(found) ? found.cost : Number.POSITIVE_INFINITY;
}

class Search {
  best: (Fitted & { readonly choices: Choices }) | null = null;
  private readonly known = new Map<string, Tried>();
  /** Walks that are left, and programs to be placed. */
  private walks: number;
  private places: number;
  private hard = HARD;
  private readonly walking: Effort;
  private readonly placing: Effort;
  /**
   * The least that any program took besides the bytes that its walk counted: the words of what it computes again, and where
   * programs are large, the gaps that placing leaves. Nothing is known at first.
   */
  private besides = Number.NEGATIVE_INFINITY;
  /** The work of placing the last one. */
  private placingOne = 0;
  private readonly isLarge: boolean;

  constructor(
    private readonly model: Model,
    private readonly budget: number,
    private readonly place: Place,
    private readonly effort: Effort,
  ) {
    this.isLarge = model.values.length > LARGE;
    this.walking = effort.share(WALKING);
    this.placing = effort.share(PLACING);
    this.walks = timesFor(model, WALKED_UNITS);
    this.places = timesFor(model, PLACED_UNITS);
  }

  /** Whether no way leads through at first. */
  isDead(ways: readonly Choices[]): boolean {
    return ways.every((choices) => !isRoute(route(this.model, this.budget, choices, this.walking)));
  }

  /** Follows ways to choose, the one with the cheapest route first, with limits that come nearer to what fits. */
  follow(ways: readonly Choices[]): void {
    const { budget } = this;
    const leads: Lead[] = [];
    const tooLarge = new Set<string>();
    const add = (choices: Choices, limit: number, moves: number, isMore: boolean): void => {
      if (this.walks === 0 || this.walking.isSpent()) return;
      this.walks--;
      const found = route(this.model, limit, choices, this.walking);
      const lead = { choices, limit, found, isLast: false, moves, isMore };
      // Where a program is known that fits, or walks are few, most ways are too dear to be worth more of them.
      const isWorth = this.best === null && !(this.isLarge && isRoute(found));
      leads.push(isWorth ? this.last(lead) : lead);
    };
    // What is found mostly takes a little too much: some walks are left for limits that are lower.
    const reserve = Math.min(MAX_MOVES, this.walks / 2);
    for (const choices of ways) if (this.walks > reserve) add(choices, budget, 0, false);
    for (;;) {
      leads.sort((a, b) => costOf(a) - costOf(b));
      const lead = leads.shift();
      if (lead === undefined || (this.best !== null && costOf(lead) >= this.best.route.cost)) return;
      const { choices, limit, found, isMore } = lead;
      const name = isRoute(found) ? nameOf(found) : "";
      // What took too much leads nowhere new by another way to choose.
      if (tooLarge.has(name)) continue;
      if (!lead.isLast) {
        // Before others that cost as much, which may be the same.
        leads.unshift(this.last(lead));
        continue;
      }
      if (!isRoute(found)) continue;
      const expected = found.peakBytes + this.besides;
      const isOver = expected > budget && !isMore;
      const placed = isOver ? { bytes: expected, bound: expected, isHard: false } : this.placed(found, name);
      if (placed === null) return;
      const { bytes, bound, isHard } = placed;
      const over = bytes - budget;
      if (over <= 0) this.best = { route: found, bytes, enough: budget, isHard, choices };
      else tooLarge.add(name);
      const moves = lead.moves + 1;
      if (moves >= MAX_MOVES) continue;
      if (over > 0 && !isMore) {
        // What is over may be for want of one place, and fit a little below.
        const step = Math.max(bound > budget ? bound - budget : over / 2, this.leastStep());
        add(choices, Math.min(limit, found.peakBytes) - step, moves, false);
      } else if (-over >= LEAST_STEP * budget) add(choices, limit - over, moves, true);
    }
  }

  /** Puts the best of more walks in the place of a lead's route. */
  private last(lead: Lead): Lead {
    if (this.walks < AGAIN || this.walking.isSpent()) return { ...lead, isLast: true };
    this.walks -= AGAIN;
    const { limit, choices, found } = lead;
    return { ...lead, found: again(this.model, limit, choices, found, "cheapest", this.walking), isLast: true };
  }

  /** What a route's program takes; null where enough have been placed. */
  private placed(found: Route, name: string): Tried | null {
    const known = this.known.get(name);
    if (known !== undefined) return known;
    if (this.places === 0 || this.placing.isSpent()) return null;
    this.places--;
    let placed = { ...this.place(found, this.budget), isHard: false };
    this.placing.spend(placed.work);
    this.placingOne = placed.work;
    const isNear = placed.bytes > this.budget && placed.bytes <= NEARLY * this.budget && placed.bound <= this.budget;
    if (isNear && this.hard > 0 && !this.isLarge) {
      this.hard--;
      placed = { ...this.place(found, this.budget, true), isHard: true };
      this.placing.spend(placed.work);
    }
    const least = this.isLarge && placed.bytes > this.budget ? placed.bytes : placed.bound;
    const besides = least - found.peakBytes;
    this.besides = this.known.size === 0 ? besides : Math.min(this.besides, besides);
    this.known.set(name, placed);
    return placed;
  }

  /** How many programs can still be placed. */
  private placesLeft(): number {
    return Math.min(this.places, this.placing.times(this.placingOne));
  }

  /** The least by which a limit is moved: the more, the fewer programs can still be placed while none has fitted. */
  private leastStep(): number {
    const hurry = this.isLarge && this.best === null ? 2 ** Math.max(0, HURRY - this.placesLeft()) : 1;
    return Math.min(LEAST_STEP * hurry, MOST_STEP) * this.budget;
  }

  /**
   * Local search from the way to choose that was best and from others. Where what it comes to takes a little too much when it
   * is placed, it goes on from there with a limit that is lower.
   */
  refine(best: Fitted & Pick<Chosen, "choices">, ways: readonly Choices[]): void {
    const { model } = this;
    let limit = this.budget - Math.max(0, this.besides);
    const most = best.route.cost < CHEAP * model.cost ? 1 : MAX_STARTS;
    let starts = [best.choices, ...ways];
    for (let round = 0; round < ROUNDS; round++) {
      const effort = this.effort.share(CLIMBING / 2 ** round);
      const climb = new Climb(model, limit, timesFor(model, CLIMBED_UNITS), effort);
      const near = climb.startsOf(starts, FAR * best.route.cost).slice(0, Math.max(1, most >> round));
      const ends = near.map((start) => climb.from(start)).sort((a, b) => a.found.cost - b.found.cost);
      const over = this.tryAll(ends);
      if (over === 0) return;
      limit -= over;
      starts = ends.map(({ choices }) => choices);
    }
  }

  /** Places routes, the cheapest first, until one fits; returns the least bytes by which one of them did not, 0 if there is none. */
  private tryAll(ends: readonly Chosen[]): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { found, choices } of ends) {
      if (this.best !== null && found.cost >= this.best.route.cost) break;
      const placed = this.placed(found, nameOf(found));
      if (placed === null) break;
      const { bytes, isHard } = placed;
      if (bytes <= this.budget) {
        this.best = { route: found, bytes, enough: this.budget, isHard, choices };
        break;
      }
      least = Math.min(least, bytes - this.budget);
    }
    return least === Number.POSITIVE_INFINITY ? 0 : least;
  }
}

/**
 * Finds the cheapest route whose program fits into so many bytes; null if none was found, though {@link leastOf} may.
 * @param least the fewest bytes alive at once for which there is a route, asked for where it seems that there is none
 */
export function fitBudget(
  model: Model,
  budget: number,
  dropAfter: ReadonlyMap<number, number>,
  place: Place,
  effort = unbounded(),
  least = (): number => leastOf(model, dropAfter, effort).peakBytes,
): Fitted | null {
  let bytes = 0;
  const accepts = (route: Route): boolean => {
    bytes = place(route, budget).bytes;
    return bytes <= budget;
  };
  const optimum = cheapest(model, budget, dropAfter, accepts);
  if (optimum !== null) return { route: optimum, bytes, enough: budget };
  const search = new Search(model, budget, place, effort);
  const ways = portfolio(dropAfter);
  if (search.isDead(ways) && least() > HOPELESS * budget) return null;
  const chain = chainOf(model, budget - model.argumentBytes);
  const spares = SHARES.flatMap((share) => chain(share) ?? []);
  const along = spares.flatMap((spare) => ways.slice(0, CHAIN_WAYS).map((choices) => ({ ...choices, spare })));
  // In large programs only the first few are walked.
  search.follow(
    Array.from({ length: Math.max(ways.length, along.length) }, (_, i) => [ways[i], along[i]])
      .flat()
      .filter((choices) => choices !== undefined),
  );
  const { best } = search;
  if (best === null) return null;
  const atMoments = [...sparesOf(model, budget)].map((spare) => ({ ...(ways[0] as Choices), spare }));
  search.refine(best, [...ways, ...atMoments]);
  return search.best;
}

/** The routes with which the ways to choose get by with least. No budget enters into it: what they take is enough. */
export function leastOf(model: Model, dropAfter: ReadonlyMap<number, number>, effort = unbounded()): Least {
  let unit = 0;
  let lowest = Number.POSITIVE_INFINITY;
  const routes = new Map<string, Route>();
  let walks = timesFor(model, WALKED_UNITS);
  const ways = [{ asListed: true }, { joinOften: true }].flatMap((how) =>
    portfolio(dropAfter).map((choices) => ({ ...choices, ...how })),
  );
  for (const choices of ways) {
    // A way that needs much more than one before is not followed any further.
    let [low, limit, high] = [0, NEAR * lowest, Number.POSITIVE_INFINITY];
    let end = 0;
    for (; walks > 0 && (high - low > PRECISION * high || high === Number.POSITIVE_INFINITY); walks--) {
      // All that is kept is a way: the first is walked whatever it takes.
      const isFree = limit === Number.POSITIVE_INFINITY;
      if (!isFree && effort.isSpent()) break;
      const first = route(model, limit, choices, isFree ? unbounded() : effort);
      if (!isRoute(first)) walks -= AGAIN;
      const found = again(model, limit, choices, first, "any", effort);
      if (isRoute(found)) {
        routes.set(nameOf(found), found);
        high = found.peakBytes;
      } else {
        if (high === Number.POSITIVE_INFINITY) break;
        [low, end] = [limit, found.unit];
      }
      limit = (low + high) / 2;
    }
    if (high < lowest) [lowest, unit] = [high, end];
  }
  const nearest = [...routes.values()].sort((a, b) => a.peakBytes - b.peakBytes || a.cost - b.cost);
  return { routes: nearest.slice(0, LEAST_PLACED), peakBytes: lowest, unit };
}

/** Of the routes that need least, the one whose program does: what keeps to the lowest limit need not be placed in the least. */
export function placeLeast({ routes }: Least, place: Place, effort = unbounded()): Fitted | null {
  const tried: (Fitted & { readonly bound: number })[] = [];
  let least = Number.POSITIVE_INFINITY;
  for (const each of routes) {
    if (each.peakBytes >= least || (tried.length > 0 && effort.isSpent())) break;
    const { bytes, bound, work } = place(each, 0);
    effort.spend(work);
    tried.push({ route: each, bytes, enough: 0, bound });
    least = Math.min(least, bytes);
  }
  const byBytes = [...tried].sort((a, b) => a.bytes - b.bytes);
  const byBound = [...tried].sort((a, b) => a.bound - b.bound);
  const promising = new Set([...byBytes.slice(0, 1), ...byBound.slice(0, LEAST_PLACED_WELL)]);
  const well = (effort.isSpent() ? [] : [...promising]).map(({ route, bound }): Fitted => {
    return { route, bytes: place(route, bound).bytes, enough: bound };
  });
  return [...tried, ...well].sort((a, b) => a.bytes - b.bytes)[0] ?? null;
}
