/** Random changes to images that leave what they show the same: more examples out of the same data. */

import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape } from "../graph/shape.js";
import type { Column } from "./dataset.js";
import type { Random } from "./random.js";

/**
 * Copies of images `[count, rows, columns]`, each moved by up to `reach` pixels in both directions; what moves out is
 * lost, and zeros move in.
 *
 * @throws ShapeError for another rank.
 * @throws ArgumentError when `reach` is not an integer from 0 up.
 */
export function shiftImages(images: Column<Float32Array>, reach: number, random: Random): Column<Float32Array> {
  const { shape, data } = images;
  if (shape.length !== 3) {
    throw new ShapeError(`shiftImages: images must have shape [count,rows,columns], not ${formatShape(shape)}`);
  }
  if (!Number.isInteger(reach) || reach < 0) {
    throw new ArgumentError(`shiftImages: reach must be an integer from 0 up, not ${reach}`);
  }
  const [, rows, columns] = shape as [number, number, number];
  const size = rows * columns;
  const shifted = new Float32Array(data.length);
  for (let start = 0; start < data.length; start += size) {
    const down = random.below(2 * reach + 1) - reach;
    const right = random.below(2 * reach + 1) - reach;
    if (Math.abs(down) >= rows || Math.abs(right) >= columns) continue;
    // One copy for the whole image, then blank the columns where pixels of the next row have come in.
    const offset = down * columns + right;
    const kept = data.subarray(start + Math.max(-offset, 0), start + size - Math.max(offset, 0));
    shifted.set(kept, start + Math.max(offset, 0));
    const firstBlank = right < 0 ? columns + right : 0;
    for (let row = start; row < start + size; row += columns) {
      for (let i = 0; i < Math.abs(right); i++) shifted[row + firstBlank + i] = 0;
    }
  }
  return { shape, data: shifted };
}
