/** The public gradient checks: that they pass what is right and say what is wrong. */
import { describe, expect, it } from "vitest";
import type { Primitive, RefArray } from "../../src/graph/primitive.js";
import { apply } from "../../src/graph/tensor.js";
import { compile, customVjp, detach, gradcheck, gradgradcheck, type Tensor, tensor, vmap } from "../../src/index.js";
import { add, exp, linear, mul, sin, softmax, square, sum, tanh } from "../../src/ops/index.js";
import { start } from "../support/builds.js";
import { normalLike } from "./support.js";

const [x, w, b] = normalLike(
  [[3, 4], [2, 4], [2]].map((shape) => tensor(new Float32Array(shape.reduce((p, q) => p * q)), shape)),
  1,
) as [Tensor, Tensor, Tensor];

/** A sine whose gradient someone got wrong. */
const wrongSine = customVjp({
  forward: (v) => [sin(v), [v]],
  backward: ([v], g) => [mul(g, sin(v as Tensor))],
});

describe("gradcheck", () => {
  it("passes functions of several inputs, outputs and trees", () => {
    const fn = (inputs: { x: Tensor; w: Tensor }, bias: Tensor) => {
      const y = tanh(linear(inputs.x, inputs.w, bias));
      return { y, p: [softmax(y, 1)] };
    };
    expect(gradcheck(fn, [{ x, w }, b])).toBe(true);
    expect(gradgradcheck(fn, [{ x, w }, b])).toBe(true);
  });

  it("takes whole numbers along, and checks what is smooth", () => {
    const index = tensor([1, 0, 1], { dtype: "i32" });
    expect(gradcheck((v: Tensor, i: Tensor) => [v.indexSelect(0, i).square(), i], [x, index])).toBe(true);
  });

  it("says which derivative is wrong, by how much, and whose rule that is", () => {
    const fn = (v: Tensor): Tensor => square(add(exp(v), wrongSine(v)));
    const point = tensor([0.5, 0]);
    let message = "";
    try {
      gradcheck(fn, [point]);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toBe(
      "gradcheck: 2 of 4 derivatives are wrong. " +
        "The worst: ∂output 0 [1] / ∂input 0 [1] is 2, and finite differences give 4 (off by 2, allowed 0.00401). " +
        "The first operator whose own gradient is wrong is customVjp(f32[2], f32[2], f32[2]): " +
        "∂output 0 [1] / ∂input 1 [1] is 0, and finite differences give 1 (off by 1, allowed 0.00101).",
    );
  });

  it("names the operator among several, and the input whose cotangent is wrong", () => {
    const scaled: Primitive<Tensor, null> = {
      name: "scaled",
      infer: ([v]) => v as Tensor,
      reference: ([v, factor]) => (v as RefArray).data.map((e) => e * ((factor as RefArray).data[0] as number)),
      // Forgets to sum over the elements that share the factor: it is right for one element only.
      vjp: ({ g, inputs: [v, factor] }, i) => (i === 0 ? mul(g, factor as Tensor) : mul(g, v as Tensor).slice(0, 0, 1)),
      lowering: { kind: "kernel", lower: () => {} },
      flops: () => 0,
    };
    const fn = (v: Tensor, factor: Tensor): Tensor => sum(exp(apply(scaled, [sin(v), factor], null)));
    expect(gradcheck(fn, [tensor([0.5]), tensor([2])])).toBe(true);
    expect(() => gradcheck(fn, [tensor([0.5, 1]), tensor([2])])).toThrow(
      /∂output 0 \[\] \/ ∂input 1 \[0\] is .* whose own gradient is wrong is scaled\(f32\[2\], f32\[1\]\): ∂output 0 \[1\] \/ ∂input 1 \[0\] is 0, /,
    );
  });

  it("can answer instead of throwing, and be told what error is too much", () => {
    const options = { raiseException: false } as const;
    expect(gradcheck(wrongSine, [tensor([0.5])], options)).toBe(false);
    expect(gradcheck(wrongSine, [tensor([0.5])], { ...options, atol: 1 })).toBe(true);
    expect(gradcheck(wrongSine, [tensor([0.5])], { ...options, rtol: 0.5 })).toBe(true);
    expect(gradcheck(exp, [tensor([0.5])], { ...options, eps: 0.5 })).toBe(false);
  });

  it("tells a gradient that was cut off from a rule that is wrong", () => {
    expect(() => gradcheck((v: Tensor) => mul(v, detach(v)), [tensor([3])])).toThrow(
      /is 3, and finite differences give 6.*No single operator is wrong: look for detach/,
    );
  });

  it("finds a second derivative that is wrong though the first is right", () => {
    const half = customVjp({
      forward: (v) => [square(v), [v]],
      // The saved value is cut off, so the gradient seems not to depend on it.
      backward: ([v], g) => [mul(g, mul(detach(v as Tensor), 2))],
    });
    expect(gradcheck(half, [tensor([3])])).toBe(true);
    expect(() => gradgradcheck(half, [tensor([3])], tensor([1]))).toThrow(
      /gradgradcheck: 1 of 2 derivatives are wrong/,
    );
  });

  it("says where there is nothing to check, or no values", async () => {
    const whole = tensor([1], { dtype: "i32" });
    expect(() => gradcheck((v: Tensor) => v, [whole])).toThrow("gradcheck: none of the inputs is f32");
    expect(() => gradcheck((v: Tensor) => v.lt(0), [x])).toThrow("gradcheck: none of the outputs is f32");
    const inside = (v: Tensor): Tensor => {
      gradcheck(exp, [v]);
      return sum(v);
    };
    expect(() => vmap(inside)(x)).toThrow(/cannot be compiled or vectorized/);
    await start("strict");
    expect(() => compile(inside).graph(x)).toThrow(/cannot be compiled or vectorized/);
  });
});
