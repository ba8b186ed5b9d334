/** That the search for a budget counts memory as the program that comes of it uses it. */
import { beforeAll, expect, it, vi } from "vitest";
import { TRAINING_GRAPHS } from "../../bench/training-graphs.js";
import type { Fitted } from "../../src/plan/recompute/budget.js";
import { start } from "../support/builds.js";

/** What was found for each schedule that was tried: its share of the program's cost, and the most bytes alive at once. */
const found = vi.hoisted((): { cost: number; peakBytes: number }[] => []);

vi.mock("../../src/plan/recompute/budget.js", async (original) => {
  const budget = await original<typeof import("../../src/plan/recompute/budget.js")>();
  const fitBudget = (...args: Parameters<typeof budget.fitBudget>): Fitted | null => {
    const fitted = budget.fitBudget(...args);
    if (fitted !== null) found.push({ cost: fitted.route.cost / args[0].cost, peakBytes: fitted.route.peakBytes });
    return fitted;
  };
  return { ...budget, fitBudget };
});

beforeAll(() => start("strict"));

it.each(["mlp 16×128 adam", "resnet-8", "u-net 2", "lstm 1×16×64", "gpt 2×64×64"])(
  "knows to the byte how much is alive at once in the program that it makes of %s",
  (name) => {
    const graph = TRAINING_GRAPHS.map((make) => make()).find((each) => each.name === name);
    if (graph === undefined) throw new Error(`there is no ${name}`);
    const { arenaBytes, temporaryBytes } = graph.step().memory(...graph.args);
    found.length = 0;
    const memoryBudget = Math.floor(arenaBytes - temporaryBytes / 2);
    const { liveBytes } = graph.step({ memoryBudget }).memory(...graph.args);
    const [cheapest] = found.sort((a, b) => a.cost - b.cost);
    expect(cheapest?.peakBytes).toBe(liveBytes);
  },
);
