/** Conversion between dtypes, and the dtype that operands are computed in. */
import { checkDType, type DType, promote } from "../graph/dtype.js";
import { DTypeError } from "../graph/errors.js";
import { apply, Tensor } from "../graph/tensor.js";
import { MicroOp } from "../micro-op.js";
import { asTensor, elementwise, type OperatorTable, type TensorLike } from "./define.js";

const castTo = {
  f32: elementwise({
    name: "toF32",
    micro: { i32: MicroOp.I32ToF32, bool: MicroOp.I32ToF32 },
    out: "f32",
    exact: true,
    reference: (x) => x,
  }),
  i32: elementwise({
    name: "toI32",
    micro: { f32: MicroOp.F32ToI32, bool: MicroOp.Copy },
    out: "i32",
    reference: (x) => (Number.isNaN(x) ? 0 : Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.trunc(x)))),
  }),
  bool: elementwise({
    name: "toBool",
    micro: { f32: MicroOp.F32ToBool, i32: MicroOp.I32ToBool },
    out: "bool",
    reference: (x) => (x !== 0 ? 1 : 0),
  }),
};

/**
 * Converts to `dtype`. Floats become integers by dropping the fraction; out of range they saturate, NaN gives 0.
 * Gradients do not flow through a conversion from or to integers.
 */
export function to(input: Tensor, dtype: DType): Tensor {
  return input.dtype === dtype ? input : apply(castTo[checkDType("to", dtype)], [input], null);
}

/** Both operands as tensors of the dtype they are computed in. A number takes the dtype of a tensor that can hold it. */
export function operands(op: string, a: TensorLike, b: TensorLike, floating = false): [Tensor, Tensor] {
  if (!(a instanceof Tensor) && !(b instanceof Tensor)) {
    throw new DTypeError(`${op}: at least one of the operands must be a tensor`);
  }
  const x = asTensor(a, b instanceof Tensor ? b.dtype : undefined, op);
  const y = asTensor(b, a instanceof Tensor ? a.dtype : undefined, op);
  if (x.dtype === "f32" && y.dtype === "f32") return [x, y];
  const dtype = floating ? "f32" : promote(x.dtype, y.dtype);
  return [to(x, dtype), to(y, dtype)];
}

/** The input in f32: integers and booleans are converted, as PyTorch's floating-point operators do. */
export function toFloat(input: TensorLike): Tensor {
  return to(asTensor(input), "f32");
}

/**
 * The operands of an operator that, as in PyTorch, takes no numbers.
 * @throws DTypeError where one is not a tensor
 */
export function tensorOperands(op: string, a: TensorLike, b: TensorLike, instead = ""): [Tensor, Tensor] {
  for (const operand of [a, b]) {
    if (!(operand instanceof Tensor)) {
      throw new DTypeError(`${op}: takes tensors, and was given ${JSON.stringify(operand)}${instead}`);
    }
  }
  return operands(op, a, b);
}

/** The operators of this file. */
export default {
  to: { fn: to, params: ["input", "dtype"], samples: ['i32[2,3]<5; "f32"', 'f32[4]; "bool"'], discrete: true },
} satisfies OperatorTable;
