/** What operators give where mathematics leaves a choice: at kinks, at infinities, for NaN. The choices are PyTorch's. */
import { beforeAll, describe, expect, it } from "vitest";
import { noGrad, type Tensor } from "../../src/graph/tensor.js";
import {
  abs,
  allclose,
  batchNorm,
  clamp,
  copysign,
  countNonzero,
  crossEntropy,
  einsum,
  embedding,
  fmax,
  hardtanh,
  indexFill,
  instanceNorm,
  isclose,
  logaddexp,
  logicalXor,
  logsumexp,
  maskedFill,
  maximum,
  narrow,
  norm,
  oneHot,
  pad,
  pow,
  prod,
  relu,
  repeatInterleave,
  reshape,
  rsub,
  scaledDotProductAttention,
  softmax,
  softplus,
  sum,
  take,
  takeAlongDim,
  xlogy,
} from "../../src/ops/index.js";
import { tensor } from "../../src/tensor/creation.js";
import { grad } from "../../src/transforms/reverse.js";
import { BUILDS, start } from "../support/builds.js";

const INF = Number.POSITIVE_INFINITY;
const NAN = Number.NaN;

function values(x: Tensor): number[] {
  return Array.from(x.data());
}

/** The gradient of the sum of `f` at `x`. */
function gradientAt(f: (x: Tensor) => Tensor, x: readonly number[]): number[] {
  return values(grad((t: Tensor) => sum(f(t)))(tensor(x)));
}

describe.each(BUILDS)("conventions on the %s build", (build) => {
  beforeAll(() => start(build));

  it("has gradient 0 in the kink of relu and abs, and at the bounds of hardtanh, but not of clamp", () => {
    expect(gradientAt(relu, [-1, 0, 1])).toEqual([0, 0, 1]);
    expect(gradientAt(abs, [-1, 0, 1])).toEqual([-1, 0, 1]);
    expect(gradientAt((x) => hardtanh(x), [-1, 0, 1])).toEqual([0, 1, 0]);
    expect(gradientAt((x) => clamp(x, -1, 1), [-1, 0, 1])).toEqual([1, 1, 1]);
  });

  it("shares the gradient of equal operands, except in fmax, where the first takes it", () => {
    expect(gradientAt((x) => maximum(x, tensor([2])), [1, 2, 3])).toEqual([0, 0.5, 1]);
    expect(gradientAt((x) => fmax(x, tensor([2])), [1, 2, 3])).toEqual([0, 1, 1]);
  });

  it("keeps NaN in activations and extremes, and drops it in fmax", () => {
    expect(values(relu(tensor([NAN, -1])))).toEqual([NAN, 0]);
    expect(values(maximum(tensor([NAN, 1]), tensor([0, NAN])))).toEqual([NAN, NAN]);
    expect(values(fmax(tensor([NAN, 1]), tensor([0, NAN])))).toEqual([0, 1]);
  });

  it("differentiates powers at 0", () => {
    expect(gradientAt((x) => pow(x, 0), [0, 2])).toEqual([0, 0]);
    expect(gradientAt((x) => pow(x, 1), [0])).toEqual([1]);
    expect(gradientAt((x) => pow(tensor([0]), x), [2])).toEqual([0]);
    expect(gradientAt((x) => norm(x), [0, 0])).toEqual([0, 0]);
  });

  it("finds the gradient of a product with zeros in it", () => {
    expect(gradientAt((x) => prod(x), [2, 0, 3])).toEqual([0, 6, 0]);
    expect(gradientAt((x) => prod(x), [0, 0, 3])).toEqual([0, 0, 0]);
  });

  it("takes 0 · log 0 for 0", () => {
    expect(values(xlogy(tensor([0, 0, 2]), tensor([0, -1, 0])))).toEqual([0, 0, -INF]);
    expect(gradientAt((x) => xlogy(x, tensor([0])), [0])).toEqual([0]);
  });

  it("sees the sign of zero", () => {
    expect(values(copysign(tensor([1, 1]), tensor([0, -0])))).toEqual([1, -1]);
  });

  it("does not overflow in exponentials", () => {
    expect(values(softmax(tensor([1000, 1000]), 0))).toEqual([0.5, 0.5]);
    expect(values(logsumexp(tensor([1000, 1000]), 0))[0]).toBeCloseTo(1000.6931, 3);
    expect(values(logaddexp(tensor([-INF, INF]), tensor([-INF, 0])))).toEqual([-INF, INF]);
    expect(gradientAt((x) => softplus(x), [200, -200])).toEqual([1, 0]);
  });

  it("gives NaN for the softmax of nothing but -∞, and -∞ for its logsumexp", () => {
    expect(values(softmax(tensor([-INF, -INF]), 0))).toEqual([NAN, NAN]);
    expect(logsumexp(tensor([-INF, -INF]), 0).item()).toBe(-INF);
  });

  it("gives 0 to a query that may look at nothing", () => {
    const x = tensor([[1, 2]]);
    const attnMask = tensor([[false]]);
    expect(values(scaledDotProductAttention(x, x, x, { attnMask }))).toEqual([0, 0]);
    expect(gradientAt((q) => scaledDotProductAttention(q.reshape(1, 2), x, x, { attnMask }), [1, 2])).toEqual([0, 0]);
  });

  it("counts ignored targets for nothing, and rejects targets that are no class when it runs", () => {
    const logits = tensor([
      [1, 2, 3],
      [3, 2, 1],
    ]);
    const target = (...classes: number[]): Tensor => tensor(Int32Array.from(classes));
    const both = crossEntropy(logits, target(2, -100)).item();
    expect(both).toBeCloseTo(crossEntropy(tensor([[1, 2, 3]]), target(2)).item(), 6);
    expect(() => crossEntropy(logits, target(0, 3)).item()).toThrow(/index 3 is out of range/);
    expect(() => crossEntropy(logits, tensor([0, 1]))).toThrow(/probabilities/);
  });

  it("keeps the gradient from a padding entry, and divides that of others by how often they are looked up", () => {
    const places = tensor(Int32Array.of(0, 1, 1, 2));
    const rows = (options: object) => gradientAt((w) => embedding(places, w.reshape(3, 1), options), [5, 6, 7]);
    expect(rows({})).toEqual([1, 2, 1]);
    expect(rows({ paddingIdx: -1 })).toEqual([1, 2, 0]);
    expect(rows({ scaleGradByFreq: true })).toEqual([1, 1, 1]);
  });

  it("tracks the statistics of batches in place", () => {
    const [mean, variance] = [tensor([0]), tensor([1])];
    batchNorm(tensor([[1], [3]]), mean, variance, null, null, true, 0.5);
    expect([mean.item(), variance.item()]).toEqual([1, 1.5]);
    instanceNorm(tensor([[[1, 3]]]), mean, variance, null, null, true, 0.5);
    expect([mean.item(), variance.item()]).toEqual([1.5, 1.75]);
  });

  it("counts negative places from the end, and rejects those before the start when it runs", () => {
    expect(values(take(tensor([5, 6, 7]), tensor(Int32Array.of(-1, 0))))).toEqual([7, 5]);
    expect(() => take(tensor([5, 6, 7]), tensor(Int32Array.of(-4))).data()).toThrow(/out of range/);
  });

  it("counts from the end in takeAlongDim and indexFill, and reports places outside", () => {
    const x = tensor([[5, 6, 7]]);
    expect(values(takeAlongDim(x, tensor(Int32Array.of(-1, 0), [1, 2]), 1))).toEqual([7, 5]);
    expect(() => takeAlongDim(x, tensor(Int32Array.of(-4), [1, 1]), 1).data()).toThrow(/out of range/);
    expect(values(indexFill(x, 1, tensor(Int32Array.of(-1)), 9))).toEqual([5, 6, 9]);
    expect(() => indexFill(x, 1, tensor(Int32Array.of(3)), 9).data()).toThrow(/indexFill: index 3 is out of range/);
  });

  it("gives a filled value the gradient of every row once, even if the index names a row twice", () => {
    const index = tensor(Int32Array.of(2, 0, 2));
    expect(gradientAt((value) => indexFill(tensor([1, 2, 3, 4]), 0, index, reshape(value, [])), [9])).toEqual([2]);
  });

  it("pads with what the dtype can hold", () => {
    expect(values(pad(tensor([true]), [1, 0], { value: 2 }))).toEqual([1, 1]);
    expect(values(pad(tensor(Int32Array.of(7)), [1, 0], { value: -1.5 }))).toEqual([-1, 7]);
  });

  it("cuts before it closes the circle", () => {
    expect(values(pad(tensor([0, 1, 2, 3]), [-1, 2], { mode: "circular" }))).toEqual([1, 2, 3, 1, 2]);
    expect(values(pad(tensor([0, 1, 2, 3]), [-2, 3], { mode: "reflect" }))).toEqual([2, 3, 2, 1, 0]);
    expect(() => pad(tensor([0, 1]), [1, -2], { mode: "circular" })).toThrow(/nothing to continue/);
  });

  it("rejects numbers and larger tensors where PyTorch takes only a tensor or a scalar", () => {
    const x = tensor([1, 2]);
    expect(() => copysign(2 as unknown as Tensor, x)).toThrow(/copysign: input must be a tensor, not number 2/);
    expect(() => rsub(2 as unknown as Tensor, x)).toThrow(/rsub: input must be a tensor, not number 2/);
    expect(() => maskedFill(x, tensor([true, false]), x)).toThrow(/maskedFill: value must be a scalar, not \[2\]/);
    expect(() => narrow(x, 0, tensor(true), 1)).toThrow(/start must be a whole number or a scalar of them, not bool/);
  });

  it("needs to know what decides a shape", () => {
    const x = tensor([1, 2]);
    expect(values(repeatInterleave(x, tensor(Int32Array.of(2, 1))))).toEqual([1, 1, 2]);
    const later = tensor(Int32Array.of(1, 1)).add(1);
    expect(() => repeatInterleave(x, later)).toThrow(/not computed yet/);
  });

  it("lets no gradient through a transpose that was made under noGrad, and retains that of one that was not", () => {
    const weight = tensor([[1, 2]], { requiresGrad: true });
    const x = tensor([[3, 4]]);
    expect(x.matmul(noGrad(() => weight.t())).requiresGrad).toBe(false);
    const transposed = weight.t();
    transposed.retainGrad();
    x.matmul(transposed).backward();
    expect(transposed.grad?.toArray()).toEqual([[3], [4]]);
    expect(weight.grad?.toArray()).toEqual([[3, 4]]);
  });

  it("takes infinities for close only to themselves, and NaN to NaN only where that is asked for", () => {
    const [x, y] = [tensor([1, INF, INF, -INF, NAN, 1]), tensor([1.000001, INF, 1, INF, NAN, 1.1])];
    expect(values(isclose(x, y))).toEqual([1, 1, 0, 0, 0, 0]);
    expect(values(isclose(x, y, { equalNan: true, atol: 0.2 }))).toEqual([1, 1, 0, 0, 1, 1]);
    expect(allclose(x, x).item()).toBe(0);
    expect(allclose(x, x, { equalNan: true }).item()).toBe(1);
  });

  it("makes vectors of zeros and a one, and reports a class that there is none of", () => {
    const classes = tensor(Int32Array.of(2, 0));
    expect(oneHot(classes).toArray()).toEqual([
      [0, 0, 1],
      [1, 0, 0],
    ]);
    expect(oneHot(classes, 4).shape).toEqual([2, 4]);
    expect(oneHot(classes.add(0), 3).dtype).toBe("i32");
    expect(() => oneHot(classes, 2).data()).toThrow(/oneHot: index 2 is out of range for dimension 1, which has 2/);
    expect(() => oneHot(classes, 0)).toThrow(/numClasses must be a whole number from 1 up, not 0/);
  });

  it("counts what is not zero, NaN included, and tells where exactly one of two is", () => {
    const x = tensor([
      [0, 1, NAN],
      [0, 0, -2],
    ]);
    expect(countNonzero(x).item()).toBe(3);
    expect(values(countNonzero(x, 1))).toEqual([2, 1]);
    expect(values(logicalXor(tensor([0, 3, 0, 4]), tensor([false, false, true, true])))).toEqual([0, 1, 1, 0]);
  });

  it("takes an equation's operands one by one or in a list", () => {
    const [a, b] = [tensor([[1, 2]]), tensor([[3], [4]])];
    expect(einsum("ij,jk->", a, b).item()).toBe(11);
    expect(einsum("ij,jk->", [a, b]).item()).toBe(11);
  });

  it("says what is wrong with an equation", () => {
    const x = tensor([[1, 2]]);
    expect(() => einsum("ij,jk->ik", [x])).toThrow(/names 2 operands, and 1 are given/);
    expect(() => einsum("ijk->i", [x])).toThrow(/names 3 dimensions, and operand 0 is \[1,2\]/);
    expect(() => einsum("ij->ik", [x])).toThrow(/the result has a dimension k that no operand has/);
    expect(() => einsum("i?->i", [x])).toThrow(/only letters/);
  });
});
