/** Lowering by example gives what lowering anew does: for the same units, for copies, and where values go elsewhere. */
import { beforeAll, describe, expect, it } from "vitest";
import { nodeOf, type Tensor } from "../../src/graph/tensor.js";
import { softmax } from "../../src/ops/softmax.js";
import type { Buffer, PlanOperand } from "../../src/plan/buffer.js";
import { compilePlan, type Program } from "../../src/plan/plan.js";
import { modelOf } from "../../src/plan/recompute/model.js";
import { rebuild } from "../../src/plan/recompute/rebuild.js";
import { isRoute, SCORES } from "../../src/plan/recompute/route.js";
import { Templates } from "../../src/plan/recompute/templates.js";
import { route } from "../../src/plan/recompute/walk.js";
import { tensor } from "../../src/tensor/creation.js";
import { start } from "../support/builds.js";

beforeAll(() => start("strict"));

/** All that a program is: its steps and its temporaries, buffers by number. */
function written({ lowered, temporaries, programBytes }: Program): unknown {
  const numberOf = ({ region }: Buffer, buffer: Buffer): unknown =>
    region.kind === "temporary" ? temporaries.indexOf(buffer) : region;
  const buffer = (x: Buffer): unknown => numberOf(x, x);
  const operand = (x: PlanOperand): unknown => ({ ...x, buffer: buffer(x.buffer) });
  return {
    programBytes,
    starts: lowered.starts,
    results: lowered.results.map(operand),
    values: [...lowered.values].map(([{ id }, value]) => [id, operand(value)]),
    temporaries: temporaries.map(({ bytes, node, first, last, reuses }) => {
      return { bytes, node: node?.id, first, last, step: reuses?.step, from: reuses?.from.map(buffer) };
    }),
    steps: lowered.steps.map(({ opcode, flags, words, reads, writes, nodes }) => ({
      ...{ opcode, flags, nodes: nodes.map(({ id }) => id) },
      words: words.map((word) => (typeof word === "number" ? word : operand(word))),
      ...{ reads: reads.map(buffer), writes: writes.map(buffer) },
    })),
  };
}

function numbers(rows: number, columns: number): Tensor {
  return tensor(Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (_, j) => Math.sin(i + 7 * j))));
}

/** A network, and what its weights and their averages become in a step of an optimizer. */
function training(layers: number): { loss: Tensor; states: readonly (readonly [old: Tensor, next: Tensor])[] } {
  let x = numbers(6, 8);
  const weights = Array.from({ length: layers }, () => {
    const [weight, bias] = [numbers(8, 8), numbers(1, 8)];
    weight.requiresGrad = true;
    bias.requiresGrad = true;
    return [weight, bias] as const;
  });
  for (const [weight, bias] of weights) {
    const y = x.matmul(weight).add(bias).tanh();
    x = softmax(y.mul(x), 1).add(y.t().matmul(y).sum(0)).reshape(8, 6).t().reshape(6, 8);
  }
  const loss = x.square().sum();
  loss.backward();
  const states = weights.flat().flatMap((weight) => {
    const grad = weight.grad as Tensor;
    const average = numbers(weight.shape[0] as number, 8);
    const next = average.mul(0.9).add(grad.mul(0.1));
    return [[average, next] as const, [weight, weight.sub(next.mul(0.01))] as const];
  });
  return { loss, states };
}

/** Plans a network, and asks of programs in which more and more is computed again that templates make no difference. */
function expectSame(layers: number): void {
  const { loss, states } = training(layers);
  const templates = new Templates();
  let copies = 0;
  compilePlan({
    results: [nodeOf(loss)],
    states: states.map(([{ shape, dtype }]) => ({ shape, dtype })),
    stateLeaves: new Map(states.map(([old], slot) => [nodeOf(old), slot])),
    updates: states.map(([, next], slot) => ({ slot, node: nodeOf(next) })),
    recompute: (units, targets, lowerAll) => {
      const whole = lowerAll(units, targets);
      const model = modelOf(units, whole.lowered, []);
      const within = (limit: number) => route(model, limit, { score: SCORES[0] as (typeof SCORES)[number] });
      const free = within(Number.POSITIVE_INFINITY);
      for (let found = free; isRoute(found); found = within(0.95 * found.peakBytes)) {
        const { units, resolve, copies: again } = rebuild(model, found);
        copies = again.size;
        const updates = targets.updates.map(({ slot, node }) => ({ slot, node: resolve(node) }));
        const moved = { results: targets.results.map(resolve), updates };
        const anew = written(lowerAll(units, moved));
        expect(written(lowerAll(units, moved, templates))).toEqual(anew);
        expect(written(lowerAll(units, moved, templates))).toEqual(anew);
      }
      return { units, targets, originals: new Map(), copies: new Set() };
    },
  });
  expect(copies).toBeGreaterThan(0);
}

describe("lowering by example", () => {
  it("gives the steps and the memory that lowering anew gives, whatever is computed again", () => {
    expectSame(2);
    expectSame(5);
  });

  it("tells apart units that compute the same from values that lie otherwise", () => {
    const x = numbers(6, 6);
    const results = [x.matmul(numbers(6, 6)), x.t().tanh(), x.tanh().t().add(x), x.tanh().add(x)];
    compilePlan({
      ...{ results: results.map(nodeOf), states: [], stateLeaves: new Map(), updates: [] },
      recompute: (units, targets, lowerAll) => {
        const templates = new Templates();
        const fewer = { results: targets.results.slice(0, 2), updates: [] };
        for (const wanted of [targets, fewer, targets]) {
          expect(written(lowerAll(units, wanted, templates))).toEqual(written(lowerAll(units, wanted)));
        }
        return { units, targets, originals: new Map(), copies: new Set() };
      },
    });
  });
});
