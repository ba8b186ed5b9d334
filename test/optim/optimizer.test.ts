/** Optimizers follow PyTorch's, option by option; their state survives a checkpoint. */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import { Parameter } from "../../src/nn/module.js";
import { Adam, AdamW, RMSprop, SGD } from "../../src/optim/index.js";
import { compile } from "../../src/tensor/compile.js";
import { tensor, zeros } from "../../src/tensor/creation.js";
import { BUILDS, start } from "../support/builds.js";
import { uniform } from "../training/recorded.js";

interface Run {
  readonly optimizer: "SGD" | "Adam" | "AdamW" | "RMSprop";
  readonly options: Readonly<Record<string, number | boolean | [number, number]>>;
  /** Of both parameters together, after each step. */
  readonly parameters: readonly (readonly number[])[];
}

const { runs } = JSON.parse(readFileSync(new URL("../fixtures/optimizers.json", import.meta.url), "utf8")) as {
  runs: Run[];
};
const CLASSES = { SGD, Adam, AdamW, RMSprop };

/** Steps in which the second parameter has no gradient. */
const SKIPPED = [0, 1, 4];

function parameters(): [Parameter, Parameter] {
  return [new Parameter(uniform(1, [5])), new Parameter(uniform(2, [3]))];
}

function valuesOf(params: readonly Tensor[]): number[] {
  return params.flatMap((param) => Array.from(param.data()));
}

describe.each(BUILDS)("optimizers on the %s build", (build) => {
  beforeAll(() => start(build));

  it.each(runs)("$optimizer with $options goes PyTorch's way", ({ optimizer: name, options, parameters: expected }) => {
    for (const wrap of [(f: () => void) => f, (f: () => void): (() => void) => compile(f)]) {
      const params = parameters();
      const optimizer = new CLASSES[name](params, options);
      const step = wrap(() => optimizer.step());
      expected.forEach((after, t) => {
        params[0].grad = uniform(100 + t, [5]);
        params[1].grad = SKIPPED.includes(t) ? null : uniform(200 + t, [3]);
        step();
        valuesOf(params).forEach((value, i) => {
          expect(Math.abs(value - (after[i] as number)), `step ${t}, element ${i}`).toBeLessThan(2e-6);
        });
      });
    }
  });
});

describe("an optimizer", () => {
  beforeAll(() => start("strict"));

  /** Steps `from` to `to` with gradients that depend on the step alone. */
  const run = (optimizer: SGD | Adam, params: readonly Tensor[], from: number, to: number): void => {
    for (let t = from; t < to; t++) {
      params.forEach((param, i) => {
        param.grad = uniform(100 * (i + 1) + t, param.shape);
      });
      optimizer.step();
    }
  };

  const expectContinued = <O extends SGD | Adam>(
    make: (params: Tensor[]) => O,
    resume: (optimizer: O, saved: O) => void,
  ): void => {
    const whole = parameters();
    run(make(whole), whole, 0, 6);

    const first = parameters();
    const before = make(first);
    run(before, first, 0, 3);
    const second = first.map((param) => new Parameter(param));
    const after = make(second);
    after.lr = 123;
    resume(after, before);
    expect(after.lr).toBe(before.lr);
    run(before, first, 3, 5);
    run(after, second, 3, 6);
    expect(valuesOf(second)).toEqual(valuesOf(whole));
  };

  it("continues from a checkpoint bit by bit, whatever happens to the first one afterwards", () => {
    expectContinued(
      (params) => new SGD(params, { lr: 0.1, momentum: 0.9, dampening: 0.5 }),
      (optimizer, saved) => optimizer.loadStateDict(saved.stateDict()),
    );
    expectContinued(
      (params) => new Adam(params, { lr: 0.1, amsgrad: true }),
      (optimizer, saved) => optimizer.loadStateDict(saved.stateDict()),
    );
  });

  it("keeps its checkpoint as it was while training goes on", () => {
    const params = parameters();
    const adam = new Adam(params);
    run(adam, params, 0, 2);
    const saved = adam.stateDict();
    const values = Object.entries(saved.tensors).map(([name, x]) => [name, Array.from(x.data())]);
    expect(values.map(([name]) => name)).toEqual(["0.expAvg", "0.expAvgSq", "1.expAvg", "1.expAvgSq"]);
    run(adam, params, 2, 4);
    expect(saved.steps).toEqual([2, 2]);
    expect(Object.entries(saved.tensors).map(([name, x]) => [name, Array.from(x.data())])).toEqual(values);
  });

  it("says what does not fit in a checkpoint", () => {
    const state = new Adam(parameters()).stateDict();
    const other = new Adam([new Parameter(zeros([5])), new Parameter(zeros([2]))]);
    expect(() => other.loadStateDict(state)).toThrow(
      "Adam.loadStateDict: 1.expAvg is [3] and must be [2]; 1.expAvgSq is [3]",
    );
    expect(() => new Adam([new Parameter(zeros([5]))]).loadStateDict(state)).toThrow(
      "it is for 2 parameters, and there are 1",
    );
    const amsgrad = new Adam(parameters(), { amsgrad: true });
    expect(() => amsgrad.loadStateDict(state)).toThrow("0.maxExpAvgSq is missing");
  });

  it("takes groups with options of their own", () => {
    const [a, b] = parameters();
    const optimizer = new SGD([{ params: [a], lr: 1 }, { params: [b] }], { lr: 10, weightDecay: 0 });
    const before = valuesOf([a, b]);
    a.grad = tensor(new Float32Array(5).fill(1));
    b.grad = tensor(new Float32Array(3).fill(1));
    optimizer.step();
    valuesOf([a, b]).forEach((value, i) => {
      expect(value).toBeCloseTo((before[i] as number) - (i < 5 ? 1 : 10), 5);
    });
    expect(optimizer.paramGroups.map(({ lr }) => lr)).toEqual([1, 10]);
    optimizer.lr = 3;
    expect(optimizer.paramGroups.map(({ lr }) => lr)).toEqual([3, 3]);
  });

  it("leaves parameters without a gradient alone, and clears all gradients", () => {
    const [a, b] = parameters();
    const optimizer = new AdamW([a, b]);
    const before = valuesOf([b]);
    a.grad = zeros([5]);
    optimizer.step();
    expect(valuesOf([b])).toEqual(before);
    optimizer.zeroGrad();
    expect([a.grad, b.grad]).toEqual([null, null]);
  });

  it("refuses what it cannot do, by name and value", () => {
    const [a] = parameters();
    expect(() => new SGD([])).toThrow("SGD: there are no parameters");
    expect(() => new SGD({ a } as unknown as Tensor[])).toThrow(
      "SGD: expected a list of parameters, as model.parameters(), not an object",
    );
    expect(() => new SGD([a, a])).toThrow("SGD: parameter 1 is also parameter 0");
    expect(() => new SGD([a.mul(2)])).toThrow(/was computed from others/);
    expect(() => new SGD([a], { lr: -1 })).toThrow("SGD: lr must be 0 or more, not -1");
    expect(() => new SGD([a], { nesterov: true })).toThrow("SGD: momentum must be above 0 with nesterov, not 0");
    expect(() => new SGD([a], { learningRate: 1 } as never)).toThrow("SGD: there is no option learningRate");
    expect(() => new Adam([a], { betas: [0.9, 1] })).toThrow("Adam: betas[1] must be at least 0 and below 1, not 1");
    expect(() => new SGD([{ params: [a] }, a] as never)).toThrow("pass either parameters or groups of them, not both");
  });
});
