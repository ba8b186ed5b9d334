/** Attention: weighted means of values, where a query's weights are how well it matches the keys. */
import { expectDType } from "../graph/dtype.js";
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { broadcastShapes, formatShape, type Shape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import type { Tensor } from "../graph/tensor.js";
import { add, eq, mul, where } from "./arithmetic.js";
import { repeatInterleave } from "./arrange.js";
import { headAttention } from "./attention-primitive.js";
import type { OperatorTable } from "./define.js";
import { lowerTriangle } from "./helpers.js";
import { matmul } from "./matmul.js";
import { expand, reshape, transpose } from "./movement.js";
import { dropout } from "./random.js";
import { amax } from "./reduction.js";
import { softmax } from "./softmax.js";

/** Options of {@link scaledDotProductAttention}. */
export interface AttentionOptions {
  /** bool: where a query may look; f32: added to the scores. Broadcasts to `[..., L, S]`. */
  readonly attnMask?: Tensor | null;
  /** Probability with which a weight is dropped. */
  readonly dropoutP?: number;
  /** Query i looks at keys 0 to i only. */
  readonly isCausal?: boolean;
  /** Factor of the scores; `1 / √E` if not given. */
  readonly scale?: number | null;
  /** Keys and values have fewer heads (dimension -3) than the query, each of which serves several of its. */
  readonly enableGqa?: boolean;
}

/**
 * Queries, keys and values as `[batch, heads, row, column]`, and the dimensions that the first two stand for. Null where
 * the kernel does not take them: something is empty, not f32, or does not fit, which the composition then complains of.
 */
function asHeads(
  query: Tensor,
  key: Tensor,
  value: Tensor,
): { operands: [Tensor, Tensor, Tensor]; batch: Shape } | null {
  const all = [query, key, value];
  const fits: boolean = key.shape.at(-2) === value.shape.at(-2) && key.shape.at(-1) === query.shape.at(-1);
  if (!fits || all.some((x) => x.dtype !== "f32" || x.numel === 0)) return null;
  const batch = all
    .map((x) => x.shape.slice(0, -2))
    .reduce<Shape>((a, b) => broadcastShapes("scaledDotProductAttention", a, b), []);
  // One dimension is the batch: its matrices then lie one after the other in the output.
  const heads = batch.length > 1 ? (batch.at(-1) as number) : 1;
  const operands = all.map((x) => {
    const matrix = x.shape.slice(-2);
    return reshape(expand(x, [...batch, ...matrix]), [-1, heads, ...matrix]);
  });
  return { operands: operands as [Tensor, Tensor, Tensor], batch };
}

/**
 * Scaled dot product attention (Vaswani et al. 2017): `softmax(query × keyᵀ · scale + mask) × value`. A query that may
 * look at nothing gives 0.
 * @param query `[..., L, E]`
 * @param key `[..., S, E]`
 * @param value `[..., S, V]`
 * @returns `[..., L, V]`
 */
export function scaledDotProductAttention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: AttentionOptions = {},
): Tensor {
  const { attnMask, dropoutP = 0, isCausal = false } = options;
  if (query.ndim < 2 || key.ndim < 2 || value.ndim < 2 || query.shape.at(-1) !== key.shape.at(-1)) {
    throw new ShapeError(
      `scaledDotProductAttention: query ${formatShape(query.shape)} and key ${formatShape(key.shape)} must be matrices, or stacks of them, with rows of one length`,
    );
  }
  if (attnMask != null && isCausal) {
    throw new ArgumentError("scaledDotProductAttention: give either attnMask or isCausal, not both");
  }
  if (options.enableGqa) return groupedAttention(query, key, value, options);
  if (attnMask != null) expectDType("scaledDotProductAttention", "attnMask", attnMask.dtype, "bool", "f32");
  const scale = options.scale ?? 1 / Math.sqrt(query.shape.at(-1) as number);
  const heads = dropoutP === 0 && attnMask == null ? asHeads(query, key, value) : null;
  if (heads !== null) {
    const out = headAttention(...heads.operands, scale, isCausal);
    return reshape(out, [...heads.batch, ...out.shape.slice(-2)]);
  }
  let scores = matmul(mul(query, scale), transpose(key, -2, -1));
  const never = constant(Number.NEGATIVE_INFINITY);
  const mask = isCausal ? lowerTriangle(scores.shape.at(-2) as number, scores.shape.at(-1) as number, 0) : attnMask;
  if (mask == null) return matmul(dropout(softmax(scores, -1), dropoutP), value);
  scores = mask.dtype === "bool" ? where(mask, scores, never) : add(scores, mask);
  const blind = eq(amax(scores, -1, true), never);
  const weights = where(blind, 0, softmax(where(blind, 0, scores), -1));
  return matmul(dropout(weights, dropoutP), value);
}

/** Attention where each head of the keys and values serves as many heads of the query. */
function groupedAttention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
  const heads = query.shape.at(-3) ?? 1;
  const served = (x: Tensor): Tensor => {
    const own = x.shape.at(-3) ?? 1;
    if (own === 0 || heads % own !== 0) {
      throw new ShapeError(`scaledDotProductAttention: ${heads} heads of the query do not divide among ${own}`);
    }
    return own === heads ? x : repeatInterleave(x, heads / own, -3);
  };
  return scaledDotProductAttention(query, served(key), served(value), { ...options, enableGqa: false });
}

/** The operators of this file. */
export default {
  scaledDotProductAttention: {
    fn: scaledDotProductAttention,
    params: ["query", "key", "value"],
    options: ["attnMask", "dropoutP", "isCausal", "scale", "enableGqa"],
    samples: [
      "f32[2,3,4]; f32[2,5,4]; f32[2,5,6]",
      'f32[2,3,5,4]; f32[3,5,4]; f32[1,1,5,3]; {"isCausal":true}',
      'f32[3,4]; f32[5,4]; f32[5,6]; {"isCausal":true,"scale":0.3}',
      'f32[2,3,4]; f32[2,5,4]; f32[2,5,6]; {"attnMask":"bool[3,5]"}',
      'f32[2,3,4]; f32[2,5,4]; f32[2,5,6]; {"attnMask":"f32[3,5]"}',
      'f32[4,3,2]; f32[2,5,2]; f32[2,5,3]; {"enableGqa":true}',
    ],
  },
} satisfies OperatorTable;
