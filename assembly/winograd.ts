/**
 * Convolution of 3×3 kernels with stride 1 by Winograd's F(2×2, 3×3) or F(4×4, 3×3), in blocks of tile lines that stay in
 * the L2 cache: transform the block, multiply as 16 or 36 matrices by the loops of Gemm, transform back. Of the products of
 * the definition it takes 4/9 or 1/4, so it may run above what the arithmetic units can do of those.
 *
 * Contract: one group, one image dimension of depth 1, stride and dilation 1, a padding of 0 to 2; lines of at least 4
 * tiles, and of at least 4 elements of the source. Buffers are contiguous; they are read and written exactly, and the
 * computed one overlaps no other. Sums are cut into blocks that depend on sizes alone, so bits do not depend on the
 * number of threads. The error is that of a sum over channels (of a weight: over tiles, in blocks and four lanes) times
 * what the transforms add, in which elements around take part: over random numbers, tiles of 2×2 are off by less than a sum
 * in order over channels and taps, and tiles of 4×4 by up to three times as much as that (see
 * `test/kernels/winograd.test.ts`). An element that is not finite makes every element not finite that depends on it, and
 * with tiles of 4×4 perhaps others of their tiles; but perhaps NaN where the definition gives an infinity, and what lies
 * outside of the image is not multiplied. A finite element above 2¹²³ may overflow.
 *
 * Threads take blocks of the output or image, or rows of the weight; a weight is transformed by an instruction before.
 */
import { ConvBlock } from "../src/workspace/conv";
import { ConvField, ConvMode, Flag } from "../src/isa";
import {
  Winograd,
  winogradFrequencies,
  winogradLine,
  winogradMatrix,
  winogradWeight,
} from "../src/workspace/winograd";
import { fillSeeds } from "./conv-seeds";
import { planeSize, readsBeforeOf, sourceSize, wholeVectors } from "./conv-source";
import { elementwiseRange } from "./elementwise";
import { evenDepth, multiplyBlock, unitsOf } from "./gemm-block";
import { clear } from "./gemm-pack";
import { fillConstants } from "./winograd-four";
import { transformWeightBackOfFour, transformWeightOfFour } from "./winograd-four-weight";
import { clearTail, transformBack, transformImage, transformOutput } from "./winograd-tiles";
import { addProducts, transformWeight, transformWeightBack } from "./winograd-weight";
import { address, flagsOf, lengthOf, shareStart, word } from "./word";

/** Rows of a weight's gradient that are dealt to threads together. */
const UNIT = 2;

/** The frequency that every element of a 2×2 tile receives once: a bias is added there. */
const BIAS_FREQUENCY = 5;

function frequenciesOf(tile: i32): i32 {
  return <i32>winogradFrequencies(<f64>tile);
}

/** Bytes between the matrices of a block. */
function matrixBytes(rows: i32, tiles: i32): usize {
  return <usize>winogradMatrix(<f64>rows, <f64>tiles) << 2;
}

/** Bytes between the matrices of a transformed weight. */
function weightBytes(tile: i32, rows: i32, channels: i32): usize {
  return (<usize>winogradWeight(<f64>tile, <f64>rows, <f64>channels) << 2) / <usize>frequenciesOf(tile);
}

/** Tile lines of the block that starts at `line` of all `lines`: it ends where the batch does, or within an image, that. */
function linesFrom(line: i32, lines: i32, tilesDown: i32, most: i32): i32 {
  return min(most, most < tilesDown ? tilesDown - (line % tilesDown) : lines - line);
}

/** How many blocks there are. */
function blocksOf(lines: i32, tilesDown: i32, most: i32): i32 {
  return most < tilesDown ? (lines / tilesDown) * unitsOf(tilesDown, most) : unitsOf(lines, most);
}

/** Where block `block` starts. */
function blockStart(block: i32, tilesDown: i32, most: i32): i32 {
  if (most >= tilesDown) return block * most;
  const parts = unitsOf(tilesDown, most);
  return (block / parts) * tilesDown + (block % parts) * most;
}

/** The modes that transform a weight: G·w·Gᵀ, for the image with the channels exchanged and the kernel turned. */
export function winogradWeights(pc: usize, thread: i32, threads: i32): void {
  const image = word(pc, ConvField.Mode) === ConvMode.WinogradImageWeight;
  const outputs = word(pc, ConvField.OutputChannels);
  const inputs = word(pc, ConvField.ImageChannels);
  const rows = image ? inputs : outputs;
  const columns = image ? outputs : inputs;
  const across: usize = 36;
  const down = across * <usize>inputs;
  const tile = word(pc, ConvField.Tile);
  const start = shareStart(rows, thread, threads);
  const end = shareStart(rows, thread + 1, threads);
  const weight = address(pc, ConvField.Weight);
  const to = address(pc, ConvField.Workspace);
  const row = wholeVectors(columns);
  const matrix = weightBytes(tile, rows, columns);
  const wRow = image ? across : down;
  const wColumn = image ? down : across;
  if (tile === 2) transformWeight(start, end, columns, weight, wRow, wColumn, image, to, row, matrix);
  else transformWeightOfFour(start, end, columns, weight, wRow, wColumn, image, to, row, matrix);
}

/**
 * The products of a block with `rows` rows of the transformed weight, for every frequency; a bias that is not 0 is added
 * to one of them. At `seeds` is a row of zeros, and behind it room for as many rows as there are.
 */
function multiplyMatrices(
  frequencies: i32,
  rows: i32,
  channels: i32,
  weight: usize,
  weightMatrix: usize,
  bias: usize,
  tiles: i32,
  block: usize,
  blockMatrix: usize,
  seeds: usize,
  products: usize,
  productsMatrix: usize,
): void {
  const row = wholeVectors(tiles);
  const columns = (tiles + 3) & ~3;
  const weightRow = wholeVectors(channels);
  const blockDepth = evenDepth(channels, Winograd.Depth);
  const biases = seeds + (ConvBlock.Seed << 2);
  if (bias !== 0) fillSeeds(rows, bias, biases);
  for (let f = 0; f < frequencies; f++) {
    const biased = bias !== 0 && f === BIAS_FREQUENCY;
    for (let k = 0; k < channels; k += blockDepth) {
      const a = weight + ((<usize>k) << 2);
      const b = block + row * <usize>k;
      const depth = min(channels - k, blockDepth);
      const seed = k > 0 ? products : biased ? biases : seeds;
      const seedRow: usize = k > 0 ? row : biased ? ConvBlock.Seed << 2 : 0;
      const seedColumn: usize = k > 0 ? 4 : 0;
      multiplyBlock(rows, columns, depth, a, weightRow, 4, true, b, row, 0, seed, seedRow, seedColumn, products, row, 0);
    }
    weight += weightMatrix;
    block += blockMatrix;
    products += productsMatrix;
  }
}

/** Runs the epilogue behind `pc` on `rows` channels from number `channel` on, of the lines of the block. */
function finish(pc: usize, scratch: usize, channel: i32, rows: i32, channels: i32, first: i32, lines: i32): void {
  const height = planeSize(pc, 1);
  const width = planeSize(pc, 2);
  const tile = word(pc, ConvField.Tile);
  const tilesDown = unitsOf(height, tile);
  const plane = height * width;
  const n = first / tilesDown;
  if (lines >= tilesDown) {
    for (let i = 0; i < lines / tilesDown; i++) {
      const start = ((n + i) * channels + channel) * plane;
      elementwiseRange(pc + lengthOf(pc), scratch, start, start + rows * plane);
    }
    return;
  }
  const top = tile * (first - n * tilesDown);
  const bottom = min(height, top + tile * lines);
  for (let i = 0; i < rows; i++) {
    const start = (n * channels + channel + i) * plane;
    elementwiseRange(pc + lengthOf(pc), scratch, start + top * width, start + bottom * width);
  }
}

/** The modes that compute an output or an image from a transformed weight. */
export function winograd(pc: usize, scratch: usize, thread: i32, threads: i32): void {
  const image = word(pc, ConvField.Mode) === ConvMode.WinogradImage;
  const rows = word(pc, image ? ConvField.ImageChannels : ConvField.OutputChannels);
  const channels = word(pc, image ? ConvField.OutputChannels : ConvField.ImageChannels);
  const source = address(pc, image ? ConvField.Output : ConvField.Image);
  const target = address(pc, image ? ConvField.Image : ConvField.Output);
  const weight = address(pc, ConvField.Weight);
  const bias = address(pc, ConvField.Bias);
  const sourceHeight = sourceSize(pc, 1);
  const sourceWidth = sourceSize(pc, 2);
  const height = planeSize(pc, 1);
  const width = planeSize(pc, 2);
  const plane = (<usize>(height * width)) << 2;
  const tile = word(pc, ConvField.Tile);
  const frequencies = frequenciesOf(tile);
  const tilesDown = unitsOf(height, tile);
  const tilesAcross = unitsOf(width, tile);
  const lines = word(pc, ConvField.Batch) * tilesDown;
  const most = word(pc, ConvField.Lines);
  const line = <usize>winogradLine(<f64>tile, <f64>tilesAcross) << 2;
  const weightRow = wholeVectors(channels);
  const weightMatrix = weightBytes(tile, rows, channels);
  const blocks = blocksOf(lines, tilesDown, most);

  const halfway = address(pc, ConvField.Workspace) + <usize>word(pc, ConvField.WorkspaceBytes) * <usize>thread;
  const columns = halfway + (Winograd.Halfway << 2);
  const spare = columns + line * <usize>((tile + 2) * most);
  const spareBytes = wholeVectors(max(sourceWidth, tile * tilesAcross)) + 16;
  const seeds = spare + spareBytes;
  const high = min<i32>(rows, Winograd.Rows);
  const transformed = seeds + <usize>((high + 1) * (ConvBlock.Seed << 2));
  clear(columns, seeds + <usize>((high + 1) * (ConvBlock.Seed << 2)) - columns);

  fillConstants(halfway);
  const end = shareStart(blocks, thread + 1, threads);
  for (let block = shareStart(blocks, thread, threads); block < end; block++) {
    const first = blockStart(block, tilesDown, most);
    const count = linesFrom(first, lines, tilesDown, most);
    const tiles = count * tilesAcross;
    const row = wholeVectors(tiles);
    const matrix = matrixBytes(channels, tiles);
    const products = transformed + matrix * <usize>frequencies;
    // The line of zeros has been written to by the block before if heights are odd.
    clear(spare, spareBytes);
    clearTail(transformed, channels, frequencies, tiles, row, matrix);
    transformImage(
      tile,
      source,
      channels,
      sourceHeight,
      sourceWidth,
      readsBeforeOf(pc, 1),
      readsBeforeOf(pc, 2),
      tilesDown,
      tilesAcross,
      first,
      count,
      spare,
      halfway,
      columns,
      transformed,
      row,
      matrix,
    );
    for (let r = 0; r < rows; r += Winograd.Rows) {
      const some = min<i32>(rows - r, Winograd.Rows);
      const someMatrix = matrixBytes(some, tiles);
      const biases = bias === 0 ? 0 : bias + ((<usize>r) << 2);
      multiplyMatrices(
        frequencies,
        some,
        channels,
        weight + weightRow * <usize>r,
        weightMatrix,
        tile === 2 ? biases : 0,
        tiles,
        transformed,
        matrix,
        seeds,
        products,
        someMatrix,
      );
      for (let i = 0; i < some; i++) {
        transformBack(
          tile,
          halfway,
          biases === 0 ? 0 : biases + ((<usize>i) << 2),
          products + row * <usize>i,
          someMatrix,
          target + plane * <usize>(r + i),
          plane * <usize>rows,
          height,
          width,
          tilesDown,
          tilesAcross,
          first,
          count,
          spare,
        );
      }
      if (flagsOf(pc) & Flag.Epilogue) finish(pc, scratch, r, some, rows, first, count);
    }
  }
}

/** The mode that computes a weight. */
export function winogradGradient(pc: usize, thread: i32, threads: i32): void {
  const outputs = word(pc, ConvField.OutputChannels);
  const channels = word(pc, ConvField.ImageChannels);
  const units = unitsOf(outputs, UNIT);
  const start = shareStart(units, thread, threads) * UNIT;
  const rows = min(outputs, shareStart(units, thread + 1, threads) * UNIT) - start;
  if (rows <= 0) return;
  const height = planeSize(pc, 1);
  const width = planeSize(pc, 2);
  const plane = (<usize>(height * width)) << 2;
  const gradient = address(pc, ConvField.Output) + plane * <usize>start;
  const tile = word(pc, ConvField.Tile);
  const frequencies = frequenciesOf(tile);
  const tilesDown = unitsOf(height, tile);
  const tilesAcross = unitsOf(width, tile);
  const lines = word(pc, ConvField.Batch) * tilesDown;
  const most = word(pc, ConvField.Lines);
  const imageWidth = sourceSize(pc, 2);
  const line = <usize>winogradLine(<f64>tile, <f64>tilesAcross) << 2;

  const halfway = address(pc, ConvField.Workspace) + <usize>word(pc, ConvField.WorkspaceBytes) * <usize>thread;
  const columns = halfway + (Winograd.Halfway << 2);
  const zeros = columns + line * <usize>((tile + 2) * most);
  const sums = zeros + wholeVectors(max(imageWidth, tile * tilesAcross)) + 16;
  const sumsRow = wholeVectors(channels);
  const sumsMatrix = weightBytes(tile, rows, channels);
  const transformed = sums + sumsMatrix * <usize>frequencies;
  clear(columns, transformed - columns);

  fillConstants(halfway);
  const blocks = blocksOf(lines, tilesDown, most);
  for (let block = 0; block < blocks; block++) {
    const first = blockStart(block, tilesDown, most);
    const count = linesFrom(first, lines, tilesDown, most);
    const tiles = count * tilesAcross;
    const row = wholeVectors(tiles);
    const matrix = matrixBytes(channels, tiles);
    const outputMatrix = matrixBytes(rows, tiles);
    const output = transformed + matrix * <usize>frequencies;
    clearTail(transformed, channels, frequencies, tiles, row, matrix);
    clearTail(output, rows, frequencies, tiles, row, outputMatrix);
    transformImage(
      tile,
      address(pc, ConvField.Image),
      channels,
      sourceSize(pc, 1),
      imageWidth,
      readsBeforeOf(pc, 1),
      readsBeforeOf(pc, 2),
      tilesDown,
      tilesAcross,
      first,
      count,
      zeros,
      halfway,
      columns,
      transformed,
      row,
      matrix,
    );
    for (let i = 0; i < rows; i++) {
      const from = gradient + plane * <usize>i;
      const to = output + row * <usize>i;
      const images = plane * <usize>outputs;
      transformOutput(tile, halfway, from, images, height, width, tilesDown, tilesAcross, first, count, zeros, to, outputMatrix);
    }
    for (let f = 0; f < frequencies; f++) {
      const y = output + outputMatrix * <usize>f;
      const x = transformed + matrix * <usize>f;
      addProducts(rows, channels, row, y, x, row, sums + sumsMatrix * <usize>f, sumsRow);
    }
  }
  const weight = address(pc, ConvField.Weight) + <usize>(start * channels * 36);
  if (tile === 2) transformWeightBack(rows, channels, sums, sumsRow, sumsMatrix, weight);
  else transformWeightBackOfFour(rows, channels, sums, sumsRow, sumsMatrix, weight);
}
