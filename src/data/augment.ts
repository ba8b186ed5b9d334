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
  const [count, rows, columns] = shape as [number, number, number];
  const shifted = new Float32Array(data.length);
  for (let image = 0; image < count; image++) {
    const down = random.below(2 * reach + 1) - reach;
    const right = random.below(2 * reach + 1) - reach;
    if (Math.abs(right) >= columns) continue;
    for (let row = Math.max(down, 0); row < Math.min(rows + down, rows); row++) {
      const from = (image * rows + row - down) * columns;
      const visible = data.subarray(from + Math.max(-right, 0), from + columns - Math.max(right, 0));
      shifted.set(visible, (image * rows + row) * columns + Math.max(right, 0));
    }
  }
  return { shape, data: shifted };
}
