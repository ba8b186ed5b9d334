/** Vectorization: that it computes what a loop over the examples would, for every operator and with other transforms. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Primitive, RefArray } from "../../src/graph/primitive.js";
import { apply, type Node, nodeOf } from "../../src/graph/tensor.js";
import type { Tree } from "../../src/index.js";
import {
  compile,
  grad,
  hessian,
  jvp,
  manualSeed,
  noGrad,
  rand,
  randn,
  Tensor,
  TraceError,
  tensor,
  vmap,
  zeros,
} from "../../src/index.js";
import { add, dropout, embedding, linear, matmul, mseLoss, mul, narrow, stack, sum } from "../../src/ops/index.js";
import { realize } from "../../src/tensor/realize.js";
import { BUILDS, start } from "../support/builds.js";
import {
  difference,
  evaluate,
  expectOnCalls,
  floats,
  inner,
  normalLike,
  OPERATORS,
  type SampledCall,
} from "./support.js";

type Tensors = readonly Tensor[];

const EXAMPLES = 3;

/** A call for several examples, which differ in the tensors that `batched` names: by `vmap`, and by a loop. */
function bothWays(call: SampledCall, batched: readonly boolean[], fn: (tensors: Tensors) => Tensors) {
  const sets = Array.from({ length: EXAMPLES }, (_, b) => call.tensors(20 + b));
  const first = sets[0] as Tensor[];
  const args = first.map((x, i) => (batched[i] ? stack(sets.map((set) => set[i] as Tensor)) : x));
  const dims = batched.map((differs) => (differs ? 0 : null));
  const vectorized = vmap((...given: Tensor[]): Tensors => fn(given), dims)(...args);
  const rows = sets.map((set) => fn(first.map((x, i) => (batched[i] ? (set[i] as Tensor) : x))));
  const looped = (rows[0] as Tensors).map((_, o) => stack(rows.map((row) => row[o] as Tensor)));
  return { vectorized, looped };
}

/** Which tensors of a call differ between examples: all of them, and each by itself. */
function choices(call: SampledCall): boolean[][] {
  const tensors = call.tensors(0);
  const alone = tensors.map((_, i) => tensors.map((_, j) => i === j));
  return tensors.length === 1 ? alone : [tensors.map(() => true), ...alone];
}

/** What a choice comes to; null also where the examples' results would differ in shape, and vmap says so. */
function unlessRagged(check: () => string | null): string | null {
  try {
    return check();
  } catch (error) {
    if (error instanceof TraceError && /decides the shape of the result/.test(error.message)) return null;
    throw error;
  }
}

function compare(call: SampledCall, fn: (tensors: Tensors) => Tensors): string | null {
  for (const batched of choices(call)) {
    const found = unlessRagged(() => {
      const { vectorized, looped } = bothWays(call, batched, fn);
      return difference(evaluate(vectorized), evaluate(looped), 1e-12);
    });
    if (found !== null) return `[${batched}]: ${found}`;
  }
  return null;
}

/** The gradients of a projection of a call's results. */
function gradientsOf(call: SampledCall): (tensors: Tensors) => Tensors {
  return (tensors) => {
    const loss = (smooth: Tensors): Tensor => {
      const rest = [...smooth];
      const out = floats(call.apply(tensors.map((x) => (x.dtype === "f32" ? (rest.shift() as Tensor) : x))));
      return inner(out, normalLike(out, 9));
    };
    return grad(loss)(floats(tensors)) as Tensors;
  };
}

describe("every operator, vectorized", () => {
  it.each(OPERATORS)("%s computes what a loop does", (_, operator) => {
    expectOnCalls(operator, (call) => compare(call, call.apply));
  });

  it.each(OPERATORS)("the gradient of %s is what a loop gives", (_, operator) => {
    expectOnCalls(operator, (call) => (floats(call.tensors(0)).length === 0 ? null : compare(call, gradientsOf(call))));
  });
});

/** How many nodes a call and its gradients are for some number of examples, all of their own. */
function nodesOf(call: SampledCall, examples: number): number {
  const sets = Array.from({ length: examples }, (_, b) => call.tensors(b));
  const args = (sets[0] as Tensor[]).map((_, i) => stack(sets.map((set) => set[i] as Tensor)));
  const fn = (...given: Tensor[]): Tensors => [
    ...call.apply(given),
    ...(floats(given).length > 0 ? gradientsOf(call)(given) : []),
  ];
  const given = new Set(args.map(nodeOf));
  const results = vmap(fn)(...args).map(nodeOf);
  const inside = new Set<Node>(results.filter((x) => !given.has(x)));
  for (const node of inside) for (const x of node.inputs) if (!given.has(x)) inside.add(x);
  return inside.size;
}

describe("no operator", () => {
  it.each(OPERATORS)("is applied to one example after another: %s", (_, operator) => {
    expectOnCalls(operator, (call) =>
      unlessRagged(() => {
        const [few, many] = [nodesOf(call, 2), nodesOf(call, 5)];
        return few === many ? null : `${few} nodes for two examples, ${many} for five`;
      }),
    );
  });
});

describe.each(BUILDS)("by the kernels of the %s build", (build) => {
  beforeAll(() => start(build));

  it.each(OPERATORS)("vectorized %s agrees with its reference", (_, operator) => {
    expectOnCalls(operator, (call) => {
      const [batched] = choices(call) as [boolean[]];
      return unlessRagged(() => {
        const { vectorized } = bothWays(call, batched, call.apply);
        const expected = evaluate(vectorized);
        realize(vectorized.map(nodeOf));
        return difference(
          vectorized.map((x) => nodeOf(x).value as ArrayLike<number>),
          expected,
          2e-5,
        );
      });
    });
  });

  it("draws random numbers for every example, those that a loop would draw", () => {
    const draw = (x: Tensor): Tensor => add(x, rand([5]));
    manualSeed(3);
    const vectorized = vmap(draw)(zeros([4, 5])).toArray();
    const after = rand([5]).toArray();
    manualSeed(3);
    const looped = [0, 1, 2, 3].map(() => draw(zeros([5])).toArray());
    expect(vectorized).toEqual(looped);
    expect(rand([5]).toArray()).toEqual(after);
  });

  it("draws anew for nested examples, and in every call of a compiled function", () => {
    const nested = vmap(vmap((x: Tensor) => dropout(x, 0.5)));
    const numbers = new Set(vmap(vmap((x: Tensor) => add(x, randn([]))))(zeros([3, 4])).data());
    expect(numbers.size).toBe(12);
    const compiled = compile((x: Tensor) => nested(x));
    const ones = tensor(new Float32Array(2 * 3 * 32).fill(1), [2, 3, 32]);
    const masks = [compiled(ones), compiled(ones)].flatMap((x) => (x.toArray() as number[][][]).flat());
    expect(new Set(masks.map(String)).size).toBe(12);
  });

  it("gives the gradient of every example, compiled", () => {
    const loss = (w: Tensor, x: Tensor, y: Tensor): Tensor => mseLoss(matmul(x, w).tanh(), y);
    const [w, x, y] = [randn([3, 2]), randn([5, 3]), randn([5, 2])];
    const perExample = compile(vmap(grad(loss), [null, 0, 0]));
    const gradients = perExample(w, x, y) as Tensor;
    const looped = Array.from({ length: 5 }, (_, i) => grad(loss)(w, x.select(0, i), y.select(0, i)) as Tensor);
    expect(gradients.shape).toEqual([5, 3, 2]);
    expect(difference([gradients.data()], [stack(looped).data()], 1e-6)).toBe(null);
  });
});

describe("vmap", () => {
  it("takes examples along any dimension, and puts them along any", () => {
    const x = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    const total = vmap((v: Tensor) => sum(v), 1)(x);
    expect(evaluate([total])[0]).toEqual(Float64Array.of(5, 7, 9));
    const twice = vmap((v: Tensor) => mul(v, 2), -1, 1)(x);
    expect(twice.shape).toEqual([2, 3]);
    expect(evaluate([twice])[0]).toEqual(Float64Array.of(2, 4, 6, 8, 10, 12));
  });

  it("takes dimensions as trees like the arguments and results", () => {
    const fn = ({ a, b }: { a: Tensor; b: Tensor }) => [add(a, b), b] as const;
    const args = { a: tensor([1, 2]), b: tensor([10]) };
    const [added, shared] = vmap(fn, [{ a: 0, b: null }], [0, null])(args);
    expect([added.shape, shared.shape]).toEqual([[2, 1], [1]]);
    expect(evaluate([added, shared])).toEqual([Float64Array.of(11, 12), Float64Array.of(10)]);
  });

  it("repeats results that do not differ between examples", () => {
    const out = vmap((_: Tensor) => tensor([7, 8]))(zeros([3]));
    expect(evaluate([out])[0]).toEqual(Float64Array.of(7, 8, 7, 8, 7, 8));
  });

  it("makes one product of many, and no loop", () => {
    const [weight, x] = [tensor(new Float32Array(12), [4, 3]), tensor(new Float32Array(15), [5, 3])];
    const names = new Set<string>();
    const visit = (node: ReturnType<typeof nodeOf>): void => {
      names.add(node.primitive.name);
      node.inputs.forEach(visit);
    };
    visit(nodeOf(vmap((v: Tensor) => linear(v, weight))(x)));
    expect([...names].sort()).toEqual(["data", "matmul", "reshape"]);
  });

  it("applies an operator that has no rule for many examples to one after another", () => {
    const weighted: Primitive<Tensor, null> = {
      name: "weighted",
      infer: ([x]) => x as Tensor,
      reference: ([x, w]) => (x as RefArray).data.map((v, i) => v ** 2 * ((w as RefArray).data[i] as number)),
      vjp: ({ g, inputs: [x, w] }, i) =>
        i === 0 ? mul(g, mul(mul(x as Tensor, 2), w as Tensor)) : mul(g, mul(x as Tensor, x as Tensor)),
      lowering: { kind: "kernel", lower: () => {} },
      flops: () => 0,
    };
    const loss = (x: Tensor, w: Tensor): Tensor => sum(apply(weighted, [x, w], null));
    const x = tensor([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    const w = tensor([10, 1]);
    const perExample = vmap((v: Tensor) => [loss(v, w), grad(loss)(v, w) as Tensor] as const)(x);
    expect(evaluate(perExample)).toEqual([Float64Array.of(14, 106, 286), Float64Array.of(20, 4, 60, 8, 100, 12)]);
    const none = vmap((v: Tensor) => apply(weighted, [v, w], null))(zeros([0, 2]));
    expect(none.shape).toEqual([0, 2]);
  });

  it("nests with itself: every pair", () => {
    const pairs = vmap((x: Tensor) => vmap((y: Tensor) => mul(x, y))(tensor([1, 2, 3])))(tensor([10, 20]));
    expect(pairs.shape).toEqual([2, 3]);
    expect(evaluate([pairs])[0]).toEqual(Float64Array.of(10, 20, 30, 20, 40, 60));
  });

  it("is differentiated in both modes, and vectorizes both", () => {
    const cube = (x: Tensor): Tensor => x.pow(3).sum();
    const x = tensor([1, 2, 3]);
    const ones = tensor([1, 1, 1]);
    const expected = Float64Array.of(3, 12, 27);
    const summed = (v: Tensor): Tensor => sum(vmap(cube)(v));
    expect(evaluate([grad(summed)(x)])[0]).toEqual(expected);
    expect(evaluate([jvp(vmap(cube), [x], [ones])[1]])[0]).toEqual(expected);
    expect(evaluate([vmap(grad(cube))(x)])[0]).toEqual(expected);
    expect(evaluate([vmap((v: Tensor, t: Tensor) => jvp(cube, [v], [t])[1])(x, ones)])[0]).toEqual(expected);
    expect(evaluate([vmap(hessian(cube))(x.reshape(3, 1))])[0]).toEqual(Float64Array.of(6, 12, 18));
    expect(evaluate([grad((v: Tensor) => sum(vmap(grad(cube))(v)))(x)])[0]).toEqual(Float64Array.of(6, 12, 18));
  });

  it("keeps what is cut off from gradients cut off", () => {
    const fn = (x: Tensor): Tensor => mul(x.detach(), x).add(noGrad(() => mul(x, x)));
    const total = (x: Tensor): Tensor => sum(vmap(fn)(x));
    expect(evaluate([grad(total)(tensor([2, 3]))])[0]).toEqual(Float64Array.of(2, 3));
  });

  it("lets gradients through to leaves from outside", async () => {
    await start("strict");
    const weight = tensor([1, 2], { requiresGrad: true });
    sum(
      vmap((x: Tensor) => mul(x, weight))(
        tensor([
          [1, 1],
          [2, 2],
        ]),
      ),
    ).backward();
    expect(weight.grad?.toArray()).toEqual([3, 3]);
  });

  it("lets backward run within an example, on tensors of the example", () => {
    const slope = (x: Tensor): Tensor => {
      const v = x.detach().requiresGrad_();
      v.pow(3).backward();
      return v.grad as Tensor;
    };
    expect(evaluate([vmap(slope)(tensor([1, 2]))])[0]).toEqual(Float64Array.of(3, 12));
  });

  it("names the examples' tensors by new values where they are overwritten in place", () => {
    const fn = (x: Tensor): Tensor => {
      const before = mul(x, 10);
      x.add_(1);
      return add(before, x);
    };
    const x = tensor([1, 2]);
    expect(evaluate([vmap(fn)(x), x])).toEqual([Float64Array.of(12, 23), Float64Array.of(1, 2)]);
  });

  it("takes no examples at all", () => {
    const none = vmap((x: Tensor) => embedding(x, randn([5, 2])))(zeros([0, 3], { dtype: "i32" }));
    expect(none.shape).toEqual([0, 3, 2]);
  });

  it("says what does not fit", () => {
    const id = (x: Tensor): Tensor => x;
    const pair = (x: Tensor, y: Tensor): Tensor => add(x, y);
    expect(() => vmap(pair)(zeros([2]), zeros([3]))).toThrow(
      /tensor 1 of the arguments, \[3\], has 3 examples in dimension 0, and those before it have 2/,
    );
    expect(() => vmap(id)(tensor(1))).toThrow(/tensor 0 of the arguments is a scalar/);
    expect(() => vmap(id, 2)(zeros([2, 2]))).toThrow(/vmap \(inDims\): dim 2 is out of range/);
    expect(() => vmap(id, null)(zeros([2]))).toThrow(/inDims must name a dimension of at least one argument/);
    expect(() => vmap(pair, [0])(zeros([2]), zeros([2]))).toThrow(/inDims \[0\] does not match a tree with 2 parts/);
    expect(() => vmap(id, 0, null)(zeros([2]))).toThrow(/result 0 differs between examples/);
    expect(() => vmap((_: Tensor) => 1 as unknown as Tensor)(zeros([2]))).toThrow(/not number 1/);
    expect(() =>
      vmap((x: Tensor, n: Tensor) => narrow(x, 0, n, 1))(zeros([2, 3]), zeros([2], { dtype: "i32" })),
    ).toThrow(/narrow: start decides the shape of the result/);
  });

  it("refuses what would need one value for every example", () => {
    const total = tensor([0]);
    const leaf = tensor([1], { requiresGrad: true });
    let leaked: Tree = total;
    expect(() => vmap((x: Tensor) => total.add_(x))(zeros([2, 1]))).toThrow(/from outside was overwritten in place/);
    const intoLeaf = (x: Tensor): Tensor => {
      sum(mul(x, leaf)).backward();
      return x;
    };
    expect(() => vmap(intoLeaf)(zeros([2, 1]))).toThrow(/use grad\(fn\) inside/);
    expect(() => vmap((x: Tensor) => tensor(x.item()))(zeros([2]))).toThrow(/its values are not known until it runs/);
    vmap((x: Tensor) => (leaked = mul(x, 2)))(zeros([2]));
    expect(() => add(leaked as Tensor, 1)).toThrow(/has no value outside of it; return it from the function/);
    expect(leaked).toBeInstanceOf(Tensor);
  });
});
