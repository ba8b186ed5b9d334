/** What every text on reverse mode starts with, and the promises that hold beyond it. */
import { beforeAll, describe, expect, it } from "vitest";
import { GradError } from "../../src/graph/errors.js";
import { detach, noGrad, type Tensor } from "../../src/graph/tensor.js";
import { ReLU } from "../../src/nn/activations.js";
import { Linear, Sequential } from "../../src/nn/layers.js";
import { mseLoss } from "../../src/ops/loss.js";
import { exp } from "../../src/ops/unary.js";
import { tensor } from "../../src/tensor/creation.js";
import { grad } from "../../src/transforms/reverse.js";
import { BUILDS, start } from "../support/builds.js";
import { initialize, recorded, uniform } from "./recorded.js";

function variable(value: number | number[]): Tensor {
  return tensor(value, { requiresGrad: true });
}

function gradientOf(x: Tensor): unknown {
  return x.grad?.toArray();
}

describe.each(BUILDS)("gradients on the %s build", (build) => {
  beforeAll(() => start(build));

  it("of z = (x + y)² at (2, 3) are 10 and 10", () => {
    const [x, y] = [variable(2), variable(3)];
    const s = x.add(y);
    s.mul(s).backward();
    expect([gradientOf(x), gradientOf(y)]).toEqual([10, 10]);
  });

  it("of z = x² + x at 3 are 7: two paths from one variable are summed", () => {
    const x = variable(3);
    x.mul(x).add(x).backward();
    expect(gradientOf(x)).toBe(7);
  });

  it("of L = xy + (x + y) at (2, 3) are 4 and 3", () => {
    const [x, y] = [variable(2), variable(3)];
    x.mul(y).add(x.add(y)).backward();
    expect([gradientOf(x), gradientOf(y)]).toEqual([4, 3]);
  });

  it("of y = x² are 2x times the upstream gradient", () => {
    const ones = variable([1, 2, 3]);
    ones.mul(ones).backward(tensor([1, 1, 1]));
    expect(gradientOf(ones)).toEqual([2, 4, 6]);
    const weighted = variable([1, 2, 3]);
    weighted.mul(weighted).backward(tensor([10, 1, 0.1]));
    expect(weighted.grad?.data()).toEqual(Float32Array.of(20, 4, 6 * Math.fround(0.1)));
  });

  it("add up over several backward calls, until they are cleared", () => {
    const x = variable(3);
    x.mul(x).backward();
    x.mul(5).backward();
    expect(gradientOf(x)).toBe(11);
    x.grad = null;
    x.mul(5).backward();
    expect(gradientOf(x)).toBe(5);
  });

  it("can be taken twice through one graph", () => {
    const x = variable(2);
    const y = exp(x.mul(0)).mul(x).mul(x);
    y.backward();
    expect(y.item()).toBe(4);
    y.backward();
    expect(gradientOf(x)).toBe(8);
  });

  it("do not pass a detached tensor or a computation under noGrad", () => {
    const x = variable(3);
    x.mul(detach(x)).backward();
    expect(gradientOf(x)).toBe(3);
    const y = noGrad(() => x.mul(x));
    expect(y.requiresGrad).toBe(false);
    x.grad = null;
    y.mul(x).backward();
    expect(gradientOf(x)).toBe(9);
  });

  it("are those of the values at the time, whatever is overwritten later", () => {
    const x = variable([1, 2, 3]);
    const y = x.mul(x);
    noGrad(() => x.fill_(100));
    y.sum().backward();
    expect(gradientOf(x)).toEqual([2, 4, 6]);
    expect(x.toArray()).toEqual([100, 100, 100]);
  });

  it("flow through an overwritten intermediate value", () => {
    const x = variable([1, 2]);
    const y = x.mul(3);
    const square = y.mul(y);
    y.mul_(2);
    square.add(y).sum().backward();
    expect(gradientOf(x)).toEqual([18 + 6, 36 + 6]);
  });

  it("are kept for a tensor in the middle where it is told to retain them", () => {
    const x = variable(3);
    const y = x.mul(x);
    y.retainGrad();
    y.mul(2).backward();
    expect([gradientOf(y), gradientOf(x)]).toEqual([2, 12]);
  });

  it("have gradients themselves", () => {
    const x = variable(2);
    x.mul(x).mul(x).backward(undefined, { createGraph: true });
    const first = x.grad as Tensor;
    expect(first.item()).toBe(12);
    x.grad = null;
    first.backward();
    expect(gradientOf(x)).toBe(12);
    expect(grad(grad((z: Tensor) => z.mul(z).mul(z)))(tensor(2)).item()).toBe(12);
  });

  it("of a mean squared error reach all six parameters of a small network", () => {
    const model = new Sequential(new Linear(10, 32), new ReLU(), new Linear(32, 32), new ReLU(), new Linear(32, 1));
    initialize(model, recorded("mlp-sgd"));
    const [x, y] = [uniform(500, [16, 10]), uniform(501, [16, 1])];
    mseLoss(model.forward(x), y).backward();
    const expected = networkGradients(model.parameters(), x, y);
    model.namedParameters().forEach(([name, parameter], i) => {
      const actual = (parameter.grad as Tensor).data();
      const largest = Math.max(...(expected[i] as number[]).map(Math.abs));
      (expected[i] as number[]).forEach((value, k) => {
        expect(Math.abs((actual[k] as number) - value), `${name}[${k}]`).toBeLessThan(1e-5 * largest);
      });
    });
  });

  it("need an upstream gradient of the output's shape, unless the output is one number", () => {
    const x = variable([1, 2]);
    expect(() => x.mul(2).backward()).toThrow(GradError);
    expect(() => x.mul(2).backward()).toThrow(/shape \[2\]; give an upstream gradient/);
    expect(() => x.mul(2).backward(tensor([1, 2, 3]))).toThrow(/f32\[3\], and must be f32\[2\]/);
    expect(gradientOf(x)).toBeUndefined();
  });

  it("are refused where nothing requires them", () => {
    expect(() => tensor(2).mul(3).backward()).toThrow(/does not require gradients/);
    expect(() => tensor(2).retainGrad()).toThrow(GradError);
    expect(() => {
      variable([1, 2]).grad = tensor(1);
    }).toThrow(/must be f32\[2\]/);
  });
});

/** The gradients of the network's loss in float64, by the chain rule written out. */
function networkGradients(parameters: readonly Tensor[], x: Tensor, y: Tensor): number[][] {
  const [w1, b1, w2, b2, w3, b3] = parameters.map((p) => Array.from(p.data())) as [
    number[],
    number[],
    number[],
    number[],
    number[],
    number[],
  ];
  const [inputs, targets] = [Array.from(x.data()), Array.from(y.data())];
  const [batch, width, features] = [16, 32, 10];
  const layer = (input: number[], from: number, w: number[], b: number[], to: number): number[] =>
    Array.from({ length: batch * to }, (_, at) => {
      const [n, j] = [Math.floor(at / to), at % to];
      let sum = b[j] as number;
      for (let k = 0; k < from; k++) sum += (input[n * from + k] as number) * (w[j * from + k] as number);
      return sum;
    });
  const weightGradient = (g: number[], to: number, input: number[], from: number): number[] =>
    Array.from({ length: to * from }, (_, at) => {
      let sum = 0;
      for (let n = 0; n < batch; n++)
        sum += (g[n * to + Math.floor(at / from)] as number) * (input[n * from + (at % from)] as number);
      return sum;
    });
  const biasGradient = (g: number[], to: number): number[] =>
    weightGradient(g, to, new Array<number>(batch).fill(1), 1);
  const inputGradient = (g: number[], to: number, w: number[], from: number, output: number[]): number[] =>
    Array.from({ length: batch * from }, (_, at) => {
      const [n, k] = [Math.floor(at / from), at % from];
      let sum = 0;
      for (let j = 0; j < to; j++) sum += (g[n * to + j] as number) * (w[j * from + k] as number);
      return (output[at] as number) > 0 ? sum : 0;
    });
  const h1 = layer(inputs, features, w1, b1, width).map((z) => Math.max(z, 0));
  const h2 = layer(h1, width, w2, b2, width).map((z) => Math.max(z, 0));
  const out = layer(h2, width, w3, b3, 1);
  const g3 = out.map((z, n) => (2 / batch) * (z - (targets[n] as number)));
  const g2 = inputGradient(g3, 1, w3, width, h2);
  const g1 = inputGradient(g2, width, w2, width, h1);
  return [
    ...[weightGradient(g1, width, inputs, features), biasGradient(g1, width)],
    ...[weightGradient(g2, width, h1, width), biasGradient(g2, width)],
    ...[weightGradient(g3, 1, h2, width), biasGradient(g3, 1)],
  ];
}
