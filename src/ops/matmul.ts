/** Matrix products. */

import { gemmWorkspaceBytes } from "../gemm-workspace.js";
import { DTypeError, ShapeError } from "../graph/errors.js";
import type { Operand, Primitive, RefArray } from "../graph/primitive.js";
import { broadcastShapes, formatShape, type Shape, sizeOf } from "../graph/shape.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { collapse, expandView, wholeView } from "../graph/view.js";
import { Flag, Opcode } from "../isa.js";
import { add, mul } from "./arithmetic.js";
import { type OperatorTable, perInput, readView } from "./define.js";
import { expand, reshape, transpose } from "./movement.js";

/** The batch dimensions of a stack of matrices. */
function batchOf(shape: Shape): Shape {
  return shape.slice(0, -2);
}

function matrixSizes(a: Shape, b: Shape): { m: number; n: number; k: number } {
  return { m: a.at(-2) as number, k: a.at(-1) as number, n: b.at(-1) as number };
}

/** `[…, m, k] × […, k, n] → […, m, n]`; batch dimensions broadcast. */
const matmulPrimitive: Primitive<Tensor, null> = {
  name: "matmul",
  infer([x, y]) {
    const a = x as Tensor;
    const b = y as Tensor;
    if (a.dtype !== "f32" || b.dtype !== "f32") {
      throw new DTypeError(`matmul: operands are ${a.dtype} and ${b.dtype}, and must both be f32`);
    }
    const { m, k, n } = matrixSizes(a.shape, b.shape);
    if (k !== b.shape.at(-2)) {
      throw new ShapeError(
        `matmul: ${formatShape(a.shape)} × ${formatShape(b.shape)}: the last dimension of the first (${k}) must equal the second-last of the second (${b.shape.at(-2)})`,
      );
    }
    return {
      shape: [...broadcastShapes("matmul (batch dimensions)", batchOf(a.shape), batchOf(b.shape)), m, n],
      dtype: "f32",
    };
  },
  reference([x, y], out) {
    const { m, k, n } = matrixSizes((x as RefArray).shape, (y as RefArray).shape);
    const batch = batchOf(out.shape);
    const stackOf = (z: RefArray, rows: number, columns: number): Float64Array =>
      readView(z.data, expandView(wholeView(z.shape), [...batch, rows, columns]));
    const a = stackOf(x as RefArray, m, k);
    const b = stackOf(y as RefArray, k, n);
    const c = new Float64Array(sizeOf(out.shape));
    for (let row = 0; row * n < c.length; row++) {
      const matrix = Math.floor(row / m);
      for (let j = 0; j < n; j++) {
        let total = 0;
        for (let p = 0; p < k; p++) total += (a[row * k + p] as number) * (b[(matrix * k + p) * n + j] as number);
        c[row * n + j] = total;
      }
    }
    return c;
  },
  // A broadcast batch is summed back by the reverse pass.
  vjp: perInput(
    ({ g, inputs: [, b] }) => apply(matmulPrimitive, [g, transpose(b as Tensor, -2, -1)], null),
    ({ g, inputs: [a] }) => apply(matmulPrimitive, [transpose(a as Tensor, -2, -1), g], null),
  ),
  lowering: {
    kind: "kernel",
    epilogue: true,
    lower(context) {
      const out = context.output();
      const batch = batchOf(out.shape);
      const a = spreadBatch(context.input(0), batch);
      const b = spreadBatch(context.input(1), batch);
      const { m, k, n } = matrixSizes(a.shape, b.shape);
      const { bias, chain } = context.epilogue;
      const [aRow, aColumn] = a.strides.slice(-2) as [number, number];
      const [bRow, bColumn] = b.strides.slice(-2) as [number, number];
      const c = out.strides.slice(0, -2);
      let dims = collapse(batch, [a.strides.slice(0, -2), b.strides.slice(0, -2), c]);
      let rows = m;
      // One shared right operand and evenly spaced rows: a single, taller product.
      const last = dims.at(-1);
      if (last !== undefined && last.strides[1] === 0 && last.strides[0] === aRow * m && last.strides[2] === m * n) {
        rows = m * last.size;
        dims = dims.slice(0, -1);
      }
      const workspace = context.workspace(gemmWorkspaceBytes(rows, n, k));
      context.emit(
        Opcode.Gemm,
        chain ? Flag.Epilogue : Flag.None,
        [
          ...[rows, n, k, a, aRow, aColumn, b, bRow, bColumn, out, n, bias ?? 0, workspace, dims.length],
          ...dims.flatMap(({ size, strides }) => [size, ...strides]),
        ],
        { reads: bias === null ? [a, b] : [a, b, bias], writes: [out, workspace] },
      );
    },
  },
  flops: ([a, b], out) => 2 * sizeOf(out.shape) * matrixSizes((a as Tensor).shape, (b as Tensor).shape).k,
};

function spreadBatch(operand: Operand, batch: Shape): Operand {
  return { ...operand, ...expandView(operand, [...batch, ...operand.shape.slice(-2)]) };
}

/**
 * The matrix product, as `torch.matmul`: vectors are rows on the left and columns on the right, and dimensions before
 * the last two are batches, which broadcast.
 * @throws ShapeError where the inner sizes differ
 */
export function matmul(input: Tensor, other: Tensor): Tensor {
  if (input.ndim === 0 || other.ndim === 0) {
    throw new ShapeError(
      `matmul: ${formatShape(input.shape)} × ${formatShape(other.shape)}: both need at least 1 dimension; use mul for scalars`,
    );
  }
  const a = input.ndim === 1 ? reshape(input, [1, -1]) : input;
  const b = other.ndim === 1 ? reshape(other, [-1, 1]) : other;
  const out = apply(matmulPrimitive, [a, b], null);
  const shape = [...out.shape];
  if (other.ndim === 1) shape.pop();
  if (input.ndim === 1) shape.splice(other.ndim === 1 ? -1 : -2, 1);
  return reshape(out, shape);
}

function expectRank(op: string, argument: string, x: Tensor, rank: number): void {
  if (x.ndim !== rank) {
    throw new ShapeError(
      `${op}: ${argument} must have ${rank} dimension${rank === 1 ? "" : "s"}, not shape ${formatShape(x.shape)}`,
    );
  }
}

/** `[m, k] × [k, n] → [m, n]`. */
export function mm(input: Tensor, mat2: Tensor): Tensor {
  expectRank("mm", "input", input, 2);
  expectRank("mm", "mat2", mat2, 2);
  return matmul(input, mat2);
}

/** `[b, m, k] × [b, k, n] → [b, m, n]`; the batches must be equal. */
export function bmm(input: Tensor, mat2: Tensor): Tensor {
  expectRank("bmm", "input", input, 3);
  expectRank("bmm", "mat2", mat2, 3);
  if (input.shape[0] !== mat2.shape[0]) {
    throw new ShapeError(`bmm: batches of ${formatShape(input.shape)} and ${formatShape(mat2.shape)} differ`);
  }
  return matmul(input, mat2);
}

/** `[m, k] × [k] → [m]`. */
export function mv(input: Tensor, vec: Tensor): Tensor {
  expectRank("mv", "input", input, 2);
  expectRank("mv", "vec", vec, 1);
  return matmul(input, vec);
}

/** The inner product of two vectors of one length. */
export function dot(input: Tensor, other: Tensor): Tensor {
  expectRank("dot", "input", input, 1);
  expectRank("dot", "other", other, 1);
  if (input.dtype !== other.dtype) throw new DTypeError(`dot: dtypes ${input.dtype} and ${other.dtype} differ`);
  return matmul(input, other);
}

/** `[m] × [n] → [m, n]`: every product of two elements. */
export function outer(input: Tensor, vec2: Tensor): Tensor {
  expectRank("outer", "input", input, 1);
  expectRank("outer", "vec2", vec2, 1);
  return mul(reshape(input, [-1, 1]), vec2);
}

/** `beta · input + alpha · mat1 × mat2`, as PyTorch's addmm. With beta 0 the input is not read. */
export function addmm(
  input: Tensor,
  mat1: Tensor,
  mat2: Tensor,
  options: { beta?: number; alpha?: number } = {},
): Tensor {
  const { beta = 1, alpha = 1 } = options;
  const product = mm(mat1, mat2);
  const scaled = alpha === 1 ? product : mul(product, alpha);
  const base = expand(input, scaled.shape);
  if (beta === 0) return scaled;
  return add(scaled, beta === 1 ? base : mul(base, beta));
}

/**
 * `input × weightᵀ + bias`: input `[…, in]`, weight `[out, in]` or `[in]`, bias `[out]` or none; the result is
 * `[…, out]`.
 */
export function linear(input: Tensor, weight: Tensor, bias?: Tensor | null): Tensor {
  if (weight.ndim > 2)
    throw new ShapeError(`linear: weight must have 1 or 2 dimensions, not shape ${formatShape(weight.shape)}`);
  if (input.ndim > 0 && input.shape.at(-1) !== weight.shape.at(-1)) {
    throw new ShapeError(
      `linear: input ${formatShape(input.shape)} ends in ${input.shape.at(-1)}, and weight ${formatShape(weight.shape)} takes ${weight.shape.at(-1)}`,
    );
  }
  const product = matmul(input, weight.ndim === 2 ? transpose(weight, 0, 1) : weight);
  return bias == null ? product : add(product, bias);
}

/** The operators of this file. */
export const matmulOperators: OperatorTable = {
  matmul: {
    fn: matmul,
    params: ["input", "other"],
    samples: [
      "f32[3,4]; f32[4,5]",
      "f32[4]; f32[4]",
      "f32[4]; f32[4,2]",
      "f32[2,1,3,4]; f32[5,4,2]",
      "f32[0,4]; f32[4,2]",
      "f32[3,0]; f32[0,2]",
      "f32[2,3,4]; f32[4]",
    ],
  },
  mm: { fn: mm, params: ["input", "mat2"], samples: ["f32[3,4]; f32[4,2]"] },
  bmm: { fn: bmm, params: ["input", "mat2"], samples: ["f32[2,3,4]; f32[2,4,5]"] },
  mv: { fn: mv, params: ["input", "vec"], samples: ["f32[3,4]; f32[4]"] },
  dot: { fn: dot, params: ["input", "other"], samples: ["f32[5]; f32[5]"] },
  outer: { fn: outer, params: ["input", "vec2"], samples: ["f32[3]; f32[4]"] },
  addmm: {
    fn: addmm,
    params: ["input", "mat1", "mat2"],
    options: ["beta", "alpha"],
    samples: ['f32[5]; f32[3,4]; f32[4,5]; {"alpha":0.5,"beta":2}'],
  },
  linear: {
    fn: linear,
    params: ["input", "weight", "bias"],
    samples: ["f32[2,3,4]; f32[5,4]; f32[5]", "f32[4]; f32[4]"],
  },
};
