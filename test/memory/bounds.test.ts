/** What planning within a budget may take is bounded by counts, so that it ends on any graph, and alike everywhere. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import type { MemoryReport } from "../../src/plan/memory.js";
import { leastOf } from "../../src/plan/recompute/budget.js";
import { Effort } from "../../src/plan/recompute/effort.js";
import type { Model, Value, Work } from "../../src/plan/recompute/model.js";
import { isRoute, SCORES, type Score } from "../../src/plan/recompute/route.js";
import { route } from "../../src/plan/recompute/walk.js";
import { compile } from "../../src/tensor/compile.js";
import { zeros } from "../../src/tensor/creation.js";
import { start } from "../support/builds.js";
import "../../src/tensor/methods.js";

/** Equal values, each computed from the one before, and read once more in reverse order. */
function thereAndBack(length: number): Model {
  const none = { chain: [], operands: 0, stored: [], workspace: 0, joins: [] };
  const values = Array.from({ length }, (_, v): Value => {
    const inputs = v === 0 ? [] : [v - 1];
    return {
      ...{ id: 2 * length + v, unit: v, inputs, bytes: 16, cost: 1, flops: 1, ownCost: 1, clone: [], reuses: [] },
      ...{ uses: [...(v < length - 1 ? [v + 1] : []), 2 * length - 1 - v], elementwise: false, kept: false },
      ...{ node: null as unknown as Value["node"], passing: [], until: Number.POSITIVE_INFINITY, ...none },
    };
  });
  const work = Array.from({ length: 2 * length }, (_, id): Work => {
    const [inputs, outputs] = id < length ? [id === 0 ? [] : [id - 1], [id]] : [[2 * length - 1 - id], []];
    return { id, inputs, outputs, ...none };
  });
  return { values, work, argumentBytes: 0, passingArguments: [], cost: 2 * length, fits: () => true };
}

describe("a walk", () => {
  const model = thereAndBack(200);
  const choices = { score: SCORES[2] as Score };
  const limit = 16 * 20;

  it("ends where it has taken its part of the work that is left", () => {
    expect(isRoute(route(model, limit, choices))).toBe(true);
    const cut = route(model, limit, choices, new Effort(1e5));
    expect(isRoute(cut)).toBe(false);
    expect(route(model, limit, choices, new Effort(1e5))).toEqual(cut);
  });

  it("takes what it did off the work that is left, and nothing off other parts of it", () => {
    const whole = new Effort(1e9);
    const part = whole.share(1e-5);
    for (let i = 0; i < 10 && !part.isSpent(); i++) route(model, Number.POSITIVE_INFINITY, choices, part);
    expect(part.isSpent()).toBe(true);
    expect(whole.share(1e-5).isSpent()).toBe(false);
  });
});

describe("the search for the least", () => {
  it("knows a way even where no work is left", () => {
    const model = thereAndBack(50);
    const { routes, peakBytes } = leastOf(model, new Map(), new Effort(0));
    expect(routes.length).toBe(1);
    expect(peakBytes).toBe(16 * 50);
    expect(leastOf(model, new Map()).peakBytes).toBeLessThan(peakBytes);
  });
});

describe("a long chain within a small budget", () => {
  beforeAll(() => start("strict"));
  const LENGTH = 200;
  const x = zeros([64, 16]);

  function report(memoryBudget?: number): MemoryReport {
    const weight = zeros([16, 16], { requiresGrad: true });
    const step = compile(
      (x: Tensor) => {
        let y = x;
        for (let i = 0; i < LENGTH; i++) y = y.matmul(weight).sin();
        const loss = y.square().sum();
        loss.backward();
        return loss;
      },
      memoryBudget === undefined ? {} : { memoryBudget },
    );
    return step.memory(x);
  }

  function leastSaid(memoryBudget: number): number {
    try {
      report(memoryBudget);
    } catch (error) {
      const { message } = error as Error;
      expect(message).toMatch(new RegExp(`a memory budget of ${memoryBudget} bytes is too small`));
      return Number(/the least found for this function is (\d+)/.exec(message)?.[1]);
    }
    throw new Error("it fits");
  }

  it("is planned, and each time alike", () => {
    const whole = report();
    const budget = Math.floor(whole.arenaBytes - 0.8 * whole.temporaryBytes);
    const within = report(budget);
    expect(within.arenaBytes).toBeLessThanOrEqual(budget);
    expect(report(budget)).toEqual(within);
  });

  it("or an error says what is enough, each time alike", () => {
    const least = leastSaid(1024);
    expect(leastSaid(1024)).toBe(least);
    expect(report(least).arenaBytes).toBeLessThanOrEqual(least);
  });
});
