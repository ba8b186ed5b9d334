/** Convolution and pooling as users meet them: shapes, what belongs together, messages, and how few steps they take. */
import { beforeAll, describe, expect, it } from "vitest";
import { nodeOf, type Tensor } from "../../src/graph/tensor.js";
import { Flag, Opcode } from "../../src/isa.js";
import {
  adaptiveAvgPool2d,
  add,
  avgPool1d,
  avgPool2d,
  conv1d,
  conv2d,
  convTranspose2d,
  im2col,
  le,
  matmul,
  maxPool2d,
  mul,
  relu,
  reshape,
  sum,
  where,
} from "../../src/ops/index.js";
import { compilePlan } from "../../src/plan/plan.js";
import { ones, tensor } from "../../src/tensor/creation.js";
import { grad } from "../../src/transforms/reverse.js";
import { BUILDS, start } from "../support/builds.js";

/** Numbers from -3 to 3, repeatable. */
function numbers(...shape: number[]): Tensor {
  const count = shape.reduce((a, b) => a * b, 1);
  return tensor(
    Float32Array.from({ length: count }, (_, i) => ((i * 5) % 7) - 3),
    shape,
  );
}

describe.each(BUILDS)("convolution on the %s build", (build) => {
  beforeAll(() => start(build));

  it("slides a weight over the input, without turning it around", () => {
    const out = conv1d(tensor([[1, 2, 3, 4]]), tensor([[[1, 10]]]));
    expect(out.toArray()).toEqual([[21, 32, 43]]);
  });

  it("keeps the size with padding same, an odd number of zeros having the smaller half in front", () => {
    const out = conv1d(tensor([[1, 2, 3, 4]]), tensor([[[1, 10]]]), null, { padding: "same" });
    expect(out.toArray()).toEqual([[21, 32, 43, 4]]);
    expect(conv2d(ones([2, 3, 7, 9]), ones([4, 3, 3, 5]), null, { padding: "same" }).shape).toEqual([2, 4, 7, 9]);
  });

  it("is the product of the weight with the windows as columns", () => {
    const [x, w] = [numbers(2, 3, 5, 6), numbers(4, 3, 2, 3)];
    const options = { stride: [2, 1], padding: [1, 0], dilation: [1, 2] };
    const out = conv2d(x, w, null, options);
    const product = matmul(reshape(w, [4, -1]), im2col(x, [2, 3], options));
    expect(out.toArray()).toEqual(reshape(product, out.shape).toArray());
  });

  it("is the same for large layers, whose 3×3 kernels take fewer products", () => {
    const [x, w, b] = [numbers(3, 5, 9, 11), numbers(34, 5, 3, 3), numbers(34)];
    const product = matmul(reshape(w, [34, -1]), im2col(x, 3, { padding: 1 }));
    const wanted = relu(add(reshape(product, [3, 34, 9, 11]), reshape(b, [34, 1, 1])));
    expect(relu(conv2d(x, w, b, { padding: 1 })).toArray()).toEqual(wanted.toArray());
  });

  it("has the transposed convolution as its adjoint: ⟨conv(x), y⟩ = ⟨x, convTranspose(y)⟩", () => {
    const options = { stride: 2, padding: 1, groups: 2 };
    const [x, w] = [numbers(2, 4, 6, 7), numbers(6, 2, 3, 2)];
    const forward = conv2d(x, w, null, options);
    const y = numbers(...forward.shape);
    const back = convTranspose2d(y, w, null, { ...options, outputPadding: [1, 1] });
    expect(back.shape).toEqual(x.shape);
    expect(sum(mul(forward, y)).item()).toBe(sum(mul(x, back)).item());
  });

  it("gives a single image without a batch what it gives it in a batch", () => {
    const [x, w, b] = [numbers(3, 5, 6), numbers(2, 3, 3, 3), numbers(2)];
    const alone = conv2d(x, w, b);
    expect(alone.shape).toEqual([2, 3, 4]);
    expect(conv2d(reshape(x, [1, 3, 5, 6]), w, b).toArray()).toEqual([alone.toArray()]);
  });

  it("says what does not fit, with the sizes", () => {
    const [x, w] = [ones([1, 3, 5, 5]), ones([4, 3, 3, 3])];
    expect(() => conv2d(x, ones([4, 2, 3, 3]))).toThrow(
      "conv2d: input [1,3,5,5] has 3 channels, and weight [4,2,3,3] takes 2",
    );
    expect(() => conv2d(x, w, ones([3]))).toThrow("conv2d: bias must be [4], one for each output channel, not [3]");
    expect(() => conv2d(x, w, null, { dilation: 3 })).toThrow("conv2d: the kernel [3,3] reaches over [7,7]");
    expect(() => conv2d(x, w, null, { stride: 0 })).toThrow("conv2d: stride must be whole numbers from 1 up, not 0");
    expect(() => conv2d(x, w, null, { padding: "same", stride: 2 })).toThrow('padding "same" needs stride 1');
    expect(() => conv2d(x, w, null, { groups: 3 })).toThrow("which 3 groups do not divide");
    expect(() => conv2d(ones([5, 5]), w)).toThrow("conv2d: input must be [N, C, H, W] or [C, H, W], not [5,5]");
    expect(() => convTranspose2d(x, ones([3, 2, 3, 3]), null, { outputPadding: 1 })).toThrow(
      "convTranspose2d: outputPadding 1 must be less than stride 1 or dilation 1",
    );
    expect(() => conv2d(x.to("i32"), w)).toThrow("conv2d: input is i32, and must be f32");
  });

  it("runs bias and activation in the same pass", () => {
    const out = relu(conv2d(numbers(1, 2, 5, 5), numbers(3, 2, 3, 3), numbers(3)));
    const plan = compilePlan({ results: [nodeOf(out)], states: [], stateLeaves: new Map(), updates: [] });
    expect(plan.steps.map(({ opcode }) => opcode)).toEqual([Opcode.Convolution, Opcode.Elementwise]);
    expect(plan.steps[0]?.flags).toBe(Flag.Epilogue);
    const plain = conv2d(numbers(1, 2, 5, 5), numbers(3, 2, 3, 3), numbers(3)).data();
    expect(out.data()).toEqual(plain.map((x) => Math.max(x, 0)));
  });

  it("keeps an addition behind it that is no bias of its channels", () => {
    const [x, w, row] = [numbers(1, 2, 5, 5), numbers(3, 2, 3, 3), numbers(3)];
    const plain = conv2d(x, w).data();
    expect(conv2d(x, w).add(row).data()).toEqual(plain.map((v, i) => v + (row.data()[i % 3] as number)));
  });
});

describe.each(BUILDS)("pooling on the %s build", (build) => {
  beforeAll(() => start(build));

  const x = () =>
    tensor([
      [
        [1, 5, 2, 0],
        [3, 4, 8, 7],
        [9, 6, 1, 1],
      ],
    ]);

  it("takes the largest of each window, and says where it was", () => {
    const { values, indices } = maxPool2d(x(), 2, { stride: 1, returnIndices: true });
    expect(values.toArray()).toEqual([
      [
        [5, 8, 8],
        [9, 8, 8],
      ],
    ]);
    expect(indices.toArray()).toEqual([
      [
        [1, 6, 6],
        [8, 6, 6],
      ],
    ]);
  });

  it("lets a last window reach over the end with ceilMode", () => {
    expect(maxPool2d(x(), 2).toArray()).toEqual([[[5, 8]]]);
    expect(maxPool2d(x(), 2, { ceilMode: true }).toArray()).toEqual([
      [
        [5, 8],
        [9, 1],
      ],
    ]);
  });

  it("hands the gradient to the first of equals, and adds up where windows overlap", () => {
    const gradient = grad((input: Tensor) => sum(maxPool2d(input, [1, 2], { stride: 1 })));
    expect(gradient(tensor([[[2, 2, 1, 3]], [[1, 5, 2, 2]]])).toArray()).toEqual([[[1, 1, 0, 1]], [[0, 2, 1, 0]]]);
  });

  it("hands nothing through a ReLU to what is 0, without a pass over the whole image", () => {
    const image = tensor([
      [
        [1, -5, -2, -3],
        [-3, 4, -8, 0],
        [9, 9, Number.NaN, 1],
      ],
    ]);
    const [windows, options] = [2, { stride: 1 }] as const;
    const through = grad((input: Tensor) => sum(mul(maxPool2d(relu(input), windows, options), numbers(1, 2, 3))));
    const plain = grad((input: Tensor) => sum(mul(maxPool2d(input, windows, options), numbers(1, 2, 3))));
    const wanted = where(le(image, 0), 0, plain(relu(image)));
    expect(through(image).toArray()).toEqual(wanted.toArray());

    const large = numbers(1, 8, 8);
    const root = nodeOf(grad((input: Tensor) => sum(maxPool2d(relu(input), 2)))(large));
    const plan = compilePlan({ results: [root], states: [], stateLeaves: new Map(), updates: [] });
    const chains = plan.steps.filter(({ opcode }) => opcode === Opcode.Elementwise);
    expect(chains.map(({ nodes }) => nodes.map((node) => node.primitive.name))).toEqual([["relu"], ["le", "where"]]);
  });

  it("counts padding in an average, unless told not to", () => {
    const line = tensor([[2, 4, 6]]);
    expect(avgPool1d(line, 2, { padding: 1 }).toArray()).toEqual([[1, 5]]);
    expect(avgPool1d(line, 2, { padding: 1, countIncludePad: false }).toArray()).toEqual([[2, 5]]);
    expect(avgPool2d(x(), [3, 2], { divisorOverride: 1 }).toArray()).toEqual([[[28, 19]]]);
  });

  it("adapts windows to the size that is asked for", () => {
    expect(adaptiveAvgPool2d(x(), [1, null]).shape).toEqual([1, 1, 4]);
    expect(adaptiveAvgPool2d(x(), [2, 2]).toArray()).toEqual([
      [
        [13 / 4, 17 / 4],
        [22 / 4, 17 / 4],
      ],
    ]);
  });

  it("says what does not fit, with the sizes", () => {
    expect(() => maxPool2d(x(), 2, { padding: 2 })).toThrow(
      "maxPool2d: padding 2 must be at most half of what the kernel reaches over, which is 2 in dimension -2",
    );
    expect(() => maxPool2d(x(), 5)).toThrow("maxPool2d: the kernel [5,5] reaches over 5 elements in dimension -2");
    expect(() => maxPool2d(x(), 0)).toThrow("maxPool2d: kernelSize must be whole numbers from 1 up, not 0");
    expect(() => maxPool2d(ones([2, 0, 4]), 1)).toThrow("maxPool2d: input [2,0,4] is empty");
    expect(() => avgPool2d(x(), 2, { divisorOverride: 0 })).toThrow("avgPool2d: divisorOverride must be");
    expect(() => adaptiveAvgPool2d(x(), -1)).toThrow("adaptiveAvgPool2d: outputSize must be whole numbers from 0 up");
  });
});
