/**
 * Convolution by implicit GEMM: blocks of the matrix of windows are gathered straight from the source into panels and
 * multiplied by the loops of Gemm; that matrix is never in memory.
 *
 * Contract: every element is one sum over (channel, tap) in rising order from the seed bias or 0, each step one
 * `mulAdd` (see `gemm-kernel.ts`); for a weight, see `conv-weight.ts`. So its bits depend on nothing but values and
 * sizes. What lies outside of the image counts as zeros: 0·∞ gives NaN. NaN and infinities propagate. Buffers are
 * contiguous; they are read and written exactly, and the computed one overlaps no other. All sizes are at least 1, but
 * that of the batch may be 0.
 *
 * Threads take channels of single planes and need nothing from one another: each gathers for itself. An epilogue runs
 * on a thread's channels of a plane as soon as they are finished.
 */
import { ConvBlock, readsWhereItLies } from "../src/conv-workspace";
import { ConvField, ConvMode, Flag } from "../src/isa";
import { fillVectors, sumNeighbours } from "./conv-direct";
import { fillSeeds } from "./conv-seeds";
import {
  clearPadded,
  fillPositions,
  fillSteps,
  gatherSource,
  paddedPlane,
  phaseCount,
  phaseSize,
  phaseStart,
  planeSize,
  positionCount,
  positionStep,
  sourceOf,
  sourcePlane,
  tapCount,
  tapsMeeting,
  wholeVectors,
} from "./conv-source";
import { weightGradient } from "./conv-weight";
import { elementwiseRange } from "./elementwise";
import { evenDepth, multiplyBlock, panelWidth, unitsOf } from "./gemm-block";
import { clear } from "./gemm-pack";
import { winograd, winogradGradient, winogradWeights } from "./winograd";
import { address, flagsOf, lengthOf, shareStart, word } from "./word";

/** Channels that are dealt to threads together: a whole tile. */
const UNIT = 4;

/** Gathers the windows at `positions` as panels, one after the other, for `depth` steps. */
function gatherPanels(
  depth: i32,
  steps: usize,
  positions: i32,
  positionOffsets: usize,
  source: usize,
  to: usize,
): void {
  for (let j = 0; j < positions; ) {
    const width = panelWidth(positions - j);
    const there = min(width, positions - j);
    if (there < width) clear(to, (<usize>(depth * width)) << 2);
    gatherSource(depth, steps, there, positionOffsets, source, to, (<usize>width) << 2);
    positionOffsets += (<usize>width) << 2;
    to += (<usize>(depth * width)) << 2;
    j += width;
  }
}

/**
 * The weights of one group as the matrices that compute the image: for each phase, [image channel][output channel, tap
 * that meets it]. The taps' numbers go to `taps` for the while.
 */
function packWeights(pc: usize, weight: usize, taps: usize, to: usize): void {
  const rows = word(pc, ConvField.ImageChannels);
  const channels = word(pc, ConvField.OutputChannels);
  const kernel = tapCount(pc);
  for (let phase = 0; phase < phaseCount(pc); phase++) {
    const end = fillSteps(pc, 1, phase, taps, true);
    for (let i = 0; i < rows; i++) {
      for (let c = 0; c < channels; c++) {
        const from = weight + ((<usize>((c * rows + i) * kernel)) << 2);
        for (let tap = taps; tap < end; tap += 4) {
          store<f32>(to, load<f32>(from + ((<usize>load<u32>(tap)) << 2)));
          to += 4;
        }
      }
    }
  }
}

/** The offsets of the steps of every phase, one after the other. */
function fillAllSteps(pc: usize, channels: i32, to: usize): void {
  for (let phase = 0; phase < phaseCount(pc); phase++) to = fillSteps(pc, channels, phase, to, false);
}

/** Writes rows of finished elements, adjacent in `from`, to where positions from number `first` on are in planes. */
function scatterPhase(
  pc: usize,
  phase: i32,
  first: i32,
  columns: i32,
  rows: i32,
  from: usize,
  to: usize,
  offsets: usize,
): void {
  const width = planeSize(pc, 2);
  const slice = planeSize(pc, 1) * width;
  const stride0 = word(pc, ConvField.Stride);
  const stride1 = word(pc, ConvField.Stride + 1);
  const stride2 = word(pc, ConvField.Stride + 2);
  fillPositions(
    first,
    columns,
    phaseSize(pc, 1, phase),
    phaseSize(pc, 2, phase),
    (stride0 * slice) << 2,
    (stride1 * width) << 2,
    stride2 << 2,
    offsets,
  );
  const start = phaseStart(pc, 0, phase) * slice + phaseStart(pc, 1, phase) * width + phaseStart(pc, 2, phase);
  to += (<usize>start) << 2;
  const plane = (<usize>(planeSize(pc, 0) * slice)) << 2;
  for (let i = 0; i < rows; i++) {
    for (let j: usize = 0; j < (<usize>columns) << 2; j += 4) {
      store<f32>(to + <usize>load<u32>(offsets + j), load<f32>(from + j));
    }
    from += (<usize>columns) << 2;
    to += plane;
  }
}

/** `rows` channels of one phase of one plane; a `matrix` row has `depth` weights. */
function sumPhase(
  pc: usize,
  phase: i32,
  rows: i32,
  depth: i32,
  matrix: usize,
  bias: usize,
  steps: usize,
  source: usize,
  target: usize,
  workspace: usize,
): void {
  const height = phaseSize(pc, 1, phase);
  const width = phaseSize(pc, 2, phase);
  const positions = phaseSize(pc, 0, phase) * height * width;
  if (positions === 0) return;
  const step0 = positionStep(pc, 0);
  const step1 = positionStep(pc, 1);
  const step2 = positionStep(pc, 2);
  const plane = (<usize>positionCount(pc)) << 2;
  const whole = plane === (<usize>positions) << 2;

  const offsets = workspace;
  const seeds = offsets + wholeVectors(min<i32>(positions, ConvBlock.Positions));
  const tile = seeds + ((ConvBlock.Rows * ConvBlock.Seed) << 2);
  const panels = tile + ((ConvBlock.Rows * ConvBlock.Seed) << 2);
  const blockDepth = evenDepth(depth, ConvBlock.Depth);
  const staged = panels + (<usize>blockDepth) * wholeVectors(min<i32>(positions, ConvBlock.Positions));
  const aRow = (<usize>depth) << 2;

  for (let j = 0; j < positions; j += ConvBlock.Positions) {
    const columns = min<i32>(positions - j, ConvBlock.Positions);
    const c = whole ? target + ((<usize>j) << 2) : staged;
    const cRow = whole ? plane : (<usize>columns) << 2;
    fillPositions(j, columns, height, width, step0, step1, step2, offsets);
    let k = 0;
    do {
      const deep = min(depth - k, blockDepth);
      gatherPanels(deep, steps + ((<usize>k) << 2), columns, offsets, source, panels);
      for (let i = 0; i < rows; i += ConvBlock.Rows) {
        const high = min<i32>(rows - i, ConvBlock.Rows);
        const a = matrix + aRow * <usize>i + ((<usize>k) << 2);
        const ci = c + cRow * <usize>i;
        if (k === 0) fillSeeds(high, bias === 0 ? 0 : bias + ((<usize>i) << 2), seeds);
        const seed = k === 0 ? seeds : ci;
        const seedRow: usize = k === 0 ? <usize>(ConvBlock.Seed << 2) : cRow;
        const seedColumn: usize = k === 0 ? 0 : 4;
        multiplyBlock(
          high,
          columns,
          deep,
          a,
          aRow,
          4,
          false,
          panels,
          0,
          0,
          seed,
          seedRow,
          seedColumn,
          ci,
          cRow,
          tile,
        );
      }
      k += blockDepth;
    } while (k < depth);
    if (!whole) scatterPhase(pc, phase, j, columns, rows, staged, target, offsets);
  }
}

/** The modes that compute the output or the image. */
function imageOrOutput(pc: usize, scratch: usize, thread: i32, threads: i32): void {
  const image = word(pc, ConvField.Mode) === ConvMode.Image;
  const batch = word(pc, ConvField.Batch);
  const groups = word(pc, ConvField.Groups);
  const rows = word(pc, image ? ConvField.ImageChannels : ConvField.OutputChannels);
  const channels = word(pc, image ? ConvField.OutputChannels : ConvField.ImageChannels);
  const from = address(pc, image ? ConvField.Output : ConvField.Image);
  const to = address(pc, image ? ConvField.Image : ConvField.Output);
  const depth = channels * tapCount(pc);
  const plane = positionCount(pc);
  const units = unitsOf(rows, UNIT);
  let unit = shareStart(groups * batch * units, thread, threads);
  const end = shareStart(groups * batch * units, thread + 1, threads);
  if (unit === end) return;

  const steps = address(pc, ConvField.Workspace) + <usize>word(pc, ConvField.WorkspaceBytes) * <usize>thread;
  const padded = steps + wholeVectors(depth);
  const isPadded = paddedPlane(pc) !== sourcePlane(pc);
  const packed = padded + (isPadded ? wholeVectors(channels * paddedPlane(pc)) : 0);
  const rest = packed + (image ? wholeVectors(rows * depth) : 0);
  let packedGroup = -1;
  if (isPadded) clearPadded(pc, channels, padded);
  // Lines of neighbours are read where they lie, if gathering them would not pay.
  const width = planeSize(pc, 2);
  const areAdjacent = phaseCount(pc) === 1 && positionStep(pc, 2) === 4 && width >= 4;
  const isDirect = readsWhereItLies(rows, depth) && areAdjacent;
  let vectors = 0;
  if (isDirect) {
    vectors = fillVectors(planeSize(pc, 0), planeSize(pc, 1), width, positionStep(pc, 0), positionStep(pc, 1), rest);
  }

  while (unit < end) {
    const item = unit / units;
    const group = item / batch;
    const n = item - group * batch;
    const first = unit - item * units;
    const last = min(units, first + end - unit);
    const row = first * UNIT;
    const count = min(rows, last * UNIT) - row;
    let matrix = address(pc, ConvField.Weight) + ((<usize>(group * rows * depth)) << 2);
    if (group !== packedGroup) {
      if (image) packWeights(pc, matrix, steps, packed);
      if (image || packedGroup < 0) fillAllSteps(pc, channels, steps);
      packedGroup = group;
    }
    if (image) matrix = packed;
    const source = sourceOf(pc, from, n * groups + group, channels, padded);
    const channel = group * rows + row;
    const start = (n * groups * rows + channel) * plane;
    let bias = address(pc, ConvField.Bias);
    if (bias !== 0) bias += (<usize>channel) << 2;
    const target = to + ((<usize>start) << 2);
    if (isDirect) {
      const first = matrix + ((<usize>(row * depth)) << 2);
      sumNeighbours(count, depth, first, bias, steps, vectors, rest, source, target, (<usize>plane) << 2);
    } else {
      let offsets = steps;
      for (let phase = 0; phase < phaseCount(pc); phase++) {
        const deep = channels * tapsMeeting(pc, phase);
        const first = matrix + ((<usize>(row * deep)) << 2);
        sumPhase(pc, phase, count, deep, first, bias, offsets, source, target, rest);
        offsets += (<usize>deep) << 2;
        matrix += (<usize>(rows * deep)) << 2;
      }
    }
    if (flagsOf(pc) & Flag.Epilogue) elementwiseRange(pc + lengthOf(pc), scratch, start, start + count * plane);
    unit += last - first;
  }
}

/** Executes the Convolution at `pc`: the share of `thread`. */
export function convolution(pc: usize, scratch: usize, thread: i32, threads: i32): void {
  switch (word(pc, ConvField.Mode)) {
    case ConvMode.Weight:
      weightGradient(pc, thread, threads);
      break;
    case ConvMode.WinogradOutput:
    case ConvMode.WinogradImage:
      winograd(pc, scratch, thread, threads);
      break;
    case ConvMode.WinogradWeight:
      winogradGradient(pc, thread, threads);
      break;
    case ConvMode.WinogradOutputWeight:
    case ConvMode.WinogradImageWeight:
      winogradWeights(pc, thread, threads);
      break;
    default:
      imageOrOutput(pc, scratch, thread, threads);
  }
}
