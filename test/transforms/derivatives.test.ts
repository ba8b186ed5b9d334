/** Jacobians, Hessians and Hessian-vector products: against formulas, finite differences and each other. */
import { beforeAll, describe, expect, it } from "vitest";
import { evaluateReference } from "../../src/graph/reference.js";
import { nodeOf } from "../../src/graph/tensor.js";
import { compile, grad, hessian, hvp, jacobian, type Tensor, tensor, vmap } from "../../src/index.js";
import { add, exp, linear, logsumexp, matmul, mseLoss, mul, sin, square, sum, tanh } from "../../src/ops/index.js";
import { BUILDS, start } from "../support/builds.js";
import { difference, evaluate, expectOnCalls, inner, normalLike, OPERATORS, smoothPart } from "./support.js";

type Tensors = readonly Tensor[];

/** An MLP's loss, as a function of its parameters. */
const [x, y] = normalLike([tensor(new Float32Array(12), [4, 3]), tensor(new Float32Array(8), [4, 2])], 1) as [
  Tensor,
  Tensor,
];
const SHAPES = [[5, 3], [5], [2, 5], [2]];
const parameters = normalLike(
  SHAPES.map((shape) => tensor(new Float32Array(shape.reduce((a, b) => a * b)), shape)),
  2,
);
const loss = ([w1, b1, w2, b2]: Tensors): Tensor =>
  mseLoss(linear(tanh(linear(x, w1 as Tensor, b1)), w2 as Tensor, b2), y);

describe("hvp", () => {
  it("is the difference of gradients nearby", () => {
    const vectors = normalLike(parameters, 3);
    const [products] = hvp(loss, [parameters as Tensors], [vectors as Tensors]);
    const nodes = (grad(loss)(parameters) as Tensors).map(nodeOf);
    const at = (step: number): Float64Array[] => {
      const points = parameters.map((p, i) => {
        const v = nodeOf(vectors[i] as Tensor).value as Float32Array;
        return [
          nodeOf(p),
          Float64Array.from(nodeOf(p).value as Float32Array, (w, j) => w + step * (v[j] as number)),
        ] as const;
      });
      return evaluateReference(nodes, new Map(points));
    };
    const [above, below] = [at(1e-5), at(-1e-5)];
    const differences = above.map((a, i) => a.map((g, j) => (g - (below[i]?.[j] as number)) / 2e-5));
    expect(difference(evaluate(products), differences, 1e-7)).toBe(null);
  });

  it.each(OPERATORS)("of %s, forward over reverse, agrees with reverse over reverse", (_, operator) => {
    if (operator.discrete) return;
    expectOnCalls(operator, (call) => {
      const { fn, inputs } = smoothPart(call, 6);
      if (inputs.length === 0 || fn(...inputs).length === 0) return null;
      const projected = (...given: Tensor[]): Tensor => {
        const out = fn(...given);
        return inner(out, normalLike(out, 7));
      };
      const v = normalLike(inputs, 8);
      const slope = (given: Tensors): Tensor => {
        const gradients = grad((xs: Tensors) => projected(...xs))(given) as Tensors;
        return inner(gradients, v);
      };
      const expected = grad(slope)(inputs) as Tensors;
      return difference(evaluate(hvp(projected, inputs, v)), evaluate(expected), 1e-9);
    });
  });

  it("wants one number", () => {
    expect(() => hvp(square, [tensor([1, 2])], [tensor([1, 1])])).toThrow(/hvp: the output has shape \[2\]/);
    expect(() => hvp((v: Tensor) => sum(v), [tensor([1, 2])], [tensor([1])])).toThrow(/hvp: tangent 0 is f32\[1\]/);
  });
});

describe("jacobian", () => {
  const fn = (v: Tensor, w: Tensor): Tensor => matmul(w, sin(v));
  const v = tensor([0.1, 0.2, 0.3]);
  const w = tensor([
    [1, 2, 3],
    [4, 5, 6],
  ]);

  it.each(["forward", "reverse"] as const)(
    "has a dimension for every one of the output and of the argument (%s)",
    (mode) => {
      const byV = jacobian(fn, 0, { mode })(v, w);
      const byW = jacobian(fn, 1, { mode })(v, w);
      expect([byV.shape, byW.shape]).toEqual([
        [2, 3],
        [2, 2, 3],
      ]);
      const slopes = [0.1, 0.2, 0.3].map(Math.cos);
      const expected = [1, 2, 3, 4, 5, 6].map((x, i) => x * (slopes[i % 3] as number));
      expect(difference(evaluate([byV]), [expected], 1e-7)).toBe(null);
      const sines = [0.1, 0.2, 0.3].map(Math.sin);
      expect(difference(evaluate([byW]), [[...sines, 0, 0, 0, 0, 0, 0, ...sines]], 1e-7)).toBe(null);
    },
  );

  it("is a tree of the output's parts by the argument's", () => {
    const both = ({ a, b }: { a: Tensor; b: Tensor }) => ({ product: mul(a, b), parts: [sum(a)] as const });
    const out = jacobian(both)({ a: tensor([1, 2]), b: tensor([3, 4]) });
    expect([out.product.a.shape, out.product.b.shape, out.parts[0].a.shape]).toEqual([[2, 2], [2, 2], [2]]);
    expect(evaluate([out.product.a, out.parts[0].a, out.parts[0].b])).toEqual([
      Float64Array.of(3, 0, 0, 4),
      Float64Array.of(1, 1),
      Float64Array.of(0, 0),
    ]);
  });

  it.each(["forward", "reverse"] as const)(
    "is zero between whole numbers, and empty where there is nothing (%s)",
    (mode) => {
      const parts = (i: Tensor) => [i.add(1), i.to("f32")] as const;
      const zero = jacobian(parts, 0, { mode })(tensor([1, 2], { dtype: "i32" }));
      expect(evaluate(zero)).toEqual([new Float64Array(4), new Float64Array(4)]);
      const empty = jacobian((e: Tensor) => mul(e, 2), 0, { mode })(tensor(new Float32Array(0)));
      expect(empty.shape).toEqual([0, 0]);
    },
  );

  it("goes by columns where the inputs are fewer, by rows where the outputs are", () => {
    const tall = jacobian((s: Tensor) => mul(s, v))(tensor(2));
    const wide = jacobian((u: Tensor) => sum(square(u)))(v);
    expect(evaluate([tall])[0]?.length).toBe(3);
    expect(difference(evaluate([wide]), [[0.2, 0.4, 0.6]], 1e-7)).toBe(null);
  });

  it("of a gradient is the Hessian, whichever way each is taken", () => {
    const f = (u: Tensor): Tensor => logsumexp(mul(u, u), 0);
    const ways = [
      hessian(f),
      jacobian(grad(f), 0, { mode: "reverse" }),
      jacobian(jacobian(f, 0, { mode: "forward" }), 0, { mode: "forward" }),
      jacobian(jacobian(f, 0, { mode: "forward" }), 0, { mode: "reverse" }),
    ].map((way) => evaluate([way(v)])[0] as Float64Array);
    for (const way of ways) expect(difference([way], [ways[0] as Float64Array], 1e-12)).toBe(null);
  });

  it("says what it cannot do", () => {
    expect(() => jacobian(fn, 0, { mode: "backward" as "reverse" })).toThrow(
      /must be "forward" or "reverse", not "backward"/,
    );
    expect(() => jacobian(fn, 2)(v, w)).toThrow("jacobian: argument 2 of a call with 2 arguments");
  });
});

describe("hessian", () => {
  it("of a quadratic form is its matrix, made symmetric", () => {
    const a = tensor([
      [1, 2],
      [3, 4],
    ]);
    const h = hessian((v: Tensor) => matmul(v, matmul(a, v)))(tensor([0.3, -0.7]));
    expect(evaluate([h])[0]).toEqual(Float64Array.of(2, 5, 5, 8));
  });

  it("of Rosenbrock's function at its minimum", () => {
    const rosenbrock = (p: Tensor): Tensor => {
      const [a, b] = [p.select(0, 0), p.select(0, 1)];
      return add(square(a.sub(1)), mul(square(b.sub(square(a))), 100));
    };
    expect(evaluate([hessian(rosenbrock)(tensor([1, 1]))])[0]).toEqual(Float64Array.of(802, -400, -400, 200));
  });

  it("is a tree of trees for arguments that are trees", () => {
    const h = hessian(({ a, b }: { a: Tensor; b: Tensor }) => sum(mul(mul(a, a), b)))({
      a: tensor([2]),
      b: tensor([5]),
    });
    const cells = [h.a.a, h.a.b, h.b.a, h.b.b];
    expect(evaluate(cells).map((c) => c[0])).toEqual([10, 4, 4, 0]);
    expect(cells.every((c) => String(c.shape) === "1,1")).toBe(true);
  });
});

describe.each(BUILDS)("compiled, on the %s build", (build) => {
  beforeAll(() => start(build));

  it("Hessians, products with them and Jacobians come out as in float64", () => {
    const f = (u: Tensor): Tensor => sum(exp(sin(u)));
    const point = tensor([0.1, 0.2, 0.3]);
    const all = (u: Tensor) =>
      [hessian(f)(u), jacobian(grad(f))(u), hvp(f, [u], [u])[0], vmap(grad(f))(u.reshape(3, 1))] as const;
    const found = compile(all)(point).map((t) => t.data());
    expect(difference(found, evaluate(all(point)), 1e-6)).toBe(null);
  });

  it("Newton's method on a captured parameter converges in a few steps", () => {
    const p = tensor([0.5, -1]);
    const f = (u: Tensor): Tensor => sum(add(exp(u), square(u)));
    const step = compile(() => {
      const [g, h] = [grad(f)(p) as Tensor, hessian(f)(p)];
      p.sub_(g.div(h.diagonal()));
    });
    for (let i = 0; i < 6; i++) step();
    // eˣ + 2x = 0
    expect(p.toArray()).toEqual([expect.closeTo(-0.35173371, 6), expect.closeTo(-0.35173371, 6)]);
  });
});
