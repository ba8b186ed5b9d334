/** Making tensors from values. */
import { allocate, checkDType, type DType, type TypedArray } from "../graph/dtype.js";
import { ArgumentError, DTypeError, ShapeError } from "../graph/errors.js";
import { checkShape, formatShape, type Shape, sizeOf } from "../graph/shape.js";
import { constant, dataNode } from "../graph/sources.js";
import { Tensor } from "../graph/tensor.js";

/** Numbers or booleans nested as deeply as the tensor has dimensions. */
export type NestedArray = number | boolean | readonly NestedArray[];

/** Options of the functions that make tensors. */
export interface TensorOptions {
  /** f32 if not given; for booleans bool, for an Int32Array i32. */
  readonly dtype?: DType;
  /** Whether `.grad` is wanted. */
  readonly requiresGrad?: boolean;
}

/** Options of {@link tensor}. */
export interface FromDataOptions extends TensorOptions {
  /** Sizes, for data that comes as one flat array. */
  readonly shape?: Shape;
}

/** Typed arrays that hold numbers. */
export type NumericArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array;

function isTyped(data: unknown): data is NumericArray {
  return ArrayBuffer.isView(data) && !(data instanceof DataView);
}

/** The sizes of nested arrays. Throws where they are ragged. */
function shapeOf(data: NestedArray): number[] {
  const shape: number[] = [];
  for (let at: NestedArray = data; typeof at === "object"; at = at[0] as NestedArray) {
    shape.push(at.length);
    if (at.length === 0) break;
  }
  return shape;
}

function flatten(data: NestedArray, shape: Shape): (number | boolean)[] {
  const flat: (number | boolean)[] = [];
  const walk = (at: NestedArray, depth: number): void => {
    if (depth === shape.length) {
      if (typeof at === "object") throw new ShapeError(`tensor: the data nests deeper in some places than in others`);
      if (typeof at !== "number" && typeof at !== "boolean") {
        throw new DTypeError(`tensor: expected numbers or booleans, not ${at === null ? "null" : typeof at}`);
      }
      flat.push(at);
      return;
    }
    if (typeof at !== "object" || at.length !== shape[depth]) {
      const found = typeof at === "object" ? `an array of ${at.length}` : "a single value";
      throw new ShapeError(
        `tensor: the data is ragged: expected arrays of ${shape[depth]} at depth ${depth}, and found ${found}`,
      );
    }
    for (const item of at) walk(item, depth + 1);
  };
  walk(data, 0);
  return flat;
}

function inferDType(data: NestedArray | NumericArray, first: number | boolean | undefined): DType {
  if (isTyped(data)) {
    if (data instanceof Int32Array) return "i32";
    if (data instanceof Float32Array || data instanceof Float64Array) return "f32";
    throw new DTypeError(
      `tensor: say which dtype the elements of a ${data.constructor.name} are to have: { dtype: "f32" | "i32" | "bool" }`,
    );
  }
  return typeof first === "boolean" ? "bool" : "f32";
}

/** The elements in an array of their own. */
function convert(elements: ArrayLike<number | boolean>, dtype: DType): TypedArray {
  const out = allocate(dtype, elements.length);
  if (dtype === "bool") for (let i = 0; i < out.length; i++) out[i] = elements[i] ? 1 : 0;
  else (out as Float32Array).set(elements as ArrayLike<number>);
  return out;
}

/**
 * A tensor with the given elements, which are copied.
 * @param data a number, nested arrays, or a typed array
 * @param options a shape, or options
 * @throws ShapeError where the data is ragged or does not fill the shape
 * @example
 * tensor([[1, 2], [3, 4]]);
 * tensor(2, { requiresGrad: true });
 * tensor(new Float32Array(6), [2, 3]);
 */
export function tensor(data: NestedArray | NumericArray, options: Shape | FromDataOptions = {}): Tensor {
  const given: FromDataOptions = isShape(options) ? { shape: options } : options;
  if (!isTyped(data) && typeof data !== "number" && typeof data !== "boolean" && !Array.isArray(data)) {
    throw new DTypeError(
      `tensor: expected a number, arrays of numbers, or a typed array, not ${data === null ? "null" : typeof data}`,
    );
  }
  const nested = isTyped(data) ? [data.length] : shapeOf(data);
  const elements = isTyped(data) ? data : flatten(data, nested);
  const shape = checkShape("tensor", given.shape ?? nested);
  if (sizeOf(shape) !== elements.length) {
    throw new ShapeError(
      `tensor: shape ${formatShape(shape)} needs ${sizeOf(shape)} elements, and the data has ${elements.length}`,
    );
  }
  const dtype = checkDType("tensor", given.dtype ?? inferDType(data, elements[0]));
  return finish(new Tensor(dataNode(convert(elements, dtype), [...shape], dtype)), given);
}

function isShape(options: Shape | FromDataOptions): options is Shape {
  return Array.isArray(options);
}

function finish(out: Tensor, { requiresGrad = false }: TensorOptions): Tensor {
  if (requiresGrad) out.requiresGrad = true;
  return out;
}

function filled(op: string, shape: Shape, value: number, options: TensorOptions): Tensor {
  const dtype = checkDType(op, options.dtype ?? "f32");
  return finish(constant(value, [...checkShape(op, shape)], dtype), options);
}

/** A tensor with `value` in every element; it takes the memory of one until it is changed. */
export function full(shape: Shape, value: number, options: TensorOptions = {}): Tensor {
  return filled("full", shape, value, options);
}

/** A tensor of zeros. */
export function zeros(shape: Shape, options: TensorOptions = {}): Tensor {
  return filled("zeros", shape, 0, options);
}

/** A tensor of ones. */
export function ones(shape: Shape, options: TensorOptions = {}): Tensor {
  return filled("ones", shape, 1, options);
}

/** A tensor of the shape and dtype of `input` with `value` in every element. */
export function fullLike(input: Tensor, value: number, options: TensorOptions = {}): Tensor {
  return full(input.shape, value, { dtype: input.dtype, ...options });
}

/** Zeros of the shape and dtype of `input`. */
export function zerosLike(input: Tensor, options: TensorOptions = {}): Tensor {
  return zeros(input.shape, { dtype: input.dtype, ...options });
}

/** Ones of the shape and dtype of `input`. */
export function onesLike(input: Tensor, options: TensorOptions = {}): Tensor {
  return ones(input.shape, { dtype: input.dtype, ...options });
}

/**
 * Numbers from `start` to `end` (exclusive) in steps of `step`; with one argument, from 0 to it. Whole numbers give an
 * i32 tensor, as in PyTorch.
 */
export function arange(start: number, end?: number, step = 1, options: TensorOptions = {}): Tensor {
  const [from, to] = end === undefined ? [0, start] : [start, end];
  if (step === 0 || !Number.isFinite(step))
    throw new ArgumentError(`arange: step must be a number other than 0, not ${step}`);
  const count = Math.max(0, Math.ceil((to - from) / step));
  const dtype = checkDType("arange", options.dtype ?? ([from, to, step].every(Number.isInteger) ? "i32" : "f32"));
  const shape = checkShape("arange", [count]);
  const values = convert(
    Array.from({ length: count }, (_, i) => from + i * step),
    dtype,
  );
  return finish(new Tensor(dataNode(values, shape, dtype)), options);
}

/** `steps` numbers from `start` to `end`, both included, evenly spaced. */
export function linspace(start: number, end: number, steps: number, options: TensorOptions = {}): Tensor {
  const shape = checkShape("linspace", [steps]);
  const step = steps > 1 ? (end - start) / (steps - 1) : 0;
  // From the nearer end, so that both ends are exact.
  const at = (i: number): number => (2 * i < steps ? start + i * step : end - (steps - 1 - i) * step);
  const values = Float32Array.from({ length: steps }, (_, i) => at(i));
  return finish(new Tensor(dataNode(values, shape, "f32")), options);
}

/** The identity matrix `[n, m]`; square if `m` is left out. */
export function eye(n: number, m = n, options: TensorOptions = {}): Tensor {
  const shape = checkShape("eye", [n, m]);
  const dtype = checkDType("eye", options.dtype ?? "f32");
  const values = allocate(dtype, n * m);
  for (let i = 0; i < Math.min(n, m); i++) values[i * m + i] = 1;
  return finish(new Tensor(dataNode(values, shape, dtype)), options);
}
