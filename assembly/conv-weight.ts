/**
 * The gradient of a convolution's weight: image times output, summed over the batch and all positions. Each element is
 * one sum in rising order of (batch, position); but where windows are read where they lie (`readsWhereItLies`), with
 * lines of at least 4 neighbours, it is four such sums that are added in the end (see `sumProducts`).
 */
import { ConvBlock, readsWhereItLies } from "../src/workspace/conv";
import { ConvField } from "../src/isa";
import { isNine, sumNineProducts } from "./conv-depthwise";
import { sumProducts } from "./conv-direct";
import {
  clearPadded,
  fillFrame,
  fillPositions,
  fillSteps,
  gatherSource,
  paddedPlane,
  planeSize,
  positionStep,
  sourceOf,
  sourcePlane,
  tapCount,
  wholeVectors,
} from "./conv-source";
import { evenDepth, multiplyBlock, packPanels, unitsOf } from "./gemm-block";
import { clear, pack } from "./gemm-pack";
import { address, shareStart, word } from "./word";

/** Rows (channel and tap) that are dealt to threads together: a whole tile. */
const UNIT = 4;

/**
 * Rows `start … end` (channel and tap) of the transposed gradient of a group's weights, to `sums`: there, what is
 * gathered from the image needs no transposing, and the gradient of the output, which does, is the smaller operand.
 */
function sumOverBatch(
  pc: usize,
  group: i32,
  start: i32,
  end: i32,
  frame: usize,
  steps: usize,
  padded: usize,
  sums: usize,
  workspace: usize,
): void {
  const batch = word(pc, ConvField.Batch);
  const groups = word(pc, ConvField.Groups);
  const channels = word(pc, ConvField.ImageChannels);
  const outputs = word(pc, ConvField.OutputChannels);
  const height = planeSize(pc, 1);
  const width = planeSize(pc, 2);
  const positions = planeSize(pc, 0) * height * width;
  const plane = (<usize>positions) << 2;
  const cRow = wholeVectors(outputs);

  const blockDepth = evenDepth(positions, ConvBlock.Depth);
  const offsets = workspace;
  const seeds = offsets + wholeVectors(min<i32>(positions, ConvBlock.Positions));
  const tile = seeds + ((ConvBlock.Rows * ConvBlock.Seed) << 2);
  const panels = tile + ((ConvBlock.Rows * ConvBlock.Seed) << 2);
  const rowsPacked = panels + (<usize>blockDepth) * wholeVectors(min<i32>(outputs, ConvBlock.Channels));
  const packedRow = wholeVectors(blockDepth) + (ConvBlock.Gap << 2);
  clear(seeds, ConvBlock.Seed << 2);
  if (batch === 0) clear(sums, cRow * <usize>(end - start));

  for (let n = 0; n < batch; n++) {
    const item = n * groups + group;
    const source = sourceOf(frame, address(pc, ConvField.Image), item, channels, padded);
    const gradient = address(pc, ConvField.Output) + plane * <usize>(item * outputs);
    for (let k = 0; k < positions; k += blockDepth) {
      const depth = min(positions - k, blockDepth);
      fillPositions(k, depth, height, width, positionStep(pc, 0), positionStep(pc, 1), positionStep(pc, 2), offsets);
      for (let j = 0; j < outputs; j += ConvBlock.Channels) {
        const columns = min<i32>(outputs - j, ConvBlock.Channels);
        packPanels(depth, columns, gradient + plane * <usize>j + ((<usize>k) << 2), 4, plane, panels);
        for (let i = start; i < end; i += ConvBlock.Rows) {
          const rows = min<i32>(end - i, ConvBlock.Rows);
          gatherSource(rows, steps + ((<usize>i) << 2), depth, offsets, source, rowsPacked, packedRow);
          const c = sums + cRow * <usize>(i - start) + ((<usize>j) << 2);
          const begun = n > 0 || k > 0;
          multiplyBlock(
            rows,
            columns,
            depth,
            rowsPacked,
            packedRow,
            4,
            false,
            panels,
            0,
            0,
            begun ? c : seeds,
            begun ? cRow : 0,
            begun ? 4 : 0,
            c,
            cRow,
            tile,
          );
        }
      }
    }
  }
}

/**
 * The same sums for a group with few outputs or few rows, each in four parts (see `sumProducts`), to `parts`: 4 floats for each
 * output of each row.
 */
function sumDirectly(
  pc: usize,
  group: i32,
  start: i32,
  end: i32,
  frame: usize,
  steps: usize,
  padded: usize,
  parts: usize,
  offsets: usize,
): void {
  const groups = word(pc, ConvField.Groups);
  const channels = word(pc, ConvField.ImageChannels);
  const outputs = word(pc, ConvField.OutputChannels);
  const height = planeSize(pc, 1);
  const width = planeSize(pc, 2);
  const lines = planeSize(pc, 0) * height;
  const plane = (<usize>(lines * width)) << 2;
  const rows = end - start;
  const dilation = word(pc, ConvField.Dilation + 1) | word(pc, ConvField.Dilation + 2);
  const one = outputs === 1 && channels === 1 && lines <= ConvBlock.Positions;
  // All nine rows: none of them is another thread's.
  const nine = one && rows === 9 && dilation === 1 && isNine(pc);
  clear(parts, (<usize>(rows * outputs)) << 4);
  for (let n = 0; n < word(pc, ConvField.Batch); n++) {
    const item = n * groups + group;
    const source = sourceOf(frame, address(pc, ConvField.Image), item, channels, padded);
    const gradient = address(pc, ConvField.Output) + plane * <usize>(item * outputs);
    for (let line = 0; line < lines; line += ConvBlock.Positions) {
      const count = min<i32>(lines - line, ConvBlock.Positions);
      if (n === 0 || count < lines) {
        fillPositions(line, count, 1, height, positionStep(pc, 0), 0, positionStep(pc, 1), offsets);
      }
      const from = steps + ((<usize>start) << 2);
      const y = gradient + ((<usize>(line * width)) << 2);
      const apart = positionStep(pc, 2) === 8;
      if (nine) sumNineProducts(from, count, offsets, width, source, y, parts);
      else sumProducts(apart, outputs, rows, from, count, offsets, width, source, y, plane, parts, (<usize>rows) << 4);
    }
  }
}

/** Adds the four parts of each of `count` sums, and writes them one after the other. */
function addParts(count: i32, parts: usize, to: usize): void {
  for (; count > 0; count--) {
    const first = load<f32>(parts) + load<f32>(parts, 4);
    store<f32>(to, first + (load<f32>(parts, 8) + load<f32>(parts, 12)));
    parts += 16;
    to += 4;
  }
}

/** The mode that computes the weight. */
export function weightGradient(pc: usize, thread: i32, threads: i32): void {
  const groups = word(pc, ConvField.Groups);
  const channels = word(pc, ConvField.ImageChannels);
  const outputs = word(pc, ConvField.OutputChannels);
  const depth = channels * tapCount(pc);
  const units = unitsOf(depth, UNIT);
  let unit = shareStart(groups * units, thread, threads);
  const end = shareStart(groups * units, thread + 1, threads);
  if (unit === end) return;

  const frame = address(pc, ConvField.Workspace) + <usize>word(pc, ConvField.WorkspaceBytes) * <usize>thread;
  const steps = frame + (ConvBlock.Frame << 2);
  const padded = steps + wholeVectors(depth);
  const isPadded = paddedPlane(pc) !== sourcePlane(pc);
  const sums = padded + (isPadded ? wholeVectors(channels * paddedPlane(pc)) : 0);
  const inParts = readsWhereItLies(outputs, depth);
  const sumsRow = inParts ? (<usize>outputs) << 4 : wholeVectors(outputs);
  const rest = sums + sumsRow * <usize>depth;
  const direct = inParts && positionStep(pc, 2) <= 8 && planeSize(pc, 2) >= 4;
  fillFrame(pc, channels, frame);
  fillSteps(pc, channels, 0, steps, false);
  if (isPadded) clearPadded(pc, channels, padded);
  while (unit < end) {
    const group = unit / units;
    const first = unit - group * units;
    const last = min(units, first + end - unit);
    const from = first * UNIT;
    const rows = min(depth, last * UNIT) - from;
    let to = address(pc, ConvField.Weight) + ((<usize>(group * outputs * depth + from)) << 2);
    if (direct) {
      sumDirectly(pc, group, from, from + rows, frame, steps, padded, sums, rest);
      for (let i = 0; i < outputs; i++) {
        addParts(rows, sums + ((<usize>(i * rows)) << 4), to);
        to += (<usize>depth) << 2;
      }
    } else {
      sumOverBatch(pc, group, from, from + rows, frame, steps, padded, sums, rest);
      pack(outputs, rows, sums, 4, wholeVectors(outputs), to, (<usize>depth) << 2);
    }
    unit += last - first;
  }
}
