/** Matrix products. */

import { DTypeError, ShapeError } from "../graph/errors.js";
import type { Primitive, RefArray } from "../graph/primitive.js";
import { broadcastShapes, formatShape, type Shape, sizeOf } from "../graph/shape.js";
import { apply, nodeOf, Tensor } from "../graph/tensor.js";
import { collapse, expandView, type Layout, permuteView, readView, wholeView } from "../graph/view.js";
import { Flag, Opcode } from "../isa.js";
import { gemmWorkspaceBytes } from "../workspace/gemm.js";
import { add, mul } from "./arithmetic.js";
import { type OperatorTable, perInput } from "./define.js";
import { expand, reshape } from "./movement.js";

/** The batch dimensions of a stack of matrices. */
function batchOf(shape: Shape): Shape {
  return shape.slice(0, -2);
}

/** Which operands are given transposed: as `[…, k, m]` and `[…, n, k]`. */
interface MatmulAttrs {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

function matrixSizes(a: Shape, b: Shape, { transposeA, transposeB }: MatmulAttrs): { m: number; n: number; k: number } {
  return {
    m: a.at(transposeA ? -1 : -2) as number,
    k: a.at(transposeA ? -2 : -1) as number,
    n: b.at(transposeB ? -2 : -1) as number,
  };
}

/**
 * `[…, m, k] × […, k, n] → […, m, n]`; batch dimensions broadcast. Transposes are attributes, so that every product of
 * the reverse pass is such a node too: a gradient comes out in its input's own layout, never transposed.
 */
const matmulPrimitive: Primitive<Tensor, MatmulAttrs> = {
  name: "matmul",
  infer([x, y], attrs) {
    const a = x as Tensor;
    const b = y as Tensor;
    if (a.dtype !== "f32" || b.dtype !== "f32") {
      throw new DTypeError(`matmul: operands are ${a.dtype} and ${b.dtype}, and must both be f32`);
    }
    const { m, k, n } = matrixSizes(a.shape, b.shape, attrs);
    const bRows = b.shape.at(attrs.transposeB ? -1 : -2);
    if (k !== bRows) {
      const seen = (shape: Shape, transposed: boolean): string => formatShape(transposed ? flipped(shape) : shape);
      throw new ShapeError(
        `matmul: ${seen(a.shape, attrs.transposeA)} × ${seen(b.shape, attrs.transposeB)}: the last dimension of the first (${k}) must equal the second-last of the second (${bRows})`,
      );
    }
    return {
      shape: [...broadcastShapes("matmul (batch dimensions)", batchOf(a.shape), batchOf(b.shape)), m, n],
      dtype: "f32",
    };
  },
  reference([x, y], out, attrs) {
    const { m, k, n } = matrixSizes((x as RefArray).shape, (y as RefArray).shape, attrs);
    const stackOf = (z: RefArray, transposed: boolean): Float64Array =>
      readView(z.data, spreadBatch(wholeView(z.shape), batchOf(out.shape), transposed));
    const a = stackOf(x as RefArray, attrs.transposeA);
    const b = stackOf(y as RefArray, attrs.transposeB);
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
  // C = A·B: dA = G·Bᵀ and dB = Aᵀ·G, or their transposes. A broadcast batch is summed back by the reverse pass.
  vjp: perInput(
    ({ g, inputs: [, b], attrs: { transposeA, transposeB } }) =>
      transposeA ? product(b as Tensor, g, transposeB, true) : product(g, b as Tensor, false, !transposeB),
    ({ g, inputs: [a], attrs: { transposeA, transposeB } }) =>
      transposeB ? product(g, a as Tensor, true, transposeA) : product(a as Tensor, g, !transposeA, false),
  ),
  jvp: ({ tangents: [da, db], inputs: [a, b], attrs }) => {
    const byA = da == null ? null : apply(matmulPrimitive, [da, b as Tensor], attrs);
    const byB = db == null ? null : apply(matmulPrimitive, [a as Tensor, db], attrs);
    return byA !== null && byB !== null ? add(byA, byB) : ((byA ?? byB) as Tensor);
  },
  batch: ({ aligned, attrs }) => apply(matmulPrimitive, aligned(), attrs),
  lowering: {
    kind: "kernel",
    epilogue: "bias and chain",
    lower(context) {
      const { attrs, epilogue } = context;
      const out = context.output();
      const batch = batchOf(out.shape);
      const [x, y] = [context.input(0), context.input(1)];
      const a = { ...x, ...spreadBatch(x, batch, attrs.transposeA) };
      const b = { ...y, ...spreadBatch(y, batch, attrs.transposeB) };
      const { m, k, n } = matrixSizes(x.shape, y.shape, attrs);
      const [aRow, aColumn] = a.strides.slice(-2) as [number, number];
      const [bRow, bColumn] = b.strides.slice(-2) as [number, number];
      let dims = collapse(batch, [a.strides.slice(0, -2), b.strides.slice(0, -2), out.strides.slice(0, -2)]);
      let rows = m;
      // One shared right operand and evenly spaced rows: a single, taller product.
      const last = dims.at(-1);
      if (last !== undefined && last.strides[1] === 0 && last.strides[0] === aRow * m && last.strides[2] === m * n) {
        rows = m * last.size;
        dims = dims.slice(0, -1);
      }
      const workspace = context.workspace(gemmWorkspaceBytes(rows, n, k, bRow));
      context.emit(
        Opcode.Gemm,
        epilogue.chain ? Flag.Epilogue : Flag.None,
        [
          ...[rows, n, k, a, aRow, aColumn, b, bRow, bColumn, out, n, epilogue.bias ?? 0, workspace, dims.length],
          ...dims.flatMap(({ size, strides }) => [size, ...strides]),
        ],
        { reads: epilogue.bias === null ? [a, b] : [a, b, epilogue.bias], writes: [out, workspace] },
      );
    },
  },
  flops: ([a, b], out, attrs) => 2 * sizeOf(out.shape) * matrixSizes((a as Tensor).shape, (b as Tensor).shape, attrs).k,
};

function flipped(shape: Shape): Shape {
  return [...batchOf(shape), shape.at(-1) as number, shape.at(-2) as number];
}

/** The view of a stack of matrices expanded to `batch`, each transposed if asked for. */
function spreadBatch(view: Layout, batch: Shape, transposed: boolean): Layout {
  const expanded = expandView(view, [...batch, ...view.shape.slice(-2)]);
  if (!transposed) return expanded;
  const order = expanded.shape.map((_, d) => d);
  return permuteView(expanded, [...order.slice(0, -2), order.length - 1, order.length - 2]);
}

function product(a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor {
  return apply(matmulPrimitive, [a, b], { transposeA, transposeB });
}

/** A matrix operand: the tensor before its last two dimensions were exchanged, where they were. */
function untransposed(x: Tensor): { operand: Tensor; transposed: boolean } {
  const node = nodeOf(x);
  const [before] = node.inputs;
  // A transpose that gradients pass through stays in the graph: its own gradient may be retained, and one that was made
  // under noGrad must not let them through.
  const passable = before !== undefined && !before.requiresGrad && node.primitive.name === "permute";
  if (!passable) return { operand: x, transposed: false };
  const { order } = node.attrs as { order: readonly number[] };
  const rank = order.length;
  const transposed = order.every((d, i) => d === (i === rank - 1 ? rank - 2 : i === rank - 2 ? rank - 1 : i));
  return { operand: transposed ? new Tensor(before) : x, transposed };
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
  const left = untransposed(a);
  const right = untransposed(b);
  const out = product(left.operand, right.operand, left.transposed, right.transposed);
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
  const raw = mm(mat1, mat2);
  const scaled = alpha === 1 ? raw : mul(raw, alpha);
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
  if (weight.ndim < 2 || input.ndim === 0)
    return bias == null ? matmul(input, weight) : add(matmul(input, weight), bias);
  // One tall product, so that the weight's gradient is one too, in the weight's own layout, and needs no sum over batches.
  const rows = reshape(input, [sizeOf(input.shape.slice(0, -1)), input.shape.at(-1) as number]);
  const out = product(rows, weight, false, true);
  const biased = bias == null ? out : add(out, bias);
  return reshape(biased, [...input.shape.slice(0, -1), weight.shape[0] as number]);
}

/** The operators of this file. */
export default {
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
} satisfies OperatorTable;
