import { describe, expect, it } from "vitest";
import { evaluateReference } from "../../src/graph/reference.js";
import { inputPrimitive } from "../../src/graph/sources.js";
import { type AnyPrimitive, Node, nodeOf, Tensor } from "../../src/graph/tensor.js";
import { add, div, exp, mul, sum } from "../../src/ops/index.js";
import { tensor } from "../../src/tensor/creation.js";

describe("the float64 reference", () => {
  it("computes in float64 what kernels compute in f32", () => {
    const third = div(tensor([1]), tensor([3]));
    expect(evaluateReference([nodeOf(third)])).toEqual([Float64Array.of(1 / 3)]);
  });

  it("evaluates at other points than the leaves' own values", () => {
    const x = tensor([1, 2]);
    const total = sum(mul(x, x));
    const at = new Map([[nodeOf(x), [0.1, 0.2]]]);
    expect(evaluateReference([nodeOf(total)], at)[0]?.[0]).toBeCloseTo(0.05, 15);
    expect(evaluateReference([nodeOf(total)])[0]?.[0]).toBe(5);
  });

  it("takes a value in the middle of the graph as given, and does not look behind it", () => {
    const middle = exp(tensor([1]));
    const end = add(middle, 1);
    expect(evaluateReference([nodeOf(end)], new Map([[nodeOf(middle), [41]]]))).toEqual([Float64Array.of(42)]);
  });

  it("evaluates chains of ten thousand operators", () => {
    let x = tensor([0]);
    for (let i = 0; i < 10_000; i++) x = add(x, 1);
    expect(evaluateReference([nodeOf(x)])).toEqual([Float64Array.of(10_000)]);
  });

  it("needs a value for every placeholder", () => {
    const placeholder = new Node(inputPrimitive as AnyPrimitive, [], null, [1], "f32", null);
    const end = nodeOf(add(new Tensor(placeholder), 1));
    expect(() => evaluateReference([end])).toThrow(/placeholder/);
    expect(evaluateReference([end], new Map([[placeholder, [2]]]))).toEqual([Float64Array.of(3)]);
  });
});
