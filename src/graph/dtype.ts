/** Element types and how they mix. */
import { describe } from "./describe.js";
import { DTypeError } from "./errors.js";

/** An element type: 32-bit float, 32-bit signed integer, or boolean. */
export type DType = "f32" | "i32" | "bool";

/** The typed array that holds the values of a dtype in JavaScript; booleans are bytes that are 0 or 1. */
export type TypedArray = Float32Array | Int32Array | Uint8Array;

/** What each dtype is stored in. */
export type ArrayOf<D extends DType> = D extends "f32" ? Float32Array : D extends "i32" ? Int32Array : Uint8Array;

const RANK: Record<DType, number> = { bool: 0, i32: 1, f32: 2 };

/** The dtype that two operands are computed in: the wider of bool < i32 < f32, as in PyTorch's promotion. */
export function promote(a: DType, b: DType): DType {
  return RANK[a] >= RANK[b] ? a : b;
}

/** A new typed array of `length` zeros. */
export function allocate(dtype: DType, length: number): TypedArray {
  if (dtype === "f32") return new Float32Array(length);
  return dtype === "i32" ? new Int32Array(length) : new Uint8Array(length);
}

/** The dtype whose values `array` holds. Other typed arrays have none. */
export function dtypeOf(array: ArrayBufferView): DType {
  if (array instanceof Float32Array) return "f32";
  if (array instanceof Int32Array) return "i32";
  if (array instanceof Uint8Array) return "bool";
  throw new DTypeError(
    `${array.constructor.name} has no dtype here: use Float32Array (f32), Int32Array (i32) or Uint8Array (bool)`,
  );
}

/** Throws unless `dtype` names one: JavaScript callers may say `"float32"`. */
export function checkDType(op: string, dtype: DType): DType {
  if (dtype in RANK) return dtype;
  throw new DTypeError(`${op}: dtype must be "f32", "i32" or "bool", not ${describe(dtype)}`);
}

/** Throws unless `dtype` is one of `allowed`. */
export function expectDType(op: string, argument: string, dtype: DType, ...allowed: DType[]): void {
  if (!allowed.includes(dtype)) {
    throw new DTypeError(`${op}: ${argument} is ${dtype}, and must be ${allowed.join(" or ")}`);
  }
}
