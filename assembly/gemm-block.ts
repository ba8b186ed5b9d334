/**
 * Blocks of a product: how columns are cut into panels, packing them, and multiplying a block of rows with them. Gemm,
 * Convolution and Attention are loops over such blocks.
 */
import { panel } from "./gemm-kernel";
import { clear, copyPanelRows, pack } from "./gemm-pack";

/** Rows that are packed at a time. */
const PACKED_ROWS = 8;

export function unitsOf(count: i32, unit: i32): i32 {
  return (count + unit - 1) / unit;
}

/** Depth of the blocks when K is cut into as few as `limit` allows: nearly equal, for a short last one costs as much. */
export function evenDepth(K: i32, limit: i32): i32 {
  return unitsOf(K, max(1, unitsOf(K, limit)));
}

/**
 * How wide the panel is that starts where `left` columns are left; the last one may be wider than what is left. The
 * relaxed build is fastest with 24 and 20, which together make up 40, 44, 48, 60 and (but for 76) every multiple of 4
 * above: it takes as many of 24 as the rest needs to be a multiple of 20.
 */
export function panelWidth(left: i32): i32 {
  const whole = (left + 3) & ~3;
  if (ASC_FEATURE_RELAXED_SIMD && whole >= 20) {
    const twenties = whole / 20;
    const wider = (whole - twenties * 20) >> 2;
    return wider > 0 && wider <= twenties ? 24 : 20;
  }
  return min(whole, 16);
}

/** How many turns to read ahead in a block gives at least, if it is of the widest tiles. */
export function turnsOf(rows: i32, columns: i32): i32 {
  return unitsOf(rows, 2) * unitsOf(columns, ASC_FEATURE_RELAXED_SIMD ? 24 : 16);
}

/** Where the last panel of `columns` columns starts. */
export function lastPanel(columns: i32): i32 {
  let start = 0;
  for (let width = panelWidth(columns); start + width < columns; width = panelWidth(columns - start)) start += width;
  return start;
}

/**
 * Packs the columns of B as panels, one after the other. Columns past the last are zeros: what they give is dropped, but
 * leftovers in memory could be denormals, which are slow.
 */
export function packPanels(depth: i32, columns: i32, b: usize, bRow: usize, bColumn: usize, to: usize): void {
  // Rows of adjacent elements are read along, a few at a time, as processors prefetch what is read on. Panel after panel,
  // a large B comes from memory in pieces: measured on 1024 × 1024, the product with 128 rows takes 8 % longer.
  const rows = bColumn === 4 ? PACKED_ROWS : depth;
  for (let k = 0; k < depth; k += rows) {
    const high = min(rows, depth - k);
    for (let j = 0; j < columns; ) {
      const width = panelWidth(columns - j);
      const there = min(width, columns - j);
      const from = b + bRow * <usize>k + bColumn * <usize>j;
      const panel = to + ((<usize>(depth * j + k * width)) << 2);
      if (there < width) clear(panel, (<usize>(high * width)) << 2);
      if (bColumn === 4 && there === width) copyPanelRows(high, width, from, bRow, panel);
      else pack(high, there, from, bRow, bColumn, panel, (<usize>width) << 2);
      j += width;
    }
  }
}

/**
 * One row block times one block of B: packed panels, or with `direct` B itself, its rows `bRow` bytes apart. A last panel
 * that is wider than what is left (packed at `bTail`, if B is not) is computed in `tile`, so that C, seed and bias are
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
    if (width > left) {
      const sameForAll = seedColumn === 0;
      if (!sameForAll) pack(rows, left, seed, seedRow, 4, tile, bytes);
      const from = sameForAll ? seed : tile;
      const fromRow = sameForAll ? seedRow : bytes;
      panel(width, rows, depth, a, aRow, aColumn, direct ? bTail : b, bytes, from, fromRow, tile, bytes);
      pack(rows, left, tile, bytes, 4, c, cRow);
    } else {
      panel(width, rows, depth, a, aRow, aColumn, b, direct ? bRow : bytes, seed, seedRow, c, cRow);
    }
    b += direct ? bytes : bytes * <usize>depth;
    seed += seedColumn * <usize>width;
    c += bytes;
    j += width;
  }
}
