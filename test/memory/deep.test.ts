/** Programs as deep as they are long: planning what to compute again must not run out of stack. */
import { expect, it } from "vitest";
import { nodeOf } from "../../src/graph/tensor.js";
import { topological } from "../../src/graph/walk.js";
import { inputsFirst, type Model, type Value, type Work } from "../../src/plan/recompute/model.js";
import { isRoute, SCORES, type Score } from "../../src/plan/recompute/route.js";
import { chainOf } from "../../src/plan/recompute/stages.js";
import { route } from "../../src/plan/recompute/walk.js";
import { zeros } from "../../src/tensor/creation.js";
import "../../src/tensor/methods.js";

const DEPTH = 10_000;

/** A chain of elementwise values, each read by the next and, in reverse order, once more. */
function thereAndBack(joins: boolean): Model {
  const none = { chain: [], operands: 0, stored: [], workspace: 0 };
  const values = Array.from({ length: DEPTH }, (_, v): Value => {
    const inputs = v === 0 ? [] : [v - 1];
    return {
      ...{ id: 2 * DEPTH + v, unit: v, inputs, joins: joins ? inputs : [], bytes: 16, cost: 1, flops: 1, ownCost: 1 },
      ...{ uses: [...(v < DEPTH - 1 ? [v + 1] : []), 2 * DEPTH - 1 - v], clone: [], elementwise: true, reuses: [] },
      ...{ node: null as unknown as Value["node"], kept: false, passing: [], until: Number.POSITIVE_INFINITY, ...none },
    };
  });
  const work = Array.from({ length: 2 * DEPTH }, (_, id): Work => {
    const [inputs, outputs] = id < DEPTH ? [id === 0 ? [] : [id - 1], [id]] : [[2 * DEPTH - 1 - id], []];
    return { id, inputs, outputs, joins: joins ? inputs : [], ...none };
  });
  return { values, work, argumentBytes: 0, passingArguments: [], cost: 2 * DEPTH, fits: () => true };
}

it("computes again what ten thousand values lead to", () => {
  // All are given up after their first use, and the last but one is wanted first.
  const dropAfter = new Map(Array.from({ length: DEPTH - 1 }, (_, v) => [v, v + 1]));
  const found = route(thereAndBack(false), Number.POSITIVE_INFINITY, { score: SCORES[0] as Score, dropAfter });
  expect(isRoute(found) && found.actions.length).toBeGreaterThan(2 * DEPTH);
});

it("looks for chains within chains ten thousand deep", () => {
  const model = thereAndBack(true);
  const dropAfter = new Map(Array.from({ length: DEPTH - 1 }, (_, v) => [v, v + 1]));
  let deepest = 0;
  const fits: Model["fits"] = (_, { length }) => {
    deepest = Math.max(deepest, length);
    return true;
  };
  route({ ...model, fits }, Number.POSITIVE_INFINITY, { score: SCORES[0] as Score, dropAfter, joinOften: true });
  expect(deepest).toBeGreaterThan(DEPTH / 2);
});

it("puts ten thousand nodes in order, inputs first", () => {
  let x = zeros([4]);
  for (let i = 0; i < DEPTH; i++) x = x.add(1);
  const nodes = topological([nodeOf(x)]);
  const ordered = inputsFirst([...nodes].reverse());
  expect(ordered.every((node, i) => node === nodes[i])).toBe(true);
});

it("keeps what there is room for of a chain of ten thousand stages", () => {
  const model = thereAndBack(false);
  // There is room for half of the values.
  const spare = chainOf(model, 8 * DEPTH)(1);
  const kept = model.values.filter(({ uses }, v) => spare?.(v, DEPTH - 1, uses.at(-1) as number) === false);
  expect(kept.length).toBeGreaterThan(DEPTH / 3);
  expect(kept.length).toBeLessThanOrEqual(DEPTH / 2);
});
