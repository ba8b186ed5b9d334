/** Random numbers: the published generator, the same sequence everywhere, and distributions that are what they say. */
import { beforeAll, describe, expect, it } from "vitest";
import { noGrad, type Tensor } from "../../src/graph/tensor.js";
import { gather } from "../../src/ops/indexing.js";
import {
  dropout,
  Generator,
  manualSeed,
  philox,
  rand,
  randint,
  randLike,
  randn,
  randnLike,
} from "../../src/ops/random.js";
import { compile } from "../../src/tensor/compile.js";
import { ones, tensor, zeros } from "../../src/tensor/creation.js";
import { BUILDS, start } from "../support/builds.js";

function moments(x: Tensor): { mean: number; variance: number } {
  const values = Array.from(x.data());
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  return { mean, variance: values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length };
}

describe("Philox4x32-10", () => {
  it("gives the published answers", () => {
    // The known answers of the Random123 library.
    const f = 0xffffffff;
    expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    expect(philox([f, f, f, f], [f, f])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    const counter = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
    expect(philox(counter, [0xa4093822, 0x299f31d0])).toEqual([0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
  });
});

describe.each(BUILDS)("random numbers on the %s build", (build) => {
  beforeAll(() => start(build));

  it("are the generator's words, 24 bits of each", () => {
    const words = [0, 1, 2].flatMap((group) => philox([group, 0, 0, 0], [7, 0]));
    const expected = words.slice(0, 11).map((word) => (word & 0xffffff) / 2 ** 24);
    expect(Array.from(rand([11], { generator: new Generator(7) }).data())).toEqual(expected);
  });

  it("continue where the last draw ended", () => {
    const generator = new Generator(3);
    const whole = Array.from(rand([64], { generator: new Generator(3) }).data());
    const parts = [16, 4, 44].flatMap((count) => Array.from(rand([count], { generator }).data()));
    expect(parts).toEqual(whole);
  });

  it("repeat from a seed and from a saved state, and differ between seeds", () => {
    const draw = (): number[] => Array.from(rand([8]).data());
    manualSeed(11);
    const first = draw();
    const second = draw();
    expect(second).not.toEqual(first);
    const generator = manualSeed(11);
    expect(draw()).toEqual(first);
    const state = generator.getState();
    expect(draw()).toEqual(second);
    generator.setState(state);
    expect(draw()).toEqual(second);
    manualSeed(12);
    expect(draw()).not.toEqual(first);
    manualSeed(11 + 2 ** 40);
    expect(draw()).not.toEqual(first);
    expect(() => manualSeed(0.5)).toThrow(/whole number/);
  });

  it("may be whole, from one bound to below the other, each as often", () => {
    manualSeed(3);
    const draws = randint(-2, 3, [5000]);
    expect(draws.dtype).toBe("i32");
    const counts = new Map<number, number>();
    for (const x of draws.data()) counts.set(x, (counts.get(x) ?? 0) + 1);
    expect([...counts.keys()].sort((a, b) => a - b)).toEqual([-2, -1, 0, 1, 2]);
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
    expect(() => randint(3, 3, [1])).toThrow("randint: from 3 to below 3 must be 1 to 2^24 whole numbers");
  });

  it("may have the shape of another tensor", () => {
    const like = rand([2, 3]);
    manualSeed(4);
    const [uniform, normal] = [randLike(like).toArray(), randnLike(like).toArray()];
    manualSeed(4);
    expect([rand([2, 3]).toArray(), randn([2, 3]).toArray()]).toEqual([uniform, normal]);
  });

  it("do not depend on when they are computed", () => {
    manualSeed(5);
    const [a, b] = [rand([6]), rand([6])];
    const late = [b.toArray(), a.toArray()];
    manualSeed(5);
    const early = [rand([6]).toArray(), rand([6]).toArray()];
    expect(late).toEqual([early[1], early[0]]);
  });

  it("are drawn anew by every run of a compiled function, as eager code would draw them", () => {
    const draw = compile(() => rand([8]));
    manualSeed(1);
    const compiled = Array.from({ length: 3 }, () => draw().toArray());
    manualSeed(1);
    expect(compiled).toEqual(Array.from({ length: 3 }, () => rand([8]).toArray()));
    expect(draw.traces).toBe(1);
  });

  it("are not used up by a run that fails", () => {
    const pick = compile((i: Tensor) => gather(rand([4]), 0, i));
    const index = (i: number): Tensor => tensor(Int32Array.of(i));
    manualSeed(2);
    const first = pick(index(0)).item();
    const second = pick(index(1)).item();
    manualSeed(2);
    expect(pick(index(0)).item()).toBe(first);
    expect(() => pick(index(4))).toThrow(/out of range/);
    expect(pick(index(1)).item()).toBe(second);
  });

  it("are uniform in [0, 1)", () => {
    const x = rand([100_000], { generator: new Generator(1) });
    const { mean, variance } = moments(x);
    expect(mean).toBeCloseTo(1 / 2, 2);
    expect(variance).toBeCloseTo(1 / 12, 2);
    expect(x.data().every((v) => v >= 0 && v < 1)).toBe(true);
  });

  it("are normal where asked", () => {
    const x = randn([100_000], { generator: new Generator(1) });
    const { mean, variance } = moments(x);
    expect(mean).toBeCloseTo(0, 1);
    expect(variance).toBeCloseTo(1, 1);
    const within = (sigmas: number): number => x.data().filter((v) => Math.abs(v) < sigmas).length / 100_000;
    expect(within(1)).toBeCloseTo(0.6827, 2);
    expect(within(2)).toBeCloseTo(0.9545, 2);
    expect(x.data().every(Number.isFinite)).toBe(true);
  });

  it("of no elements are none", () => {
    expect(rand([0, 3]).toArray()).toEqual([]);
    expect(rand([]).shape).toEqual([]);
  });
});

describe.each(BUILDS)("dropout on the %s build", (build) => {
  beforeAll(() => start(build));

  it("zeroes a share of the elements and scales the others", () => {
    const out = dropout(ones([10_000]), 0.2, true, { generator: new Generator(1) }).data();
    expect(new Set(out)).toEqual(new Set([0, 1.25]));
    expect(out.filter((x) => x === 0).length / out.length).toBeCloseTo(0.2, 1);
  });

  it("passes gradients through the same mask", () => {
    const x = tensor(new Float32Array(100).fill(3), { requiresGrad: true });
    const out = dropout(x, 0.5, true, { generator: new Generator(4) });
    out.sum().backward();
    expect(Array.from((x.grad as Tensor).data())).toEqual(Array.from(out.data(), (v) => v / 3));
  });

  it("is the identity in evaluation and for p = 0, and nothing for p = 1", () => {
    const x = tensor([1, 2, 3]);
    expect(dropout(x, 0.5, false)).toBe(x);
    expect(dropout(x, 0)).toBe(x);
    expect(dropout(x, 1).toArray()).toEqual([0, 0, 0]);
    expect(() => dropout(x, 1.5)).toThrow("dropout: p must be between 0 and 1, not 1.5");
  });

  it("uses another mask in every run of a compiled function, the same forward and backward", () => {
    const weight = zeros([256], { requiresGrad: true });
    const step = compile((x: Tensor) => {
      const out = dropout(weight.add(x), 0.5);
      weight.grad = null;
      out.sum().backward();
      return noGrad(() => out.clone());
    });
    const masks = [1, 2].map(() => {
      const out = Array.from(step(ones([256])).data());
      expect(Array.from((weight.grad as Tensor).data())).toEqual(out);
      return out;
    });
    expect(masks[1]).not.toEqual(masks[0]);
  });
});
