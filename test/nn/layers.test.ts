/** Layers and losses: what they compute and how they start. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import * as nn from "../../src/nn/index.js";
import { crossEntropy, mseLoss } from "../../src/ops/loss.js";
import { manualSeed, rand } from "../../src/ops/random.js";
import { ones, tensor } from "../../src/tensor/creation.js";
import { BUILDS, start } from "../support/builds.js";

describe.each(BUILDS)("layers on the %s build", (build) => {
  beforeAll(() => start(build));

  it("Linear computes x·Wᵀ + b", () => {
    const layer = new nn.Linear(2, 3);
    layer.loadStateDict({
      weight: tensor([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
      bias: tensor([10, 20, 30]),
    });
    expect(
      layer
        .forward(
          tensor([
            [1, 1],
            [0, 2],
          ]),
        )
        .toArray(),
    ).toEqual([
      [13, 27, 41],
      [14, 28, 42],
    ]);
    expect(new nn.Linear(2, 3, { bias: false }).bias).toBeNull();
    expect(() => layer.forward(ones([4, 3]))).toThrow(/linear|matmul/);
    expect(() => new nn.Linear(0, 3)).toThrow("Linear: inFeatures must be a whole number from 1 up, not 0");
  });

  it("Linear starts uniform within ±1/√in", () => {
    manualSeed(0);
    const { weight, bias } = new nn.Linear(64, 256);
    for (const parameter of [weight, bias as Tensor]) {
      const values = Array.from(parameter.data());
      expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(1 / 8);
      expect(Math.max(...values)).toBeGreaterThan(0.115);
      expect(values.reduce((sum, x) => sum + x, 0) / values.length).toBeCloseTo(0, 1);
    }
  });

  it("a seed makes a model reproducible", () => {
    const weights = [3, 3, 4].map((seed) => {
      manualSeed(seed);
      return new nn.Sequential(new nn.Linear(3, 3), new nn.Embedding(4, 2))
        .parameters()
        .map((p) => Array.from(p.data()));
    });
    expect(weights[1]).toEqual(weights[0]);
    expect(weights[2]).not.toEqual(weights[0]);
  });

  it("Embedding looks rows up", () => {
    const layer = new nn.Embedding(3, 2);
    layer.loadStateDict({
      weight: tensor([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
    });
    expect(layer.forward(tensor(Int32Array.of(2, 0, 2, 1), [2, 2])).toArray()).toEqual([
      [
        [5, 6],
        [1, 2],
      ],
      [
        [5, 6],
        [3, 4],
      ],
    ]);
  });

  it("normalizations start as the plain normalization", () => {
    const x = rand([4, 6]);
    const near = (out: Tensor, divide: (row: number[]) => number[]): void => {
      (x.toArray() as number[][]).forEach((row, i) => {
        divide(row).forEach((value, j) => {
          expect((out.toArray() as number[][])[i]?.[j]).toBeCloseTo(value, 4);
        });
      });
    };
    const mean = (row: number[]): number => row.reduce((sum, v) => sum + v, 0) / row.length;
    const standardize = (row: number[]): number[] => {
      const center = mean(row);
      const variance = mean(row.map((v) => (v - center) ** 2));
      return row.map((v) => (v - center) / Math.sqrt(variance + 1e-5));
    };
    near(new nn.LayerNorm(6).forward(x), standardize);
    near(new nn.GroupNorm(2, 6).forward(x), (row) => [...standardize(row.slice(0, 3)), ...standardize(row.slice(3))]);
    near(new nn.RMSNorm([6]).forward(x), (row) => row.map((v) => v / Math.sqrt(mean(row.map((w) => w * w)))));
    expect(new nn.LayerNorm(6, { bias: false }).parameters()).toHaveLength(1);
    expect(new nn.LayerNorm([2, 3], { elementwiseAffine: false }).parameters()).toHaveLength(0);
  });

  it("Dropout acts in training alone", () => {
    const layer = new nn.Dropout(0.5);
    const x = ones([1000]);
    expect(layer.forward(x).data().includes(0)).toBe(true);
    expect(layer.eval().forward(x)).toBe(x);
    expect(() => new nn.Dropout(-1)).toThrow("Dropout: p must be between 0 and 1, not -1");
  });

  it("Flatten keeps the batch", () => {
    expect(new nn.Flatten().forward(ones([5, 2, 3])).shape).toEqual([5, 6]);
    expect(new nn.Flatten(0).forward(ones([5, 2, 3])).shape).toEqual([30]);
  });

  it("activations are what their names say", () => {
    const at = (layer: nn.Layer, x: number): number => layer.forward(tensor([[x, 0]])).data()[0] as number;
    const expected: [nn.Layer, number, number][] = [
      [new nn.Identity(), -1, -1],
      [new nn.ReLU(), -1, 0],
      [new nn.ReLU6(), 7, 6],
      [new nn.LeakyReLU(0.1), -2, -0.2],
      [new nn.PReLU(), -2, -0.5],
      [new nn.ELU(2), -1, 2 * (Math.exp(-1) - 1)],
      [new nn.SELU(), 1, 1.0507009873554805],
      [new nn.GELU(), 1, 0.8413447460685429],
      [new nn.GELU({ approximate: "tanh" }), 1, 0.8411919906082768],
      [new nn.SiLU(), 1, 1 / (1 + Math.exp(-1))],
      [new nn.Mish(), 1, Math.tanh(Math.log1p(Math.E))],
      [new nn.Hardswish(), 1, 2 / 3],
      [new nn.Hardsigmoid(), 1, 2 / 3],
      [new nn.Tanh(), 1, Math.tanh(1)],
      [new nn.Sigmoid(), 1, 1 / (1 + Math.exp(-1))],
      [new nn.LogSigmoid(), 1, -Math.log1p(Math.exp(-1))],
      [new nn.Softplus(), 1, Math.log1p(Math.E)],
      [new nn.Softmax(1), 1, Math.E / (Math.E + 1)],
      [new nn.LogSoftmax(1), 1, -Math.log1p(Math.exp(-1))],
    ];
    for (const [layer, x, y] of expected) expect(at(layer, x), layer.constructor.name).toBeCloseTo(y, 5);
  });

  it("losses take the options of their functions", () => {
    const [input, target] = [
      tensor([
        [1, 2],
        [3, 5],
      ]),
      tensor([
        [0, 0],
        [0, 1],
      ]),
    ];
    expect(new nn.MSELoss().forward(input, target).item()).toBe(mseLoss(input, target).item());
    expect(new nn.MSELoss({ reduction: "sum" }).forward(input, target).item()).toBe(30);
    const labels = tensor(Int32Array.of(1, 0));
    const options = { labelSmoothing: 0.1 };
    expect(new nn.CrossEntropyLoss(options).forward(input, labels).item()).toBe(
      crossEntropy(input, labels, options).item(),
    );
  });
});
