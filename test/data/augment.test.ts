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
    const [count, rows, columns, reach] = [300, 3, 4, 5];
    const data = Float32Array.from({ length: count * 12 }, (_, i) => 1 + i);
    const { data: shifted } = shiftImages({ shape: [count, rows, columns], data }, reach, new Random(2));
    /** The image that starts at `start`, moved pixel by pixel. */
    const moved = (start: number, down: number, right: number) =>
      Array.from({ length: rows * columns }, (_, i) => {
        const [row, column] = [Math.floor(i / columns) - down, (i % columns) - right];
        const inside = row >= 0 && row < rows && column >= 0 && column < columns;
        return inside ? data[start + row * columns + column] : 0;
      });
    const distances = Array.from({ length: 2 * reach + 1 }, (_, i) => i - reach);
    for (let start = 0; start < shifted.length; start += 12) {
      const image = [...shifted.subarray(start, start + 12)];
      const matches = distances.some((down) =>
        distances.some((right) => `${moved(start, down, right)}` === `${image}`),
      );
      expect(matches, `image ${start / 12}: ${image}`).toBe(true);
    }
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
