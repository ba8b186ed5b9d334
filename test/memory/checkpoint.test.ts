/** Checkpoints and policies: what is kept is what they say, and no bit changes, whatever the function does. */
import { beforeAll, describe, expect, it } from "vitest";
import { ArenaError, ArgumentError } from "../../src/graph/errors.js";
import type { RecomputePolicy } from "../../src/graph/policy.js";
import type { Tensor } from "../../src/graph/tensor.js";
import { gelu } from "../../src/ops/activation.js";
import { linear } from "../../src/ops/matmul.js";
import { batchNorm, layerNorm } from "../../src/ops/norm.js";
import { dropout, manualSeed, randn } from "../../src/ops/random.js";
import { argmax } from "../../src/ops/reduction.js";
import { type CompileOptions, compile } from "../../src/tensor/compile.js";
import { ones, zeros } from "../../src/tensor/creation.js";
import { vmap } from "../../src/transforms/batch.js";
import { checkpoint, checkpointName } from "../../src/transforms/checkpoint.js";
import { customVjp } from "../../src/transforms/custom.js";
import { jvp } from "../../src/transforms/forward.js";
import { grad } from "../../src/transforms/reverse.js";
import { BUILDS, start } from "../support/builds.js";

const [BATCH, WIDTH] = [32, 24];

/** A call of `fn`, within a checkpoint or not. */
type Call = <Out>(fn: (x: Tensor) => Out, x: Tensor) => Out;
const plainly: Call = (fn, x) => fn(x);
const checkpointed: Call = (fn, x) => checkpoint(fn, x);

function parameter(...shape: number[]): Tensor {
  const x = randn(shape).mul(0.3).detach();
  x.requiresGrad = true;
  return x;
}

/** Something to do with a weight and an input through `call`; the loss. */
type Case = (call: Call, x: Tensor, w: Tensor) => Tensor;

const CASES: Record<string, Case> = {
  "returns its input": (call, x, w) => call((y) => y, x.matmul(w).tanh()).sum(),
  "returns views of its input": (call, x, w) => {
    const { turned, part } = call((y) => ({ turned: y.t(), part: y.narrow(0, 1, 5) }), x.matmul(w).tanh());
    return turned.square().sum().add(part.exp().sum());
  },
  "returns constants": (call, x, w) =>
    call((y) => [ones([WIDTH]).mul(3), y.matmul(w).tanh()], x)
      .reduce((a, b) => a.mul(b))
      .sum(),
  "returns what nothing uses": (call, x, w) =>
    call((y) => ({ used: y.matmul(w).sigmoid(), unused: y.matmul(w).exp() }), x).used.sum(),
  "returns integers, numbers and nothing besides": (call, x, w) => {
    const out = call((y) => {
      const logits = y.matmul(w).tanh();
      return {
        logits,
        best: argmax(logits, 1),
        scale: 0.5,
        note: "mixed",
        absent: null,
        pair: [undefined, logits.exp()],
      };
    }, x);
    expect([out.scale, out.note, out.absent, out.best.dtype]).toEqual([0.5, "mixed", null, "i32"]);
    return out.logits
      .gather(1, out.best.unsqueeze(1))
      .mul(out.scale)
      .sum()
      .add((out.pair[1] as Tensor).mean());
  },
  "hands its result to a variable outside": (call, x, w) => {
    let outer: Tensor | undefined;
    call((y) => {
      outer = y.matmul(w).tanh();
    }, x);
    return (outer as Tensor).square().sum();
  },
  "is called twice on the same": (call, x, w) => {
    const fn = (y: Tensor): Tensor => gelu(linear(y, w)).square();
    return call(fn, x).mul(call(fn, x)).sum();
  },
  "is called again on what it returned": (call, x, w) => {
    const fn = (y: Tensor): Tensor => dropout(gelu(linear(y, w)), 0.2);
    return call(fn, call(fn, call(fn, x))).sum();
  },
  "has a gradient of its own": (call, x, w) => {
    const clipped = customVjp({ forward: (y) => [y.exp(), [y.tanh()]], backward: ([t], g) => [g.mul(t as Tensor)] });
    return call((y) => clipped(y.matmul(w)).log().mul(y), x).sum();
  },
  "overwrites in place": (call, x, w) =>
    call((y) => {
      const h = y.matmul(w);
      const before = h.tanh();
      h.mul_(2).add_(1);
      return h.sigmoid().mul(before);
    }, x).sum(),
  "is differentiated twice": (call, x, w) => {
    const f = (y: Tensor): Tensor => call((z) => z.matmul(w).tanh().square(), y).sum();
    return grad(f)(x).square().sum().mul(f(x));
  },
  "is differentiated forwards": (call, x, w) => {
    const [value, tangent] = jvp((y: Tensor) => call((z) => z.matmul(w).tanh().square(), y), [x], [x.cos()]);
    return value.mul(tangent).sum();
  },
  "stands for one of many examples": (call, x, w) =>
    vmap((row: Tensor) => call((r) => dropout(r.unsqueeze(0).matmul(w).tanh(), 0.3).exp().squeeze(0), row))(x).sum(),
  "calls vmap": (call, x, w) => call((y) => vmap((row: Tensor) => row.unsqueeze(0).matmul(w).tanh())(y), x).sum(),
};

/** The loss and the gradient of three runs, so that what is drawn at random or left behind shows. */
function outcome(body: Case, call: Call, compiled: boolean): unknown {
  manualSeed(4);
  const w = parameter(WIDTH, WIDTH);
  const x = randn([BATCH, WIDTH]);
  const run = (given: Tensor): Tensor => {
    w.grad = null;
    const loss = body(call, given, w);
    loss.backward();
    return loss;
  };
  const step = compiled ? compile(run) : run;
  return Array.from({ length: 3 }, () => [step(x).item(), w.grad?.toArray()]);
}

describe.each(BUILDS)("on the %s build", (build) => {
  beforeAll(async () => void (await start(build)));

  describe.each([
    ["compiled", true],
    ["eagerly", false],
  ])("a checkpoint, %s, changes no bit where its function", (_, compiled) => {
    it.each(Object.entries(CASES))("%s", (_, body) => {
      expect(outcome(body, checkpointed, compiled)).toEqual(outcome(body, plainly, compiled));
    });

    it("holds a batch norm, whose running statistics move once a step", () => {
      const run = (call: Call): unknown => {
        manualSeed(6);
        const w = parameter(WIDTH, WIDTH);
        const [mean, variance] = [zeros([WIDTH]), ones([WIDTH])];
        const body = (x: Tensor): Tensor => {
          w.grad = null;
          const block = (y: Tensor): Tensor => batchNorm(linear(y, w), mean, variance, null, null, true).exp().tanh();
          const loss = call(block, x).sum();
          loss.backward();
          return loss;
        };
        const step = compiled ? compile(body) : body;
        const losses = [step(randn([BATCH, WIDTH])).item(), step(randn([BATCH, WIDTH])).item()];
        return [losses, mean.toArray(), variance.toArray(), w.grad?.toArray()];
      };
      expect(run(checkpointed)).toEqual(run(plainly));
    });
  });

  it("computes again from the function's argument, which it keeps, and no further", () => {
    const w = parameter(WIDTH, WIDTH);
    const frozen = randn([WIDTH, WIDTH]);
    const step = compile((x: Tensor) => {
      let h = linear(x, w);
      // Nothing but the checkpoints reads the values between these layers in the backward pass.
      for (let i = 0; i < 5; i++) h = checkpoint((h) => linear(linear(h, frozen).cos(), frozen).sin(), h);
      const loss = h.sum();
      w.grad = null;
      loss.backward();
      return loss;
    });
    const { recomputed, saved } = step.memory(randn([BATCH, WIDTH]));
    const counts = new Map<string, number>();
    for (const { operator } of recomputed) counts.set(operator, (counts.get(operator) ?? 0) + 1);
    // Two products in each checkpoint, each computed twice and never three times.
    expect(counts.get("matmul") ?? 0).toBeLessThanOrEqual(10);
    expect(saved.filter(({ shape }) => shape.length === 2).length).toBeLessThanOrEqual(6);
  });

  it("is called a thousand times in a row, or holds a thousand products", () => {
    const run = (each: Call, all: Call): unknown => {
      manualSeed(7);
      const w = parameter(8, 8);
      const step = compile((x: Tensor) => {
        const loss = all((x) => {
          let h = x;
          for (let i = 0; i < 1000; i++) h = each((h) => h.matmul(w).tanh(), h);
          return h;
        }, x).sum();
        w.grad = null;
        loss.backward();
        return loss;
      });
      return [step(randn([4, 8])).item(), w.grad?.toArray()];
    };
    const expected = run(plainly, plainly);
    expect(run(checkpointed, plainly)).toEqual(expected);
    expect(run(plainly, checkpointed)).toEqual(expected);
  });
});

it("holds thousands of values in a row, each of which is computed again from the one before", async () => {
  await start("strict");
  const LAYERS = 1500;
  const run = (call: Call): { outcome: unknown; again: number } => {
    manualSeed(9);
    const x = parameter(8, 8);
    const step = compile(() => {
      const loss = call((x) => {
        let h = x;
        for (let i = 0; i < LAYERS; i++) h = h.sum(0, true).tanh();
        return h;
      }, x).sum();
      x.grad = null;
      loss.backward();
      return loss;
    });
    return { outcome: [step().item(), x.grad?.toArray()], again: step.memory().recomputed.length };
  };
  const [expected, checked] = [run(plainly), run(checkpointed)];
  expect(checked.outcome).toEqual(expected.outcome);
  expect(expected.again).toBe(0);
  expect(checked.again).toBeGreaterThan(LAYERS);
});

/** Layers of norm, product, GELU and product, beside a shortcut; what each adds is named. */
function makeStep(options: CompileOptions = {}, call: Call = plainly) {
  manualSeed(8);
  const layers = Array.from({ length: 4 }, () => [parameter(2 * WIDTH, WIDTH), parameter(WIDTH, 2 * WIDTH)] as const);
  const step = compile((x: Tensor) => {
    let h = x;
    for (const [wide, narrow] of layers) {
      h = call((h) => {
        const inner = checkpointName(gelu(linear(layerNorm(h, [WIDTH]), wide)), "inner");
        return h.mul(checkpointName(linear(inner, narrow), "outer")).tanh();
      }, h);
    }
    for (const weight of layers.flat()) weight.grad = null;
    h.square().sum().backward();
  }, options);
  return { step, x: randn([BATCH, WIDTH]), weights: layers.flat() };
}

describe("policies", () => {
  beforeAll(async () => void (await start("strict")));

  const gradients = ({ step, x, weights }: ReturnType<typeof makeStep>): unknown => {
    step(x);
    step(x);
    return weights.map(({ grad }) => grad?.toArray());
  };

  it.each([
    "nothing",
    "cheap",
    "all but products",
    { saveOnly: [] },
    { saveOnly: ["outer"] },
    { saveOnly: ["inner", "outer"] },
    { saveOnly: ["matmul"] },
  ] as RecomputePolicy[])("%j: gradients are the same bits, of a whole step and of checkpoints in it", (recompute) => {
    const expected = gradients(makeStep());
    expect(gradients(makeStep({ recompute }))).toEqual(expected);
    expect(gradients(makeStep({}, (fn, x) => checkpoint(recompute, fn, x)))).toEqual(expected);
  });

  /** Matrix products in the program, those computed again included. */
  const products = ({ step, x }: ReturnType<typeof makeStep>): number =>
    step.graph(x).match(/ = matmul /g)?.length as number;

  it.each([
    ["of a whole step", (recompute: RecomputePolicy) => makeStep({ recompute })],
    ["of checkpoints", (recompute: RecomputePolicy) => makeStep({}, (fn, x) => checkpoint(recompute, fn, x))],
  ])("%s compute no more than they say again", (_, make) => {
    const plain = products(makeStep());
    for (const recompute of ["cheap", "all but products", { saveOnly: ["matmul"] }] as const) {
      expect(products(make(recompute)), JSON.stringify(recompute)).toBe(plain);
      const { step, x } = make(recompute);
      expect(step.memory(x).recomputedFlops).toBeGreaterThan(0);
    }
    expect(make("nothing").step.memory(randn([BATCH, WIDTH])).recomputed).toEqual([]);
    // The outer products are kept by name. The inner ones are computed again, for the gradient of GELU, and only once.
    expect(products(make({ saveOnly: ["outer"] }))).toBe(plain + 4);
    expect(products(make({ saveOnly: ["inner", "outer"] }))).toBe(plain + 4);
    expect(products(make({ saveOnly: [] }))).toBeGreaterThan(plain + 4);
    expect(products(make({ saveOnly: [] }))).toBeLessThanOrEqual(plain + 8);
  });

  it("keep nothing but what is named", () => {
    const bytes = (recompute: RecomputePolicy): number => {
      const { step, x } = makeStep({ recompute });
      return step.memory(x).saved.reduce((sum, value) => sum + value.bytes, 0);
    };
    const row = 4 * BATCH * WIDTH;
    expect(bytes({ saveOnly: [] })).toBe(0);
    // Twice the width, in each of four layers.
    expect(bytes({ saveOnly: ["inner"] })).toBe(8 * row);
    expect(bytes({ saveOnly: ["inner", "outer"] }) - bytes({ saveOnly: ["outer"] })).toBe(8 * row);
    expect(bytes("nothing")).toBeGreaterThan(bytes("cheap"));
    expect(bytes("cheap")).toBeGreaterThan(bytes("all but products"));
  });

  it("let the function around decide about what one within it keeps", () => {
    const nested: Call = (fn, x) =>
      checkpoint({ saveOnly: ["outer"] }, (x) => checkpoint({ saveOnly: ["inner", "outer"] }, fn, x), x);
    expect(products(makeStep({}, nested))).toBe(
      products(makeStep({}, (fn, x) => checkpoint({ saveOnly: ["outer"] }, fn, x))),
    );
  });

  it("that compute nothing again refuse a budget that would need it, and say what would do", () => {
    const { step, x } = makeStep();
    const { arenaBytes } = step.memory(x);
    const fitting = makeStep({ recompute: "nothing", memoryBudget: arenaBytes });
    expect(fitting.step.memory(x).arenaBytes).toBe(arenaBytes);
    const small = makeStep({ recompute: "nothing", memoryBudget: arenaBytes - 1 });
    expect(() => small.step.memory(x)).toThrow(ArenaError);
    expect(() => small.step.memory(x)).toThrow(`takes ${arenaBytes} bytes, and the memory budget is ${arenaBytes - 1}`);
  });

  it("list what there is where a name is unknown, and what they can be where they are none", () => {
    const unknown = /saveOnly lists "iner", "gather".*checkpointName: inner, outer; operators: .*layerNorm, matmul/;
    const x = randn([BATCH, WIDTH]);
    const recompute = { saveOnly: ["iner", "inner", "gather"] };
    expect(() => makeStep({ recompute }).step(x)).toThrow(unknown);
    expect(() => makeStep({}, (fn, x) => checkpoint(recompute, fn, x)).step(x)).toThrow(unknown);
    const wrong = "most" as RecomputePolicy;
    expect(() => makeStep({ recompute: wrong })).toThrow(ArgumentError);
    expect(() => checkpoint(wrong, (x: Tensor) => x, x)).toThrow(
      'checkpoint: what to compute again is "nothing", "cheap", "all but products" or { saveOnly: [names] }, not "most"',
    );
    expect(() => checkpointName(x, "")).toThrow("checkpointName: a name is a text that is not empty");
    expect(() => checkpoint(async () => x)).toThrow("checkpoint: the function returned a promise");
    expect(() => checkpoint("cheap", 3 as unknown as () => Tensor)).toThrow("expected a function to call, not number");
  });
});
