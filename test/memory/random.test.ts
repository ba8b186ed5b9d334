/** Random training graphs under random budgets: whatever is computed again, the gradients are the same bits. */
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { ArenaError } from "../../src/graph/errors.js";
import type { Tensor } from "../../src/graph/tensor.js";
import { softmax } from "../../src/ops/softmax.js";
import { compile } from "../../src/tensor/compile.js";
import { tensor } from "../../src/tensor/creation.js";
import { checkpoint } from "../../src/transforms/checkpoint.js";
import { BUILDS, start } from "../support/builds.js";

const SIZE = 16;

function matrix(seed: number): Tensor {
  return tensor(
    Float32Array.from({ length: SIZE * SIZE }, (_, i) => (((i * 7919 + seed * 104729) % 97) - 48) / 64),
    [SIZE, SIZE],
  );
}

type Operator = (a: Tensor, b: Tensor, weight: Tensor) => Tensor;

/** Chains, products, reductions, views and copies. */
const OPERATORS: readonly Operator[] = [
  (a, b) => a.mul(b).add(a),
  (a, b) => a.sub(b).tanh(),
  (a, _, weight) => a.matmul(weight),
  (a, _, weight) => a.matmul(weight).add(weight.select(0, 0)).sigmoid(),
  (a) => softmax(a, 1),
  (a, b) => a.t().mul(b),
  (a, b) => a.div(b.square().sum(1, true).add(1)),
  (a) =>
    a
      .reshape([SIZE / 2, 2 * SIZE])
      .t()
      .reshape([SIZE, SIZE]),
  (a, b) => a.mul(b).mul(0.5).add(b.mul(a).exp().mul(0.1)),
];

/** A graph: each entry applies an operator to two of the values so far, within a checkpoint or not. */
const graphs = fc.array(
  fc.record({ operator: fc.nat(OPERATORS.length - 1), a: fc.nat(3), b: fc.nat(3), within: fc.boolean() }),
  { minLength: 3, maxLength: 14 },
);

describe.each(BUILDS)("on the %s build", (build) => {
  beforeAll(() => start(build));

  it("gives the same bits with checkpoints and within budgets", () => {
    fc.assert(
      fc.property(graphs, fc.double({ min: 0.3, max: 1, noNaN: true }), (entries, share) => {
        const make = (checkpoints: boolean) => {
          const weights = entries.map((_, i) => {
            const weight = matrix(i);
            weight.requiresGrad = true;
            return weight;
          });
          const fn = (x: Tensor): Tensor => {
            const values = [x];
            entries.forEach(({ operator, a, b, within }, i) => {
              const pick = (k: number): Tensor => values[Math.max(0, values.length - 1 - k)] as Tensor;
              const apply = (a: Tensor, b: Tensor): Tensor =>
                (OPERATORS[operator] as Operator)(a, b, weights[i] as Tensor);
              values.push(within && checkpoints ? checkpoint(apply, pick(a), pick(b)) : apply(pick(a), pick(b)));
            });
            const loss = (values.at(-1) as Tensor).sum();
            for (const weight of weights) weight.grad = null;
            if (loss.requiresGrad) loss.backward();
            return loss;
          };
          const results = (step: (x: Tensor) => Tensor): unknown => [
            step(matrix(99)).item(),
            weights.map(({ grad }) => grad?.toArray()),
          ];
          return { fn, results };
        };
        const plain = make(false);
        const whole = compile(plain.fn);
        const expected = plain.results(whole);
        for (const checkpoints of [false, true]) {
          const other = make(checkpoints);
          expect(other.results(compile(other.fn))).toEqual(expected);
          const { arenaBytes, temporaryBytes } = whole.memory();
          const memoryBudget = Math.floor(arenaBytes - (1 - share) * temporaryBytes);
          const small = compile(other.fn, { memoryBudget });
          try {
            expect(other.results(small)).toEqual(expected);
            expect(small.memory().arenaBytes).toBeLessThanOrEqual(memoryBudget);
          } catch (error) {
            if (!(error instanceof ArenaError)) throw error;
          }
        }
      }),
      { numRuns: 40, seed: 7 },
    );
  });
});
