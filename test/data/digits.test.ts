import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { digits } from "../../src/data/digits.js";

describe("drawn digits", () => {
  it("are bit-identical on every engine", () => {
    const { images, labels } = digits({ count: 200, seed: 7 });
    const hash = createHash("sha256")
      .update(new Uint8Array(images.data.buffer))
      .update(new Uint8Array(labels.data.buffer));
    expect(hash.digest("hex")).toBe("9051b9f4493e3ebb6490e0b012e02b4bea33571a0b59c9093e106ba63a81d09e");
  });

  it("are 28 × 28 greys from 0 to 1, with ink on every one", () => {
    const { images, labels } = digits({ count: 50 });
    expect(images.shape).toEqual([50, 28, 28]);
    expect(labels.shape).toEqual([50]);
    expect(images.data.length).toBe(50 * 784);
    expect(images.data.every((grey) => grey >= 0 && grey <= 1)).toBe(true);
    for (let i = 0; i < 50; i++) {
      const ink = images.data.subarray(i * 784, (i + 1) * 784).filter((grey) => grey > 0.5).length;
      expect(ink, `ink of image ${i}`).toBeGreaterThan(10);
      expect(ink, `ink of image ${i}`).toBeLessThan(400);
    }
  });

  it("hold each digit once in every ten, in changing order", () => {
    const { labels } = digits({ count: 100, seed: 1 });
    const tens = Array.from({ length: 10 }, (_, ten) => labels.data.slice(10 * ten, 10 * ten + 10));
    for (const ten of tens) expect([...ten].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(new Set(tens.map(String)).size).toBeGreaterThan(5);
  });

  it("begin the same whatever the count, and differ from seed to seed", () => {
    const few = digits({ count: 13, seed: 2 });
    const many = digits({ count: 40, seed: 2 });
    expect(many.images.data.slice(0, 13 * 784)).toEqual(few.images.data);
    expect(many.labels.data.slice(0, 13)).toEqual(few.labels.data);
    expect(digits({ count: 13, seed: 3 }).images.data).not.toEqual(few.images.data);
  });

  it("never repeat an image", () => {
    const { images } = digits({ count: 500, seed: 9 });
    const seen = new Set(Array.from({ length: 500 }, (_, i) => String(images.data.slice(i * 784, (i + 1) * 784))));
    expect(seen.size).toBe(500);
  });

  it("can be none, but not a part of one", () => {
    expect(digits({ count: 0 }).images.shape).toEqual([0, 28, 28]);
    expect(() => digits({ count: 2.5 })).toThrow("count must be an integer from 0 up, not 2.5");
    expect(() => digits({ count: -1 })).toThrow("count must be an integer from 0 up, not -1");
    expect(() => digits({ count: 1, seed: -3 })).toThrow("the seed must be an integer from 0");
  });
});
