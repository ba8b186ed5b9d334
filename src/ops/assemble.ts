/** Tensors joined side by side, taken apart again, and combined in all ways. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { knownValues } from "../graph/known.js";
import { broadcastShapes, formatShape, normalizeDim, type Shape } from "../graph/shape.js";
import { Tensor } from "../graph/tensor.js";
import { atleast1d, atleast2d, atleast3d } from "./arrange.js";
import type { OperatorTable } from "./define.js";
import { wholeNumbers } from "./helpers.js";
import { indexSelect } from "./indexing.js";
import { cat, split, stack } from "./join.js";
import { expand, narrow, reshape } from "./movement.js";
import { pad } from "./padding.js";

// ── Joining ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function expectTensors(op: string, tensors: readonly Tensor[]): void {
  if (tensors.length === 0) throw new ArgumentError(`${op}: expected a non-empty list of tensors`);
}

/** Joined side by side: vectors along their only dimension, everything else along dimension 1. */
export function hstack(tensors: readonly Tensor[]): Tensor {
  expectTensors("hstack", tensors);
  const parts = atleast1d(tensors);
  return cat(parts, parts[0]?.ndim === 1 ? 0 : 1);
}

/** Joined one below the other: vectors are rows. */
export function vstack(tensors: readonly Tensor[]): Tensor {
  expectTensors("vstack", tensors);
  return cat(atleast2d(tensors), 0);
}

/** Joined one behind the other along dimension 2. */
export function dstack(tensors: readonly Tensor[]): Tensor {
  expectTensors("dstack", tensors);
  return cat(atleast3d(tensors), 2);
}

/** Joined side by side: scalars and vectors are columns. */
export function columnStack(tensors: readonly Tensor[]): Tensor {
  expectTensors("columnStack", tensors);
  return cat(
    tensors.map((x) => (x.ndim <= 1 ? reshape(x, [-1, 1]) : x)),
    1,
  );
}

/** The matrix with the given matrices along its diagonal, and 0 elsewhere; scalars and vectors are rows. */
export function blockDiag(tensors: readonly Tensor[]): Tensor {
  expectTensors("blockDiag", tensors);
  const blocks = atleast2d(tensors);
  const wrong = blocks.find((x) => x.ndim > 2);
  if (wrong !== undefined) throw new ShapeError(`blockDiag: ${formatShape(wrong.shape)} has more than 2 dimensions`);
  const columns = blocks.reduce((sum, x) => sum + (x.shape[1] as number), 0);
  let left = 0;
  return cat(
    blocks.map((x) => {
      const width = x.shape[1] as number;
      left += width;
      return pad(x, [left - width, columns - left]);
    }),
    0,
  );
}

// ── Taking apart ────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * A dimension cut into parts.
 * @param indicesOrSections into how many parts, the first ones larger by one where it does not divide evenly; or
 * where each part but the first starts. A tensor's value must be known
 */
export function tensorSplit(input: Tensor, indicesOrSections: number | Shape | Tensor, dim = 0): Tensor[] {
  if (input.ndim === 0) throw new ShapeError("tensorSplit: a scalar has no dimension to cut");
  const d = normalizeDim("tensorSplit", dim, input.ndim);
  const size = input.shape[d] as number;
  const given =
    indicesOrSections instanceof Tensor
      ? knownValues("tensorSplit", "indicesOrSections", indicesOrSections)
      : indicesOrSections;
  const isCount = indicesOrSections instanceof Tensor ? indicesOrSections.ndim === 0 : typeof given === "number";
  if (isCount) {
    const sections = [given].flat()[0] as number;
    if (!Number.isInteger(sections) || sections < 1) {
      throw new ArgumentError(`tensorSplit: the number of sections must be 1 or more, not ${sections}`);
    }
    const sizes = Array.from(
      { length: sections },
      (_, i) => Math.floor(size / sections) + (i < size % sections ? 1 : 0),
    );
    return split(input, sizes, d);
  }
  const cut = (at: number): number => Math.max(0, Math.min(size, at < 0 ? at + size : at));
  const starts = [0, ...(given as Shape).map(cut)];
  return starts.map((start, i) => narrow(input, d, start, Math.max(0, (starts[i + 1] ?? size) - start)));
}

function splitAlong(op: string, input: Tensor, indicesOrSections: number | Shape, dim: number, rank: number): Tensor[] {
  if (input.ndim < rank) {
    throw new ShapeError(`${op}: input must have ${rank} dimension${rank > 1 ? "s" : ""} or more, not ${input.ndim}`);
  }
  if (typeof indicesOrSections !== "number" && !Array.isArray(indicesOrSections)) {
    throw new ArgumentError(
      `${op}: expected a number of sections or a list of places, not ${JSON.stringify(indicesOrSections)}`,
    );
  }
  if (typeof indicesOrSections === "number" && (input.shape[dim] as number) % indicesOrSections !== 0) {
    throw new ArgumentError(
      `${op}: dimension ${dim} of ${formatShape(input.shape)} does not divide into ${indicesOrSections} equal sections`,
    );
  }
  return tensorSplit(input, indicesOrSections, dim);
}

/** Cut into equal parts, or at the given places, along the columns (a vector along its only dimension). */
export function hsplit(input: Tensor, indicesOrSections: number | Shape): Tensor[] {
  return splitAlong("hsplit", input, indicesOrSections, input.ndim === 1 ? 0 : 1, 1);
}

/** Cut into equal parts, or at the given places, along the rows. */
export function vsplit(input: Tensor, indicesOrSections: number | Shape): Tensor[] {
  return splitAlong("vsplit", input, indicesOrSections, 0, 2);
}

/** Cut into equal parts, or at the given places, along dimension 2. */
export function dsplit(input: Tensor, indicesOrSections: number | Shape): Tensor[] {
  return splitAlong("dsplit", input, indicesOrSections, 2, 3);
}

// ── All combinations ────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * Vectors spread over the grid that they span: as many tensors, each varying along one dimension.
 * @param options.indexing `"ij"`: the first vector varies along dimension 0; `"xy"`: along dimension 1
 */
export function meshgrid(tensors: readonly Tensor[], options: { indexing?: "ij" | "xy" } = {}): Tensor[] {
  const { indexing = "ij" } = options;
  expectTensors("meshgrid", tensors);
  if (indexing !== "ij" && indexing !== "xy") {
    throw new ArgumentError(`meshgrid: indexing must be "ij" or "xy", not ${JSON.stringify(indexing)}`);
  }
  const swapped = indexing === "xy" && tensors.length > 1;
  const along = tensors.map((_, i) => (swapped && i < 2 ? 1 - i : i));
  const placed = tensors.map((x, i) => {
    if (x.ndim > 1) throw new ShapeError(`meshgrid: expected scalars and vectors, not ${formatShape(x.shape)}`);
    return reshape(
      x,
      tensors.map((_, d) => (d === along[i] ? x.numel : 1)),
    );
  });
  const shape = placed.reduce<Shape>((s, x) => broadcastShapes("meshgrid", s, x.shape), []);
  return placed.map((x) => expand(x, shape));
}

/** Every combination of one element of each vector, as the rows of a matrix; of a single vector, itself. */
export function cartesianProd(tensors: readonly Tensor[]): Tensor {
  expectTensors("cartesianProd", tensors);
  if (tensors.length === 1) return tensors[0] as Tensor;
  return stack(
    meshgrid(tensors).map((x) => reshape(x, [-1])),
    1,
  );
}

/** Every choice of `r` elements of a vector, in order, as the rows of a matrix. */
export function combinations(input: Tensor, r = 2, withReplacement = false): Tensor {
  if (input.ndim !== 1) throw new ShapeError(`combinations: input must be a vector, not ${formatShape(input.shape)}`);
  if (!Number.isInteger(r) || r < 0)
    throw new ArgumentError(`combinations: r must be a whole number from 0 up, not ${r}`);
  let rows: number[][] = [[]];
  for (let i = 0; i < r; i++) {
    rows = rows.flatMap((row) => {
      const from = row.length === 0 ? 0 : (row.at(-1) as number) + (withReplacement ? 0 : 1);
      return Array.from({ length: Math.max(0, input.numel - from) }, (_, k) => [...row, from + k]);
    });
  }
  return reshape(indexSelect(input, 0, wholeNumbers(rows.flat())), [rows.length, r]);
}

/** The operators of this file. */
export default {
  hstack: { fn: hstack, params: ["tensors"], samples: ['["f32[2,3]","f32[2,1]"]', '["f32[2]","f32[]"]'] },
  vstack: { fn: vstack, params: ["tensors"], samples: ['["f32[3]","f32[2,3]"]'] },
  dstack: { fn: dstack, params: ["tensors"], samples: ['["f32[2,3]","f32[2,3]"]'] },
  columnStack: { fn: columnStack, params: ["tensors"], samples: ['["f32[2]","f32[2,3]"]'] },
  blockDiag: { fn: blockDiag, params: ["tensors"], samples: ['["f32[2,3]","f32[]","f32[2]"]'] },
  tensorSplit: {
    fn: tensorSplit,
    params: ["input", "indicesOrSections", "dim"],
    samples: ["f32[5,2]; 3", "f32[2,5]; [1,3]; 1"],
  },
  hsplit: { fn: hsplit, params: ["input", "indicesOrSections"], samples: ["f32[2,4]; 2"] },
  vsplit: { fn: vsplit, params: ["input", "indicesOrSections"], samples: ["f32[4,2]; [1]"] },
  dsplit: { fn: dsplit, params: ["input", "indicesOrSections"], samples: ["f32[2,2,4]; 2"] },
  meshgrid: {
    fn: meshgrid,
    params: ["tensors"],
    options: ["indexing"],
    samples: ['["f32[2]","f32[3]"]; {"indexing":"xy"}'],
  },
  cartesianProd: { fn: cartesianProd, params: ["tensors"], samples: ['["f32[2]","f32[3]"]'] },
  combinations: { fn: combinations, params: ["input", "r", "withReplacement"], samples: ["f32[4]", "f32[3]; 2; true"] },
} satisfies OperatorTable;
