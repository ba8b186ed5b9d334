/** Tensors made from nothing but a shape. */
import type { Primitive } from "../graph/primitive.js";
import { checkShape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { MicroOp } from "../micro-op.js";
import type { OperatorTable } from "./define.js";

/** Row-major positions, in the shape of the input, whose value does not matter. */
const iotaPrimitive: Primitive<Tensor, null> = {
  name: "iota",
  infer: ([like]) => ({ shape: (like as Tensor).shape, dtype: "i32" }),
  reference: (_, out) => Float64Array.from({ length: sizeOf(out.shape) }, (_, i) => i),
  vjp: null,
  lowering: { kind: "elementwise", micro: { i32: MicroOp.Iota } },
  flops: () => 0,
};

/** The whole numbers from 0 to `length - 1`, as i32. */
export function iota(length: number): Tensor {
  return apply(iotaPrimitive, [constant(0, checkShape("iota", [length]), "i32")], null);
}

/** The operators of this file. */
export default {
  iota: { fn: iota, params: ["length"], samples: ["5", "0"], discrete: true },
} satisfies OperatorTable;
