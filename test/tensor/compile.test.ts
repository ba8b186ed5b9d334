/** Compiled functions: one trace, one program, and state that is always what the function's JavaScript says it is. */
import { describe, expect, it } from "vitest";
import { TraceError } from "../../src/graph/errors.js";
import { noGrad, type Tensor } from "../../src/graph/tensor.js";
import { embedding } from "../../src/ops/indexing.js";
import { manualSeed, rand } from "../../src/ops/random.js";
import { compile } from "../../src/tensor/compile.js";
import { tensor, zeros } from "../../src/tensor/creation.js";
import { backendInfo } from "../../src/tensor/session.js";
import { BUILDS, start } from "../support/builds.js";

describe.each(BUILDS)("compiled functions on the %s build", (build) => {
  it("update what they overwrite, in the order in which they say", async () => {
    await start(build);
    const total = tensor([1, 1]);
    const before = tensor([0, 0]);
    const step = compile((x: Tensor) => {
      total.add_(x);
      before.copy_(total);
      total.mul_(2);
      return before.add(total);
    });
    expect(step(tensor([1, 2])).toArray()).toEqual([6, 9]);
    expect([total.toArray(), before.toArray()]).toEqual([
      [4, 6],
      [2, 3],
    ]);
    expect(step(tensor([1, 2])).toArray()).toEqual([15, 24]);
  });

  it("swap two tensors", async () => {
    await start(build);
    const a = tensor([1, 2]);
    const b = tensor([3, 4]);
    const swap = compile(() => {
      const kept = a.clone();
      a.copy_(b);
      b.copy_(kept);
    });
    swap();
    expect([a.toArray(), b.toArray()]).toEqual([
      [3, 4],
      [1, 2],
    ]);
    swap();
    expect(a.toArray()).toEqual([1, 2]);
  });

  it("overwrite a tensor with what was computed from all of it", async () => {
    await start(build);
    const m = tensor([
      [1, 2],
      [3, 4],
    ]);
    compile(() => void m.copy_(m.t()))();
    expect(m.toArray()).toEqual([
      [1, 3],
      [2, 4],
    ]);
    compile(() => void m.copy_(m.matmul(m)))();
    expect(m.toArray()).toEqual([
      [7, 15],
      [10, 22],
    ]);
    compile(() => void m.copy_(m.div(m.sum())))();
    expect(m.sum().item()).toBeCloseTo(1, 6);
  });

  it("do not change values that were taken before a run", async () => {
    await start(build);
    const state = tensor([1, 2]);
    const step = compile(() => void state.add_(1));
    step();
    const lazy = state.mul(10);
    const alias = state.detach();
    step();
    step();
    expect(lazy.toArray()).toEqual([20, 30]);
    expect(alias.toArray()).toEqual([2, 3]);
    expect(state.toArray()).toEqual([4, 5]);
  });

  it("take over what was assigned to their state in between", async () => {
    await start(build);
    const state = tensor([1, 2]);
    const step = compile(() => void state.add_(1));
    step();
    state.copy_(tensor([10, 20]));
    step();
    expect(state.toArray()).toEqual([11, 21]);
    expect(step.traces).toBe(1);
  });

  it("share gradients and parameters with one another", async () => {
    await start(build);
    const w = tensor([1, 2], { requiresGrad: true });
    const accumulate = compile((x: Tensor) => w.mul(x).sum().backward());
    const apply = compile(() => {
      noGrad(() => w.sub_((w.grad as Tensor).mul(0.5)));
      w.grad = null;
    });
    for (let round = 1; round <= 3; round++) {
      accumulate(tensor([1, 0]));
      accumulate(tensor([1, 2]));
      expect(w.grad?.toArray()).toEqual([2, 2]);
      apply();
      expect(w.grad).toBe(null);
      expect(w.toArray()).toEqual([1 - round, 2 - round]);
    }
  });

  it("draw the random numbers that eager use would draw", async () => {
    await start(build);
    const draw = compile(() => [rand([3]), rand([5])]);
    manualSeed(3);
    const compiled = [...draw(), ...draw()].map((x) => x.toArray());
    manualSeed(3);
    const eager = [rand([3]), rand([5]), rand([3]), rand([5])].map((x) => x.toArray());
    expect(compiled).toEqual(eager);
  });

  it("return trees, their arguments, and constants", async () => {
    await start(build);
    const x = tensor([1, 2]);
    const out = compile((x: Tensor) => ({ same: x, made: tensor([5]), list: [x.add(1), zeros([2])] }))(x);
    expect(out.same.toArray()).toEqual([1, 2]);
    expect(out.made.toArray()).toEqual([5]);
    expect(out.list.map((y) => y.toArray())).toEqual([
      [2, 3],
      [0, 0],
    ]);
  });

  it("know their memory before they run, and keep to it", async () => {
    await start(build);
    const w = zeros([64, 32], { requiresGrad: true });
    const step = compile((x: Tensor) => {
      w.grad = null;
      x.matmul(w).square().sum().backward();
      noGrad(() => w.sub_(w.grad as Tensor));
    });
    const x = zeros([16, 64]);
    const before = backendInfo().arenaBytes;
    const memory = step.memory(x);
    expect(backendInfo().arenaBytes).toBe(before);
    expect(memory.parameterBytes).toBe(64 * 32 * 4);
    expect(memory.gradientBytes).toBe(64 * 32 * 4);
    step(x);
    expect(step.memory()).toEqual(memory);
    const { arenaBytes } = backendInfo();
    for (let i = 0; i < 100; i++) step(x);
    expect(backendInfo().arenaBytes).toBe(arenaBytes);
  });

  it("leave everything as it was where a run meets an index out of range", async () => {
    await start(build);
    const seen = tensor([0]);
    const table = tensor([[1], [2], [3]], { requiresGrad: true });
    const step = compile((ids: Tensor) => {
      seen.add_(1);
      const loss = embedding(ids, table).sum();
      loss.backward();
      noGrad(() => table.sub_(table.grad as Tensor));
      table.grad = null;
      return loss;
    });
    expect(step(tensor([0, 2], { dtype: "i32" })).item()).toBe(4);
    const kept = table.toArray();
    expect(() => step(tensor([1, 3], { dtype: "i32" }))).toThrow(/embedding: index 3 is out of range/);
    expect(seen.item()).toBe(1);
    expect(table.toArray()).toEqual(kept);
    expect(step(tensor([1, 1], { dtype: "i32" })).item()).toBe(4);
  });
});

describe("tracing", () => {
  it("prints the graph that it found", async () => {
    await start("strict");
    const w = tensor([[1], [2]], { requiresGrad: true });
    const step = compile((x: Tensor) => {
      const loss = x.matmul(w).square().mean();
      loss.backward();
      return loss;
    });
    expect(step.graph(zeros([3, 2]))).toMatchInlineSnapshot(`
      "%0 = input f32[3,2]
      %1 = input f32[2,1]
      %2 = matmul f32[3,1] %0 %1 transposeA=false transposeB=false
      %3 = mul f32[3,1] %2 %2
      %4 = sum f32[] %3 dims=[0,1]
      %5 = constant f32[] value=3
      %6 = div f32[] %4 %5
      %7 = constant f32[3,1] value=0.3333333432674408
      %8 = mul f32[3,1] %7 %2
      %9 = add f32[3,1] %8 %8
      %10 = matmul f32[2,1] %0 %9 transposeA=true transposeB=false
      return %6 %10"
    `);
  });

  it("refuses to read values, to leak them and to lose gradients", async () => {
    await start("strict");
    const one = tensor([1]);
    expect(() => compile(one as never)).toThrow("compile: expected a function, not a tensor");
    expect(() => compile((x: Tensor) => void x.item())(one)).toThrow(TraceError);
    let leaked: Tensor | null = null;
    compile((x: Tensor) => {
      leaked = x.mul(2);
    })(one);
    expect(() => (leaked as unknown as Tensor).toArray()).toThrow(/has no value outside of it; return it/);
    const leaf = tensor([1], { requiresGrad: true });
    expect(() => compile((x: Tensor) => x.mul(2))(leaf)).toThrow(/requires gradients/);
    const computed = leaf.mul(2);
    expect(() => compile(() => computed.mul(2))()).toThrow(/has a gradient history/);
    expect(() => compile(() => void one.copy_(leaf.mul(2)))()).toThrow(/cannot outlive a run/);
    expect(() => compile((x: Tensor) => x).memory()).toThrow(/has not been called yet/);
    expect(() => compile((x: Tensor) => x)(3 as unknown as Tensor)).toThrow(/must be tensors/);
    expect(one.add(1).item()).toBe(2);
  });

  it("is one for each kind of arguments, and inlines what is compiled already", async () => {
    await start("strict");
    const double = compile((x: Tensor) => x.mul(2));
    const both = compile((x: Tensor) => double(double(x)));
    expect(both(tensor([1, 2])).toArray()).toEqual([4, 8]);
    expect(both(tensor([1, 2])).toArray()).toEqual([4, 8]);
    expect(both(tensor([1, 2, 3])).toArray()).toEqual([4, 8, 12]);
    expect([both.traces, double.traces]).toEqual([2, 0]);
    const first = compile((...x: (Tensor | Tensor[])[]) => x.flat()[x.length - 1] as Tensor);
    const [a, b] = [tensor([1]), tensor([2])];
    expect([first([a, b]).item(), first(a, b).item(), first([b, a]).item()]).toEqual([1, 2, 2]);
  });

  it("gives an argument the value of the start of the call, though the function overwrites that tensor from outside", () => {
    const x = tensor([1, 2]);
    const step = compile((argument: Tensor) => {
      noGrad(() => x.add_(10));
      return [argument, x].map((y) => y.mul(1));
    });
    for (const [before, after] of [
      [1, 11],
      [11, 21],
    ] as const) {
      const [argument, captured] = step(x) as [Tensor, Tensor];
      expect([argument, captured].map((y) => y.data()[0])).toEqual([before, after]);
    }
  });
});
