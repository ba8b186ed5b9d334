/**
 * Winograd's minimal filtering F(4×4, 3×3): the transforms of a line of tiles of 4×4 elements of the output, which are
 * 6×6 of the image: 36 products in the place of 144. As in `winograd-two.ts`, but for the matrices. They evaluate
 * polynomials at 0, ±a, ±b and infinity, and interpolate them (Toom and Cook):
 *
 *          ⎡ a²b²    0   −a²−b²   0     1   0 ⎤        ⎡ 1    0    0 ⎤ ÷ a²b²
 *          ⎢  0    −ab²   −b²     a     1   0 ⎥        ⎢ 1    a    a²⎥ ÷ 2a²(a²−b²)         ⎡ 1   1    1   1    1   0 ⎤
 *     Bᵀ = ⎢  0     ab²   −b²    −a     1   0 ⎥    G = ⎢ 1   −a    a²⎥ ÷ 2a²(a²−b²)    Aᵀ = ⎢ 0   a   −a   b   −b   0 ⎥
 *          ⎢  0    −a²b   −a²     b     1   0 ⎥        ⎢ 1    b    b²⎥ ÷ 2b²(b²−a²)         ⎢ 0   a²   a²  b²   b²  0 ⎥
 *          ⎢  0     a²b   −a²    −b     1   0 ⎥        ⎢ 1   −b    b²⎥ ÷ 2b²(b²−a²)         ⎣ 0   a³  −a³  b³  −b³  1 ⎦
 *          ⎣  0    a²b²    0   −a²−b²   0   1 ⎦        ⎣ 0    0    1 ⎦
 *
 * G' has cubes in a fourth column, which the last line's 1 is in; A'ᵀ is the first three lines of Aᵀ with the last 1 in the
 * third. Lavin and Gray's a = 1 and b = 2 have the cheapest transforms, but their error is five times that of a sum in
 * order (over random numbers, 16 channels); that of 5/8 and 3/2, of which Bᵀ and Aᵀ are floats too, is 2.4 times. Why is
 * in Barabasz and others, "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks",
 * 2018; arXiv:1803.10986.
 *
 * The constants are read from memory, as V8 would make literals anew at every use; and before the loops, although there are
 * not registers enough for all: a step of a small network takes 0.97 of the time then on the relaxed build, 0.99 on the strict.
 */
import { highHalves, interleaveHigh, interleaveLow, lowHalves } from "./lanes";
import { mulAdd, subtractProduct } from "./simd";
import { lineOr } from "./winograd-two";

/** The points ±a and ±b. */
export const A: f32 = 0.625;
export const B: f32 = 1.5;

/** Where tiles are that are half transformed, behind the constants. */
const HALFWAY: usize = 64;

/** Bytes between rows of such tiles, of six vectors. */
const HALFWAY_ROW = 96;

/** Writes the constants that the functions below expect at `constants`. */
export function fillConstants(constants: usize): void {
  store<f32>(constants, A);
  store<f32>(constants, A * A, 4);
  store<f32>(constants, A * A * A, 8);
  store<f32>(constants, B, 12);
  store<f32>(constants, B * B, 16);
  store<f32>(constants, B * B * B, 20);
  store<f32>(constants, A * A + B * B, 24);
  store<f32>(constants, A * A * B * B, 28);
}

/** Bᵀ of six elements, to six places `step` bytes apart. */
// @ts-ignore: decorator
@inline
function evaluateImage(
  pointA: v128,
  squareA: v128,
  pointB: v128,
  squareB: v128,
  sum: v128,
  product: v128,
  to: usize,
  step: usize,
  d0: v128,
  d1: v128,
  d2: v128,
  d3: v128,
  d4: v128,
  d5: v128,
): void {
  v128.store(to, mulAdd(d0, product, subtractProduct(d2, sum, d4)));
  let even = subtractProduct(d2, squareB, d4);
  let odd = subtractProduct(d1, squareB, d3);
  v128.store(to + step, mulAdd(odd, pointA, even));
  to += step << 1;
  v128.store(to, subtractProduct(odd, pointA, even));
  even = subtractProduct(d2, squareA, d4);
  odd = subtractProduct(d1, squareA, d3);
  v128.store(to + step, mulAdd(odd, pointB, even));
  to += step << 1;
  v128.store(to, subtractProduct(odd, pointB, even));
  v128.store(to + step, mulAdd(d1, product, subtractProduct(d3, sum, d5)));
}

/**
 * Bᵀ of the columns of a plane's lines from `y` on, `read` bytes of each, to six lines `pitch` bytes apart; what lies left
 * and right of the image is not written.
 */
export function columnsOfFour(
  constants: usize,
  zeros: usize,
  plane: usize,
  y: i32,
  height: i32,
  width: i32,
  read: usize,
  to: usize,
  pitch: usize,
): void {
  const bytes = (<usize>width) << 2;
  const a = lineOr(zeros, plane, y, height, bytes);
  const b = lineOr(zeros, plane, y + 1, height, bytes);
  const c = lineOr(zeros, plane, y + 2, height, bytes);
  const d = lineOr(zeros, plane, y + 3, height, bytes);
  const e = lineOr(zeros, plane, y + 4, height, bytes);
  const f = lineOr(zeros, plane, y + 5, height, bytes);
  const pointA = v128.load32_splat(constants);
  const squareA = v128.load32_splat(constants, 4);
  const pointB = v128.load32_splat(constants, 12);
  const squareB = v128.load32_splat(constants, 16);
  const sum = v128.load32_splat(constants, 24);
  const product = v128.load32_splat(constants, 28);
  for (let j: usize = 0; j < read; j += 16) {
    j = min(j, read - 16);
    evaluateImage(
      pointA,
      squareA,
      pointB,
      squareB,
      sum,
      product,
      to + j,
      pitch,
      v128.load(a + j),
      v128.load(b + j),
      v128.load(c + j),
      v128.load(d + j),
      v128.load(e + j),
      v128.load(f + j),
    );
  }
}

/** Bᵀ of the rows, from the lines of `columnsOfFour` to one channel's row of the matrices; `across` bytes of each. */
export function rowsOfFour(
  constants: usize,
  across: usize,
  from: usize,
  pitch: usize,
  to: usize,
  matrix: usize,
): void {
  const pointA = v128.load32_splat(constants);
  const squareA = v128.load32_splat(constants, 4);
  const pointB = v128.load32_splat(constants, 12);
  const squareB = v128.load32_splat(constants, 16);
  const sum = v128.load32_splat(constants, 24);
  const product = v128.load32_splat(constants, 28);
  for (let i = 0; i < 6; i++) {
    for (let x: usize = 0; x < across; x += 16) {
      x = min(x, across - 16);
      const p = from + (x << 2);
      const a = v128.load(p);
      const b = v128.load(p, 16);
      const c = v128.load(p, 32);
      const d = v128.load(p, 48);
      const next = v128.load(p, 64);
      let u = interleaveLow(a, b);
      let v = interleaveLow(c, d);
      const d0 = lowHalves(u, v);
      const d1 = highHalves(u, v);
      u = interleaveHigh(a, b);
      v = interleaveHigh(c, d);
      evaluateImage(
        pointA,
        squareA,
        pointB,
        squareB,
        sum,
        product,
        to + x,
        matrix,
        d0,
        d1,
        lowHalves(u, v),
        highHalves(u, v),
        i8x16.shuffle(d0, next, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19),
        i8x16.shuffle(d1, next, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23),
      );
    }
    to += matrix * 6;
    from += pitch;
  }
}

/** Writes `count` elements, 1 to 4. */
// @ts-ignore: decorator
@inline
function storePart(to: usize, v: v128, count: i32): void {
  if (count > 3) {
    v128.store(to, v);
    return;
  }
  if (count > 1) v128.store_lane<u64>(to, v, 0);
  else v128.store_lane<u32>(to, v, 0);
  if (count > 2) v128.store_lane<u32>(to, v, 2, 8);
}

/**
 * Aᵀ·m·A of a line of tiles at `from` to the plane's lines from `y` on, or to `spare`; at `bias` is what is added to each
 * element, if that is not 0.
 */
export function backOfFour(
  constants: usize,
  bias: usize,
  across: usize,
  from: usize,
  matrix: usize,
  plane: usize,
  y: i32,
  height: i32,
  width: i32,
  spare: usize,
): void {
  const pointA = v128.load32_splat(constants);
  const squareA = v128.load32_splat(constants, 4);
  const cubeA = v128.load32_splat(constants, 8);
  const pointB = v128.load32_splat(constants, 12);
  const squareB = v128.load32_splat(constants, 16);
  const cubeB = v128.load32_splat(constants, 20);
  const bytes = (<usize>width) << 2;
  const halfway = constants + HALFWAY;
  const last = width - <i32>(across - 4);
  const row = matrix * 6;
  const added = bias === 0 ? f32x4.splat(0) : v128.load32_splat(bias);
  for (let x: usize = 0; x < across; x += 16) {
    x = min(x, across - 16);
    let p = from + x;
    for (let j: usize = 0; j < <usize>HALFWAY_ROW; j += 16) {
      const m0 = v128.load(p);
      const m1 = v128.load(p + row);
      const m2 = v128.load(p + (row << 1));
      const m3 = v128.load(p + row * 3);
      const m4 = v128.load(p + (row << 2));
      const m5 = v128.load(p + row * 5);
      const evenA = f32x4.add(m1, m2);
      const evenB = f32x4.add(m3, m4);
      const oddA = f32x4.sub(m1, m2);
      const oddB = f32x4.sub(m3, m4);
      const to = halfway + j;
      v128.store(to, f32x4.add(m0, f32x4.add(evenA, evenB)));
      const y1 = f32x4.mul(oddB, pointB);
      v128.store(to, mulAdd(oddA, pointA, y1), HALFWAY_ROW);
      const y2 = f32x4.mul(evenB, squareB);
      v128.store(to, mulAdd(evenA, squareA, y2), 2 * HALFWAY_ROW);
      const y3 = mulAdd(oddB, cubeB, m5);
      v128.store(to, mulAdd(oddA, cubeA, y3), 3 * HALFWAY_ROW);
      p += matrix;
    }
    const count = x + 16 === across ? last : 4;
    p = halfway;
    for (let i = 0; i < 4; i++) {
      const to = (y + i < height ? plane + bytes * <usize>(y + i) : spare) + (x << 2);
      const m1 = v128.load(p, 16);
      const m2 = v128.load(p, 32);
      const m3 = v128.load(p, 48);
      const m4 = v128.load(p, 64);
      const evenA = f32x4.add(m1, m2);
      const evenB = f32x4.add(m3, m4);
      const oddA = f32x4.sub(m1, m2);
      const oddB = f32x4.sub(m3, m4);
      const y0 = f32x4.add(f32x4.add(v128.load(p), added), f32x4.add(evenA, evenB));
      let y1 = mulAdd(oddB, pointB, added);
      y1 = mulAdd(oddA, pointA, y1);
      let y2 = mulAdd(evenB, squareB, added);
      y2 = mulAdd(evenA, squareA, y2);
      let y3 = mulAdd(oddB, cubeB, f32x4.add(v128.load(p, 80), added));
      y3 = mulAdd(oddA, cubeA, y3);
      let u = interleaveLow(y0, y1);
      let v = interleaveLow(y2, y3);
      v128.store(to, lowHalves(u, v));
      v128.store(to, highHalves(u, v), 16);
      u = interleaveHigh(y0, y1);
      v = interleaveHigh(y2, y3);
      v128.store(to, lowHalves(u, v), 32);
      storePart(to + 48, highHalves(u, v), count);
      p += HALFWAY_ROW;
    }
  }
}

/** Reads `count` elements, 1 to 4; those behind are zeros. */
// @ts-ignore: decorator
@inline
function loadPart(at: usize, count: i32): v128 {
  if (count > 3) return v128.load(at);
  if (count === 1) return v128.load_zero<u32>(at);
  const v = v128.load_zero<u64>(at);
  return count === 2 ? v : v128.load_lane<u32>(at, v, 2, 8);
}

/** G' of four elements, without the divisors, to six places `step` bytes apart. */
// @ts-ignore: decorator
@inline
function evaluateOutput(constants: usize, to: usize, step: usize, y0: v128, y1: v128, y2: v128, y3: v128): void {
  v128.store(to, y0);
  let square = v128.load32_splat(constants, 4);
  let even = mulAdd(y2, square, y0);
  let odd = mulAdd(y3, square, y1);
  let point = v128.load32_splat(constants);
  v128.store(to + step, mulAdd(odd, point, even));
  to += step << 1;
  v128.store(to, subtractProduct(odd, point, even));
  square = v128.load32_splat(constants, 16);
  even = mulAdd(y2, square, y0);
  odd = mulAdd(y3, square, y1);
  point = v128.load32_splat(constants, 12);
  v128.store(to + step, mulAdd(odd, point, even));
  to += step << 1;
  v128.store(to, subtractProduct(odd, point, even));
  v128.store(to + step, y3);
}

/** G'·y·G'ᵀ, without the divisors, of the plane's lines from `y` on, to a line of tiles at `to`. */
export function outputOfFour(
  constants: usize,
  across: usize,
  zeros: usize,
  plane: usize,
  y: i32,
  height: i32,
  width: i32,
  to: usize,
  matrix: usize,
): void {
  const bytes = (<usize>width) << 2;
  const halfway = constants + HALFWAY;
  const last = width - <i32>(across - 4);
  for (let x: usize = 0; x < across; x += 16) {
    x = min(x, across - 16);
    const count = x + 16 === across ? last : 4;
    for (let i = 0; i < 4; i++) {
      const p = lineOr(zeros, plane, y + i, height, bytes) + (x << 2);
      const a = v128.load(p);
      const b = v128.load(p, 16);
      const c = v128.load(p, 32);
      const d = loadPart(p + 48, count);
      let u = interleaveLow(a, b);
      let v = interleaveLow(c, d);
      const y0 = lowHalves(u, v);
      const y1 = highHalves(u, v);
      u = interleaveHigh(a, b);
      v = interleaveHigh(c, d);
      evaluateOutput(constants, halfway + HALFWAY_ROW * <usize>i, 16, y0, y1, lowHalves(u, v), highHalves(u, v));
    }
    for (let j: usize = 0; j < 6; j++) {
      const p = halfway + (j << 4);
      const y0 = v128.load(p);
      const y1 = v128.load(p, HALFWAY_ROW);
      const y2 = v128.load(p, 2 * HALFWAY_ROW);
      const y3 = v128.load(p, 3 * HALFWAY_ROW);
      evaluateOutput(constants, to + x + matrix * j, matrix * 6, y0, y1, y2, y3);
    }
  }
}
