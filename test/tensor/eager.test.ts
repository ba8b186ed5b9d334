/** Eager use: values are computed when they are read, and nothing that was saved ever changes. */
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { IndexError, ShapeError } from "../../src/graph/errors.js";
import { noGrad, type Tensor } from "../../src/graph/tensor.js";
import { leakyRelu } from "../../src/ops/activation.js";
import { embedding, gather } from "../../src/ops/indexing.js";
import { cat } from "../../src/ops/join.js";
import { full, fullLike, tensor, zeros } from "../../src/tensor/creation.js";
import { backendInfo, init } from "../../src/tensor/session.js";
import { BUILDS, start } from "../support/builds.js";

describe.each(BUILDS)("eager use on the %s build", (build) => {
  it("computes chains of ten thousand operators, and their gradients", async () => {
    await start(build);
    const x = tensor([1, 2, 3, 4], { requiresGrad: true });
    let y: Tensor = x;
    for (let i = 0; i < 10_000; i++) y = y.add(1);
    expect(y.toArray()).toEqual([10001, 10002, 10003, 10004]);
    y.sum().backward();
    expect(x.grad?.toArray()).toEqual([1, 1, 1, 1]);
  });

  it("shares one tensor in many places", async () => {
    await start(build);
    const x = tensor([3], { requiresGrad: true });
    let y = x.mul(0);
    for (let i = 0; i < 500; i++) y = y.add(x);
    y.backward();
    expect(y.item()).toBe(1500);
    expect(x.grad?.item()).toBe(500);
  });

  it("keeps values that were computed before a tensor was overwritten", async () => {
    await start(build);
    const x = tensor([1, 2]);
    const before = x.mul(10);
    x.add_(5);
    expect(before.toArray()).toEqual([10, 20]);
    expect(x.toArray()).toEqual([6, 7]);
    expect(x.mul(10).toArray()).toEqual([60, 70]);
  });

  it("does not change when the array that it was made from does", async () => {
    await start(build);
    const source = new Float32Array([1, 2]);
    const x = tensor(source, [2]);
    const doubled = x.mul(2);
    source[0] = 100;
    const read = doubled.data();
    read[1] = 100;
    expect(doubled.toArray()).toEqual([2, 4]);
  });

  it("broadcasts against size 0 and size 1", async () => {
    await start(build);
    const none = zeros([0, 3], { requiresGrad: true });
    const row = tensor([[1, 2, 3]], { requiresGrad: true });
    const sum = none.add(row);
    expect(sum.shape).toEqual([0, 3]);
    expect(sum.toArray()).toEqual([]);
    sum.sum().backward();
    expect(row.grad?.toArray()).toEqual([[0, 0, 0]]);
    expect(none.grad?.shape).toEqual([0, 3]);
  });

  it("plans a graph once however often it is built", async () => {
    await start(build);
    const once = () =>
      tensor([1, 2])
        .mul(0.37)
        .add(tensor([1, 1]))
        .sum()
        .item();
    const first = once();
    const { arenaBytes } = backendInfo();
    for (let i = 0; i < 100; i++) expect(once()).toBe(first);
    expect(backendInfo().arenaBytes).toBe(arenaBytes);
  });

  it("tells graphs apart that differ in nothing but attributes, or in how many tensors an operator takes", async () => {
    await start(build);
    const x = tensor([
      [-1.5, 2],
      [0.5, -3],
    ]);
    // In turns, so that the second round finds the plans of the first.
    for (let round = 0; round < 2; round++) {
      expect(x.sum(0).toArray()).toEqual([-1, -1]);
      expect(x.sum(1).toArray()).toEqual([0.5, -2.5]);
      expect(x.sum([0, 1]).toArray()).toBe(-2);
      expect(x.sum(1, true).toArray()).toEqual([[0.5], [-2.5]]);
      expect(leakyRelu(x, 0.5).toArray()).toEqual([
        [-0.75, 2],
        [0.5, -1.5],
      ]);
      expect(leakyRelu(x, 0).toArray()).toEqual([
        [-0, 2],
        [0.5, -0],
      ]);
      expect(leakyRelu(x, -0).toArray()).toEqual([
        [0, 2],
        [0.5, 0],
      ]);
      expect(cat([x, x]).shape).toEqual([4, 2]);
      expect(cat([x, x, x]).shape).toEqual([6, 2]);
      expect(cat([x, x], 1).toArray()).toEqual([
        [-1.5, 2, -1.5, 2],
        [0.5, -3, 0.5, -3],
      ]);
    }
  });

  it("takes a number that differs at every call as a value, not as a part of the program", async () => {
    await start(build);
    const scale = (by: number) => tensor([1, 2]).mul(by).toArray();
    scale(0.1);
    const { arenaBytes } = backendInfo();
    for (let i = 0; i < 300; i++) expect(scale(i + 0.25)).toEqual([i + 0.25, 2 * i + 0.5]);
    expect(backendInfo().arenaBytes).toBe(arenaBytes);
  });

  it("computes state that is overwritten again and again and seldom read, in bounded memory", async () => {
    await start(build);
    const x = tensor([0, 0]);
    for (let i = 0; i < 20_000; i++) x.add_(1);
    expect(x.toArray()).toEqual([20_000, 20_000]);
    expect(backendInfo().arenaBytes).toBeLessThan(1 << 20);
  });

  it("updates a parameter by hand under noGrad, as in PyTorch", async () => {
    await start(build);
    const w = tensor([4], { requiresGrad: true });
    for (let i = 0; i < 50; i++) {
      w.grad = null;
      w.mul(w).sum().backward();
      noGrad(() => w.sub_((w.grad as Tensor).mul(0.1)));
      expect(w.isLeaf && w.requiresGrad).toBe(true);
    }
    expect(w.item()).toBeCloseTo(4 * 0.8 ** 50, 8);
  });

  it("costs the memory of one number where all are equal, until it is used", async () => {
    await start(build);
    expect(full([1000, 1000], 2).sum().item()).toBe(2_000_000);
  });

  it("goes on after an index out of range", async () => {
    await start(build);
    const x = tensor([[1, 2, 3]]);
    const bad = tensor([[3]], { dtype: "i32" });
    expect(() => gather(x, 1, bad).toArray()).toThrow(IndexError);
    expect(() => gather(x, 1, bad).toArray()).toThrow(/index 3 is out of range for dimension 1, which has 3 entries/);
    expect(gather(x, 1, tensor([[2]], { dtype: "i32" })).toArray()).toEqual([[3]]);
  });

  it("goes on after an arena that would pass its maximum", async () => {
    await start(build, { maximumBytes: 1 << 20 });
    const x = tensor([1, 2]);
    const large = () =>
      cat([full([512, 1024], 1), full([512, 1024], 2)])
        .sum()
        .item();
    expect(large).toThrow(/its maximum is 1048576; a maximum of \d+ would fit/);
    expect(x.add(1).toArray()).toEqual([2, 3]);
    await start(build);
    expect(large()).toBe(512 * 1024 * 3);
  });

  it("runs beside another runtime in the same process", async () => {
    await start(build);
    const x = tensor([1, 2, 3]);
    const pending = x.mul(2);
    const computed = x.mul(3);
    expect(computed.toArray()).toEqual([3, 6, 9]);
    await start(build);
    expect(pending.toArray()).toEqual([2, 4, 6]);
    expect(computed.add(x).toArray()).toEqual([4, 8, 12]);
  });
});

describe("wrong use", () => {
  it("says what is ragged, misshapen or of no dtype", () => {
    expect(() => tensor([[1, 2], [3]])).toThrow(/ragged/);
    expect(() => tensor(new Float32Array(5), [2, 3])).toThrow(/needs 6 elements, and the data has 5/);
    expect(() => tensor(new Uint8Array(2))).toThrow(/say which dtype/);
    expect(() => tensor("1" as unknown as number)).toThrow(/not string/);
    expect(() => tensor([Number.NaN, Number.POSITIVE_INFINITY])).not.toThrow();
    expect(fullLike(tensor(Int32Array.of(1, 2)), 7).data()).toEqual(Int32Array.of(7, 7));
    expect(() => zeros([2 ** 16, 2 ** 16])).toThrow(/zeros: .* 2\^30/);
    expect(() => zeros(3 as unknown as number[])).toThrow(
      /zeros: shape must be a list of sizes, as \[2,3\], not number 3/,
    );
    expect(() => tensor(1, { dtype: "float64" as "f32" })).toThrow(/dtype must be "f32", "i32" or "bool", not string/);
    expect(() => tensor(1).to("float32" as "f32")).toThrow(/to: dtype must be/);
    expect(() => tensor(1).add("2" as unknown as number)).toThrow(/add: expected a tensor or a number, not string "2"/);
    expect(() => tensor([1]).sum({ dim: 0 } as unknown as number)).toThrow(
      /sum: dim must be a whole number, not an obj/,
    );
    expect(() => zeros([-1])).toThrow(ShapeError);
  });

  it("names operator, shapes and dimension where shapes do not broadcast", () => {
    expect(() => zeros([2, 3]).add(zeros([4]))).toThrow(
      "add: shapes [2,3] and [4] do not broadcast: dimension 1 is 3 against 4",
    );
  });

  it("refuses builds that do not exist and kernels that are not there", async () => {
    await expect(init({ build: "fast" as "strict" })).rejects.toThrow(/must be "auto", "strict" or "relaxed"/);
    await expect(init({ wasm: new URL("../nowhere/", import.meta.url) })).rejects.toThrow(/nowhere/);
  });
});

describe("printing", () => {
  it("shows dtype, shape and elements, long dimensions shortened", async () => {
    await start("strict");
    expect(
      String(
        tensor([
          [1, 2.5],
          [3, -4],
        ]),
      ),
    ).toBe("tensor f32[2,2] [[1, 2.5], [3, -4]]");
    expect(String(tensor([true, false]))).toBe("tensor bool[2] [true, false]");
    expect(String(tensor(new Float32Array(100)))).toBe("tensor f32[100] [0, 0, 0, …, 0, 0, 0]");
    expect(inspect({ x: tensor(2) })).toBe("{ x: tensor f32[] 2 }");
  });
});

describe("bad data", () => {
  it("costs the update that was made from it, and nothing else", async () => {
    await start("strict");
    const table = tensor([[1], [2], [3]], { requiresGrad: true });
    const counter = tensor([0]);
    const step = (ids: number[]) => {
      counter.add_(1);
      table.grad = null;
      const loss = embedding(tensor(ids, { dtype: "i32" }).add(0), table).sum();
      loss.backward();
      noGrad(() => table.sub_(table.grad as Tensor));
      return loss;
    };
    expect(step([0, 1]).item()).toBe(3);
    const kept = table.toArray();
    const bad = step([0, 7]);
    expect(() => bad.item()).toThrow(/embedding: index 7 is out of range/);
    expect(table.toArray()).toEqual(kept);
    expect(counter.item()).toBe(1);
    expect(table.grad?.toArray()).toEqual([[0], [0], [0]]);
    expect(step([2, 2]).item()).toBe(6);
    expect(table.toArray()).toEqual([[0], [1], [1]]);
  });
});
