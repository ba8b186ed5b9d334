/**
 * What the primitives over rows of the last dimension share. Each is one kernel where a composition would go through
 * memory several times.
 *
 * Their gradients compute again what they need of a row (its maximum, mean, or sum of exponentials) instead of reading
 * it: the row is in the cache anyway, nothing has to be kept from the forward pass, and every primitive is a function of
 * its inputs alone. Derivatives of the gradients are compositions.
 */
import type { KernelContext, Operand } from "../graph/primitive.js";
import { sizeOf } from "../graph/shape.js";
import { Flag, Opcode, type RowOp } from "../isa.js";

/** The word that holds an f32. */
export function floatBits(value: number): number {
  return new Int32Array(Float32Array.of(value).buffer)[0] as number;
}

/** What goes into a Rows instruction besides its sizes; what is not there is not read. */
export interface RowOperands {
  readonly out: Operand;
  readonly a: Operand;
  readonly b?: Operand;
  readonly index?: Operand;
  readonly weight?: Operand;
  readonly bias?: Operand;
  /** An f32. */
  readonly parameter?: number;
}

/** Appends a Rows instruction. */
export function emitRows(context: KernelContext<unknown>, op: RowOp, operands: RowOperands): void {
  const { out, a, b, index, weight, bias, parameter = 0 } = operands;
  const length = a.shape.at(-1) as number;
  const stride = (x: Operand | undefined): number => (x === undefined || x.strides.every((s) => s === 0) ? 0 : 1);
  context.emit(
    Opcode.Rows,
    Flag.None,
    [
      ...[op, sizeOf(a.shape) / length, length, out, a, b ?? 0, index ?? 0],
      ...[weight ?? 0, stride(weight), bias ?? 0, stride(bias), floatBits(parameter)],
    ],
    { reads: [a, b, index, weight, bias].filter((x) => x !== undefined), writes: [out] },
  );
}

/** Calls `visit` with every row of `length` elements of the arrays, as views. */
export function eachRow(
  length: number,
  arrays: readonly Float64Array[],
  visit: (rows: readonly Float64Array[], row: number) => void,
): void {
  const count = (arrays[0] as Float64Array).length / length;
  for (let row = 0; row < count; row++) {
    visit(
      arrays.map((x) => x.subarray(row * length, (row + 1) * length)),
      row,
    );
  }
}

/** Σ x·y */
export const dot = (x: Float64Array, y: Float64Array): number =>
  x.reduce((total, xi, i) => total + xi * (y[i] as number), 0);
