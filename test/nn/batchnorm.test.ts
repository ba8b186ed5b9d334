/** Batch normalization layers: PyTorch's numbers, running statistics through compiled steps, and state dicts. */
import { beforeAll, describe, expect, it } from "vitest";
import * as nn from "../../src/nn/index.js";
import { SGD } from "../../src/optim/index.js";
import { compile } from "../../src/tensor/compile.js";
import { ones, tensor } from "../../src/tensor/creation.js";
import { BUILDS, start } from "../support/builds.js";

/** i²/16 for i from 0 to 15, as `[2, 2, 2, 2]`. */
const images = () =>
  tensor(
    Float32Array.from({ length: 16 }, (_, i) => i ** 2 / 16),
    [2, 2, 2, 2],
  );

function expectClose(actual: ArrayLike<number>, expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  expected.forEach((x, i) => {
    expect(actual[i]).toBeCloseTo(x, 4);
  });
}

describe.each(BUILDS)("batch normalization on the %s build", (build) => {
  beforeAll(() => start(build));

  it("normalizes by the batch in training and by the running statistics after eval(), with PyTorch's numbers", () => {
    const layer = new nn.BatchNorm2d(2);
    const trained = layer.forward(images());
    layer.forward(images().mul(2));
    expectClose(
      trained.data(),
      [
        -1.02009, -0.99861, -0.93419, -0.82681, -1.15204, -1.03872, -0.90023, -0.73655, 0.35435, 0.71943, 1.12747,
        1.57846, 0.45956, 0.77432, 1.11427, 1.47939,
      ],
    );
    const { running_mean, running_var, num_batches_tracked } = layer.stateDict();
    expectClose(running_mean?.data() ?? [], [0.8609375, 1.9484375]);
    expectClose(running_var?.data() ?? [], [5.5530472, 14.6092968]);
    expect(num_batches_tracked?.item()).toBe(2);
    expectClose(
      layer.eval().forward(images()).data(),
      [
        -0.36535, -0.33882, -0.25926, -0.12664, -0.24814, -0.10097, 0.0789, 0.29147, 1.33209, 1.78297, 2.2869, 2.84387,
        1.84489, 2.25369, 2.69518, 3.16939,
      ],
    );
    expect(num_batches_tracked?.item()).toBe(2);
  });

  it("follows the batches of compiled steps as those of eager ones", () => {
    const train = (mode: "eager" | "compiled"): Record<string, number[]> => {
      const layer = new nn.BatchNorm2d(2);
      const sgd = new SGD(layer.parameters(), { lr: 0.1 });
      const step = () => {
        const loss = layer.forward(images()).pow(3).mean();
        sgd.zeroGrad();
        loss.backward();
        sgd.step();
        return loss;
      };
      const run = mode === "compiled" ? compile(step) : step;
      for (let i = 0; i < 3; i++) run().item();
      return Object.fromEntries(Object.entries(layer.stateDict()).map(([name, x]) => [name, Array.from(x.data())]));
    };
    const [eager, compiled] = [train("eager"), train("compiled")];
    expect(Object.keys(compiled)).toEqual(["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]);
    for (const [name, x] of Object.entries(eager)) expectClose(compiled[name] ?? [], x);
    expect(compiled.num_batches_tracked).toEqual([3]);
  });

  it("loads what another one saved, and has neither weights nor statistics where none are wanted", () => {
    const layer = new nn.BatchNorm1d(3);
    layer
      .forward(
        tensor([
          [1, 2, 3],
          [3, 5, 9],
        ]),
      )
      .data();
    const other = new nn.BatchNorm1d(3);
    other.loadStateDict(layer.stateDict());
    const x = ones([4, 3, 2]);
    expect(other.eval().forward(x).toArray()).toEqual(layer.eval().forward(x).toArray());
    const bare = new nn.BatchNorm1d(3, { affine: false, trackRunningStats: false }).eval();
    expect(bare.stateDict()).toEqual({});
    expectClose(
      bare
        .forward(
          tensor([
            [1, 2, 3],
            [3, 6, 9],
          ]),
        )
        .data(),
      [-1, -1, -1, 1, 1, 1],
    );
  });

  it("says which shape it takes", () => {
    expect(() => new nn.BatchNorm2d(3).forward(ones([2, 3]))).toThrow(
      "BatchNorm2d: input must be [N, C, H, W] with C = 3, not [2,3]",
    );
    expect(() => new nn.BatchNorm1d(3).forward(ones([2, 4]))).toThrow(
      /\[N, C\] or \[N, C, L\] with C = 3, not \[2,4\]/,
    );
    expect(() => new nn.BatchNorm3d(0)).toThrow("BatchNorm3d: numFeatures must be a whole number from 1 up, not 0");
  });
});
