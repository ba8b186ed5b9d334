import { describe, expect, it } from "vitest";
import { Random, shiftImages } from "../../src/data/index.js";

/** Where the only pixel that is not 0 is, as [row, column]; null when it moved out of the image. */
function positionOf(image: Float32Array, columns: number): [number, number] | null {
  const at = image.findIndex((grey) => grey !== 0);
  return at === -1 ? null : [Math.floor(at / columns), at % columns];
}

describe("shifted images", () => {
  it("are moved as a whole, by every distance within reach, and independently of each other", () => {
    const count = 500;
    const data = new Float32Array(count * 5 * 7);
    for (let i = 0; i < count; i++) data[i * 35 + 2 * 7 + 3] = 1;
    const { shape, data: shifted } = shiftImages({ shape: [count, 5, 7], data }, 2, new Random(1));
    expect(shape).toEqual([count, 5, 7]);
    const positions = Array.from({ length: count }, (_, i) => positionOf(shifted.subarray(i * 35, (i + 1) * 35), 7));
    const distinct = new Set(positions.map(String));
    expect(distinct.size).toBe(25);
    for (const position of positions) {
      expect(Math.abs((position?.[0] ?? 9) - 2)).toBeLessThanOrEqual(2);
      expect(Math.abs((position?.[1] ?? 9) - 3)).toBeLessThanOrEqual(2);
    }
  });

  it("lose what moves out, and nothing comes in from the other side or from a neighbour", () => {
    const full = { shape: [40, 3, 3], data: new Float32Array(40 * 9).fill(1) };
    const { data } = shiftImages(full, 5, new Random(2));
    for (let i = 0; i < 40; i++) {
      const rows = [0, 3, 6].map((row) => data.slice(i * 9 + row, i * 9 + row + 3));
      const ink = rows.filter((row) => row.some((grey) => grey > 0));
      // What is left is a rectangle at an edge: its rows are all alike.
      expect(new Set(ink.map(String)).size).toBeLessThanOrEqual(1);
    }
    expect(data.some((grey) => grey === 0)).toBe(true);
  });

  it("are the same images when the reach is 0, and the originals stay as they were", () => {
    const images = { shape: [1, 2, 2], data: Float32Array.of(1, 2, 3, 4) };
    expect(shiftImages(images, 0, new Random(3)).data).toEqual(images.data);
    shiftImages(images, 1, new Random(3));
    expect([...images.data]).toEqual([1, 2, 3, 4]);
  });

  it("need images and a whole distance", () => {
    expect(() => shiftImages({ shape: [4], data: new Float32Array(4) }, 1, new Random(0))).toThrow("not [4]");
    const images = { shape: [1, 2, 2], data: new Float32Array(4) };
    expect(() => shiftImages(images, 0.5, new Random(0))).toThrow("reach must be an integer from 0 up, not 0.5");
  });
});
