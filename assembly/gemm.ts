/**
 * Gemm: deals C to threads, cuts a thread's share into blocks that stay in cache, packs operands where that pays, and
 * runs the epilogue on rows as they are finished.
 *
 * The blocking is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): a block of
 * B is packed into panels once and used by every row block; one panel at a time stays in L1. A is read element by element
 * along k, so that it needs no packing where its columns are adjacent; nor does B, where those of the transposed product
 * are and it is the larger one (a layer's weight times a batch).
 *
 * Contract: C[m,n] is computed as `gemm-kernel.ts` says, over all of K in rising order, from the seed 0, bias[n],
 * C[m,n] or C[m,n] + bias[n]. So its bits depend on nothing but the values that go into it: not on strides, position,
 * other elements, nor the number of threads. No product is skipped: 0·∞ gives NaN. Nothing is read outside A, B, bias
 * (exactly their elements) and nothing is written outside C and the thread's own workspace. C overlaps no input.
 */
import { GemmBlock, gemmColumns, gemmTransposes, gemmWorkspaceBytes } from "../src/workspace/gemm";
import { Flag, GemmField } from "../src/isa";
import { readAhead, stopReadingAhead } from "./ahead";
import { elementwiseRange, readInputsAhead } from "./elementwise";
import { evenDepth, lastPanel, multiplyBlock, packPanels, turnsOf, unitsOf } from "./gemm-block";
import { sweepRows } from "./gemm-narrow";
import { clear, pack, packFewColumns } from "./gemm-pack";
import { SUMMED_COLUMNS, SUMMED_ROWS, sumRows } from "./gemm-sums";
import { address, flagsOf, lengthOf, shareStart, word } from "./word";

/** Rows (columns) that are dealt to threads together: whole tiles. */
const ROW_UNIT = 4;
const COLUMN_UNIT = 16;

/** Up to this many rows, B is read where it lies if its rows are adjacent: packing would cost more than it saves. */
const DIRECT_ROWS = 8;
/** Up to this many elements, an operand stays in L1 whatever its strides are. */
const DIRECT_ELEMENTS = 2048;
/** Up to this many steps, rows of B are added to rows of C: a tile would only load and store. */
const SWEPT_STEPS = 4;
/** At least so many columns, so that a row takes longer than to start with it. */
const SWEPT_ROW = 128;
/** Rows of few columns that are staged as columns of a transposed product. */
const STAGED_ROWS = 240;
/** Steps of k at a time where a larger B is read where it lies: as many rows as the processor prefetches side by side. */
const DIRECT_DEPTH = 32;
/**
 * A weight of fewer elements (2 MiB) may still be in the L2 cache: read ahead, the forward pass of a network of 784, 256,
 * 128 and 10 units took 1.013 of the time.
 */
const FAR_WEIGHT = 1 << 19;

/** The byte stride in the word at `field`, which counts elements. */
function stride(pc: usize, field: i32): usize {
  return address(pc, field) << 2;
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

/** Fills each of `rows` rows with its own of the floats at `from`. */
function fillRows(rows: i32, from: usize, to: usize, toRow: usize): void {
  for (; rows > 0; rows--) {
    const value = v128.load32_splat(from);
    for (const end = to + toRow; to < end; to += 16) v128.store(to, value);
    from += 4;
  }
}

/** C = seed + A·B for rows of B that are adjacent elements, which are read where they lie, some of them side by side. */
function multiplyDirect(
  M: i32,
  N: i32,
  K: i32,
  a: usize,
  aRow: usize,
  aColumn: usize,
  b: usize,
  bRow: usize,
  c: usize,
  cRow: usize,
  workspace: usize,
): void {
  const blockDepth = evenDepth(K, DIRECT_DEPTH);
  const tail = lastPanel(N);
  const panel = workspace + ((SUMMED_COLUMNS * GemmBlock.Seed) << 2);
  for (let k = 0; k < K; k += blockDepth) {
    const depth = min(K - k, blockDepth);
    const ak = a + aColumn * <usize>k;
    const bk = b + bRow * <usize>k;
    if (N & 3) packPanels(depth, N - tail, bk + ((<usize>tail) << 2), bRow, 4, panel);
    multiplyBlock(M, N, depth, ak, aRow, aColumn, true, bk, bRow, panel, c, cRow, 4, c, cRow, workspace);
  }
}

/** With few columns: the transposed product of some rows at a time, which are staged and written transposed. */
function multiplyColumns(
  M: i32,
  N: i32,
  K: i32,
  a: usize,
  aRow: usize,
  aColumn: usize,
  b: usize,
  bRow: usize,
  bColumn: usize,
  seed: usize,
  seedColumn: usize,
  c: usize,
  cRow: usize,
  workspace: usize,
): void {
  const stageRow = (<usize>((min<i32>(M, STAGED_ROWS) + 3) & ~3)) << 2;
  const rest = workspace + stageRow * SUMMED_COLUMNS;
  for (let i = 0; i < M; i += STAGED_ROWS) {
    const rows = min(M - i, STAGED_ROWS);
    if (seed === c) pack(N, rows, seed, 4, cRow, workspace, stageRow);
    else if (seedColumn === 4) fillRows(N, seed, workspace, stageRow);
    else clear(workspace, stageRow * <usize>N);
    if (aColumn === 4) sumRows(rows, N, K, a, aRow, b, bRow, bColumn, workspace, stageRow, rest);
    else multiplyDirect(N, rows, K, b, bColumn, bRow, a, aColumn, workspace, stageRow, rest);
    packFewColumns(rows, N, workspace, stageRow, c, cRow);
    a += aRow * STAGED_ROWS;
    if (seed === c) seed += cRow * STAGED_ROWS;
    c += cRow * STAGED_ROWS;
  }
}

/**
 * Computes a product that waits for memory without packing anything, or returns false where it is none. `seed` is where
 * C's elements start: a row for all, of equal elements if `seedColumn` is 0, or C itself.
 */
function multiplyNarrow(
  M: i32,
  N: i32,
  K: i32,
  a: usize,
  aRow: usize,
  aColumn: usize,
  b: usize,
  bRow: usize,
  bColumn: usize,
  seed: usize,
  seedColumn: usize,
  c: usize,
  cRow: usize,
  workspace: usize,
): bool {
  if (K === 0) return false;
  if (bColumn === 4 && M === 1) {
    sweepRows(M, N, K, a, aRow, aColumn, b, bRow, seed, seed === c ? cRow : 0, seedColumn, c, cRow);
    return true;
  }
  if (bRow === 4 && M <= SUMMED_COLUMNS && N >= SUMMED_ROWS) {
    if (seed !== c) {
      for (let i = 0; i < M; i++) {
        const ci = c + cRow * <usize>i;
        const whole = N & ~3;
        if (seedColumn === 4) pack(1, N, seed, 0, 4, ci, 0);
        else {
          clear(ci, (<usize>whole) << 2);
          pack(1, N & 3, seed, 0, 0, ci + ((<usize>whole) << 2), 0);
        }
      }
    }
    sumRows(N, M, K, b, bColumn, a, aColumn, aRow, c, cRow, workspace);
    return true;
  }
  if (N > SUMMED_COLUMNS || M < SUMMED_ROWS || (aColumn !== 4 && (aRow !== 4 || M < SWEPT_ROW))) return false;
  multiplyColumns(M, N, K, a, aRow, aColumn, b, bRow, bColumn, seed, seedColumn, c, cRow, workspace);
  return true;
}

/** Rows `rowStart … rowEnd` and columns `columnStart … columnEnd` of one product. */
function multiplyPlain(
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

  const firstSeed = accumulate ? c : bias !== 0 ? bias : workspace;
  const firstColumn: usize = accumulate || bias !== 0 ? 4 : 0;
  clear(workspace, GemmBlock.Seed << 2);
  const room = workspace + (GemmBlock.Seed << 2);
  if (multiplyNarrow(M, N, K, a, aRow, aColumn, b, bRow, bColumn, firstSeed, firstColumn, c, cRow, room)) {
    if ((flagsOf(pc) & Flag.Epilogue) !== 0) {
      const rowElements = word(pc, GemmField.N);
      const start = (index * word(pc, GemmField.M) + rowStart) * rowElements + columnStart;
      finish(pc + lengthOf(pc), scratch, start, M, N, rowElements);
    }
    return;
  }

  const sweeps = bColumn === 4 && K > 0 && K <= SWEPT_STEPS && N >= SWEPT_ROW;
  const directA = sweeps || aColumn === 4 || M * K <= DIRECT_ELEMENTS;
  const smallB = N * K <= DIRECT_ELEMENTS;
  const directB = bColumn === 4 && (sweeps || M <= DIRECT_ROWS || smallB);
  const blockDepth = evenDepth(K, directB && !smallB ? DIRECT_DEPTH : GemmBlock.Depth);
  const blockRows = (min<i32>(M, GemmBlock.Rows) + 3) & ~3;
  const packedRow = (<usize>(blockDepth + GemmBlock.Gap)) << 2;
  const tile = workspace + (GemmBlock.Seed << 2);
  const packedA = tile + (((<usize>blockRows) * GemmBlock.Seed) << 2);
  const packedB = packedA + <usize>blockRows * packedRow;

  const blockColumns = <i32>gemmColumns(blockDepth);
  for (let j = 0; j < N; j += blockColumns) {
    const columns = min(N - j, blockColumns);
    const cj = c + ((<usize>j) << 2);
    let k = 0;
    do {
      const depth = min(K - k, blockDepth);
      const bk = b + bRow * <usize>k + bColumn * <usize>j;
      if (!directB) packPanels(depth, columns, bk, bRow, bColumn, packedB);
      else if (columns & 3 && !sweeps) {
        const tail = lastPanel(columns);
        packPanels(depth, columns - tail, bk + ((<usize>tail) << 2), bRow, bColumn, packedB);
      }
      for (let i = 0; i < M; i += GemmBlock.Rows) {
        const rows = min<i32>(M - i, GemmBlock.Rows);
        const ai = a + aRow * <usize>i + aColumn * <usize>k;
        const finishes = k + depth === K && (flagsOf(pc) & Flag.Epilogue) !== 0;
        const rowElements = word(pc, GemmField.N);
        const start = (index * word(pc, GemmField.M) + rowStart + i) * rowElements + columnStart + j;
        if (finishes && columns === rowElements) {
          const turns = turnsOf(rows, columns);
          readInputsAhead(pc + lengthOf(pc), address(pc, GemmField.C), start, rows * columns, turns);
        }
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
        if (sweeps) {
          sweepRows(rows, columns, depth, ai, aRow, aColumn, bk, bRow, seed, seedRow, seedColumn, ci, cRow);
        } else multiplyBlock(
          rows,
          columns,
          depth,
          directA ? ai : packedA,
          directA ? aRow : packedRow,
          directA ? aColumn : 4,
          directB,
          directB ? bk : packedB,
          bRow,
          packedB,
          seed,
          seedRow,
          seedColumn,
          ci,
          cRow,
          tile,
        );
        if (finishes) finish(pc + lengthOf(pc), scratch, start, rows, columns, rowElements);
      }
      k += blockDepth;
    } while (k < K);
  }
}

/**
 * The same where `gemmTransposes`: Cᵀ = Bᵀ·Aᵀ, of which B is read where it lies.
 * All of A is packed; a few columns of C at a time are computed as rows, and written transposed. Measured with a weight of
 * 1024 × 1024: 1.7 times as fast at 4 rows, 1.6 at 8, 1.2 at 32, 1.03 at 128.
 */
function multiplyTransposed(
  pc: usize,
  scratch: usize,
  workspace: usize,
  index: i32,
  rowStart: i32,
  rowEnd: i32,
  columnStart: i32,
  columnEnd: i32,
): void {
  const M = rowEnd - rowStart;
  const N = columnEnd - columnStart;
  const K = word(pc, GemmField.K);
  const aRow = stride(pc, GemmField.ARow);
  const aColumn = stride(pc, GemmField.AColumn);
  const bColumn = stride(pc, GemmField.BColumn);
  const cRow = stride(pc, GemmField.CRow);
  const a = batchStart(pc, address(pc, GemmField.A), 1, index) + aRow * <usize>rowStart;
  const b = batchStart(pc, address(pc, GemmField.B), 2, index) + bColumn * <usize>columnStart;
  const c = batchStart(pc, address(pc, GemmField.C), 3, index) + cRow * <usize>rowStart + ((<usize>columnStart) << 2);
  let bias = address(pc, GemmField.Bias);
  const accumulate = (flagsOf(pc) & Flag.Accumulate) !== 0;
  if (bias !== 0) bias += (<usize>columnStart) << 2;
  if (accumulate && bias !== 0) addBias(M, N, bias, c, cRow);

  const width = (M + 3) & ~3;
  const stageRow = (<usize>width) << 2;
  const blockDepth = evenDepth(K, GemmBlock.Depth);
  const far = bColumn === (<usize>K) << 2 && word(pc, GemmField.N) * K >= FAR_WEIGHT;
  const stage = workspace + (GemmBlock.Seed << 2);
  const panels = stage + stageRow * GemmBlock.Rows;
  clear(workspace, GemmBlock.Seed << 2);
  for (let k = 0; k < K; k += blockDepth) {
    const depth = min(K - k, blockDepth);
    packPanels(depth, M, a + aColumn * <usize>k, aColumn, aRow, panels + stageRow * <usize>k);
  }
  for (let first = 0; first < N; first += GemmBlock.Columns) {
    const last = min<i32>(N, first + GemmBlock.Columns);
    for (let j = first; j < last; j += GemmBlock.Rows) {
      const columns = min<i32>(last - j, GemmBlock.Rows);
      const cj = c + ((<usize>j) << 2);
      const next = min<i32>(N - j - columns, GemmBlock.Rows);
      if (far && next > 0) {
        const turns = turnsOf(columns, width) * unitsOf(K, blockDepth);
        readAhead(b + bColumn * <usize>(j + columns), bColumn * <usize>next, turns);
      }
      if (accumulate) pack(columns, M, cj, 4, cRow, stage, stageRow);
      else if (bias !== 0) fillRows(columns, bias + ((<usize>j) << 2), stage, stageRow);
      for (let k = 0; k < K; k += blockDepth) {
        const depth = min(K - k, blockDepth);
        const fresh = k === 0 && !accumulate && bias === 0;
        multiplyBlock(
          columns,
          width,
          depth,
          b + bColumn * <usize>j + ((<usize>k) << 2),
          bColumn,
          4,
          false,
          panels + stageRow * <usize>k,
          0,
          0,
          fresh ? workspace : stage,
          fresh ? 0 : stageRow,
          fresh ? 0 : 4,
          stage,
          stageRow,
          0,
        );
      }
      pack(M, columns, stage, 4, stageRow, cj, cRow);
    }
    if ((flagsOf(pc) & Flag.Epilogue) !== 0) {
      const rowElements = word(pc, GemmField.N);
      const row = index * word(pc, GemmField.M) + rowStart;
      const start = row * rowElements + columnStart + first;
      finish(pc + lengthOf(pc), scratch, start, M, last - first, rowElements);
    }
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

/** Rows `rowStart … rowEnd` and columns `columnStart … columnEnd` of one product, the way that is faster. */
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
  // By the sizes of the whole product, not of a share: the workspace is reserved for those.
  const transposes = gemmTransposes(
    word(pc, GemmField.M),
    word(pc, GemmField.N),
    word(pc, GemmField.K),
    word(pc, GemmField.BRow),
  );
  if (transposes) {
    multiplyTransposed(pc, scratch, workspace, index, rowStart, rowEnd, columnStart, columnEnd);
  } else multiplyPlain(pc, scratch, workspace, index, rowStart, rowEnd, columnStart, columnEnd);
  stopReadingAhead();
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
  const bytes = <usize>gemmWorkspaceBytes(<f64>M, <f64>N, <f64>word(pc, GemmField.K), <f64>word(pc, GemmField.BRow));
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
