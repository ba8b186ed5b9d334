/**
 * What a convolution gathers from, and where: the source's planes with the zeros around them that are read, and tables
 * of byte offsets, so that the element which position p of the computed plane meets at step k of the sum is at
 *
 *     source + stepOffsets[k] + positionOffsets[p]
 *
 * whatever the stride, dilation, padding and number of dimensions. (Tables of pointers in the place of copies of the
 * image are due to Dukhan, "The Indirect Convolution Algorithm", 2019.)
 *
 * Where the image is computed, a tap meets only every stride-th element of it: the elements form stride³ phases, each
 * of which is a convolution with stride 1 of the taps that meet it. Otherwise there is one phase.
 */
import { readsBefore, readsBehind } from "../src/workspace/conv";
import { ConvField, ConvMode } from "../src/isa";
import { copyRun } from "./copy";
import { clear } from "./gemm-pack";
import { word } from "./word";

/** Of `tapShift`, where tap and phase do not meet. */
const APART: i32 = i32.MIN_VALUE;

function computesImage(pc: usize): bool {
  const mode = word(pc, ConvField.Mode);
  return mode === ConvMode.Image || mode === ConvMode.WinogradImage;
}

/** Bytes of a part of the workspace that holds so many floats: whole vectors. */
export function wholeVectors(floats: i32): usize {
  return (<usize>((floats + 3) & ~3)) << 2;
}

/** Size of the source in dimension `d`. */
export function sourceSize(pc: usize, d: i32): i32 {
  return word(pc, (computesImage(pc) ? ConvField.OutputSize : ConvField.ImageSize) + d);
}

/** Size of the plane that positions count through, in dimension `d`. */
export function planeSize(pc: usize, d: i32): i32 {
  return word(pc, (computesImage(pc) ? ConvField.ImageSize : ConvField.OutputSize) + d);
}

/** Elements before the source's first that are read, in dimension `d`. */
export function readsBeforeOf(pc: usize, d: i32): i32 {
  return <i32>(
    readsBefore(
      computesImage(pc),
      <f64>word(pc, ConvField.KernelSize + d),
      <f64>word(pc, ConvField.Stride + d),
      <f64>word(pc, ConvField.Padding + d),
      <f64>word(pc, ConvField.Dilation + d),
    )
  );
}

function behind(pc: usize, d: i32): i32 {
  return <i32>(
    readsBehind(
      computesImage(pc),
      <f64>word(pc, ConvField.ImageSize + d),
      <f64>word(pc, ConvField.KernelSize + d),
      <f64>word(pc, ConvField.OutputSize + d),
      <f64>word(pc, ConvField.Stride + d),
      <f64>word(pc, ConvField.Padding + d),
      <f64>word(pc, ConvField.Dilation + d),
    )
  );
}

function paddedSize(pc: usize, d: i32): i32 {
  return readsBeforeOf(pc, d) + sourceSize(pc, d) + behind(pc, d);
}

/** Elements of the kernel. */
export function tapCount(pc: usize): i32 {
  return word(pc, ConvField.KernelSize) * word(pc, ConvField.KernelSize + 1) * word(pc, ConvField.KernelSize + 2);
}

/** Elements of the plane that positions count through. */
export function positionCount(pc: usize): i32 {
  return planeSize(pc, 0) * planeSize(pc, 1) * planeSize(pc, 2);
}

/** Elements of a plane of the source. */
export function sourcePlane(pc: usize): i32 {
  return sourceSize(pc, 0) * sourceSize(pc, 1) * sourceSize(pc, 2);
}

/** Elements of a plane of the source with what is read around it. */
export function paddedPlane(pc: usize): i32 {
  return paddedSize(pc, 0) * paddedSize(pc, 1) * paddedSize(pc, 2);
}

/** A line of `bytes`, whose last vector reaches back over the one before it: lines are too short for loops of tails. */
// @ts-ignore: decorator
@inline
function copyLine(to: usize, from: usize, bytes: usize): void {
  if (bytes < 16) {
    copyRun(to, from, bytes);
    return;
  }
  for (let j: usize = 0; j < bytes; j += 16) {
    j = min(j, bytes - 16);
    v128.store(to + j, v128.load(from + j));
  }
}

/** The words of a frame, in bytes but for the counts. */
const ITEM: usize = 0;
const LINE: usize = 4;
const LINES: usize = 8;
const SLICES: usize = 12;
/** 0 where nothing around the planes is read. */
const PADDED_LINE: usize = 16;
const PADDED_SLICE: usize = 20;
const PADDED_PLANE: usize = 24;
const FIRST: usize = 28;

/**
 * Writes a frame: where `sourceOf` finds and copies the planes of `channels` channels. It is the same for all planes, and
 * to work it out takes as long as to copy a small one.
 */
export function fillFrame(pc: usize, channels: i32, to: usize): void {
  const padded = paddedPlane(pc);
  const line = paddedSize(pc, 2);
  const slice = line * paddedSize(pc, 1);
  const first = readsBeforeOf(pc, 0) * slice + readsBeforeOf(pc, 1) * line + readsBeforeOf(pc, 2);
  store<i32>(to, (channels * sourcePlane(pc)) << 2, ITEM);
  store<i32>(to, sourceSize(pc, 2) << 2, LINE);
  store<i32>(to, sourceSize(pc, 1), LINES);
  store<i32>(to, sourceSize(pc, 0), SLICES);
  store<i32>(to, padded === sourcePlane(pc) ? 0 : line << 2, PADDED_LINE);
  store<i32>(to, slice << 2, PADDED_SLICE);
  store<i32>(to, padded << 2, PADDED_PLANE);
  store<i32>(to, first << 2, FIRST);
}

/** Copies `channels` planes into the middle of padded ones, whose borders are zeros already. */
function padPlanes(frame: usize, channels: i32, from: usize, to: usize): void {
  const bytes = <usize>load<u32>(frame, LINE);
  const lines = load<i32>(frame, LINES);
  const slices = load<i32>(frame, SLICES);
  const paddedLine = <usize>load<u32>(frame, PADDED_LINE);
  const paddedSlice = <usize>load<u32>(frame, PADDED_SLICE);
  const padded = <usize>load<u32>(frame, PADDED_PLANE);
  to += <usize>load<u32>(frame, FIRST);
  for (let c = 0; c < channels; c++) {
    let slice = to;
    for (let z = 0; z < slices; z++) {
      let at = slice;
      for (let y = 0; y < lines; y++) {
        copyLine(at, from, bytes);
        from += bytes;
        at += paddedLine;
      }
      slice += paddedSlice;
    }
    to += padded;
  }
}

/** How many phases there are along dimension `d`. */
function phasesAlong(pc: usize, d: i32): i32 {
  return computesImage(pc) ? word(pc, ConvField.Stride + d) : 1;
}

/** How many phases there are; they are numbered row-major. */
export function phaseCount(pc: usize): i32 {
  return phasesAlong(pc, 0) * phasesAlong(pc, 1) * phasesAlong(pc, 2);
}

/** The first position of phase `phase` in dimension `d`. */
export function phaseStart(pc: usize, d: i32, phase: i32): i32 {
  for (let inner = 2; inner > d; inner--) phase /= phasesAlong(pc, inner);
  return phase % phasesAlong(pc, d);
}

/** Positions of phase `phase` in dimension `d`. */
export function phaseSize(pc: usize, d: i32, phase: i32): i32 {
  const phases = phasesAlong(pc, d);
  return (planeSize(pc, d) - phaseStart(pc, d, phase) + phases - 1) / phases;
}

/** Where in the padded source tap `tap` of dimension `d` meets the first position of phase `phase`, or `APART`. */
function tapShift(pc: usize, d: i32, phase: i32, tap: i32): i32 {
  const reach = tap * word(pc, ConvField.Dilation + d) - word(pc, ConvField.Padding + d);
  if (!computesImage(pc)) return readsBeforeOf(pc, d) + reach;
  const stride = word(pc, ConvField.Stride + d);
  const distance = phaseStart(pc, d, phase) - reach;
  return distance % stride === 0 ? readsBeforeOf(pc, d) + distance / stride : APART;
}

/**
 * Writes the offsets of the steps of a sum over channels and the taps that meet the phase, both rising, and returns
 * where they end; or for 1 channel and `tapNumbers`, the taps' numbers in the kernel.
 */
export function fillSteps(pc: usize, channels: i32, phase: i32, to: usize, tapNumbers: bool): usize {
  const row = paddedSize(pc, 2);
  const slice = row * paddedSize(pc, 1);
  const plane = slice * paddedSize(pc, 0);
  const height = word(pc, ConvField.KernelSize + 1);
  const width = word(pc, ConvField.KernelSize + 2);
  for (let c = 0; c < channels; c++) {
    for (let z = 0; z < word(pc, ConvField.KernelSize); z++) {
      const shift0 = tapShift(pc, 0, phase, z);
      if (shift0 === APART) continue;
      for (let y = 0; y < height; y++) {
        const shift1 = tapShift(pc, 1, phase, y);
        if (shift1 === APART) continue;
        for (let x = 0; x < width; x++) {
          const shift2 = tapShift(pc, 2, phase, x);
          if (shift2 === APART) continue;
          const offset = c * plane + shift0 * slice + shift1 * row + shift2;
          store<i32>(to, tapNumbers ? (z * height + y) * width + x : offset << 2);
          to += 4;
        }
      }
    }
  }
  return to;
}

/** Offset between neighbouring positions of a phase along dimension `d`, in bytes. */
export function positionStep(pc: usize, d: i32): i32 {
  let elements = computesImage(pc) ? 1 : word(pc, ConvField.Stride + d);
  if (d < 2) elements *= paddedSize(pc, 2);
  if (d < 1) elements *= paddedSize(pc, 1);
  return elements << 2;
}

/**
 * Writes the offsets of `count` positions from number `first` on, counted row-major in a space of any × height × width,
 * where neighbours in the three dimensions are the given steps apart.
 */
export function fillPositions(
  first: i32,
  count: i32,
  height: i32,
  width: i32,
  step0: i32,
  step1: i32,
  step2: i32,
  to: usize,
): void {
  let y = first / width;
  let x = first - y * width;
  const z = y / height;
  y -= z * height;
  let slice = z * step0;
  let row = slice + y * step1;
  for (; count > 0; count--) {
    store<i32>(to, row + x * step2);
    to += 4;
    if (++x === width) {
      x = 0;
      row += step1;
      if (++y === height) {
        y = 0;
        slice += step0;
        row = slice;
      }
    }
  }
}

/** Whether the four positions whose offsets are at `offsets` are neighbours in the source; they rise. */
// @ts-ignore: decorator
@inline
function areAdjacent(offsets: usize): bool {
  return load<u32>(offsets, 12) - load<u32>(offsets) === 12;
}

/**
 * to[k][j] = the element that step k meets at position j, for k < steps, j < positions; rows of `to` are `toRow` bytes
 * apart. Reads and writes exactly these elements, bit for bit. Four positions at a time: in most cases they are
 * neighbours in the source too, or every second element.
 */
export function gatherSource(
  steps: i32,
  stepOffsets: usize,
  positions: i32,
  positionOffsets: usize,
  source: usize,
  to: usize,
  toRow: usize,
): void {
  let j = 0;
  while (j + 4 <= positions) {
    const first = load<u32>(positionOffsets);
    const second = load<u32>(positionOffsets, 4);
    const third = load<u32>(positionOffsets, 8);
    const fourth = load<u32>(positionOffsets, 12);
    const at = source + <usize>first;
    let k = stepOffsets;
    let row = to;
    if (areAdjacent(positionOffsets)) {
      if (j + 8 <= positions && areAdjacent(positionOffsets + 16)) {
        const next = source + <usize>load<u32>(positionOffsets, 16);
        for (let i = steps; i > 0; i--) {
          const offset = <usize>load<u32>(k);
          v128.store(row, v128.load(at + offset));
          v128.store(row, v128.load(next + offset), 16);
          k += 4;
          row += toRow;
        }
        j += 8;
        positionOffsets += 32;
        to += 32;
        continue;
      }
      for (let i = steps; i > 0; i--) {
        v128.store(row, v128.load(at + <usize>load<u32>(k)));
        k += 4;
        row += toRow;
      }
    } else if (second - first === 8 && third - first === 16 && fourth - first === 24) {
      for (let i = steps; i > 0; i--) {
        const p = at + <usize>load<u32>(k);
        const v = v128.load(p);
        v128.store(row, i8x16.shuffle(v, v128.load(p, 12), 0, 1, 2, 3, 8, 9, 10, 11, 20, 21, 22, 23, 28, 29, 30, 31));
        k += 4;
        row += toRow;
      }
    } else {
      const b = source + <usize>second;
      const c = source + <usize>third;
      const d = source + <usize>fourth;
      for (let i = steps; i > 0; i--) {
        const offset = <usize>load<u32>(k);
        let v = v128.load_zero<u32>(at + offset);
        v = v128.load_lane<u32>(b + offset, v, 1);
        v = v128.load_lane<u32>(c + offset, v, 2);
        v128.store(row, v128.load_lane<u32>(d + offset, v, 3));
        k += 4;
        row += toRow;
      }
    }
    j += 4;
    positionOffsets += 16;
    to += 16;
  }
  for (; j < positions; j++) {
    const at = source + <usize>load<u32>(positionOffsets);
    let row = to;
    for (let i = 0; i < steps; i++) {
      store<u32>(row, load<u32>(at + <usize>load<u32>(stepOffsets + ((<usize>i) << 2))));
      row += toRow;
    }
    positionOffsets += 4;
    to += 4;
  }
}

/** Zeros for `channels` padded planes, between whose borders `padPlanes` will copy. */
export function clearPadded(pc: usize, channels: i32, to: usize): void {
  clear(to, <usize>((channels * paddedPlane(pc) + 3) & ~3) << 2);
}

/** `channels` planes of group `item` of the tensor at `from`, copied to `padded` where more than the planes is read. */
export function sourceOf(frame: usize, from: usize, item: i32, channels: i32, padded: usize): usize {
  const source = from + <usize>load<u32>(frame, ITEM) * <usize>item;
  if (load<u32>(frame, PADDED_LINE) === 0) return source;
  padPlanes(frame, channels, source, padded);
  return padded;
}
