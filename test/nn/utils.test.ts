/** Bounding gradients. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import { clipGradNorm_, clipGradValue_ } from "../../src/nn/utils.js";
import { compile } from "../../src/tensor/compile.js";
import { tensor } from "../../src/tensor/creation.js";
import { BUILDS, start } from "../support/builds.js";

/** Two tensors with gradients (3, -4) and 12, and one without. */
function withGradients(): Tensor[] {
  const [a, b, c] = [
    tensor([0, 0], { requiresGrad: true }),
    tensor(0, { requiresGrad: true }),
    tensor(0, { requiresGrad: true }),
  ];
  a.mul(tensor([3, -4]))
    .sum()
    .add(b.mul(12))
    .backward();
  return [a, b, c];
}

function gradients(tensors: readonly Tensor[]): (number[] | undefined)[] {
  return tensors.map(({ grad }) => (grad === null ? undefined : Array.from(grad.data())));
}

describe.each(BUILDS)("clipping on the %s build", (build) => {
  beforeAll(() => start(build));

  it("scales all gradients by one factor when their norm together is too large", () => {
    const tensors = withGradients();
    expect(clipGradNorm_(tensors, 6.5).item()).toBe(13);
    const [a, b, c] = gradients(tensors);
    [a?.[0], a?.[1], b?.[0]].forEach((value, i) => {
      expect(value).toBeCloseTo([1.5, -2, 6][i] as number, 5);
    });
    expect(c).toBeUndefined();
  });

  it("leaves smaller ones as they are", () => {
    const tensors = withGradients();
    clipGradNorm_(tensors, 13.5);
    expect(gradients(tensors)).toEqual([[3, -4], [12], undefined]);
  });

  it("knows other norms", () => {
    expect(clipGradNorm_(withGradients(), 1, { normType: Number.POSITIVE_INFINITY }).item()).toBe(12);
    expect(clipGradNorm_(withGradients(), 1, { normType: 1 }).item()).toBeCloseTo(19, 4);
    expect(clipGradNorm_(withGradients(), 1, { normType: 3 }).item()).toBeCloseTo((27 + 64 + 1728) ** (1 / 3), 4);
  });

  it("takes one tensor, or none with a gradient", () => {
    const [a, , c] = withGradients() as [Tensor, Tensor, Tensor];
    expect(clipGradNorm_(a, 1).item()).toBe(5);
    expect(clipGradNorm_([c], 1).item()).toBe(0);
    expect(() => clipGradNorm_(a, -1)).toThrow("maxNorm must be 0 or more, not -1");
  });

  it("changes nothing where a norm that is not finite is an error", () => {
    const tensors = withGradients();
    const [a] = tensors as [Tensor];
    a.grad = tensor([Number.NaN, 1]);
    expect(() => clipGradNorm_(tensors, 1, { errorIfNonfinite: true })).toThrow(
      "clipGradNorm_: the 2-norm of the gradients is NaN, and cannot be scaled",
    );
    expect(gradients(tensors)).toEqual([[Number.NaN, 1], [12], undefined]);
    clipGradNorm_(tensors, 1);
    expect(gradients(tensors)).toEqual([[Number.NaN, Number.NaN], [Number.NaN], undefined]);
    const finite = withGradients();
    expect(clipGradNorm_(finite, 20, { errorIfNonfinite: true }).item()).toBe(13);
  });

  it("bounds every element", () => {
    const tensors = withGradients();
    clipGradValue_(tensors, 3.5);
    expect(gradients(tensors)).toEqual([[3, -3.5], [3.5], undefined]);
  });

  it("does the same in a compiled function", () => {
    const weight = tensor([0, 0], { requiresGrad: true });
    const step = compile((x: Tensor) => {
      weight.grad = null;
      weight.mul(x).sum().backward();
      return clipGradNorm_([weight], 1);
    });
    expect(step(tensor([3, 4])).item()).toBe(5);
    const [first] = gradients([weight]);
    expect(first?.[0]).toBeCloseTo(0.6, 5);
    expect(step(tensor([0.1, 0])).item()).toBeCloseTo(0.1, 6);
    expect(gradients([weight])).toEqual([[Math.fround(0.1), 0]]);
  });
});
