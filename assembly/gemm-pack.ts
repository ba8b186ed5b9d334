/** Packing: copies a strided matrix into rows of adjacent elements, the form in which Gemm's inner loops read fastest. */
import { highHalves, interleaveHigh, interleaveLow, lowHalves } from "./lanes";

/** Element by element, for what the vector loops leave over: column by column, as that is mostly very few of them. */
function copyElements(
  rows: i32,
  columns: i32,
  from: usize,
  fromRow: usize,
  fromColumn: usize,
  to: usize,
  toRow: usize,
): void {
  for (let j = 0; j < columns; j++) {
    let p = from;
    let q = to;
    for (let i = rows; i > 0; i--) {
      store<u32>(q, load<u32>(p));
      p += fromRow;
      q += toRow;
    }
    from += fromColumn;
    to += 4;
  }
}

function copyAdjacentColumns(rows: i32, columns: i32, from: usize, fromRow: usize, to: usize, toRow: usize): void {
  const bytes = (<usize>columns) << 2;
  for (let i = 0; i < rows; i++) {
    let at: usize = 0;
    for (; at + 64 <= bytes; at += 64) {
      const x = v128.load(from + at);
      const y = v128.load(from + at, 16);
      const z = v128.load(from + at, 32);
      const w = v128.load(from + at, 48);
      v128.store(to + at, x);
      v128.store(to + at, y, 16);
      v128.store(to + at, z, 32);
      v128.store(to + at, w, 48);
    }
    for (; at < bytes; at += 16) v128.store(to + at, v128.load(from + at));
    from += fromRow;
    to += toRow;
  }
}

/** Transposes 4×4 blocks in registers: the source is read along its rows' direction, where it is adjacent. */
function copyAdjacentRows(rows: i32, columns: i32, from: usize, fromColumn: usize, to: usize, toRow: usize): void {
  const twoColumns = fromColumn << 1;
  const twoRows = toRow << 1;
  for (let j = 0; j < columns; j += 4) {
    let p = from;
    let q = to;
    for (let i = 0; i < rows; i += 4) {
      const r = p + twoColumns;
      const a = v128.load(p);
      const b = v128.load(p + fromColumn);
      const c = v128.load(r);
      const d = v128.load(r + fromColumn);
      const ab01 = interleaveLow(a, b);
      const ab23 = interleaveHigh(a, b);
      const cd01 = interleaveLow(c, d);
      const cd23 = interleaveHigh(c, d);
      const s = q + twoRows;
      v128.store(q, lowHalves(ab01, cd01));
      v128.store(q + toRow, highHalves(ab01, cd01));
      v128.store(s, lowHalves(ab23, cd23));
      v128.store(s + toRow, highHalves(ab23, cd23));
      p += 16;
      q += twoRows << 1;
    }
    from += twoColumns << 1;
    to += 16;
  }
}

/** Writes `bytes` of zeros, a multiple of 16: too few for the call into the engine that `memory.fill` is. */
export function clear(to: usize, bytes: usize): void {
  for (const end = to + bytes; to < end; to += 16) v128.store(to, i64x2.splat(0));
}

/**
 * to[i,j] = from[i,j] for i < rows, j < columns; rows of `to` are adjacent elements, `toRow` bytes apart. Strides are
 * in bytes; those of the source may be anything. Reads and writes exactly these elements, bit for bit; the two do not
 * overlap.
 */
export function pack(
  rows: i32,
  columns: i32,
  from: usize,
  fromRow: usize,
  fromColumn: usize,
  to: usize,
  toRow: usize,
): void {
  let doneRows = 0;
  let doneColumns = 0;
  if (fromColumn === 4) {
    doneRows = rows;
    doneColumns = columns & ~3;
    copyAdjacentColumns(doneRows, doneColumns, from, fromRow, to, toRow);
  } else if (fromRow === 4) {
    doneRows = rows & ~3;
    doneColumns = columns & ~3;
    copyAdjacentRows(doneRows, doneColumns, from, fromColumn, to, toRow);
  }
  if (doneColumns < columns) {
    const skipped = <usize>doneColumns;
    const right = from + fromColumn * skipped;
    copyElements(doneRows, columns - doneColumns, right, fromRow, fromColumn, to + (skipped << 2), toRow);
  }
  if (doneRows < rows) {
    const skipped = <usize>doneRows;
    copyElements(rows - doneRows, columns, from + fromRow * skipped, fromRow, fromColumn, to + toRow * skipped, toRow);
  }
}

/** One row after the other, of `columns` (1 to 3) elements each. */
// @ts-ignore: decorator
@inline
function copyFewColumns(columns: i32, rows: i32, from: usize, fromColumn: usize, to: usize, toRow: usize): void {
  const second = from + fromColumn;
  const third = second + fromColumn;
  const bytes = (<usize>rows) << 2;
  for (let at: usize = 0; at < bytes; at += 4) {
    store<u32>(to, load<u32>(from + at));
    if (columns > 1) store<u32>(to, load<u32>(second + at), 4);
    if (columns > 2) store<u32>(to, load<u32>(third + at), 8);
    to += toRow;
  }
}

/**
 * As `pack`, for 1 to 3 columns of adjacent elements each, by rows: `pack` would take three turns of a loop for the row of
 * three that one does here. Measured on a product with 8192 × 64: 46 % of the ceiling against 43 %.
 */
export function packFewColumns(rows: i32, columns: i32, from: usize, fromColumn: usize, to: usize, toRow: usize): void {
  if (columns === 3) copyFewColumns(3, rows, from, fromColumn, to, toRow);
  else if (columns === 2) copyFewColumns(2, rows, from, fromColumn, to, toRow);
  else copyFewColumns(1, rows, from, fromColumn, to, toRow);
}

/** Columns [0, 4), [0, 8) or [0, 16), by `vectors`, of rows of adjacent elements. */
// @ts-ignore: decorator
@inline
function copyVectors(vectors: i32, rows: i32, from: usize, fromRow: usize, to: usize, toRow: usize): void {
  for (let i = rows; i > 0; i--) {
    v128.store(to, v128.load(from));
    if (vectors > 1) v128.store(to, v128.load(from, 16), 16);
    if (vectors > 2) v128.store(to, v128.load(from, 32), 32);
    if (vectors > 2) v128.store(to, v128.load(from, 48), 48);
    from += fromRow;
    to += toRow;
  }
}

/**
 * Copies rows of adjacent elements, `fromRow` bytes apart, one after the other: a panel of `columns` columns, a multiple
 * of 4. Otherwise as `pack`, which takes longer over rows as short as these.
 */
export function copyPanelRows(rows: i32, columns: i32, from: usize, fromRow: usize, to: usize): void {
  const toRow = (<usize>columns) << 2;
  for (let j: usize = 0; j < toRow; ) {
    const left = toRow - j;
    if (left >= 64) {
      copyVectors(4, rows, from + j, fromRow, to + j, toRow);
      j += 64;
    } else if (left >= 32) {
      copyVectors(2, rows, from + j, fromRow, to + j, toRow);
      j += 32;
    } else {
      copyVectors(1, rows, from + j, fromRow, to + j, toRow);
      j += 16;
    }
  }
}
