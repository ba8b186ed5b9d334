/** Attention of heads as one kernel, which never holds all weights, and its gradients as another. */

import type { KernelContext, Operand, Primitive, RefArray, Vjp } from "../graph/primitive.js";
import { type Shape, sameShape, sizeOf } from "../graph/shape.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { permuteView } from "../graph/view.js";
import { Flag, Opcode } from "../isa.js";
import { attentionWorkspaceBytes } from "../workspace/attention.js";
import { add, mul, sub, where } from "./arithmetic.js";
import { batchAsItems } from "./batching.js";
import { lowerTriangle } from "./helpers.js";
import { cat } from "./join.js";
import { matmul } from "./matmul.js";
import { narrow, permute, reshape, select, transpose } from "./movement.js";
import { sum } from "./reduction.js";
import { floatBits } from "./rows.js";
import { rowSoftmax } from "./softmax-rows.js";

interface AttentionAttrs {
  readonly scale: number;
  /** Query i looks at keys 0 to i only. */
  readonly causal: boolean;
}

/** Sizes of queries `[batch, heads, queries, width]`, keys and values. */
interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly width: number;
  readonly valueWidth: number;
}

function sizesOf(query: Shape, key: Shape, value: Shape): Sizes {
  const [batch, heads, queries, width] = query as [number, number, number, number];
  return { batch, heads, queries, width, keys: key[2] as number, valueWidth: value[3] as number };
}

/** `[batch, heads, row, column]` as `[batch, row, heads, column]`, and back. */
const SWAP_HEADS = [0, 2, 1, 3];

function emitAttention(context: KernelContext<AttentionAttrs>, out: Operand, gradient: Operand | null): void {
  const [query, key, value] = [context.input(0), context.input(1), context.input(2)];
  const { scale, causal } = context.attrs;
  const { batch, heads, queries, keys, width, valueWidth } = sizesOf(query.shape, key.shape, value.shape);
  const bytes = attentionWorkspaceBytes(keys, width, valueWidth, gradient !== null);
  const workspace = context.workspace(bytes);
  const reads = gradient === null ? [query, key, value] : [query, key, value, gradient];
  const strided = reads.flatMap((x) => [x, ...x.strides]);
  context.emit(
    Opcode.Attention,
    Flag.None,
    [
      ...[out, ...strided, ...(gradient === null ? [0, 0, 0, 0, 0] : [])],
      ...[batch, heads, queries, keys, width, valueWidth, causal ? 1 : 0, floatBits(scale), workspace, bytes],
    ],
    { reads, writes: [out, workspace] },
  );
}

// ── In float64 ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** One head in float64: rows of its operands, and of the gradient of its output. */
interface Head {
  readonly query: number[][];
  readonly key: number[][];
  readonly value: number[][];
  readonly gradient: number[][];
}

/** Row `i` of `[batch, heads, rows, width]`, or of `[batch, rows, heads, width]` where `rowsFirst`. */
function rowOf({ data, shape }: RefArray, n: number, h: number, i: number, rowsFirst = false): number[] {
  const [, second, third, width] = shape as [number, number, number, number];
  const row = (n * second + (rowsFirst ? i : h)) * third + (rowsFirst ? h : i);
  return Array.from(data.subarray(row * width, (row + 1) * width));
}

const dot = (x: readonly number[], y: readonly number[]): number =>
  x.reduce((total, xi, i) => total + xi * (y[i] as number), 0);

/** Σ weights[j]·rows[j] */
function mixture(weights: readonly number[], rows: readonly number[][], width: number): number[] {
  return Array.from({ length: width }, (_, c) => weights.reduce((s, w, j) => s + w * (rows[j]?.[c] as number), 0));
}

/** The weights of query `i`. */
function weightsOf({ query, key }: Head, i: number, { scale, causal }: AttentionAttrs): number[] {
  const scores = key.map((row, j) =>
    causal && j > i ? Number.NEGATIVE_INFINITY : scale * dot(query[i] as number[], row),
  );
  const powers = scores.map((s) => Math.exp(s - Math.max(...scores)));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / total);
}

function eachHead(inputs: readonly RefArray[], visit: (head: Head, n: number, h: number) => void): void {
  const [query, key, value, gradient] = inputs as [RefArray, RefArray, RefArray, RefArray | undefined];
  const { batch, heads, queries, keys } = sizesOf(query.shape, key.shape, value.shape);
  const rows = (x: RefArray, n: number, h: number, count: number, rowsFirst = false): number[][] =>
    Array.from({ length: count }, (_, i) => rowOf(x, n, h, i, rowsFirst));
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      const head = { query: rows(query, n, h, queries), key: rows(key, n, h, keys), value: rows(value, n, h, keys) };
      visit({ ...head, gradient: gradient === undefined ? [] : rows(gradient, n, h, queries, true) }, n, h);
    }
  }
}

/** The gradients of one head's operands. */
function pulledBack(head: Head, attrs: AttentionAttrs): [number[][], number[][], number[][]] {
  const { query, key, value, gradient } = head;
  const zeros = (rows: number[][]): number[][] => rows.map((row) => row.map(() => 0));
  const [dQuery, dKey, dValue] = [zeros(query), zeros(key), zeros(value)];
  const accumulate = (to: number[], factor: number, row: readonly number[]): void => {
    row.forEach((x, c) => {
      to[c] = (to[c] as number) + factor * x;
    });
  };
  gradient.forEach((g, i) => {
    const weights = weightsOf(head, i, attrs);
    const pulls = value.map((row) => dot(g, row));
    const mean = dot(weights, pulls);
    weights.forEach((weight, j) => {
      const score = attrs.scale * weight * ((pulls[j] as number) - mean);
      accumulate(dValue[j] as number[], weight, g);
      accumulate(dQuery[i] as number[], score, key[j] as number[]);
      accumulate(dKey[j] as number[], score, query[i] as number[]);
    });
  });
  return [dQuery, dKey, dValue];
}

// ── Gradients ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Whether the gradients of queries, keys and values lie side by side, row by row: they are of one shape. */
function isPacked(query: Shape, key: Shape, value: Shape): boolean {
  return sameShape(query, key) && sameShape(key, value);
}

/** The gradients of queries, keys and values, taken out of the vector that holds all three. */
function takeApart(flat: Tensor, query: Shape, key: Shape, value: Shape): [Tensor, Tensor, Tensor] {
  const shapes = [query, key, value].map(([batch, heads, rows, width]) => [batch, rows, heads, width] as Shape);
  const [first] = shapes as [Shape];
  let start = 0;
  return shapes.map((shape, i) => {
    start += sizeOf(shape);
    const part = isPacked(query, key, value)
      ? select(reshape(flat, first.slice(0, 2), 3, first.slice(2)), 2, i)
      : reshape(narrow(flat, 0, start - sizeOf(shape), sizeOf(shape)), shape);
    return permute(part, SWAP_HEADS);
  }) as [Tensor, Tensor, Tensor];
}

/** softmax(Q·Kᵀ·scale) as a matrix. */
function weightMatrix(query: Tensor, key: Tensor, { scale, causal }: AttentionAttrs): Tensor {
  const scores = mul(matmul(query, transpose(key, -2, -1)), scale);
  const [queries, keys] = [query.shape[2] as number, key.shape[2] as number];
  return rowSoftmax(causal ? where(lowerTriangle(queries, keys, 0), scores, Number.NEGATIVE_INFINITY) : scores);
}

/** x ∘ P less its mean by the weights P: what a softmax makes of a gradient. */
function throughSoftmax(p: Tensor, x: Tensor): Tensor {
  return mul(p, sub(x, sum(mul(p, x), -1, true)));
}

/**
 * Derivatives of the gradients, composed. For cotangents (a, b, c) of (dQ, dK, dV) the number differentiated is
 * ⟨P·c, G⟩ + ⟨R, dS⟩ with R = scale·(a·Kᵀ + Q·bᵀ), where dS = P ∘ (dP - Σ P ∘ dP) is linear and symmetric in dP = G·Vᵀ.
 */
const gradientRule: Vjp<Tensor, AttentionAttrs> = ({ g: flat, inputs, attrs }, i) => {
  const [query, key, value, gradient] = inputs as [Tensor, Tensor, Tensor, Tensor];
  const [a, b, c] = takeApart(flat, query.shape, key.shape, value.shape);
  const turned = (x: Tensor): Tensor => transpose(x, -2, -1);
  const p = weightMatrix(query, key, attrs);
  const g = permute(gradient, SWAP_HEADS);
  const r = mul(add(matmul(a, turned(key)), matmul(query, turned(b))), attrs.scale);
  const ofPulls = throughSoftmax(p, r);
  if (i === 2) return matmul(turned(ofPulls), g);
  if (i === 3) return permute(add(matmul(p, c), matmul(ofPulls, value)), SWAP_HEADS);
  const pulls = matmul(g, turned(value));
  const means = (x: Tensor): Tensor => sum(mul(p, x), -1, true);
  const ofWeights = add(matmul(g, turned(c)), sub(mul(r, sub(pulls, means(pulls))), mul(pulls, means(r))));
  const direct = mul(throughSoftmax(p, pulls), attrs.scale);
  const ofScores = mul(throughSoftmax(p, ofWeights), attrs.scale);
  if (i === 0) return add(matmul(direct, b), matmul(ofScores, key));
  return add(matmul(turned(direct), a), matmul(turned(ofScores), query));
};

/** Of queries, keys, values, and the gradient of the output: the vector that {@link takeApart} takes apart. */
const attentionGradientPrimitive: Primitive<Tensor, AttentionAttrs> = {
  name: "attentionGradient",
  infer: (inputs) => ({ shape: [inputs.slice(0, 3).reduce((n, x) => n + sizeOf(x.shape), 0)], dtype: "f32" }),
  reference(inputs, out, attrs) {
    const result = new Float64Array(sizeOf(out.shape));
    const [query, key, value] = inputs.map(({ shape }) => shape) as [Shape, Shape, Shape];
    const packed = isPacked(query, key, value);
    eachHead(inputs, (head, n, h) => {
      let start = 0;
      pulledBack(head, attrs).forEach((rows, operand) => {
        const [, heads, count, width] = (inputs[operand] as RefArray).shape as [number, number, number, number];
        rows.forEach((row, i) => {
          const at = packed ? (n * count + i) * 3 + operand : n * count + i;
          result.set(row, start + (at * heads + h) * width);
        });
        start += packed ? 0 : (inputs[operand] as RefArray).data.length;
      });
    });
    return result;
  },
  vjp: gradientRule,
  batch({ inputs, attrs, size, spread }) {
    const merged = inputs.map((_, i) => {
      const [, items, ...rest] = spread(i).shape as [number, number, ...number[]];
      return reshape(spread(i), size * items, rest);
    });
    const flat = apply(attentionGradientPrimitive, merged, attrs);
    const [query, key, value] = merged.map(({ shape }) => shape) as [Shape, Shape, Shape];
    if (isPacked(query, key, value)) return reshape(flat, size, -1);
    let start = 0;
    const parts = merged.slice(0, 3).map(({ numel }) => {
      start += numel;
      return reshape(narrow(flat, 0, start - numel, numel), size, numel / size);
    });
    return cat(parts, 1);
  },
  lowering: {
    kind: "kernel",
    lower: (context) => emitAttention(context, context.output(), swapped(context.input(3))),
  },
  flops: (inputs) => 2.5 * flopsOf(inputs),
};

function swapped(operand: Operand): Operand {
  return { ...operand, ...permuteView(operand, SWAP_HEADS) };
}

/** Two for each product of a query and a key, and of a weight and a value. */
function flopsOf([query, key, value]: readonly { readonly shape: Shape }[]): number {
  const { batch, heads, queries, keys, width, valueWidth } = sizesOf(
    (query as Tensor).shape,
    (key as Tensor).shape,
    (value as Tensor).shape,
  );
  return 2 * batch * heads * queries * keys * (width + valueWidth);
}

/** `[batch, queries, heads, valueWidth]`: the order in which a layer that joins the heads reads them. */
const attentionPrimitive: Primitive<Tensor, AttentionAttrs> = {
  name: "attention",
  infer([query, key, value]) {
    const sizes = sizesOf((query as Tensor).shape, (key as Tensor).shape, (value as Tensor).shape);
    return { shape: [sizes.batch, sizes.queries, sizes.heads, sizes.valueWidth], dtype: "f32" };
  },
  reference(inputs, out, attrs) {
    const result = new Float64Array(sizeOf(out.shape));
    const [, queries, heads, width] = out.shape as [number, number, number, number];
    eachHead(inputs, (head, n, h) => {
      for (let i = 0; i < queries; i++) {
        result.set(mixture(weightsOf(head, i, attrs), head.value, width), ((n * queries + i) * heads + h) * width);
      }
    });
    return result;
  },
  vjp({ g, inputs, attrs }, i) {
    const [query, key, value] = inputs as [Tensor, Tensor, Tensor];
    const flat = apply(attentionGradientPrimitive, [query, key, value, g], attrs);
    return takeApart(flat, query.shape, key.shape, value.shape)[i] as Tensor;
  },
  batch: (context) => batchAsItems(attentionPrimitive, [0, 1, 2], context),
  lowering: {
    kind: "kernel",
    lower: (context) => emitAttention(context, context.output(), null),
  },
  flops: flopsOf,
};

/**
 * `softmax(query × keyᵀ · scale) × value` for each head, without empty dimensions.
 * @param query `[batch, heads, L, E]`
 * @param key `[batch, heads, S, E]`
 * @param value `[batch, heads, S, V]`
 * @param causal whether query i looks at keys 0 to i only
 * @returns `[batch, heads, L, V]`, in memory `[batch, L, heads, V]`
 */
export function headAttention(query: Tensor, key: Tensor, value: Tensor, scale: number, causal: boolean): Tensor {
  return permute(apply(attentionPrimitive, [query, key, value], { scale: Math.fround(scale), causal }), SWAP_HEADS);
}
