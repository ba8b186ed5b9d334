/** Convolution and pooling layers: their parameters, how they start, and that they do what the functions do. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import * as nn from "../../src/nn/index.js";
import {
  adaptiveAvgPool2d,
  avgPool2d,
  conv1d,
  conv2d,
  conv3d,
  convTranspose2d,
  maxPool2d,
} from "../../src/ops/index.js";
import { manualSeed, rand } from "../../src/ops/random.js";
import { BUILDS, start } from "../support/builds.js";

describe.each(BUILDS)("convolution layers on the %s build", (build) => {
  beforeAll(() => start(build));

  it("hold a weight and a bias in PyTorch's layouts", () => {
    const shapes = (layer: nn.Module) =>
      Object.fromEntries(layer.namedParameters().map(([name, x]) => [name, x.shape]));
    expect(shapes(new nn.Conv1d(4, 6, 3, { groups: 2 }))).toEqual({ weight: [6, 2, 3], bias: [6] });
    expect(shapes(new nn.Conv2d(4, 6, [3, 5]))).toEqual({ weight: [6, 4, 3, 5], bias: [6] });
    expect(shapes(new nn.Conv3d(4, 6, 2, { bias: false }))).toEqual({ weight: [6, 4, 2, 2, 2] });
    expect(shapes(new nn.ConvTranspose2d(4, 6, 3, { groups: 2 }))).toEqual({ weight: [4, 3, 3, 3], bias: [6] });
  });

  it("start uniform within ±1/√(inputs of an output)", () => {
    manualSeed(0);
    const { weight, bias } = new nn.Conv2d(16, 256, 2);
    for (const parameter of [weight, bias as Tensor]) {
      const values = Array.from(parameter.data());
      expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(1 / 8);
      expect(Math.max(...values)).toBeGreaterThan(0.12);
      expect(Math.min(...values)).toBeLessThan(-0.12);
    }
  });

  it("compute what the functions compute, with their options", () => {
    const line = new nn.Conv1d(2, 3, 3, { padding: 1, dilation: 2 });
    const x1 = rand([2, 2, 7]);
    expect(line.forward(x1).data()).toEqual(conv1d(x1, line.weight, line.bias, { padding: 1, dilation: 2 }).data());
    const image = new nn.Conv2d(2, 4, 3, { stride: 2, padding: "valid", groups: 2 });
    const x2 = rand([2, 2, 7, 8]);
    expect(image.forward(x2).data()).toEqual(conv2d(x2, image.weight, image.bias, { stride: 2, groups: 2 }).data());
    const volume = new nn.Conv3d(1, 2, 2);
    const x3 = rand([1, 1, 3, 4, 5]);
    expect(volume.forward(x3).data()).toEqual(conv3d(x3, volume.weight, volume.bias).data());
    const options = { stride: 2, outputPadding: 1 };
    const wider = new nn.ConvTranspose2d(2, 3, 3, options);
    expect(wider.forward(x2).data()).toEqual(convTranspose2d(x2, wider.weight, wider.bias, options).data());
  });

  it("pool what the functions pool", () => {
    const x = rand([2, 3, 7, 9]);
    const largest = new nn.MaxPool2d(3, { stride: 2, padding: 1 });
    expect(largest.forward(x).data()).toEqual(maxPool2d(x, 3, { stride: 2, padding: 1 }).data());
    expect(new nn.AvgPool2d(2, { ceilMode: true }).forward(x).data()).toEqual(
      avgPool2d(x, 2, { ceilMode: true }).data(),
    );
    expect(new nn.AdaptiveAvgPool2d([3, null]).forward(x).data()).toEqual(adaptiveAvgPool2d(x, [3, null]).data());
  });

  it("reject sizes that make no layer", () => {
    expect(() => new nn.Conv2d(0, 3, 3)).toThrow("Conv2d: inChannels must be a whole number from 1 up, not 0");
    expect(() => new nn.Conv2d(4, 6, 3, { groups: 4 })).toThrow("Conv2d: 4 groups do not divide 4 and 6 channels");
    expect(() => new nn.Conv2d(4, 6, [3, 3, 3])).toThrow("Conv2d: kernelSize must be a number or a list of 2");
    expect(() => new nn.MaxPool2d(0)).toThrow("MaxPool2d: kernelSize must be whole numbers from 1 up, not 0");
  });
});
