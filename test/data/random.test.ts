import { describe, expect, it } from "vitest";
import { Random } from "../../src/data/random.js";

describe("random numbers of the data room", () => {
  it("are the same for the same seed and stream, on every engine and in every version", () => {
    // From an implementation of sfc32 in Python, with its unbounded integers.
    const random = new Random(42, 7);
    expect([random.bits(), random.bits(), random.bits(), random.bits()]).toEqual([
      470765371, 1815261665, 1837446338, 4007934356,
    ]);
  });

  it("differ between seeds, beyond 32 bits too, and between streams", () => {
    const first = [new Random(1), new Random(2), new Random(1 + 2 ** 32), new Random(1, 1)].map((random) =>
      random.bits(),
    );
    expect(new Set(first).size).toBe(4);
  });

  it("refuse a seed that is not a whole number from 0 up", () => {
    for (const seed of [-1, 0.5, Number.NaN, 2 ** 53])
      expect(() => new Random(seed)).toThrow(/seed must be an integer/);
  });

  it("are spread evenly over a range, with both ends where they belong", () => {
    const random = new Random(3);
    const counts = new Array<number>(7).fill(0);
    for (let i = 0; i < 70_000; i++) {
      const value = random.below(7);
      counts[value] = (counts[value] ?? 0) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
    for (let i = 0; i < 1000; i++) {
      const value = random.uniform(-2, 3);
      expect(value).toBeGreaterThanOrEqual(-2);
      expect(value).toBeLessThan(3);
    }
  });

  it("have mean 0 and deviation 1 where they are bell-shaped", () => {
    const random = new Random(4);
    const values = Array.from({ length: 50_000 }, () => random.bell());
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    expect(mean).toBeCloseTo(0, 1);
    expect(variance).toBeCloseTo(1, 1);
  });

  it("shuffle without losing anything, into any order equally often", () => {
    const random = new Random(5);
    const seen = new Map<string, number>();
    for (let i = 0; i < 6000; i++) {
      const order = random.shuffle([1, 2, 3]).join("");
      seen.set(order, (seen.get(order) ?? 0) + 1);
    }
    expect([...seen.keys()].sort()).toEqual(["123", "132", "213", "231", "312", "321"]);
    for (const count of seen.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});
