/** Gradients of functions: what they take, give, follow and keep. */
import { describe, expect, it } from "vitest";
import { nodeOf } from "../../src/graph/tensor.js";
import { grad, noGrad, stopGradient, type Tensor, tensor, valueAndGrad, vjp } from "../../src/index.js";
import { exp, mul, sum } from "../../src/ops/index.js";
import { evaluate } from "./support.js";

describe("grad", () => {
  it("sees variables of an enclosing call that the function captures", () => {
    const mixed = grad((x) => grad((y) => mul(x, mul(y, y)))(tensor(3)));
    expect(evaluate([mixed(tensor(2))])[0]?.[0]).toBe(6);
  });

  it("takes the gradient at the arguments given, where the function overwrites them in place", () => {
    const slope = grad((x) => {
      x.mul_(2);
      return x.mul(x);
    });
    const x = tensor(2);
    expect(evaluate([slope(x), x]).map((v) => v[0])).toEqual([16, 2]);
  });

  it("does not follow other leaves that the function uses", () => {
    const weight = tensor([2], { requiresGrad: true });
    let asked = 0;
    const counted = (w: Tensor): Tensor => {
      const y = exp(w);
      const { primitive } = nodeOf(y);
      nodeOf(y).primitive = {
        ...primitive,
        vjp: () => {
          asked++;
          return null;
        },
      };
      return y;
    };
    grad((x: Tensor) => sum(mul(x, counted(weight))))(tensor([3]));
    expect(asked).toBe(0);
  });

  it("keeps no history of its own, and that which leads to a leaf", () => {
    const leaf = tensor([2], { requiresGrad: true });
    const [value, slope] = valueAndGrad((x: Tensor) => sum(mul(x, x)))(tensor([3]));
    expect([nodeOf(value).requiresGrad, nodeOf(slope).requiresGrad]).toEqual([false, false]);
    const kept = grad((x: Tensor) => sum(mul(mul(x, x), leaf)))(tensor([3]));
    expect(nodeOf(kept).requiresGrad).toBe(true);
    const cut = noGrad(() => grad((x: Tensor) => sum(mul(mul(x, x), leaf)))(tensor([3])));
    expect(evaluate([cut])[0]?.[0]).toBe(12);
    expect(nodeOf(cut).requiresGrad).toBe(false);
  });

  it("stops where it is told to", () => {
    expect(evaluate([grad((x) => mul(x, stopGradient(x)))(tensor(3))])[0]?.[0]).toBe(3);
  });

  it("wants one tensor with one element", () => {
    expect(() => grad((x) => x)(tensor([1, 2]))).toThrow(/^grad: the output has shape \[2\]/);
    expect(() => grad(tensor(1) as never)).toThrow("grad: expected a function, not a tensor");
    expect(() => grad((x) => [x] as unknown as Tensor)(tensor(1))).toThrow(
      /must return one tensor, and returned a tree of 1/,
    );
    expect(() => grad((_) => 1 as unknown as Tensor)(tensor(1))).toThrow(/expected tensors, .* not number 1/);
    expect(() => grad((x: Tensor) => x, 1)(tensor(1))).toThrow("argument 1 of a call with 1 arguments");
  });
});

describe("vjp", () => {
  it("can be asked more than once", () => {
    const [, pull] = vjp((x) => mul(x, x), tensor([1, 2]));
    expect(evaluate([pull(tensor([1, 0]))[0] as Tensor, pull(tensor([0, 1]))[0] as Tensor])).toEqual([
      Float64Array.of(2, 0),
      Float64Array.of(0, 4),
    ]);
  });
});
