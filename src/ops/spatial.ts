/** What convolutions and pooling share: arguments that are one number or one a dimension, and inputs without a batch. */
import { ArgumentError, DTypeError, ShapeError } from "../graph/errors.js";
import { formatShape, type Shape } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { reshape } from "./movement.js";

/** A number for all spatial dimensions, or a list of one for each. */
export type PerDimension = number | Shape;

/**
 * One whole number for each of `rank` dimensions.
 * @throws ArgumentError where the list has another length, or a number is below `least`
 */
export function perDimension(op: string, argument: string, value: PerDimension, rank: number, least: number): Shape {
  const list = typeof value === "number" ? [value] : value;
  if (!Array.isArray(list) || (list.length !== 1 && list.length !== rank)) {
    throw new ArgumentError(`${op}: ${argument} must be a number or a list of ${rank}, not ${JSON.stringify(value)}`);
  }
  for (const n of list as Shape) {
    if (!Number.isInteger(n) || n < least) {
      throw new ArgumentError(
        `${op}: ${argument} must be whole numbers from ${least} up, not ${JSON.stringify(value)}`,
      );
    }
  }
  return list.length === rank ? (list as Shape) : new Array<number>(rank).fill((list as Shape)[0] as number);
}

/** An input as `[N, C, ...]`, and how to give a result the form that the input had. */
export interface Batched {
  readonly batch: Tensor;
  /** Takes the batch dimension away again if the input had none. */
  readonly restore: (result: Tensor) => Tensor;
}

/**
 * An f32 input of `rank` spatial dimensions, with a batch dimension before its channels or without.
 * @throws ShapeError, DTypeError
 */
export function batched(op: string, input: Tensor, rank: number): Batched {
  if (input.dtype !== "f32") throw new DTypeError(`${op}: input is ${input.dtype}, and must be f32`);
  if (input.ndim === rank + 2) return { batch: input, restore: (result) => result };
  if (input.ndim !== rank + 1) {
    const spatial = ["L", "H, W", "D, H, W"][rank - 1];
    throw new ShapeError(`${op}: input must be [N, C, ${spatial}] or [C, ${spatial}], not ${formatShape(input.shape)}`);
  }
  return { batch: reshape(input, [1, ...input.shape]), restore: (result) => reshape(result, result.shape.slice(1)) };
}
