/** The leaves of a graph: values that come from outside of the program. */
import type { DType, TypedArray } from "./dtype.js";
import type { Primitive } from "./primitive.js";
import { type Shape, sizeOf } from "./shape.js";
import { type AnyPrimitive, eager, mode, Node, Tensor } from "./tensor.js";

function source<A>(name: string, reference: (attrs: A, length: number) => Float64Array): Primitive<Tensor, A> {
  return {
    name,
    infer: () => {
      throw new Error(`${name} is a leaf and is not applied`);
    },
    reference: (_, out, attrs) => reference(attrs, sizeOf(out.shape)),
    vjp: null,
    lowering: { kind: "source" },
    flops: () => 0,
  };
}

function unbound(): never {
  throw new Error("a placeholder has no value of its own: the evaluator binds it");
}

/** A value held in a JavaScript typed array: `node.value`. */
export const dataPrimitive = source<null>("data", unbound);

/** A placeholder for an argument or a captured tensor of a traced function. */
export const inputPrimitive = source<null>("input", unbound);

/** One number, the same in every element (a full tensor costs four bytes). */
export const constantPrimitive = source<{ value: number }>("constant", ({ value }, n) =>
  new Float64Array(n).fill(value),
);

/** Where the numbers of a cell come from. */
export interface CellAttrs {
  /** Supplies the numbers; called once before every run. */
  readonly read: () => readonly number[];
  /** Takes back what `read` has changed, where the run it was for has failed. */
  readonly undo?: () => void;
}

/** Numbers that the host supplies anew before every run: a learning rate, a random key. */
export const cellPrimitive = source<CellAttrs>("cell", ({ read }) => Float64Array.from(read()));

/** A node for a value in a typed array, which must not change afterwards. */
export function dataNode(value: TypedArray, shape: Shape, dtype: DType): Node {
  const node = new Node(dataPrimitive as AnyPrimitive, [], null, shape, dtype, null);
  node.value = value;
  return node;
}

/** A tensor with the same number in every element; the number is rounded to the dtype. */
export function constant(value: number, shape: Shape = [], dtype: DType = "f32"): Tensor {
  const rounded = dtype === "f32" ? Math.fround(value) : dtype === "i32" ? value | 0 : value !== 0 ? 1 : 0;
  return new Tensor(new Node(constantPrimitive as AnyPrimitive, [], { value: rounded }, shape, dtype, mode.scope));
}

/**
 * A small tensor whose elements `read` supplies: at once in eager use; in a compiled function before every run, in the
 * order in which the cells were made. This is how a changing learning rate reaches a program without a new trace.
 * @param undo takes back what `read` has changed, where a run fails
 */
export function cell(read: () => readonly number[], shape: Shape, dtype: "f32" | "i32", undo?: () => void): Tensor {
  if (mode.scope !== null) {
    const node = new Node(
      cellPrimitive as AnyPrimitive,
      [],
      undo ? { read, undo } : { read },
      shape,
      dtype,
      mode.scope,
    );
    mode.scope.addCell(node);
    return new Tensor(node);
  }
  if (undo !== undefined) eager.undo.push(undo);
  const value = dtype === "f32" ? Float32Array.from(read()) : Int32Array.from(read());
  return new Tensor(dataNode(value, shape, dtype));
}
