/** Functions with a gradient of the user's making: wherever an ordinary operator goes, they go too. */
import { beforeAll, describe, expect, it } from "vitest";
import { compile, customVjp, grad, hvp, jacobian, jvp, noGrad, Tensor, tensor, vjp, vmap } from "../../src/index.js";
import { add, clamp, exp, log1p, mul, relu, sigmoid, square, sum } from "../../src/ops/index.js";
import { BUILDS, start } from "../support/builds.js";
import { difference, evaluate } from "./support.js";

/** Rounds, and lets gradients through as if it did not. */
const roundThrough = customVjp({
  forward: (x) => [x.round(), []],
  backward: (_, g) => [g],
});

/** log(1 + eˣ), whose gradient would be ∞/∞ for large x. */
const softplus = customVjp({
  forward: (x) => [log1p(exp(x)), [x]],
  backward: ([x], g) => [mul(g, sigmoid(x as Tensor))],
});

describe("customVjp", () => {
  it("computes forward's output, and backward's gradient", () => {
    const x = tensor([0.6, 1.2]);
    const [y, pull] = vjp(roundThrough, x);
    expect(evaluate([y, pull(tensor([3, 4]))[0] as Tensor])).toEqual([Float64Array.of(1, 1), Float64Array.of(3, 4)]);
  });

  it("is differentiated again, through what was saved", () => {
    const f = (x: Tensor): Tensor => sum(softplus(x));
    const x = tensor([0.5, 100]);
    const s = 1 / (1 + Math.exp(-0.5));
    expect(difference(evaluate([grad(f)(x)]), [[s, 1]], 1e-12)).toBe(null);
    const curvature = [[s * (1 - s), 0]];
    const ones = tensor([1, 1]);
    expect(difference(evaluate([grad((v: Tensor) => sum(grad(f)(v) as Tensor))(x)]), curvature, 1e-12)).toBe(null);
    expect(difference(evaluate([hvp(f, [x], [ones])[0] as Tensor]), curvature, 1e-12)).toBe(null);
  });

  it("moves forward by the transpose of backward", () => {
    const [, moved] = jvp(roundThrough, [tensor([0.6, 1.2])], [tensor([5, 6])]);
    expect(evaluate([moved])[0]).toEqual(Float64Array.of(5, 6));
    expect(evaluate([jacobian(roundThrough, 0, { mode: "forward" })(tensor([0.6]))])[0]?.[0]).toBe(1);
  });

  it("calls backward once for the cotangents of all outputs, with all arguments' cotangents", () => {
    let calls = 0;
    const both = customVjp({
      forward: (p: { a: Tensor; b: Tensor }, c: Tensor) => [
        { sum: add(p.a, p.b), product: mul(p.a, c), sign: p.b.lt(0) },
        [c],
      ],
      backward: ([c], g: { sum: Tensor; product: Tensor; sign: Tensor }) => {
        calls++;
        return [{ a: add(g.sum, mul(g.product, c as Tensor)), b: mul(g.sum, 10) }, null];
      },
    });
    const [out, pull] = vjp(both, { a: tensor([1, 2]), b: tensor([-3, 4]) }, tensor([5, 6]));
    const seeds = { sum: tensor([1, 1]), product: tensor([100, 100]), sign: tensor([0, 0]) };
    const [p, c] = pull(seeds);
    expect(evaluate([out.sum, out.product, out.sign])).toEqual([
      Float64Array.of(-2, 6),
      Float64Array.of(5, 12),
      Float64Array.of(1, 0),
    ]);
    expect(evaluate([p.a, p.b, c])).toEqual([
      Float64Array.of(501, 601),
      Float64Array.of(10, 10),
      Float64Array.of(0, 0),
    ]);
    expect(calls).toBe(1);
  });

  it("is vectorized: each example by its own backward", () => {
    const clipped = customVjp({
      forward: (x: Tensor, w: Tensor) => [mul(x, w), [x, w]],
      // Not linear in the cotangent, so that mixing examples would show.
      backward: ([x, w], g) => [clamp(mul(g, w as Tensor), -1, 1), mul(sum(g), x as Tensor)],
    });
    const [x, w] = [
      tensor([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
      tensor([0.5, 10]),
    ];
    const loss = (v: Tensor, u: Tensor): Tensor => sum(square(clipped(v, u)));
    for (const argument of [0, 1]) {
      const all = vmap(grad(loss, argument), [0, null])(x, w) as Tensor;
      const rows = [0, 1, 2].map((i) => grad(loss, argument)(x.select(0, i), w) as Tensor);
      expect(evaluate([all])[0]).toEqual(Float64Array.from(evaluate(rows).flatMap((row) => [...row])));
    }
    const total = (u: Tensor): Tensor => sum(vmap(loss, [0, null])(x, u));
    const summed = evaluate([0, 1, 2].map((i) => grad(loss, 1)(x.select(0, i), w) as Tensor));
    expect(evaluate([grad(total)(w)])[0]).toEqual(summed.reduce((a, b) => a.map((v, i) => v + (b[i] as number))));
  });

  it("is forward alone where no gradients are recorded", () => {
    let saved = 0;
    const counted = customVjp({ forward: (x) => [relu(x), [++saved ? x : x]], backward: (_, g) => [g] });
    const y = noGrad(() => counted(tensor([1], { requiresGrad: true })));
    expect([y.requiresGrad, saved]).toEqual([false, 1]);
  });

  it("says what backward returned, and what it must", () => {
    const make = (backward: () => unknown) =>
      customVjp({ forward: (x: Tensor, y: Tensor) => [mul(x, y), []], backward: backward as () => Tensor[] });
    const run = (backward: () => unknown) => () => grad((x: Tensor) => sum(make(backward)(x, x)))(tensor([1, 2]));
    expect(run(() => [tensor([1, 2])])).toThrow(/one cotangent for each of the 2 arguments, and returned 1/);
    expect(run(() => tensor([1, 2]))).toThrow(/and returned no list/);
    expect(run(() => [tensor([1]), null])).toThrow(
      /backward returned \[1\] for argument 0, and must return \[2\] like it/,
    );
    expect(run(() => [3, null])).toThrow(/customVjp \(what backward returned\): .* not number 3/);
  });
});

describe.each(BUILDS)("on the %s build", (build) => {
  beforeAll(() => start(build));

  it("works with backward, compiled and with createGraph", () => {
    const step = compile((x: Tensor) => {
      const v = x.detach().requiresGrad_();
      sum(mul(softplus(v), v)).backward(undefined, { createGraph: true });
      const first = v.grad as Tensor;
      v.grad = null;
      sum(first).backward();
      return [first, v.grad as unknown as Tensor] as const;
    });
    const f = (x: number): number => x * Math.log1p(Math.exp(x));
    const h = 1e-4;
    const [first, second] = step(tensor([0.5])).map((t) => t.item());
    expect(first).toBeCloseTo((f(0.5 + h) - f(0.5 - h)) / (2 * h), 5);
    expect(second).toBeCloseTo((f(0.5 + h) - 2 * f(0.5) + f(0.5 - h)) / (h * h), 5);
    expect(step(tensor([0.5]))[0]).toBeInstanceOf(Tensor);
  });

  it("computes no more than forward where only the output is read", () => {
    const wasteful = customVjp({
      forward: (x) => [mul(x, 2), [exp(exp(x))]],
      backward: ([e], g) => [mul(g, e as Tensor)],
    });
    const compiled = compile((x: Tensor) => wasteful(x));
    expect(compiled(tensor([3])).item()).toBe(6);
    expect(compiled.graph()).not.toMatch(/exp/);
  });
});
