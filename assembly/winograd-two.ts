/**
 * Winograd's minimal filtering F(2×2, 3×3) for convolutions: the transforms of a line of tiles (Lavin and Gray, "Fast
 * Algorithms for Convolutional Neural Networks", 2016; arXiv:1509.09308). With
 *
 *          ⎡1  0 −1  0⎤        ⎡ 1  0  0⎤          ⎡1  0⎤                          ⎡1  1  1  0⎤
 *     Bᵀ = ⎢0  1  1  0⎥    G = ⎢ ½  ½  ½⎥     G' = ⎢½  ½⎥    Aᵀ = ⎡1  1  1  0⎤  A'ᵀ=⎢0  1 −1  0⎥
 *          ⎢0 −1  1  0⎥        ⎢ ½ −½  ½⎥          ⎢½ −½⎥         ⎣0  1 −1 −1⎦      ⎣0  1  1 −1⎦
 *          ⎣0  1  0 −1⎦        ⎣ 0  0  1⎦          ⎣0  1⎦
 *
 * 2×2 elements of an output are Aᵀ·[(G·w·Gᵀ) ⊙ (Bᵀ·x·B)]·A, of a 3×3 weight w and 4×4 elements x of the image, and so is a
 * 3×3 weight A'ᵀ·[(G'·y·G'ᵀ) ⊙ (Bᵀ·x·B)]·A' of 2×2 elements y of the output: 16 products in the place of 36. Under the
 * sum over channels (or tiles) the product ⊙ becomes 16 products of matrices, one for each "frequency".
 */
import { evens, interleaveHigh, interleaveLow, odds } from "./lanes";

/** Address of the line `y` of a plane, or where zeros are if the plane has no such line. */
// @ts-ignore: decorator
@inline
export function lineOr(zeros: usize, plane: usize, y: i32, height: i32, bytes: usize): usize {
  return y >= 0 && y < height ? plane + bytes * <usize>y : zeros;
}

/**
 * Bᵀ of the columns of a plane's lines from `y` on, `read` bytes of each, to four lines `pitch` bytes apart; what lies
 * left and right of the image is not written.
 */
export function columnsOfTwo(
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
  for (let j: usize = 0; j < read; j += 16) {
    j = min(j, read - 16);
    const p = v128.load(b + j);
    const q = v128.load(c + j);
    const q0 = to + j;
    const q2 = q0 + pitch + pitch;
    v128.store(q0, f32x4.sub(v128.load(a + j), q));
    v128.store(q0 + pitch, f32x4.add(p, q));
    v128.store(q2, f32x4.sub(q, p));
    v128.store(q2 + pitch, f32x4.sub(p, v128.load(d + j)));
  }
}

/** Bᵀ of the rows, from the lines of `columnsOfTwo` to one channel's row of the matrices; `across` bytes of each. */
export function rowsOfTwo(across: usize, from: usize, pitch: usize, to: usize, matrix: usize): void {
  const matrix2 = matrix << 1;
  for (let i = 0; i < 4; i++) {
    for (let x: usize = 0; x < across; x += 16) {
      x = min(x, across - 16);
      const p = from + (x << 1);
      let u = v128.load(p);
      let v = v128.load(p, 16);
      const a = evens(u, v);
      const b = odds(u, v);
      u = v128.load(p, 8);
      v = v128.load(p, 24);
      const c = evens(u, v);
      const d = odds(u, v);
      const q = to + x;
      const q2 = q + matrix2;
      v128.store(q, f32x4.sub(a, c));
      v128.store(q + matrix, f32x4.add(b, c));
      v128.store(q2, f32x4.sub(c, b));
      v128.store(q2 + matrix, f32x4.sub(b, d));
    }
    to += matrix2 << 1;
    from += pitch;
  }
}

/** Aᵀ of a column, its first element. */
// @ts-ignore: decorator
@inline
function upper(a: v128, b: v128, c: v128): v128 {
  return f32x4.add(f32x4.add(a, b), c);
}

/** Aᵀ of a column, its second element. */
// @ts-ignore: decorator
@inline
function lower(b: v128, c: v128, d: v128): v128 {
  return f32x4.sub(f32x4.sub(b, c), d);
}

/** Eight elements of a line, of which an odd line lacks the last. */
// @ts-ignore: decorator
@inline
function storeLine(at: usize, even: v128, odd: v128, lacks: bool): void {
  const a = interleaveLow(even, odd);
  const b = interleaveHigh(even, odd);
  v128.store(at, a);
  if (lacks) {
    v128.store(at, i8x16.shuffle(a, b, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27), 12);
  } else {
    v128.store(at, b, 16);
  }
}

/** Aᵀ·m·A of a line of tiles at `from` to the plane's lines from `y` on, or to `spare`. */
export function backOfTwo(
  across: usize,
  from: usize,
  matrix: usize,
  plane: usize,
  y: i32,
  height: i32,
  width: i32,
  spare: usize,
): void {
  const bytes = (<usize>width) << 2;
  const isOdd = (width & 1) !== 0;
  const matrix4 = matrix << 2;
  const y0 = plane + bytes * <usize>y;
  const y1 = y + 1 < height ? y0 + bytes : spare;
  for (let x: usize = 0; x < across; x += 16) {
    x = min(x, across - 16);
    const lacks = isOdd && x + 16 === across;
    let p = from + x;
    let a = v128.load(p);
    let b = v128.load(p + matrix4);
    let c = v128.load(p + (matrix << 3));
    let d = v128.load(p + matrix4 + (matrix << 3));
    const u0 = upper(a, b, c);
    const l0 = lower(b, c, d);
    p += matrix;
    a = v128.load(p);
    b = v128.load(p + matrix4);
    c = v128.load(p + (matrix << 3));
    d = v128.load(p + matrix4 + (matrix << 3));
    const u1 = upper(a, b, c);
    const l1 = lower(b, c, d);
    p += matrix;
    a = v128.load(p);
    b = v128.load(p + matrix4);
    c = v128.load(p + (matrix << 3));
    d = v128.load(p + matrix4 + (matrix << 3));
    const u2 = upper(a, b, c);
    const l2 = lower(b, c, d);
    p += matrix;
    a = v128.load(p);
    b = v128.load(p + matrix4);
    c = v128.load(p + (matrix << 3));
    d = v128.load(p + matrix4 + (matrix << 3));
    storeLine(y0 + (x << 1), upper(u0, u1, u2), lower(u1, u2, upper(a, b, c)), lacks);
    storeLine(y1 + (x << 1), upper(l0, l1, l2), lower(l1, l2, lower(b, c, d)), lacks);
  }
}

/** Loads eight elements of a line, of which an odd line lacks the last: there is a 0 then. */
// @ts-ignore: decorator
@inline
function loadSecond(at: usize, lacks: bool): v128 {
  if (!lacks) return v128.load(at, 16);
  const shift = v128.load(at, 12);
  return i8x16.shuffle(shift, f32x4.splat(0), 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19);
}

/** G' of a row, without the halves, as four matrices' elements. */
// @ts-ignore: decorator
@inline
function storeGradient(at: usize, matrix: usize, even: v128, odd: v128): void {
  const at2 = at + (matrix << 1);
  v128.store(at, even);
  v128.store(at + matrix, f32x4.add(even, odd));
  v128.store(at2, f32x4.sub(even, odd));
  v128.store(at2 + matrix, odd);
}

/** G'·y·G'ᵀ, without the halves, of the plane's lines from `y` on, to a line of tiles at `to`. */
export function outputOfTwo(
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
  const isOdd = (width & 1) !== 0;
  const matrix4 = matrix << 2;
  const top = plane + bytes * <usize>y;
  const bottom = lineOr(zeros, plane, y + 1, height, bytes);
  for (let x: usize = 0; x < across; x += 16) {
    x = min(x, across - 16);
    const lacks = isOdd && x + 16 === across;
    let u = v128.load(top + (x << 1));
    let v = loadSecond(top + (x << 1), lacks);
    const even0 = evens(u, v);
    const odd0 = odds(u, v);
    u = v128.load(bottom + (x << 1));
    v = loadSecond(bottom + (x << 1), lacks);
    const even1 = evens(u, v);
    const odd1 = odds(u, v);
    let p = to + x;
    storeGradient(p, matrix, even0, odd0);
    p += matrix4;
    storeGradient(p, matrix, f32x4.add(even0, even1), f32x4.add(odd0, odd1));
    p += matrix4;
    storeGradient(p, matrix, f32x4.sub(even0, even1), f32x4.sub(odd0, odd1));
    p += matrix4;
    storeGradient(p, matrix, even1, odd1);
  }
}
