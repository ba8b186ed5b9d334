/**
 * Convolution without gathering, for groups with as few output channels as a depthwise layer has, or as few steps in a
 * sum as the first layer of a network. Windows are read where they lie, a vector of four positions at a time, in lines of
 * at least 4 whose neighbours are adjacent in the source too, or every second element of it. The last vector of a line
 * reaches back over the one before it, so a line needs no tail.
 */
import { mulAdd } from "./simd";

/** Steps that `sumProducts` takes together. */
const STEPS = 5;

/** Vectors that cover a line of `width` positions. */
// @ts-ignore: decorator
@inline
function vectorsOf(width: i32): i32 {
  return (width + 3) >> 2;
}

/** Four neighbours, or with `apart` every second of seven. Reads nothing behind the last one. */
// @ts-ignore: decorator
@inline
function loadFour(apart: bool, at: usize): v128 {
  if (!apart) return v128.load(at);
  return i8x16.shuffle(v128.load(at), v128.load(at, 12), 0, 1, 2, 3, 8, 9, 10, 11, 20, 21, 22, 23, 28, 29, 30, 31);
}

/**
 * Writes where each vector of a plane starts in the source and in the plane, in bytes, and returns how many there are:
 * a multiple of 4, for the last one is repeated. The plane has depth × height lines of `width` positions, whose steps
 * in the source are in bytes too.
 */
export function fillVectors(
  depth: i32,
  height: i32,
  width: i32,
  step0: i32,
  step1: i32,
  step2: i32,
  to: usize,
): i32 {
  const start = to;
  let line = 0;
  for (let z = 0; z < depth; z++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < vectorsOf(width); x++) {
        const j = min(x << 2, width - 4);
        store<i32>(to, z * step0 + y * step1 + j * step2);
        store<i32>(to, line + (j << 2), 4);
        to += 8;
      }
      line += width << 2;
    }
  }
  for (; (to - start) & 31; to += 8) store<u64>(to, load<u64>(to - 8));
  return <i32>((to - start) >> 3);
}

/**
 * `rows` output channels at `count` vectors, as `fillVectors` finds them, whose elements are `apart` in the source:
 *
 *     to[i][j] = (…((bias[i] + a[i][0]·s[0][j]) + a[i][1]·s[1][j]) + …) + a[i][steps-1]·s[steps-1][j]
 *
 * where s[k][j] is the element of the source at j's place + stepOffset[k], in exactly this order, each step one
 * `mulAdd`. `a` has rows of `steps` floats, the planes of `to` are `plane` bytes apart; bias may be 0 for none. Reads
 * and writes exactly these elements, some twice. Four vectors at a time hide the latency of a step.
 */
export function sumNeighbours(
  apart: bool,
  rows: i32,
  steps: i32,
  a: usize,
  bias: usize,
  stepOffsets: usize,
  count: i32,
  vectors: usize,
  source: usize,
  to: usize,
  plane: usize,
): void {
  const row = (<usize>steps) << 2;
  for (; rows > 1; rows -= 2) {
    if (apart) sumRows(true, true, steps, a, bias, stepOffsets, count, vectors, source, to, plane);
    else sumRows(true, false, steps, a, bias, stepOffsets, count, vectors, source, to, plane);
    a += row << 1;
    if (bias !== 0) bias += 8;
    to += plane << 1;
  }
  if (rows === 0) return;
  if (apart) sumRows(false, true, steps, a, bias, stepOffsets, count, vectors, source, to, plane);
  else sumRows(false, false, steps, a, bias, stepOffsets, count, vectors, source, to, plane);
}

/** One row, or two that read the source once. Inlined, so that literals make loops of their own. */
// @ts-ignore: decorator
@inline
function sumRows(
  two: bool,
  apart: bool,
  steps: i32,
  a: usize,
  bias: usize,
  stepOffsets: usize,
  count: i32,
  vectors: usize,
  source: usize,
  to: usize,
  plane: usize,
): void {
  const row = (<usize>steps) << 2;
  const end = stepOffsets + row;
  const seed0 = bias === 0 ? f32x4.splat(0) : v128.load32_splat(bias);
  const seed1 = two && bias !== 0 ? v128.load32_splat(bias, 4) : f32x4.splat(0);
  const weights = a - stepOffsets;
  for (let v = vectors; v < vectors + ((<usize>count) << 3); v += 32) {
    const s0 = source + <usize>load<u32>(v);
    const s1 = source + <usize>load<u32>(v, 8);
    const s2 = source + <usize>load<u32>(v, 16);
    const s3 = source + <usize>load<u32>(v, 24);
    let x0 = seed0;
    let x1 = seed0;
    let x2 = seed0;
    let x3 = seed0;
    let y0 = seed1;
    let y1 = seed1;
    let y2 = seed1;
    let y3 = seed1;
    for (let k = stepOffsets; k < end; k += 4) {
      const offset = <usize>load<u32>(k);
      const w0 = v128.load32_splat(weights + k);
      const w1 = two ? v128.load32_splat(weights + k + row) : w0;
      let s = loadFour(apart, s0 + offset);
      x0 = mulAdd(w0, s, x0);
      if (two) y0 = mulAdd(w1, s, y0);
      s = loadFour(apart, s1 + offset);
      x1 = mulAdd(w0, s, x1);
      if (two) y1 = mulAdd(w1, s, y1);
      s = loadFour(apart, s2 + offset);
      x2 = mulAdd(w0, s, x2);
      if (two) y2 = mulAdd(w1, s, y2);
      s = loadFour(apart, s3 + offset);
      x3 = mulAdd(w0, s, x3);
      if (two) y3 = mulAdd(w1, s, y3);
    }
    let at = to + <usize>load<u32>(v, 4);
    v128.store(at, x0);
    if (two) v128.store(at + plane, y0);
    at = to + <usize>load<u32>(v, 12);
    v128.store(at, x1);
    if (two) v128.store(at + plane, y1);
    at = to + <usize>load<u32>(v, 20);
    v128.store(at, x2);
    if (two) v128.store(at + plane, y2);
    at = to + <usize>load<u32>(v, 28);
    v128.store(at, x3);
    if (two) v128.store(at + plane, y3);
  }
}

/**
 * For each of `outputs` planes of y, `plane` bytes apart (lines of `width` floats, one after the other), and each of `rows`
 * steps k, adds the products of y and of what step k meets, position by position in rising order, to the four sums at
 * sums + sumsRow · output + 16 · k: position j of a line to lane j mod 4, but the last width mod 4 positions to the last
 * lanes. Each addition is one `mulAdd`. Reads exactly these elements; where lanes are left out, both factors are 0 there.
 */
export function sumProducts(
  apart: bool,
  outputs: i32,
  rows: i32,
  stepOffsets: usize,
  lines: i32,
  lineOffsets: usize,
  width: i32,
  source: usize,
  y: usize,
  plane: usize,
  sums: usize,
  sumsRow: usize,
): void {
  for (; outputs > 1; outputs -= 2) {
    if (apart) sumOutputs(true, true, rows, stepOffsets, lines, lineOffsets, width, source, y, plane, sums, sumsRow);
    else sumOutputs(true, false, rows, stepOffsets, lines, lineOffsets, width, source, y, plane, sums, sumsRow);
    y += plane << 1;
    sums += sumsRow << 1;
  }
  if (outputs === 0) return;
  if (apart) sumOutputs(false, true, rows, stepOffsets, lines, lineOffsets, width, source, y, plane, sums, sumsRow);
  else sumOutputs(false, false, rows, stepOffsets, lines, lineOffsets, width, source, y, plane, sums, sumsRow);
}

/** One output, or two that read the source once. Inlined, so that literals make loops of their own. */
// @ts-ignore: decorator
@inline
function sumOutputs(
  two: bool,
  apart: bool,
  rows: i32,
  stepOffsets: usize,
  lines: i32,
  lineOffsets: usize,
  width: i32,
  source: usize,
  y: usize,
  plane: usize,
  sums: usize,
  sumsRow: usize,
): void {
  const lineBytes = (<usize>width) << 2;
  const whole = lineBytes & ~15;
  // Lanes of the last vector that no vector before it has counted.
  const rest = i32x4.ge_s(i32x4(0, 1, 2, 3), i32x4.splat(4 - (width & 3)));
  for (let k = 0; k < rows; k += STEPS) {
    // Past the last row, it is computed again.
    const left = rows - k;
    const b1: usize = left > 1 ? 1 : 0;
    const b2: usize = left > 2 ? 2 : b1;
    const b3: usize = left > 3 ? 3 : b2;
    const b4: usize = left > 4 ? 4 : b3;
    const s0 = source + <usize>load<u32>(stepOffsets);
    const s1 = source + <usize>load<u32>(stepOffsets + (b1 << 2));
    const s2 = source + <usize>load<u32>(stepOffsets + (b2 << 2));
    const s3 = source + <usize>load<u32>(stepOffsets + (b3 << 2));
    const s4 = source + <usize>load<u32>(stepOffsets + (b4 << 2));
    const second = two ? sums + sumsRow : sums;
    let x0 = v128.load(sums);
    let x1 = v128.load(sums + (b1 << 4));
    let x2 = v128.load(sums + (b2 << 4));
    let x3 = v128.load(sums + (b3 << 4));
    let x4 = v128.load(sums + (b4 << 4));
    let z0 = v128.load(second);
    let z1 = v128.load(second + (b1 << 4));
    let z2 = v128.load(second + (b2 << 4));
    let z3 = v128.load(second + (b3 << 4));
    let z4 = v128.load(second + (b4 << 4));
    let values = y;
    for (let line = 0; line < lines; line++) {
      const offset = <usize>load<u32>(lineOffsets + ((<usize>line) << 2));
      for (let j: usize = 0; j < whole; j += 16) {
        const v = v128.load(values + j);
        const w = two ? v128.load(values + plane + j) : v;
        const at = offset + (apart ? j << 1 : j);
        let s = loadFour(apart, s0 + at);
        x0 = mulAdd(v, s, x0);
        if (two) z0 = mulAdd(w, s, z0);
        s = loadFour(apart, s1 + at);
        x1 = mulAdd(v, s, x1);
        if (two) z1 = mulAdd(w, s, z1);
        s = loadFour(apart, s2 + at);
        x2 = mulAdd(v, s, x2);
        if (two) z2 = mulAdd(w, s, z2);
        s = loadFour(apart, s3 + at);
        x3 = mulAdd(v, s, x3);
        if (two) z3 = mulAdd(w, s, z3);
        s = loadFour(apart, s4 + at);
        x4 = mulAdd(v, s, x4);
        if (two) z4 = mulAdd(w, s, z4);
      }
      if (whole < lineBytes) {
        const last = lineBytes - 16;
        const v = v128.and(v128.load(values + last), rest);
        const w = two ? v128.and(v128.load(values + plane + last), rest) : v;
        const at = offset + (apart ? last << 1 : last);
        let s = v128.and(loadFour(apart, s0 + at), rest);
        x0 = mulAdd(v, s, x0);
        if (two) z0 = mulAdd(w, s, z0);
        s = v128.and(loadFour(apart, s1 + at), rest);
        x1 = mulAdd(v, s, x1);
        if (two) z1 = mulAdd(w, s, z1);
        s = v128.and(loadFour(apart, s2 + at), rest);
        x2 = mulAdd(v, s, x2);
        if (two) z2 = mulAdd(w, s, z2);
        s = v128.and(loadFour(apart, s3 + at), rest);
        x3 = mulAdd(v, s, x3);
        if (two) z3 = mulAdd(w, s, z3);
        s = v128.and(loadFour(apart, s4 + at), rest);
        x4 = mulAdd(v, s, x4);
        if (two) z4 = mulAdd(w, s, z4);
      }
      values += lineBytes;
    }
    v128.store(sums, x0);
    v128.store(sums + (b1 << 4), x1);
    v128.store(sums + (b2 << 4), x2);
    v128.store(sums + (b3 << 4), x3);
    v128.store(sums + (b4 << 4), x4);
    if (two) v128.store(second, z0);
    if (two) v128.store(second + (b1 << 4), z1);
    if (two) v128.store(second + (b2 << 4), z2);
    if (two) v128.store(second + (b3 << 4), z3);
    if (two) v128.store(second + (b4 << 4), z4);
    stepOffsets += STEPS << 2;
    sums += STEPS << 4;
  }
}
