/**
 * The blocking of Convolution, how far it reads beyond its source, and the workspace that follows from both; read by
 * both compilers (where TypeScript's `number` is AssemblyScript's f64), and so without imports.
 */

/** Block sizes, in elements, as those of Gemm and for the same reasons. */
export const enum ConvBlock {
  /** Channels of the computed tensor; of a weight's gradient, rows of the transposed matrix. */
  Rows = 32,
  /** Positions of the computed plane: Depth × Positions gathered floats (256 KiB) stay in L2. */
  Positions = 256,
  /** Output channels of a weight's gradient. */
  Channels = 512,
  /** Steps of a sum between loading and storing a tile. */
  Depth = 256,
  /** Floats of a row of seeds: as wide as the widest panel. */
  Seed = 24,
  /** Floats between gathered rows. */
  Gap = 16,
  /** Words that say where planes are copied to, with zeros around them. */
  Frame = 8,
  /** Up to this many channels of the computed tensor in a group share what is gathered: reading it twice costs less. */
  DirectRows = 3,
  /** Up to this many steps of a sum make loading and storing a tile of it cost more. */
  DirectSteps = 16,
}

/** Whether lines of neighbours are read where they lie, of `rows` sums of `steps` products. */
export function readsWhereItLies(rows: number, steps: number): boolean {
  return rows <= ConvBlock.DirectRows || steps <= ConvBlock.DirectSteps;
}

/**
 * Elements before the source's first that are read, in one dimension. The source is what is gathered from: the output
 * where the image is computed, else the image.
 */
export function readsBefore(
  computesImage: boolean,
  kernel: number,
  stride: number,
  padding: number,
  dilation: number,
): number {
  if (!computesImage) return Math.max(0, padding);
  return Math.max(0, Math.floor(((kernel - 1) * dilation - padding) / stride));
}

/** Elements behind the source's last that are read, in one dimension. */
export function readsBehind(
  computesImage: boolean,
  image: number,
  kernel: number,
  output: number,
  stride: number,
  padding: number,
  dilation: number,
): number {
  if (!computesImage) return Math.max(0, (output - 1) * stride - padding + (kernel - 1) * dilation - (image - 1));
  return Math.max(0, Math.floor((image - 1 + padding) / stride) - (output - 1));
}

function wholeVectors(floats: number): number {
  return Math.ceil(floats / 4) * 4;
}

/** A multiple of 64 bytes, so that threads never write to the same cache line. */
function wholeLines(floats: number): number {
  return Math.ceil(floats / 16) * 64;
}

/** Floats that every Convolution needs: a frame, offsets of steps and positions, seeds, a tile, and the padded source. */
function commonFloats(channels: number, taps: number, positions: number, padded: number): number {
  const offsets = wholeVectors(channels * taps) + wholeVectors(Math.min(positions, ConvBlock.Positions));
  return ConvBlock.Frame + offsets + ConvBlock.Rows * 2 * ConvBlock.Seed + wholeVectors(channels * padded);
}

/**
 * Bytes of workspace that one thread needs to compute an output, or an image.
 * @param rows channels of the computed tensor in one group
 * @param channels of the source in one group
 * @param taps elements of the kernel
 * @param positions in a plane of the computed tensor
 * @param padded elements of a padded plane of the source, 0 where nothing outside of it is read
 * @param computesImage whether it is an image
 * @param phases of an image, by which taps meet them: as many as the product of the strides; else 1
 * @param phasePositions in the largest of them
 */
export function convWorkspaceBytes(
  rows: number,
  channels: number,
  taps: number,
  positions: number,
  padded: number,
  computesImage: boolean,
  phases: number,
  phasePositions: number,
): number {
  const depth = channels * taps;
  const columns = wholeVectors(Math.min(positions, ConvBlock.Positions));
  const weights = wholeVectors(taps + phases) + (computesImage ? wholeVectors(rows * depth) : 0);
  const staged = phases > 1 ? rows * columns : 0;
  const panels = Math.min(depth, ConvBlock.Depth) * columns;
  // Two offsets for each vector of a phase, which are at most as many as its positions; what the phase is; its results.
  const vectors = wholeVectors(positions) + 16 * phases;
  const direct = readsWhereItLies(rows, depth) ? vectors + (phases > 1 ? rows * phasePositions : 0) : 0;
  const blocks = Math.max(panels + staged, wholeVectors(direct));
  return wholeLines(commonFloats(channels, taps, positions, padded) + weights + blocks);
}

/** Bytes of workspace that one thread needs to compute a weight from an output with `rows` channels in one group. */
export function convWeightWorkspaceBytes(
  rows: number,
  channels: number,
  taps: number,
  positions: number,
  padded: number,
): number {
  const steps = Math.min(positions, ConvBlock.Depth);
  // One sum for each weight, or four.
  const depth = channels * taps;
  const sums = depth * (readsWhereItLies(rows, depth) ? 4 * rows : wholeVectors(rows));
  const panels = steps * wholeVectors(Math.min(rows, ConvBlock.Channels));
  const gathered = ConvBlock.Rows * (wholeVectors(steps) + ConvBlock.Gap);
  return wholeLines(commonFloats(channels, taps, positions, padded) + sums + panels + gathered);
}
