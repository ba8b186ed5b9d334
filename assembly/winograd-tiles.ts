/**
 * Winograd's transforms of tiles, a tile line at a time: which lines of which image a tile line reads or writes. What
 * happens to them is in `winograd-two.ts` and `winograd-four.ts`, by the size of a tile.
 *
 * Layout of a block: for each frequency a matrix [channel][tile] of `row` bytes a row, matrices `matrix` bytes apart;
 * tiles of all of the block's lines one after the other. Four tiles of a line at a time; the last four reach back over
 * those before them and do the same again, so lines have at least 4 tiles.
 */
import { winogradLine } from "../src/workspace/winograd";
import { backOfFour, columnsOfFour, outputOfFour, rowsOfFour } from "./winograd-four";
import { backOfTwo, columnsOfTwo, outputOfTwo, rowsOfTwo } from "./winograd-two";

/**
 * Bᵀ·x·B of the tiles of `lines` tile lines from number `first` on, of `channels` channels, to the block at `to`.
 * `columns` has room for the lines of one channel, zeros where those are not written; `zeros` a line of zeros.
 */
export function transformImage(
  tile: i32,
  source: usize,
  channels: i32,
  height: i32,
  width: i32,
  top: i32,
  left: i32,
  tilesDown: i32,
  tilesAcross: i32,
  first: i32,
  lines: i32,
  zeros: usize,
  halfway: usize,
  columns: usize,
  to: usize,
  row: usize,
  matrix: usize,
): void {
  const plane = (<usize>(height * width)) << 2;
  const images = plane * <usize>channels;
  const read = (<usize>min(width, tile * tilesAcross + 2 - left)) << 2;
  const pitch = <usize>winogradLine(<f64>tile, <f64>tilesAcross) << 2;
  const high = pitch * <usize>(tile + 2);
  const across = (<usize>tilesAcross) << 2;
  for (let c = 0; c < channels; c++) {
    // All lines down their columns before any along its row: what was just stored, at another alignment, loads slowly.
    let n = first / tilesDown;
    let tileY = first - n * tilesDown;
    let at = columns;
    for (let line = 0; line < lines; line++) {
      const from = source + images * <usize>n;
      const y = tile * tileY - top;
      const inside = at + ((<usize>left) << 2);
      if (tile === 2) columnsOfTwo(zeros, from, y, height, width, read, inside, pitch);
      else columnsOfFour(halfway, zeros, from, y, height, width, read, inside, pitch);
      at += high;
      if (++tileY === tilesDown) {
        tileY = 0;
        n++;
      }
    }
    at = columns;
    let q = to;
    for (let line = 0; line < lines; line++) {
      if (tile === 2) rowsOfTwo(across, at, pitch, q, matrix);
      else rowsOfFour(halfway, across, at, pitch, q, matrix);
      at += high;
      q += across;
    }
    source += plane;
    to += row;
  }
}

/**
 * Aᵀ·m·A of the tiles of one channel, whose row of the block is at `from`, to its planes of `height` × `width`, `images`
 * bytes apart, the first image's at `plane`. Lines below the plane go to `spare`. Tiles of 4×4 have `bias` added, a
 * float's address or 0; those of 2×2 have it already.
 */
export function transformBack(
  tile: i32,
  halfway: usize,
  bias: usize,
  from: usize,
  matrix: usize,
  plane: usize,
  images: usize,
  height: i32,
  width: i32,
  tilesDown: i32,
  tilesAcross: i32,
  first: i32,
  lines: i32,
  spare: usize,
): void {
  const across = (<usize>tilesAcross) << 2;
  const bytes = (<usize>width) << 2;
  let n = first / tilesDown;
  let tileY = first - n * tilesDown;
  for (let line = 0; line < lines; line++) {
    const to = plane + images * <usize>n;
    const y = tile * tileY;
    if (tile === 2) backOfTwo(across, from, matrix, to, y, height, width, spare);
    else backOfFour(halfway, bias, across, from, matrix, to, y, height, width, spare);
    from += across;
    if (++tileY === tilesDown) {
      tileY = 0;
      n++;
    }
  }
}

/**
 * G'·y·G'ᵀ, without the divisors (see `transformWeightBack`), of the tiles of one channel of the output, whose planes are
 * `images` bytes apart, to its row of a block. `zeros` is a line of zeros.
 */
export function transformOutput(
  tile: i32,
  halfway: usize,
  plane: usize,
  images: usize,
  height: i32,
  width: i32,
  tilesDown: i32,
  tilesAcross: i32,
  first: i32,
  lines: i32,
  zeros: usize,
  to: usize,
  matrix: usize,
): void {
  const across = (<usize>tilesAcross) << 2;
  let n = first / tilesDown;
  let tileY = first - n * tilesDown;
  for (let line = 0; line < lines; line++) {
    const from = plane + images * <usize>n;
    const y = tile * tileY;
    if (tile === 2) outputOfTwo(across, zeros, from, y, height, width, to, matrix);
    else outputOfFour(halfway, across, zeros, from, y, height, width, to, matrix);
    to += across;
    if (++tileY === tilesDown) {
      tileY = 0;
      n++;
    }
  }
}

/** Zeros for the tiles between `tiles` and the next whole vector, in all rows of all matrices of a block. */
export function clearTail(to: usize, rows: i32, matrices: i32, tiles: i32, row: usize, matrix: usize): void {
  if ((tiles & 3) === 0) return;
  for (let f = 0; f < matrices; f++) {
    let at = to + ((<usize>(tiles & ~3)) << 2);
    for (let i = 0; i < rows; i++) {
      v128.store(at, i64x2.splat(0));
      at += row;
    }
    to += matrix;
  }
}
