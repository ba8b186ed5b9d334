/**
 * Gemm: deals C to threads, cuts a thread's share into blocks that stay in cache, packs operands where that pays, and
 * runs the epilogue on rows as they are finished.
 *
 * The blocking is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): a block of
 * B is packed into panels once and used by every row block; one panel at a time stays in L1.
 *
 * Contract: C[m,n] is computed as `gemm-kernel.ts` says, over all of K in rising order, from the seed 0, bias[n],
 * C[m,n] or C[m,n] + bias[n]. So its bits depend on nothing but the values that go into it: not on strides, position,
 * other elements, nor the number of threads. No product is skipped: 0·∞ gives NaN. Nothing is read outside A, B, bias
 * (exactly their elements) and nothing is written outside C and the thread's own workspace. C overlaps no input.
 */
import { GemmBlock, gemmWorkspaceBytes } from "../src/gemm-workspace";
import { Flag, GemmField } from "../src/isa";
import { elementwiseRange } from "./elementwise";
import { panel4, panel8, panel16, panel20 } from "./gemm-kernel";
import { clear, pack } from "./gemm-pack";
import { address, flagsOf, lengthOf, shareStart, word } from "./word";

/** Rows (columns) that are dealt to threads together: whole tiles. */
const ROW_UNIT = 4;
const COLUMN_UNIT = 16;

/** Up to this many rows, B is read where it lies if its rows are adjacent: packing would cost more than it saves. */
const DIRECT_ROWS = 8;
/** Up to this many elements, an operand stays in L1 whatever its strides are. */
const DIRECT_ELEMENTS = 2048;
/** Steps of k at a time where a larger B is read where it lies: as many rows as the processor prefetches side by side. */
const DIRECT_DEPTH = 32;

/** The byte stride in the word at `field`, which counts elements. */
function stride(pc: usize, field: i32): usize {
  return address(pc, field) << 2;
}

export function unitsOf(count: i32, unit: i32): i32 {
  return (count + unit - 1) / unit;
}

/** Depth of the blocks when K is cut into as few as `limit` allows: nearly equal, for a short last one costs as much. */
export function evenDepth(K: i32, limit: i32): i32 {
  return unitsOf(K, max(1, unitsOf(K, limit)));
}

/**
 * How wide the panel is that starts where `left` columns are left; the last one may be wider than what is left. The
 * relaxed build is fastest with 20: it takes 16 just until the rest (without the last columns, fewer than 4) is a
 * multiple of 20, which any multiple of 4 from 48 on comes to.
 */
export function panelWidth(left: i32): i32 {
  if (ASC_FEATURE_RELAXED_SIMD && left >= 20 && (left & ~3) % 20 === 0) return 20;
  return left >= 16 ? 16 : left >= 8 ? 8 : 4;
}

function batchSize(pc: usize): i32 {
  let size = 1;
  for (let d = 0; d < word(pc, GemmField.BatchRank); d++) size *= word(pc, GemmField.Batch + (d << 2));
  return size;
}

/** Where the operand of batch index `index` starts; `field` is 1, 2 or 3 for A, B or C. */
function batchStart(pc: usize, start: usize, field: i32, index: i32): usize {
  for (let d = word(pc, GemmField.BatchRank) - 1; d >= 0; d--) {
    const dimension = GemmField.Batch + (d << 2);
    const size = word(pc, dimension);
    start += stride(pc, dimension + field) * <usize>(index % size);
    index /= size;
  }
  return start;
}

/** Adds the bias to rows of C, exactly: only for a Gemm that also accumulates, whose seed is then C. */
function addBias(rows: i32, columns: i32, bias: usize, c: usize, cRow: usize): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const at = (<usize>j) << 2;
      store<f32>(c + at, load<f32>(c + at) + load<f32>(bias + at));
    }
    c += cRow;
  }
}

/**
 * Packs the columns of B as panels, one after the other. Columns past the last are zeros: what they give is dropped, but
 * leftovers in memory could be denormals, which are slow.
 */
export function packPanels(depth: i32, columns: i32, b: usize, bRow: usize, bColumn: usize, to: usize): void {
  for (let j = 0; j < columns; ) {
    const width = panelWidth(columns - j);
    const there = min(width, columns - j);
    if (there < width) clear(to, (<usize>(depth * width)) << 2);
    pack(depth, there, b, bRow, bColumn, to, (<usize>width) << 2);
    b += bColumn * <usize>width;
    to += (<usize>(depth * width)) << 2;
    j += width;
  }
}

/**
 * One row block times one block of B: packed panels, or with `direct` B itself, its rows `bRow` bytes apart. The last
 * columns, fewer than 4, come from the packed panel `bTail` and are computed in `tile`, so that C, seed and bias are
 * touched exactly.
 */
export function multiplyBlock(
  rows: i32,
  columns: i32,
  depth: i32,
  a: usize,
  aRow: usize,
  aColumn: usize,
  direct: bool,
  b: usize,
  bRow: usize,
  bTail: usize,
  seed: usize,
  seedRow: usize,
  seedColumn: usize,
  c: usize,
  cRow: usize,
  tile: usize,
): void {
  for (let j = 0; j < columns; ) {
    const left = columns - j;
    const width = panelWidth(left);
    const bytes = (<usize>width) << 2;
    const panelRow = direct ? bRow : bytes;
    if (width === 20) {
      panel20(rows, depth, a, aRow, aColumn, b, panelRow, seed, seedRow, c, cRow);
    } else if (width === 16) {
      panel16(rows, depth, a, aRow, aColumn, b, panelRow, seed, seedRow, c, cRow);
    } else if (width === 8) {
      panel8(rows, depth, a, aRow, aColumn, b, panelRow, seed, seedRow, c, cRow);
    } else if (left >= 4) {
      panel4(rows, depth, a, aRow, aColumn, b, panelRow, seed, seedRow, c, cRow);
    } else {
      const sameForAll = seedColumn === 0;
      if (!sameForAll) pack(rows, left, seed, seedRow, 4, tile, 16);
      const from = sameForAll ? seed : tile;
      panel4(rows, depth, a, aRow, aColumn, bTail, 16, from, sameForAll ? seedRow : 16, tile, 16);
      pack(rows, left, tile, 16, 4, c, cRow);
    }
    b += direct ? bytes : bytes * <usize>depth;
    seed += seedColumn * <usize>width;
    c += bytes;
    j += width;
  }
}

/** Rows `rowStart … rowEnd` and columns `columnStart … columnEnd` of one product. */
function multiply(
  pc: usize,
  scratch: usize,
  workspace: usize,
  index: i32,
  rowStart: i32,
  rowEnd: i32,
  columnStart: i32,
  columnEnd: i32,
): void {
  let M = rowEnd - rowStart;
  let N = columnEnd - columnStart;
  const K = word(pc, GemmField.K);
  let aRow = stride(pc, GemmField.ARow);
  let aColumn = stride(pc, GemmField.AColumn);
  let bRow = stride(pc, GemmField.BRow);
  let bColumn = stride(pc, GemmField.BColumn);
  const cRow = stride(pc, GemmField.CRow);
  let a = batchStart(pc, address(pc, GemmField.A), 1, index) + aRow * <usize>rowStart;
  let b = batchStart(pc, address(pc, GemmField.B), 2, index) + bColumn * <usize>columnStart;
  const c = batchStart(pc, address(pc, GemmField.C), 3, index) + cRow * <usize>rowStart + ((<usize>columnStart) << 2);
  let bias = address(pc, GemmField.Bias);
  const accumulate = (flagsOf(pc) & Flag.Accumulate) !== 0;
  if (bias !== 0) {
    bias += (<usize>columnStart) << 2;
    if (accumulate) addBias(M, N, bias, c, cRow);
  } else if (N === 1 && aRow === 4 && cRow === 4) {
    // One column, down which A and C are adjacent, is the transpose of one row: that reads A along its own rows.
    const first = a;
    a = b;
    b = first;
    aRow = bColumn;
    bColumn = 4;
    const along = aColumn;
    aColumn = bRow;
    bRow = along;
    N = M;
    M = 1;
  }

  const directA = aColumn === 4 || M * K <= DIRECT_ELEMENTS;
  const smallB = N * K <= DIRECT_ELEMENTS;
  const directB = bColumn === 4 && (M <= DIRECT_ROWS || smallB);
  const blockDepth = evenDepth(K, directB && !smallB ? DIRECT_DEPTH : GemmBlock.Depth);
  const blockRows = (min<i32>(M, GemmBlock.Rows) + 3) & ~3;
  const packedRow = (<usize>(blockDepth + GemmBlock.Gap)) << 2;
  const tile = workspace + (GemmBlock.Seed << 2);
  const packedA = tile + ((<usize>blockRows) << 4);
  const packedB = packedA + <usize>blockRows * packedRow;
  clear(workspace, GemmBlock.Seed << 2);

  for (let j = 0; j < N; j += GemmBlock.Columns) {
    const columns = min<i32>(N - j, GemmBlock.Columns);
    const tail = columns & ~3;
    const cj = c + ((<usize>j) << 2);
    let k = 0;
    do {
      const depth = min(K - k, blockDepth);
      const bk = b + bRow * <usize>k + bColumn * <usize>j;
      let bTail = packedB;
      if (!directB) {
        packPanels(depth, columns, bk, bRow, bColumn, packedB);
        bTail += (<usize>(depth * tail)) << 2;
      } else if (tail < columns) {
        packPanels(depth, columns - tail, bk + ((<usize>tail) << 2), bRow, bColumn, packedB);
      }
      for (let i = 0; i < M; i += GemmBlock.Rows) {
        const rows = min<i32>(M - i, GemmBlock.Rows);
        const ai = a + aRow * <usize>i + aColumn * <usize>k;
        if (!directA) pack(rows, depth, ai, aRow, aColumn, packedA, packedRow);
        const ci = cj + cRow * <usize>i;
        let seed = workspace;
        let seedRow: usize = 0;
        let seedColumn: usize = 0;
        if (accumulate || k > 0) {
          seed = ci;
          seedRow = cRow;
          seedColumn = 4;
        } else if (bias !== 0) {
          seed = bias + ((<usize>j) << 2);
          seedColumn = 4;
        }
        multiplyBlock(
          rows,
          columns,
          depth,
          directA ? ai : packedA,
          directA ? aRow : packedRow,
          directA ? aColumn : 4,
          directB,
          directB ? bk : packedB,
          bRow,
          bTail,
          seed,
          seedRow,
          seedColumn,
          ci,
          cRow,
          tile,
        );
        if (k + depth === K && (flagsOf(pc) & Flag.Epilogue) !== 0) {
          const rowElements = word(pc, GemmField.N);
          const row = index * word(pc, GemmField.M) + rowStart + i;
          finish(pc + lengthOf(pc), scratch, row * rowElements + columnStart + j, rows, columns, rowElements);
        }
      }
      k += blockDepth;
    } while (k < K);
  }
}

/** Runs the epilogue at `pc` on `columns` elements from `start` on, and on as many in each of `rows` rows. */
function finish(pc: usize, scratch: usize, start: i32, rows: i32, columns: i32, rowElements: i32): void {
  if (columns === rowElements) {
    elementwiseRange(pc, scratch, start, start + rows * columns);
    return;
  }
  for (; rows > 0; rows--) {
    elementwiseRange(pc, scratch, start, start + columns);
    start += rowElements;
  }
}

/**
 * Executes the Gemm at `pc`: the part of C that is the share of `thread`. Rows over the whole batch are dealt where
 * there is a batch or C is taller than wide, else columns: the operand that every thread packs for itself is then the
 * smaller one.
 */
export function gemm(pc: usize, scratch: usize, thread: i32, threads: i32): void {
  const M = word(pc, GemmField.M);
  const N = word(pc, GemmField.N);
  const batch = batchSize(pc);
  if (M === 0 || N === 0 || batch === 0) return;
  const bytes = <usize>gemmWorkspaceBytes(<f64>M, <f64>N, <f64>word(pc, GemmField.K));
  const workspace = address(pc, GemmField.Workspace) + bytes * <usize>thread;
  if (batch === 1 && M < N) {
    const units = unitsOf(N, COLUMN_UNIT);
    const start = shareStart(units, thread, threads) * COLUMN_UNIT;
    const end = min(N, shareStart(units, thread + 1, threads) * COLUMN_UNIT);
    if (start < end) multiply(pc, scratch, workspace, 0, 0, M, start, end);
    return;
  }
  const unitsPerProduct = unitsOf(M, ROW_UNIT);
  const units = unitsPerProduct * batch;
  const end = shareStart(units, thread + 1, threads);
  let unit = shareStart(units, thread, threads);
  while (unit < end) {
    const index = unit / unitsPerProduct;
    const first = unit - index * unitsPerProduct;
    const last = min(unitsPerProduct, first + end - unit);
    multiply(pc, scratch, workspace, index, first * ROW_UNIT, min(M, last * ROW_UNIT), 0, N);
    unit += last - first;
  }
}
