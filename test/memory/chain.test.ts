/** Recomputation on chains: as few forward steps as can be, by the program that is really run. */
import { describe, expect, it } from "vitest";
import { type ChainStep, type Stage, solveChain } from "../../src/plan/recompute/chain.js";

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

/** Runs a program: what it costs and the most bytes that it holds; throws where a stage lacks what it needs. */
function run(stages: readonly Stage[], program: readonly ChainStep[]): { cost: number; bytes: number; passes: number } {
  const kept = new Set<number>();
  const taped = new Set<number>();
  /** The stage whose result was just passed on, without being kept. */
  let current = -1;
  let done = stages.length;
  let [cost, bytes, passes] = [0, 0, 0];
  const at = (stage: number): Stage => stages[stage] as Stage;
  const held = (): number =>
    [...kept].reduce((sum, stage) => sum + at(stage).result, 0) +
    [...taped].reduce((sum, stage) => sum + at(stage).tape, 0);
  const starts = (stage: number): boolean =>
    stage === 0 || kept.has(stage - 1) || taped.has(stage - 1) || current === stage - 1;
  for (const { does, stage } of program) {
    if (does === "drop") {
      must(kept.delete(stage), `${stage} was not kept`);
      continue;
    }
    must(starts(stage), `${stage} has no start`);
    const isHeld = kept.has(current) || taped.has(current);
    const passed = stage > 0 && current === stage - 1 && !isHeld ? at(current).result : 0;
    if (does === "back") {
      must(stage === 0 || kept.has(stage - 1) || taped.has(stage - 1), `${stage} has no start any more`);
      must(stage === --done && taped.has(stage), `${stage} is not next, or has no tape`);
      bytes = Math.max(bytes, held() + at(stage).backward);
      taped.delete(stage);
      continue;
    }
    cost += at(stage).cost;
    bytes = Math.max(
      bytes,
      held() + passed + at(stage).forward + (does === "tape" ? at(stage).tape : at(stage).result),
    );
    if (does === "tape") taped.add(stage);
    else passes++;
    if (does === "keep") kept.add(stage);
    current = stage;
  }
  must(done === 0 && kept.size + taped.size === 0, "something is left");
  return { cost, bytes, passes };
}

/** Forward steps that going back through `length` equal stages takes with room for `slots` states (Revolve). */
function fewestSteps(length: number, slots: number): number {
  const binomial = (n: number, k: number): number => {
    let product = 1;
    for (let i = 1; i <= k; i++) product = (product * (n - k + i)) / i;
    return Math.round(product);
  };
  let repeats = 0;
  while (binomial(slots + repeats, slots) < length) repeats++;
  return repeats * length - (repeats === 0 ? 0 : binomial(slots + repeats, repeats - 1));
}

describe("a chain of equal stages", () => {
  const [length, slots] = [100, 20];
  // A tape takes more than all the states that can be kept: memory for one of them is the rule of the game.
  const tape = slots + 1;
  const stages = Array.from({ length }, () => ({ cost: 1, result: 1, tape, forward: 0, backward: 0 }));
  const table = solveChain(stages, slots + tape, 1);

  it("is gone back through in the fewest steps forward, for every length and number of slots", () => {
    for (let l = 1; l <= length; l++) {
      for (let s = 1; s <= slots; s++) {
        // The first state is there anyway and takes one of the slots; the state that is worked on takes none.
        const units = s + tape;
        const { cost, bytes, passes } = run(stages.slice(0, l), table.program(l, units));
        expect([l, s, passes]).toEqual([l, s, fewestSteps(l, s)]);
        expect(cost).toBe(passes + l);
        expect(cost).toBe(table.cost(l, units));
        expect(bytes).toBeLessThanOrEqual(units);
      }
    }
  });

  it("cannot be gone back through without memory for a tape", () => {
    expect(table.cost(1, tape - 1)).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("a chain of stages that differ", () => {
  /**
   * The least cost of all orders of steps that hold what they keep until the stage behind it has been gone back
   * through: a shortest path over what is held.
   */
  function least(stages: readonly Stage[], memory: number): number {
    interface State {
      readonly cost: number;
      readonly kept: number;
      readonly taped: number;
      readonly current: number;
      readonly done: number;
    }
    const at = (stage: number): Stage => stages[stage] as Stage;
    const has = (set: number, stage: number): boolean => stage < 0 || ((set >> stage) & 1) === 1;
    const bytes = (set: number, size: (stage: Stage) => number): number =>
      stages.reduce((sum, stage, i) => sum + (has(set, i) ? size(stage) : 0), 0);
    const key = ({ kept, taped, current, done }: State): string => `${kept} ${taped} ${current} ${done}`;
    const start: State = { cost: 0, kept: 0, taped: 0, current: -1, done: stages.length };
    const best = new Map([[key(start), 0]]);
    const queue: State[] = [start];
    for (;;) {
      queue.sort((a, b) => b.cost - a.cost);
      const state = queue.pop();
      if (state === undefined) return Number.POSITIVE_INFINITY;
      const { cost, kept, taped, current, done } = state;
      if (done === 0) return cost;
      if (cost > (best.get(key(state)) as number)) continue;
      const held = bytes(kept, ({ result }) => result) + bytes(taped, ({ tape }) => tape);
      const push = (next: Partial<State>, needed: number): void => {
        const reached = { ...state, ...next };
        if (needed > memory || reached.cost >= (best.get(key(reached)) ?? Number.POSITIVE_INFINITY)) return;
        best.set(key(reached), reached.cost);
        queue.push(reached);
      };
      for (let stage = 0; stage < done; stage++) {
        if (has(kept, stage) && stage >= done - 1) push({ kept: kept & ~(1 << stage) }, 0);
        const starts = has(kept, stage - 1) || has(taped, stage - 1);
        if (!starts && current !== stage - 1) continue;
        const passed = starts ? 0 : at(current).result;
        const { result, tape, forward, backward } = at(stage);
        const paid = cost + at(stage).cost;
        push({ cost: paid, current: stage }, held + passed + result + forward);
        if (!has(kept, stage)) {
          push({ cost: paid, current: stage, kept: kept | (1 << stage) }, held + passed + result + forward);
        }
        if (!has(taped, stage) && starts) {
          push({ cost: paid, current: stage, taped: taped | (1 << stage) }, held + passed + tape + forward);
        } else if (stage === done - 1 && starts) {
          push({ taped: taped & ~(1 << stage), current: -1, done: stage }, held + backward);
        }
      }
    }
  }

  it("costs what the best of all orders of its steps costs", () => {
    let state = 7;
    const random = (most: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return 1 + Math.floor((state / 2 ** 32) * most);
    };
    for (let round = 0; round < 200; round++) {
      const stages = Array.from({ length: 4 }, () => {
        const result = random(3);
        return { cost: random(9), result, tape: result + random(4), forward: random(2) - 1, backward: random(3) };
      });
      const memory = 6 + random(12);
      const table = solveChain(stages, memory, 1);
      const cost = table.cost(4, memory);
      expect([round, cost]).toEqual([round, least(stages, memory)]);
      if (cost === Number.POSITIVE_INFINITY) continue;
      const ran = run(stages, table.program(4, memory));
      expect(ran.cost).toBe(cost);
      expect(ran.bytes).toBeLessThanOrEqual(memory);
    }
  });
});
