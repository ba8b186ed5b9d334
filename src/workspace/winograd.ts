/**
 * The blocking of Winograd's convolutions and the workspace that follows from it, read by both compilers (where
 * TypeScript's `number` is AssemblyScript's f64), and so without imports.
 *
 * A tile is 2×2 or 4×4 elements of the output; a tile line is as many lines of one image's output. A block is some tile
 * lines of all channels: its transformed tiles are matrices [channel][tile], one for each frequency.
 */

/** Sizes, in elements. */
export const enum Winograd {
  /** Tiles of a line, at least: four are transformed at a time. */
  Across = 4,
  /** Rows of a product that are computed, and transformed back, together. */
  Rows = 32,
  /** Steps of a product between loading and storing a tile of it. */
  Depth = 256,
  /** Tiles of a block: more gain nothing. */
  Tiles = 200,
  /** Floats of a block's matrices, which are to stay in the L2 cache. */
  Floats = 131072,
  /** Floats between matrices: a power of two apart, their rows would fall into the same few sets of the L1 cache. */
  Gap = 16,
  /** Floats of a row of seeds: as of `ConvBlock.Seed`. */
  Seed = 24,
  /** Floats of constants and of four tiles that are half transformed. */
  Halfway = 112,
}

function wholeVectors(floats: number): number {
  return Math.ceil(floats / 4) * 4;
}

/** A multiple of 64 bytes, so that threads never write to the same cache line. */
function wholeLines(floats: number): number {
  return Math.ceil(floats / 16) * 64;
}

/** Elements of a transformed tile, which stands for as many of the image: 16, or 36 where `tile` is 4. */
export function winogradFrequencies(tile: number): number {
  return (tile + 2) * (tile + 2);
}

/** Floats of a matrix of `rows` rows of a block's tiles, with the gap behind it. */
export function winogradMatrix(rows: number, tiles: number): number {
  return rows * wholeVectors(tiles) + Winograd.Gap;
}

/** Floats of a line of the image as a tile line reads it: from a tile's first column to the last tile's last. */
export function winogradLine(tile: number, tilesAcross: number): number {
  return wholeVectors(tile * tilesAcross + 2);
}

/**
 * Tile lines of a block: of whole images, or an even part of one.
 * @param tile elements of a tile's side
 * @param rows of the matrices of both operands, or of operand and result, that a block holds at a time
 * @param images in the batch
 * @param tilesDown tile lines of one image
 * @param tilesAcross tiles of a line
 */
export function winogradLines(
  tile: number,
  rows: number,
  images: number,
  tilesDown: number,
  tilesAcross: number,
): number {
  const fit = Math.floor(Winograd.Floats / (winogradFrequencies(tile) * rows));
  const most = Math.max(1, Math.floor(Math.min(Winograd.Tiles, fit) / tilesAcross));
  if (most < tilesDown) return Math.ceil(tilesDown / Math.ceil(tilesDown / most));
  return tilesDown * Math.max(1, Math.min(images, Math.floor(most / tilesDown)));
}

/** Floats of a transformed weight: a matrix of `rows` × `channels` for each frequency. */
export function winogradWeight(tile: number, rows: number, channels: number): number {
  return winogradFrequencies(tile) * (rows * wholeVectors(channels) + Winograd.Gap);
}

/** Floats that every block needs: its lines of one channel, and a line of zeros, or one that is written in vain. */
function commonFloats(tile: number, lines: number, tilesAcross: number, width: number): number {
  const columns = (tile + 2) * lines * winogradLine(tile, tilesAcross);
  return Winograd.Halfway + columns + wholeVectors(Math.max(width, tile * tilesAcross)) + 4;
}

/**
 * Bytes of workspace that one thread needs to compute an output, or an image.
 * @param tile elements of a tile's side
 * @param rows channels of the computed tensor
 * @param channels of the source
 * @param lines of a block, see {@link winogradLines}
 * @param tilesAcross tiles of a line
 * @param width of the source
 */
export function winogradWorkspaceBytes(
  tile: number,
  rows: number,
  channels: number,
  lines: number,
  tilesAcross: number,
  width: number,
): number {
  const high = Math.min(rows, Winograd.Rows);
  const tiles = lines * tilesAcross;
  const matrices = winogradMatrix(channels, tiles) + winogradMatrix(high, tiles);
  const seeds = (high + 1) * Winograd.Seed;
  return wholeLines(commonFloats(tile, lines, tilesAcross, width) + seeds + winogradFrequencies(tile) * matrices);
}

/**
 * Bytes of workspace that one thread needs to compute a weight of `rows` × `channels`: as for an output, and the sums.
 */
export function winogradWeightWorkspaceBytes(
  tile: number,
  rows: number,
  channels: number,
  lines: number,
  tilesAcross: number,
  width: number,
): number {
  const tiles = lines * tilesAcross;
  const matrices = winogradMatrix(channels, tiles) + winogradMatrix(rows, tiles);
  const sums = winogradWeight(tile, rows, channels);
  return wholeLines(commonFloats(tile, lines, tilesAcross, width) + sums + winogradFrequencies(tile) * matrices);
}
