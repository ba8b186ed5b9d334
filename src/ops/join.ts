/** Tensors joined along a dimension, and cut apart. */
import { type DType, promote } from "../graph/dtype.js";
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { checkShape, formatShape, normalizeDim, type Shape, sameShape } from "../graph/shape.js";
import { Tensor } from "../graph/tensor.js";
import { to } from "./conversion.js";
import type { OperatorTable } from "./define.js";
import { narrow, placed, select, unsqueeze } from "./movement.js";

/** Tensors joined along an existing dimension. Their other sizes must be equal; `[0]` tensors count for nothing. */
export function cat(tensors: readonly Tensor[], dim = 0): Tensor {
  if (!Array.isArray(tensors as unknown)) throw new ArgumentError("cat: expected a list of tensors");
  for (const [i, x] of tensors.entries()) {
    if (!(x instanceof Tensor)) throw new ArgumentError(`cat: element ${i} of the list is not a tensor`);
    if (x.ndim === 0) throw new ShapeError(`cat: element ${i} is a scalar; use stack to join scalars`);
  }
  // PyTorch skips tensors of shape [0] whatever the rank of the others; people start loops with one.
  const full = tensors.filter((x) => !sameShape(x.shape, [0]));
  const first: Tensor | undefined = full[0] ?? tensors[0];
  if (first === undefined) throw new ArgumentError("cat: expected a non-empty list of tensors");
  const d = normalizeDim("cat", dim, first.ndim);
  for (const x of full) {
    if (x.ndim !== first.ndim || x.shape.some((n, i) => i !== d && n !== first.shape[i])) {
      throw new ShapeError(
        `cat: ${formatShape(x.shape)} does not join ${formatShape(first.shape)} along dimension ${d}: all other sizes must be equal`,
      );
    }
  }
  const dtype = tensors.reduce<DType>((a, x) => promote(a, x.dtype), first.dtype);
  if (full.length <= 1) return to(first, dtype);
  let size = 0;
  const parts = full.map(({ shape }) => {
    const count = shape[d] as number;
    size += count;
    return { start: size - count, count, step: 1 };
  });
  checkShape(
    "cat",
    first.shape.map((n, i) => (i === d ? size : n)),
  );
  return placed(
    full.map((x) => to(x, dtype)),
    { dim: d, size, value: 0, parts },
  );
}

/** Tensors of one shape joined along a new dimension. */
export function stack(tensors: readonly Tensor[], dim = 0): Tensor {
  const first = tensors[0];
  if (first === undefined) throw new ArgumentError("stack: expected a non-empty list of tensors");
  for (const x of tensors) {
    if (!sameShape(x.shape, first.shape)) {
      throw new ShapeError(`stack: shapes ${formatShape(first.shape)} and ${formatShape(x.shape)} differ`);
    }
  }
  const d = normalizeDim("stack", dim, first.ndim + 1);
  return cat(
    tensors.map((x) => unsqueeze(x, d)),
    d,
  );
}

/** Cuts a dimension into pieces of `splitSize`, the last one perhaps smaller, or of the sizes in a list. */
export function split(input: Tensor, splitSize: number | Shape, dim = 0): Tensor[] {
  if (input.ndim === 0) throw new ShapeError("split: a scalar has no dimension to split");
  const d = normalizeDim("split", dim, input.ndim);
  const size = input.shape[d] as number;
  if (typeof splitSize === "number" && !(splitSize > 0 || (splitSize === 0 && size === 0))) {
    throw new ArgumentError(`split: splitSize must be above 0, not ${splitSize}`);
  }
  const sizes =
    typeof splitSize === "number"
      ? Array.from({ length: Math.max(1, Math.ceil(size / splitSize)) }, (_, i) =>
          Math.min(splitSize, size - i * splitSize),
        )
      : splitSize;
  if (sizes.reduce((a, b) => a + b, 0) !== size) {
    throw new ShapeError(`split: sizes ${formatShape(sizes)} do not add up to dimension ${d}, which has ${size}`);
  }
  let start = 0;
  return sizes.map((n) => {
    start += n;
    return narrow(input, d, start - n, n);
  });
}

/** Cuts a dimension into at most `chunks` pieces of equal size, the last one perhaps smaller. */
export function chunk(input: Tensor, chunks: number, dim = 0): Tensor[] {
  if (!Number.isInteger(chunks) || chunks < 1)
    throw new ArgumentError(`chunk: chunks must be 1 or more, not ${chunks}`);
  const d = normalizeDim("chunk", dim, input.ndim);
  return split(input, Math.max(1, Math.ceil((input.shape[d] as number) / chunks)), d);
}

/** The parts of a dimension, each without that dimension. */
export function unbind(input: Tensor, dim = 0): Tensor[] {
  if (input.ndim === 0) throw new ShapeError("unbind: a scalar has no dimension to take apart");
  const d = normalizeDim("unbind", dim, input.ndim);
  return Array.from({ length: input.shape[d] as number }, (_, i) => select(input, d, i));
}

/** The operators of this file. */
export default {
  cat: {
    fn: cat,
    params: ["tensors", "dim"],
    samples: ['["f32[2,3]","f32[1,3]"]; 0', '["f32[2,3]","f32[2,2]","f32[2,0]"]; -1'],
  },
  stack: { fn: stack, params: ["tensors", "dim"], samples: ['["f32[2,3]","f32[2,3]"]; 1'] },
  split: { fn: split, params: ["input", "splitSize", "dim"], samples: ["f32[5,2]; 2", "f32[5,2]; [1,4]; 0"] },
  chunk: { fn: chunk, params: ["input", "chunks", "dim"], samples: ["f32[5,2]; 3"] },
  unbind: { fn: unbind, params: ["input", "dim"], samples: ["f32[3,2]; 1"] },
} satisfies OperatorTable;
