/**
 * Convolution without gathering, for groups with as few output channels as a depthwise layer has. Windows are read
 * where they lie, a vector of neighbours at a time, in lines of at least 4 positions whose neighbours are adjacent in
 * the source too. The last vector of a line reaches back over the one before it, so a line needs no tail.
 */
import { mulAdd } from "./simd";

/** Vectors that cover a line of `width` positions. */
// @ts-ignore: decorator
@inline
function vectorsOf(width: i32): i32 {
  return (width + 3) >> 2;
}

/**
 * Writes where each vector of a plane starts in the source and in the plane, in bytes, and returns how many there are:
 * a multiple of 4, for the last one is repeated. The plane has depth × height lines of `width` positions, whose steps
 * in the source are in bytes too.
 */
export function fillVectors(depth: i32, height: i32, width: i32, step0: i32, step1: i32, to: usize): i32 {
  const start = to;
  let line = 0;
  for (let z = 0; z < depth; z++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < vectorsOf(width); x++) {
        const j = min(x << 2, width - 4) << 2;
        store<i32>(to, z * step0 + y * step1 + j);
        store<i32>(to, line + j, 4);
        to += 8;
      }
      line += width << 2;
    }
  }
  for (; (to - start) & 31; to += 8) store<u64>(to, load<u64>(to - 8));
  return <i32>((to - start) >> 3);
}

/**
 * `rows` output channels at `count` vectors, as `fillVectors` finds them:
 *
 *     to[i][j] = (…((bias[i] + a[i][0]·s[0][j]) + a[i][1]·s[1][j]) + …) + a[i][steps-1]·s[steps-1][j]
 *
 * where s[k][j] is the element of the source at j's place + stepOffset[k], in exactly this order, each step one
 * `mulAdd`. `a` has rows of `steps` floats, the planes of `to` are `plane` bytes apart; bias may be 0 for none. Reads
 * and writes exactly these elements, some twice. Four vectors at a time hide the latency of a step.
 */
export function sumNeighbours(
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
  const end = stepOffsets + ((<usize>steps) << 2);
  for (let i = 0; i < rows; i++) {
    const seed = bias === 0 ? f32x4.splat(0) : v128.load32_splat(bias + ((<usize>i) << 2));
    const weights = a + ((<usize>(i * steps)) << 2) - stepOffsets;
    for (let v = vectors; v < vectors + ((<usize>count) << 3); v += 32) {
      const s0 = source + <usize>load<u32>(v);
      const s1 = source + <usize>load<u32>(v, 8);
      const s2 = source + <usize>load<u32>(v, 16);
      const s3 = source + <usize>load<u32>(v, 24);
      let x0 = seed;
      let x1 = seed;
      let x2 = seed;
      let x3 = seed;
      for (let k = stepOffsets; k < end; k += 4) {
        const offset = <usize>load<u32>(k);
        const w = v128.load32_splat(weights + k);
        x0 = mulAdd(w, v128.load(s0 + offset), x0);
        x1 = mulAdd(w, v128.load(s1 + offset), x1);
        x2 = mulAdd(w, v128.load(s2 + offset), x2);
        x3 = mulAdd(w, v128.load(s3 + offset), x3);
      }
      v128.store(to + <usize>load<u32>(v, 4), x0);
      v128.store(to + <usize>load<u32>(v, 12), x1);
      v128.store(to + <usize>load<u32>(v, 20), x2);
      v128.store(to + <usize>load<u32>(v, 28), x3);
    }
    to += plane;
  }
}

/** A step of `sumProducts` at one row: what is masked away is 0 in both factors. */
// @ts-ignore: decorator
@inline
function addProduct(at: usize, y: v128, mask: v128, sum: v128): v128 {
  return mulAdd(y, v128.and(v128.load(at), mask), sum);
}

/**
 * For each of `rows` steps k, adds the products of `y` (lines of `width` floats, one after the other) and of what step
 * k meets, position by position in rising order, to the four sums at sums + 16·k: position j of a line to lane j mod 4,
 * but the last width mod 4 positions to the last lanes. Each addition is one `mulAdd`. Reads exactly these elements.
 */
export function sumProducts(
  rows: i32,
  stepOffsets: usize,
  lines: i32,
  lineOffsets: usize,
  width: i32,
  source: usize,
  y: usize,
  sums: usize,
): void {
  const lineBytes = (<usize>width) << 2;
  const whole = lineBytes & ~15;
  // Lanes of the last vector that no vector before it has counted.
  const rest = i32x4.ge_s(i32x4(0, 1, 2, 3), i32x4.splat(4 - (width & 3)));
  for (let k = 0; k < rows; k += 4) {
    // Past the last row, it is computed again.
    const left = rows - k;
    const b1: usize = left > 1 ? 1 : 0;
    const b2: usize = left > 2 ? 2 : b1;
    const b3: usize = left > 3 ? 3 : b2;
    const s0 = source + <usize>load<u32>(stepOffsets);
    const s1 = source + <usize>load<u32>(stepOffsets + (b1 << 2));
    const s2 = source + <usize>load<u32>(stepOffsets + (b2 << 2));
    const s3 = source + <usize>load<u32>(stepOffsets + (b3 << 2));
    let x0 = v128.load(sums);
    let x1 = v128.load(sums + (b1 << 4));
    let x2 = v128.load(sums + (b2 << 4));
    let x3 = v128.load(sums + (b3 << 4));
    let values = y;
    for (let line = 0; line < lines; line++) {
      const offset = <usize>load<u32>(lineOffsets + ((<usize>line) << 2));
      for (let j: usize = 0; j < whole; j += 16) {
        const v = v128.load(values + j);
        const at = offset + j;
        x0 = mulAdd(v, v128.load(s0 + at), x0);
        x1 = mulAdd(v, v128.load(s1 + at), x1);
        x2 = mulAdd(v, v128.load(s2 + at), x2);
        x3 = mulAdd(v, v128.load(s3 + at), x3);
      }
      if (whole < lineBytes) {
        const v = v128.and(v128.load(values + lineBytes - 16), rest);
        const at = offset + lineBytes - 16;
        x0 = addProduct(s0 + at, v, rest, x0);
        x1 = addProduct(s1 + at, v, rest, x1);
        x2 = addProduct(s2 + at, v, rest, x2);
        x3 = addProduct(s3 + at, v, rest, x3);
      }
      values += lineBytes;
    }
    v128.store(sums, x0);
    v128.store(sums + (b1 << 4), x1);
    v128.store(sums + (b2 << 4), x2);
    v128.store(sums + (b3 << 4), x3);
    stepOffsets += 16;
    sums += 64;
  }
}
