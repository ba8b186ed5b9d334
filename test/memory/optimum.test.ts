/** What the search for a budget finds, beside the best there is: every program of small graphs is tried. */
import { describe, expect, it } from "vitest";
import { search } from "../../src/plan/place-search.js";
import type { Route } from "../../src/plan/recompute.js";
import { fitBudget } from "../../src/plan/recompute-budget.js";
import type { Model, Value, Work } from "../../src/plan/recompute-model.js";

const GRAPHS = 200;
const MAX_NODES = 12;

/** A linear congruential generator: whole numbers from `from` to `to`. */
function generator(seed: number): (from: number, to: number) => number {
  let state = seed;
  return (from, to) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return from + Math.floor((state / 2 ** 32) * (to - from + 1));
  };
}

/** A graph of units that compute one value each, from one to three of those before; the host reads the last. */
function graph(random: (from: number, to: number) => number): Model {
  const count = random(6, MAX_NODES);
  const inputs = Array.from({ length: count }, (_, i) => {
    const wanted = Math.min(i, random(1, 3));
    const found = new Set<number>();
    while (found.size < wanted) found.add(random(0, i - 1));
    // Nothing is computed in vain.
    return [...found].sort((a, b) => a - b);
  });
  for (let i = 0; i < count - 1; i++) {
    if (!inputs.some((list) => list.includes(i))) (inputs[random(i + 1, count - 1)] as number[]).push(i);
  }
  const values = inputs.map((list, i): Value => {
    const cost = random(1, 20);
    return {
      ...{ id: count + i, unit: i, inputs: list, cost, flops: cost, ownCost: cost, bytes: 16 * random(1, 8) },
      ...{ uses: inputs.flatMap((others, user) => (others.includes(i) ? [user] : [])), kept: i === count - 1 },
      ...{ node: null as unknown as Value["node"], joins: [], chain: [], stored: [], clone: [] },
      ...{ elementwise: false, workspace: 0, reuses: -1 },
    };
  });
  const work = inputs.map((list, i): Work => {
    return { id: i, inputs: list, outputs: [i], joins: [], chain: [], stored: [], workspace: 0 };
  });
  const cost = values.reduce((sum, value) => sum + value.cost, 0);
  return { values, work, argumentBytes: 0, cost, fits: () => false };
}

/** The bytes that a route takes, placed: each time that a value is computed is a piece of memory of its own. */
function placed({ values, work }: Model, { actions }: Route): number {
  const [bytes, first, last]: [number[], number[], number[]] = [[], [], []];
  const current = new Map<number, number>();
  actions.forEach((action, at) => {
    const [made, read] =
      "unit" in action
        ? [(work[action.unit] as Work).outputs, (work[action.unit] as Work).inputs]
        : [action.again, action.again.flatMap((v) => (values[v] as Value).inputs)];
    for (const v of read) last[current.get(v) as number] = at;
    for (const v of made) {
      current.set(v, bytes.length);
      bytes.push((values[v] as Value).bytes);
      first.push(at);
      last.push((values[v] as Value).kept ? Number.POSITIVE_INFINITY : at);
    }
  });
  const extents = { bytes: Float64Array.from(bytes), first: Float64Array.from(first), last: Float64Array.from(last) };
  return search(extents, 0).total;
}

/** The most bytes alive if nothing is computed again. */
function peak({ values, work }: Model): number {
  const alive = work.map((_, at) => {
    const there = values.filter(({ unit, uses, kept }) => unit <= at && (kept || (uses.at(-1) ?? unit) >= at));
    return there.reduce((sum, { bytes }) => sum + bytes, 0);
  });
  return Math.max(...alive);
}

/**
 * The least cost of computing again with so many bytes alive at most, whatever is kept and computed again and when: a
 * shortest path over what has run and what is in memory. No placement can do with less.
 */
function least({ values, work }: Model, budget: number): number {
  const costs = Array.from({ length: work.length + 1 }, () =>
    new Float64Array(1 << values.length).fill(Number.POSITIVE_INFINITY),
  );
  const sizes = new Float64Array(1 << values.length);
  for (let set = 1; set < sizes.length; set++) {
    const low = 31 - Math.clz32(set & -set);
    sizes[set] = (sizes[set & (set - 1)] as number) + (values[low] as Value).bytes;
  }
  const masks = values.map(({ inputs }) => inputs.reduce((mask, x) => mask | (1 << x), 0));
  (costs[0] as Float64Array)[0] = 0;
  for (let done = 0; done < work.length; done++) {
    const here = costs[done] as Float64Array;
    // Sets by rising cost: computing again costs something, so none comes up again for less.
    const queue: number[][] = [];
    const push = (set: number, cost: number): void => {
      const sets = queue[cost] ?? [];
      queue[cost] = sets;
      sets.push(set);
    };
    const reach = (set: number, cost: number): void => {
      if (cost >= (here[set] as number)) return;
      here[set] = cost;
      push(set, cost);
    };
    here.forEach((cost, set) => {
      if (cost < Number.POSITIVE_INFINITY) push(set, cost);
    });
    const next = costs[done + 1] as Float64Array;
    for (let cost = 0; cost < queue.length; cost++) {
      for (const set of queue[cost] ?? []) {
        if (here[set] !== cost) continue;
        for (let v = 0; v <= done; v++) {
          const bit = 1 << v;
          if (v < done && (set & bit) !== 0) reach(set & ~bit, cost);
          if ((set & bit) !== 0 || ((masks[v] as number) & ~set) !== 0 || (sizes[set | bit] as number) > budget)
            continue;
          if (v < done) reach(set | bit, cost + (values[v] as Value).cost);
          else if (cost < (next[set | bit] as number)) next[set | bit] = cost;
        }
      }
    }
  }
  return (costs[work.length] as Float64Array).reduce((best, cost) => Math.min(best, cost), Number.POSITIVE_INFINITY);
}

describe("the search for a budget", () => {
  it("costs what no program can beat on four of five random graphs of up to 12 nodes", () => {
    let optimal = 0;
    let feasible = 0;
    for (let seed = 1; feasible < GRAPHS; seed++) {
      const random = generator(seed);
      const model = graph(random);
      const budget = Math.floor((peak(model) * random(50, 99)) / 100 / 16) * 16;
      const best = least(model, budget);
      if (best === Number.POSITIVE_INFINITY || best === 0) continue;
      feasible++;
      const found = fitBudget(model, budget, new Map(), (route) => ({ bytes: placed(model, route) }));
      if (!("route" in found)) continue;
      expect(found.placed.bytes).toBeLessThanOrEqual(budget);
      expect(found.route.cost).toBeGreaterThanOrEqual(best);
      if (found.route.cost === best) optimal++;
    }
    expect(optimal / feasible).toBeGreaterThanOrEqual(0.8);
  });
});
