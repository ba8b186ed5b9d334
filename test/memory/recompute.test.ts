/** Computing values again instead of keeping them: less memory, the same bits. */
import { beforeAll, describe, expect, it } from "vitest";
import { TRAINING_GRAPHS, type TrainingGraph } from "../../bench/training-graphs.js";
import { ArenaError, ArgumentError } from "../../src/graph/errors.js";
import type { Tensor } from "../../src/graph/tensor.js";
import { gelu } from "../../src/ops/activation.js";
import { where } from "../../src/ops/arithmetic.js";
import { conv2d } from "../../src/ops/convolution.js";
import { crossEntropy } from "../../src/ops/loss.js";
import { linear } from "../../src/ops/matmul.js";
import { layerNorm } from "../../src/ops/norm.js";
import { dropout, manualSeed, randn } from "../../src/ops/random.js";
import { softmax } from "../../src/ops/softmax.js";
import { tanh } from "../../src/ops/unary.js";
import { Adam } from "../../src/optim/adam.js";
import { type CompileOptions, compile, parseBytes } from "../../src/tensor/compile.js";
import { tensor } from "../../src/tensor/creation.js";
import { checkpoint } from "../../src/transforms/checkpoint.js";
import { BUILDS, start } from "../support/builds.js";

const WIDTH = 24;
const BATCH = 64;

function parameters(count: number): Tensor[] {
  return Array.from({ length: count }, () => {
    const weight = randn([WIDTH, WIDTH]).mul(0.3).detach();
    weight.requiresGrad = true;
    return weight;
  });
}

type Wrap = (fn: (x: Tensor) => Tensor, x: Tensor) => Tensor;
const plainly: Wrap = (fn, x) => fn(x);
const checkpointed: Wrap = (fn, x) => checkpoint(fn, x);

/** Residual blocks of norm, product, GELU and dropout, trained by Adam; each block is called through `wrap`. */
function makeStep(wrap: Wrap, options: CompileOptions = {}) {
  manualSeed(1);
  const weights = parameters(6);
  const optimizer = new Adam(weights, { lr: 0.01 });
  const labels = tensor(Int32Array.from({ length: BATCH }, (_, i) => i % WIDTH));
  const step = compile((x: Tensor) => {
    let h = x;
    for (const weight of weights) {
      h = wrap((h) => h.add(dropout(gelu(linear(layerNorm(h, [WIDTH]), weight)), 0.2)), h);
    }
    const loss = crossEntropy(h, labels);
    optimizer.zeroGrad();
    loss.backward();
    optimizer.step();
    return loss;
  }, options);
  return { step, weights, x: randn([BATCH, WIDTH]) };
}

/** Losses, weights and gradients of three steps. */
function trained({ step, weights, x }: ReturnType<typeof makeStep>): unknown {
  const losses = [step(x).item(), step(x).item(), step(x).item()];
  return [losses, weights.map((weight) => weight.toArray()), weights.map(({ grad }) => grad?.toArray())];
}

describe.each(BUILDS)("checkpoint on the %s build", (build) => {
  beforeAll(() => start(build));

  it("takes less memory and gives the same bits, dropout too", () => {
    const plain = makeStep(plainly);
    const again = makeStep(checkpointed);
    const [before, after] = [plain.step.memory(plain.x), again.step.memory(again.x)];
    expect(before.recomputed).toEqual([]);
    expect(after.recomputed.length).toBeGreaterThan(0);
    expect(after.temporaryBytes).toBeLessThan(0.7 * before.temporaryBytes);
    expect(trained(makeStep(checkpointed))).toEqual(trained(makeStep(plainly)));
  });

  it("can stand within another", () => {
    const nested: Wrap = (fn, x) => checkpoint((x) => checkpoint(fn, x).mul(1), x);
    expect(trained(makeStep(nested))).toEqual(trained(makeStep(plainly)));
  });

  it("returns several values, views among them, and reads what it captures", () => {
    const run = (within: boolean): unknown => {
      manualSeed(2);
      const [w, v] = parameters(2) as [Tensor, Tensor];
      const fn = (x: Tensor): { wide: Tensor; turned: Tensor[] } => {
        const hidden = linear(x, w).tanh();
        return { wide: hidden.mul(hidden), turned: [softmax(hidden, 1).t(), x] };
      };
      const step = compile((x: Tensor) => {
        const { wide, turned } = within ? checkpoint(fn, x) : fn(x);
        const loss = linear(wide, v)
          .add((turned[0] as Tensor).t())
          .mul(turned[1] as Tensor)
          .sum();
        w.grad = null;
        v.grad = null;
        loss.backward();
        return loss;
      });
      return [step(randn([BATCH, WIDTH])).item(), w.grad?.toArray(), v.grad?.toArray()];
    };
    expect(run(true)).toEqual(run(false));
  });

  it("works in eager use", () => {
    const run = (wrap: Wrap): unknown => {
      manualSeed(3);
      const weights = parameters(3);
      const x = randn([8, WIDTH]);
      const out = weights.reduce((h, w) => wrap((h) => dropout(linear(h, w).tanh(), 0.3), h), x);
      out.square().sum().backward();
      return [out.toArray(), weights.map(({ grad }) => grad?.toArray())];
    };
    expect(run(checkpointed)).toEqual(run(plainly));
  });

  it("does not leave its mark where the function throws", () => {
    const fail = (): Tensor => {
      throw new RangeError("inside");
    };
    expect(() => checkpoint(fail)).toThrow("inside");
    expect(trained(makeStep(plainly))).toEqual(trained(makeStep(plainly)));
  });
});

describe.each(BUILDS)("a memory budget on the %s build", (build) => {
  beforeAll(() => start(build));

  it("is kept, at the cost of some arithmetic, and changes no bit", () => {
    const plain = makeStep(plainly);
    const whole = plain.step.memory(plain.x);
    const expected = trained(makeStep(plainly));
    for (const share of [0.7, 0.5, 0.4]) {
      const memoryBudget = Math.floor(whole.arenaBytes - (1 - share) * whole.temporaryBytes);
      const small = makeStep(plainly, { memoryBudget });
      const report = small.step.memory(small.x);
      expect(report.arenaBytes).toBeLessThanOrEqual(memoryBudget);
      expect(report.recomputedFlops).toBeGreaterThan(0);
      expect(trained(makeStep(plainly, { memoryBudget }))).toEqual(expected);
    }
  });

  it("takes products and chains apart where their values do not fit together, and changes no bit", () => {
    const graph = TRAINING_GRAPHS.map((make) => make()).find(({ name }) => name === "resnet-8") as TrainingGraph;
    const { arenaBytes, temporaryBytes } = graph.step().memory(...graph.args);
    const memoryBudget = Math.floor(arenaBytes - temporaryBytes / 2);
    const { flops, recomputedFlops } = graph.step({ memoryBudget }).memory(...graph.args);
    expect(recomputedFlops / (flops - recomputedFlops)).toBeLessThan(0.12);
    const losses = (options: CompileOptions): number[] => {
      manualSeed(4);
      const step = graph.step(options);
      const [x, y] = [randn([16, 3, 32, 32]), tensor(Int32Array.from({ length: 16 }, (_, i) => i % 10))];
      return [step(x, y).item(), step(x, y).item(), step(x, y).item()];
    };
    expect(losses({ memoryBudget })).toEqual(losses({}));
  });

  it("unrolls a recurrent network in half its memory for one forward pass again, and changes no bit", () => {
    const graph = TRAINING_GRAPHS.map((make) => make()).find(({ name }) => name === "lstm 1×16×64") as TrainingGraph;
    const { arenaBytes, temporaryBytes } = graph.step().memory(...graph.args);
    const memoryBudget = Math.floor(arenaBytes - temporaryBytes / 2);
    const { flops, recomputedFlops } = graph.step({ memoryBudget }).memory(...graph.args);
    expect(recomputedFlops / (flops - recomputedFlops)).toBeLessThan(1 / 3);
    const losses = (options: CompileOptions): number[] => {
      manualSeed(5);
      const step = graph.step(options);
      const [x, y] = [randn([16, 32, 64]), tensor(Int32Array.from({ length: 32 }, (_, i) => i % 10))];
      return [step(x, y).item(), step(x, y).item(), step(x, y).item()];
    };
    expect(losses({ memoryBudget })).toEqual(losses({}));
  });

  it("keeps in a densely connected network what will be computed from, and needs little time for a quarter of its memory", () => {
    const graph = TRAINING_GRAPHS.map((make) => make()).find(({ name }) => name === "densenet 3×6") as TrainingGraph;
    const { flops, arenaBytes, temporaryBytes } = graph.step().memory(...graph.args);
    const memoryBudget = Math.floor(arenaBytes - 0.75 * temporaryBytes);
    const report = graph.step({ memoryBudget }).memory(...graph.args);
    expect(report.arenaBytes).toBeLessThanOrEqual(memoryBudget);
    expect(report.recomputedFlops / flops).toBeLessThan(0.1);
  });

  it("changes nothing where everything fits", () => {
    const { step, x } = makeStep(plainly, { memoryBudget: "1GiB" });
    expect(step.memory(x).recomputed).toEqual([]);
  });

  it("holds together with checkpoints", () => {
    const { step, x } = makeStep(checkpointed);
    const memoryBudget = Math.floor(step.memory(x).arenaBytes * 0.97);
    const small = makeStep(checkpointed, { memoryBudget });
    expect(small.step.memory(small.x).arenaBytes).toBeLessThanOrEqual(memoryBudget);
    expect(trained(makeStep(checkpointed, { memoryBudget }))).toEqual(trained(makeStep(plainly)));
  });

  it("says what would be enough where it is too small, and that is enough", () => {
    const { step, x } = makeStep(plainly, { memoryBudget: "150KB" });
    let message = "";
    try {
      step(x);
    } catch (error) {
      expect(error).toBeInstanceOf(ArenaError);
      message = (error as Error).message;
    }
    const [, least] = /least found for this function is (\d+)/.exec(message) ?? [];
    expect(message).toMatch(/the step that needs most computes [\w+]+ \[[\d,]+\], at \S+recompute\.test\.ts:\d+$/);
    const enough = makeStep(plainly, { memoryBudget: Number(least) });
    expect(enough.step.memory(enough.x).arenaBytes).toBeLessThanOrEqual(Number(least));
  });

  it.each([1, "110KB"])("says the same where not even the states and arguments fit: %s", (memoryBudget) => {
    const { step, x } = makeStep(plainly, { memoryBudget });
    expect(() => step(x)).toThrow(/least found for this function is \d+/);
  });

  it.each([
    ["much", '"much"'],
    ["48 bananas", '"48 bananas"'],
    ["1.5TB", '"1.5TB"'],
    ["0MB", '"0MB"'],
    ["0.5B", '"0.5B"'],
    ["", '""'],
    [0, "0"],
    [-1, "-1"],
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "Infinity"],
  ])("cannot be %s", (memoryBudget, shown) => {
    expect(() => compile((x: Tensor) => x, { memoryBudget })).toThrow(ArgumentError);
    expect(() => compile((x: Tensor) => x, { memoryBudget })).toThrow(
      `compile: memoryBudget: a size is a number of bytes above 0, or a text such as "48MB" or "64MiB" (in B, KB, MB, GB, KiB, MiB or GiB), not ${shown}`,
    );
  });

  it.each([
    ["1.5GB", 1.5e9],
    ["64MiB", 2 ** 26],
    [" 2 kib ", 2048],
    ["1000", 1000],
    [1e6, 1e6],
  ])("can be %s", (size, bytes) => {
    expect(parseBytes("test", size)).toBe(bytes);
  });
});

describe("policies", () => {
  beforeAll(() => start("strict"));

  it.each(["cheap", "all but products"] as const)("%s: other values are kept, the bits are the same", (recompute) => {
    const { step, x } = makeStep(plainly, { recompute });
    const operators = new Set(step.memory(x).recomputed.map(({ operator }) => operator));
    expect(operators.size).toBeGreaterThan(0);
    expect(operators).not.toContain("matmul");
    expect(operators.has("layerNorm")).toBe(recompute === "all but products");
    expect(trained(makeStep(plainly, { recompute }))).toEqual(trained(makeStep(plainly)));
  });

  it("computes values of one chain again apart where one of them is behind a third that reads the other", () => {
    const kernel = randn([2, 2, 3, 3]).requiresGrad_();
    const weight = randn([16, 16]).requiresGrad_();
    const make = (options: CompileOptions) =>
      compile((x: Tensor) => {
        const image = conv2d(x, kernel, undefined, { padding: 1 }).reshape([8, 16]);
        const dropped = dropout(image, 0.25);
        const mixed = tanh(image.add(1));
        const chosen = where(mixed.gt(0), mixed, dropped);
        const loss = softmax(chosen, 1).matmul(weight).square().sum();
        kernel.grad = null;
        loss.backward();
        return loss.detach();
      }, options);
    const x = randn([8, 2, 4, 2]);
    const [kept, again] = [{}, { recompute: { saveOnly: ["sum"] } }].map((options) => {
      manualSeed(3);
      const loss = make(options)(x).item();
      return [loss, ...(kernel.grad as Tensor).data()];
    });
    expect(again).toEqual(kept);
  });
});
