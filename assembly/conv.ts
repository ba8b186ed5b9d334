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
import { ConvBlock, readsWhereItLies } from "../src/workspace/conv";
import { ConvField, ConvMode, Flag } from "../src/isa";
import { isNine, sumNine } from "./conv-depthwise";
import { fillVectors, sumNeighbours } from "./conv-direct";
import { fillSeeds } from "./conv-seeds";
import {
  clearPadded,
  fillFrame,
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

/** For every phase, how many taps meet it, and their numbers; and the offsets of its steps. They are the same for all groups. */
function fillPhases(pc: usize, channels: i32, taps: usize, steps: usize): void {
  for (let phase = 0; phase < phaseCount(pc); phase++) {
    const end = fillSteps(pc, 1, phase, taps + 4, true);
    store<i32>(taps, <i32>((end - taps) >> 2) - 1);
    taps = end;
    steps = fillSteps(pc, channels, phase, steps, false);
  }
}

/**
 * The weights of one group as the matrices that compute the image: for each phase, [image channel][output channel, tap
 * that meets it], with the taps of `fillPhases`.
 */
function packWeights(pc: usize, weight: usize, taps: usize, to: usize): void {
  const rows = word(pc, ConvField.ImageChannels);
  const channels = word(pc, ConvField.OutputChannels);
  const kernel = tapCount(pc);
  for (let phase = 0; phase < phaseCount(pc); phase++) {
    const first = taps + 4;
    const end = first + ((<usize>load<u32>(taps)) << 2);
    for (let i = 0; i < rows; i++) {
      for (let c = 0; c < channels; c++) {
        const from = weight + ((<usize>((c * rows + i) * kernel)) << 2);
        for (let tap = first; tap < end; tap += 4) {
          store<f32>(to, load<f32>(from + ((<usize>load<u32>(tap)) << 2)));
          to += 4;
        }
      }
    }
    taps = end;
  }
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

/** Four elements to every second place from `to` on; reads and writes the places between and behind them too. */
// @ts-ignore: decorator
@inline
function storeApart(to: usize, v: v128): void {
  v128.store(to, v128.shuffle<i32>(v, v128.load(to), 0, 5, 1, 7));
  v128.store(to, v128.shuffle<i32>(v, v128.load(to, 16), 2, 5, 3, 7), 16);
}

/** Writes rows of a whole phase, one after the other in `from`, to where its positions are in planes. */
function scatterLines(pc: usize, phase: usize, rows: i32, from: usize, to: usize): void {
  const width = planeSize(pc, 2);
  const slice = planeSize(pc, 1) * width;
  const step = (<usize>word(pc, ConvField.Stride + 2)) << 2;
  const down = (<usize>(word(pc, ConvField.Stride + 1) * width)) << 2;
  const deep = (<usize>(word(pc, ConvField.Stride) * slice)) << 2;
  const bytes = (<usize>(planeSize(pc, 0) * slice)) << 2;
  const depth = load<i32>(phase, PHASE_DEPTH);
  const height = load<i32>(phase, PHASE_HEIGHT);
  const count = (<usize>load<u32>(phase, PHASE_WIDTH)) << 2;
  // The last element ends a line of the plane, or has one behind it.
  const vectors = step === 8 ? (count - 4) & ~15 : 0;
  to += <usize>load<u32>(phase, PHASE_START);
  for (let i = 0; i < rows; i++) {
    for (let z = 0; z < depth; z++) {
      let line = to + deep * <usize>z;
      for (let y = 0; y < height; y++) {
        let at = line;
        const end = from + count;
        for (const last = from + vectors; from < last; from += 16) {
          storeApart(at, v128.load(from));
          at += 32;
        }
        for (; from < end; from += 4) {
          store<f32>(at, load<f32>(from));
          at += step;
        }
        line += down;
      }
    }
    to += bytes;
  }
}

/** Whether lines of all phases are read where they lie. */
function isDirect(pc: usize, rows: i32, depth: i32): bool {
  const last = phaseCount(pc) - 1;
  return readsWhereItLies(rows, depth) && positionStep(pc, 2) <= 8 && phaseSize(pc, 2, last) >= 4;
}

/** What a phase is, in front of where its vectors start. */
const PHASE_VECTORS: usize = 0;
const PHASE_DEPTH: usize = 4;
const PHASE_HEIGHT: usize = 8;
const PHASE_WIDTH: usize = 12;
/** Where its first position is in a plane, in bytes. */
const PHASE_START: usize = 16;
const PHASE_BYTES: usize = 32;

/** Writes what a phase is, and where its vectors start, and returns where they end. */
function fillPhase(pc: usize, phase: i32, to: usize): usize {
  const depth = phaseSize(pc, 0, phase);
  const height = phaseSize(pc, 1, phase);
  const width = phaseSize(pc, 2, phase);
  const line = phaseStart(pc, 0, phase) * planeSize(pc, 1) + phaseStart(pc, 1, phase);
  const vectors = to + PHASE_BYTES;
  const step0 = positionStep(pc, 0);
  const count = fillVectors(depth, height, width, step0, positionStep(pc, 1), positionStep(pc, 2), vectors);
  store<i32>(to, count, PHASE_VECTORS);
  store<i32>(to, depth, PHASE_DEPTH);
  store<i32>(to, height, PHASE_HEIGHT);
  store<i32>(to, width, PHASE_WIDTH);
  store<i32>(to, (line * planeSize(pc, 2) + phaseStart(pc, 2, phase)) << 2, PHASE_START);
  return vectors + ((<usize>count) << 3);
}

/** Where what `fillPhase` wrote of a phase ends. */
// @ts-ignore: decorator
@inline
function nextPhase(phase: usize): usize {
  return phase + PHASE_BYTES + ((<usize>load<u32>(phase, PHASE_VECTORS)) << 3);
}

/** `rows` channels of one phase of one plane, one after the other. */
function sumLines(
  apart: bool,
  phase: usize,
  rows: i32,
  steps: i32,
  matrix: usize,
  bias: usize,
  stepOffsets: usize,
  source: usize,
  to: usize,
): void {
  const count = load<i32>(phase, PHASE_VECTORS);
  const positions = load<u32>(phase, PHASE_DEPTH) * load<u32>(phase, PHASE_HEIGHT) * load<u32>(phase, PHASE_WIDTH);
  const vectors = phase + PHASE_BYTES;
  sumNeighbours(apart, rows, steps, matrix, bias, stepOffsets, count, vectors, source, to, (<usize>positions) << 2);
}

/** One channel of one plane by `sumNine`: lines as far apart as taps are, so that they share what they read. */
function sumPlane(pc: usize, weights: usize, bias: usize, steps: usize, source: usize, target: usize): void {
  const height = planeSize(pc, 1);
  const width = planeSize(pc, 2);
  const apart = word(pc, ConvField.Dilation + 1);
  const line = (<usize>width) << 2;
  // Taps further down are further up in the source where the image is computed: then lines are taken from the last on.
  const down = load<i32>(steps, 12) - load<i32>(steps);
  const toLine = (down < 0 ? -apart : apart) * <i32>line;
  for (let y = 0; y < apart; y++) {
    const first = down < 0 ? height - 1 - y : y;
    const from = source + <usize>(first * positionStep(pc, 1));
    const count = (height - y + apart - 1) / apart;
    sumNine(count, width, weights, bias, steps, from, <usize>down, target + line * <usize>first, <usize>toLine);
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

  const frame = address(pc, ConvField.Workspace) + <usize>word(pc, ConvField.WorkspaceBytes) * <usize>thread;
  const steps = frame + (ConvBlock.Frame << 2);
  const padded = steps + wholeVectors(depth);
  const isPadded = paddedPlane(pc) !== sourcePlane(pc);
  const phases = phaseCount(pc);
  const taps = padded + (isPadded ? wholeVectors(channels * paddedPlane(pc)) : 0);
  const packed = taps + wholeVectors(tapCount(pc) + phases);
  const rest = packed + (image ? wholeVectors(rows * depth) : 0);
  let packedGroup = -1;
  fillFrame(pc, channels, frame);
  fillPhases(pc, channels, taps, steps);
  if (isPadded) clearPadded(pc, channels, padded);
  // Lines of neighbours are read where they lie, if gathering them would not pay.
  const direct = isDirect(pc, rows, depth);
  const isPlane = direct && rows === 1 && channels === 1 && isNine(pc);
  const apart = positionStep(pc, 2) === 8;
  let staged = rest;
  if (direct && !isPlane) {
    for (let phase = 0; phase < phases; phase++) staged = fillPhase(pc, phase, staged);
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
    if (image) {
      if (group !== packedGroup) packWeights(pc, matrix, taps, packed);
      packedGroup = group;
      matrix = packed;
    }
    const source = sourceOf(frame, from, n * groups + group, channels, padded);
    const channel = group * rows + row;
    const start = (n * groups * rows + channel) * plane;
    let bias = address(pc, ConvField.Bias);
    if (bias !== 0) bias += (<usize>channel) << 2;
    const target = to + ((<usize>start) << 2);
    if (isPlane) {
      sumPlane(pc, matrix, bias, steps, source, target);
    } else {
      let offsets = steps;
      let described = rest;
      let meeting = taps;
      for (let phase = 0; phase < phases; phase++) {
        const met = load<i32>(meeting);
        const deep = channels * met;
        const first = matrix + ((<usize>(row * deep)) << 2);
        if (direct) {
          sumLines(apart, described, count, deep, first, bias, offsets, source, phases === 1 ? target : staged);
          if (phases > 1) scatterLines(pc, described, count, staged, target);
          described = nextPhase(described);
        } else {
          sumPhase(pc, phase, count, deep, first, bias, offsets, source, target, rest);
        }
        meeting += (<usize>(met + 1)) << 2;
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
