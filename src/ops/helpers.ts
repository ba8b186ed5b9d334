/** What several families of operators are made of and users do not see. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape, sameShape } from "../graph/shape.js";
import { dataNode } from "../graph/sources.js";
import { detach, Tensor } from "../graph/tensor.js";
import { add, clamp, le, sub } from "./arithmetic.js";
import { iota } from "./creation.js";
import type { Reduction } from "./define.js";
import { reshape } from "./movement.js";
import { mean, sum } from "./reduction.js";

/** A vector of whole numbers, as i32. */
export function wholeNumbers(values: readonly number[]): Tensor {
  return new Tensor(dataNode(Int32Array.from(values), [values.length], "i32"));
}

/** A vector of f32 numbers. */
export function tensorOf(values: readonly number[]): Tensor {
  return new Tensor(dataNode(Float32Array.from(values), [values.length], "f32"));
}

/** Where an element of a rows × columns matrix is on or below the diagonal `offset` above the main one. */
export function lowerTriangle(rows: number, columns: number, offset: number): Tensor {
  return le(iota(columns), add(reshape(iota(rows), [rows, 1]), offset));
}

/** Elements below `least` raised to it, while gradients pass as if they were not: as PyTorch clamps under no_grad. */
export function raised(x: Tensor, least: number): Tensor {
  return add(x, detach(sub(clamp(x, least), x)));
}

/** A loss's elements combined as asked; to their mean if nothing is. */
export function reduceLoss(op: string, elements: Tensor, reduction: Reduction = "mean"): Tensor {
  switch (reduction) {
    case "none":
      return elements;
    case "mean":
      return mean(elements);
    case "sum":
      return sum(elements);
    default:
      throw new ArgumentError(`${op}: reduction must be "none", "mean" or "sum", not ${JSON.stringify(reduction)}`);
  }
}

/** Throws unless there are no weights, or one for each class. */
export function expectWeight(op: string, weight: Tensor | null | undefined, classes: number): void {
  if (weight != null && !sameShape(weight.shape, [classes])) {
    throw new ShapeError(
      `${op}: weight is ${formatShape(weight.shape)}, and must have one element a class: [${classes}]`,
    );
  }
}
