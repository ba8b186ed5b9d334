/** Forward mode: that it is the transpose of reverse mode for every operator, and nests with it. */
import { describe, expect, it } from "vitest";
import type { Primitive } from "../../src/graph/primitive.js";
import { type AnyPrimitive, apply, detach, nodeOf } from "../../src/graph/tensor.js";
import { grad, jvp, noGrad, type Tensor, tensor, vjp } from "../../src/index.js";
import { exp, mul, sin, sum } from "../../src/ops/index.js";
import { difference, evaluate, expectOnCalls, inner, normalLike, OPERATORS, smoothPart } from "./support.js";

type Tensors = readonly Tensor[];

describe("every operator", () => {
  it.each(OPERATORS)("%s: ⟨u, J v⟩ = ⟨Jᵀ u, v⟩", (_, operator) => {
    expectOnCalls(operator, (call) => {
      const { fn, inputs } = smoothPart(call, 3);
      if (inputs.length === 0) return null;
      const all = normalLike(inputs, 4);
      // All inputs move, and each by itself: rules have to cope with inputs that do not.
      const moves = [all, ...inputs.map((_, i) => all.map((v, j) => (i === j ? v : mul(v, 0))))];
      for (const [i, v] of moves.entries()) {
        const moving = inputs.map((_, j) => i === 0 || i === j + 1);
        const some = (...given: Tensor[]): Tensors => fn(...given.map((x, j) => (moving[j] ? x : detach(x))));
        const [out, jv] = jvp(some, inputs, v);
        const u = normalLike(out, 5);
        const jtu = vjp(some, ...inputs)[1](u);
        const found = difference(evaluate([inner(u, jv)]), evaluate([inner(jtu, v)]), 1e-9);
        if (found !== null) return i === 0 ? found : `input ${i - 1} alone: ${found}`;
      }
      return null;
    });
  });
});

describe("jvp", () => {
  it("gives the value and how it moves", () => {
    const [y, dy] = jvp(
      (x: Tensor, w: Tensor) => mul(sin(x), w),
      [tensor([0.5]), tensor([2])],
      [tensor([1]), tensor([10])],
    );
    const values = evaluate([y, dy]);
    expect(values[0]?.[0]).toBeCloseTo(2 * Math.sin(0.5), 12);
    expect(values[1]?.[0]).toBeCloseTo(2 * Math.cos(0.5) + 10 * Math.sin(0.5), 12);
  });

  it("takes and returns trees", () => {
    const fn = ({ a, b }: { a: Tensor; b: readonly Tensor[] }) => ({ sum: a.add(b[0] as Tensor), twice: [a.mul(2)] });
    const point = { a: tensor([1]), b: [tensor([2])] };
    const [, moved] = jvp(fn, [point], [{ a: tensor([3]), b: [tensor([4])] }]);
    expect(evaluate([moved.sum, moved.twice[0] as Tensor]).map((x) => x[0])).toEqual([7, 6]);
  });

  it("is zero where nothing flows: constants, whole numbers, detached values", () => {
    const fn = (x: Tensor, i: Tensor) => [tensor([5]), i.add(1), detach(x), noGrad(() => exp(x)), x.floor()] as const;
    const one = tensor([1], { dtype: "i32" });
    const [, moved] = jvp(fn, [tensor([1.5]), one], [tensor([1]), one]);
    expect(evaluate(moved).map((x) => x[0])).toEqual([0, 0, 0, 0, 0]);
    expect(moved.map((x) => x.dtype)).toEqual(["f32", "f32", "f32", "f32", "f32"]);
  });

  it("nests: derivatives of derivatives, by either mode", () => {
    const cube = (x: Tensor) => x.pow(3);
    const one = tensor(1);
    const forward = (f: (x: Tensor) => Tensor) => (x: Tensor) => jvp(f, [x], [one])[1];
    const derivatives = [forward(forward(cube)), forward(grad(cube)), grad(forward(cube)), grad(grad(cube))];
    expect(derivatives.map((f) => evaluate([f(tensor(2))])[0]?.[0])).toEqual([12, 12, 12, 12]);
    expect(evaluate([forward(forward(forward(cube)))(tensor(2))])[0]?.[0]).toBe(6);
  });

  it("does not confuse its variables with those of an enclosing call", () => {
    // d/dx (x · d/dy (x + y) at 1) = 1; one that mixed them up would give 2 (Siskind and Pearlmutter 2005).
    const one = tensor(1);
    const derivative = (f: (x: Tensor) => Tensor) => (x: Tensor) => jvp(f, [x], [one])[1];
    const outer = derivative((x) => mul(x, derivative((y) => x.add(y))(one)));
    expect(evaluate([outer(one)])[0]?.[0]).toBe(1);
  });

  it("follows arguments that are overwritten in place within the function", () => {
    const fn = (x: Tensor): Tensor => {
      const y = mul(x, x);
      x.mul_(3);
      return sum(y.add(x));
    };
    const x = tensor([2]);
    expect(evaluate([jvp(fn, [x], [tensor([1])])[1]])[0]?.[0]).toBe(7);
    expect(evaluate([x])[0]?.[0]).toBe(2);
  });

  it("transposes the VJP of an operator that has no rule, and leaves no trace of the cotangent that it made up", () => {
    const cubePrimitive: Primitive<Tensor, null> = {
      name: "cube",
      infer: ([x]) => x as Tensor,
      reference: ([x]) => (x as { data: Float64Array }).data.map((v) => v ** 3),
      vjp: ({ g, inputs: [x] }) => mul(g, mul(mul(x as Tensor, x as Tensor), 3)),
      lowering: { kind: "kernel", lower: () => {} },
      flops: () => 0,
    };
    const [, moved] = jvp((x: Tensor) => apply(cubePrimitive, [x], null), [tensor([2])], [tensor([5])]);
    expect(evaluate([moved])[0]?.[0]).toBe(60);
    expect(nodeOf(moved).requiresGrad).toBe(false);
    expect((cubePrimitive as AnyPrimitive).jvp).toBeUndefined();
  });

  it("says which tangent does not fit", () => {
    const x = tensor([1, 2]);
    const square = (v: Tensor) => v.square();
    expect(() => jvp(square, [x], [tensor([1, 2, 3])])).toThrow(
      "jvp: tangent 0 is f32[3], and must be f32[2] like its primal",
    );
    expect(() => jvp(square, [x], [tensor([1, 0], { dtype: "i32" })])).toThrow(
      /tangent 0 is i32\[2\], and must be f32/,
    );
    expect(() => jvp(square, [x], [] as unknown as [Tensor])).toThrow(/0 tangents were given for 1 primal/);
    expect(() => jvp((_: Tensor) => 3 as unknown as Tensor, [x], [x])).toThrow(
      /jvp \(the function's result\): expected tensors, .* not number 3/,
    );
  });
});
