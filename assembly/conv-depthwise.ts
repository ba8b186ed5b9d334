/**
 * A 3×3 convolution of one channel with stride 1, which depthwise layers are made of: four lines at a time with all nine
 * weights in registers, so that an element is read three times in the place of nine; and the gradient of its weights, with
 * nine sums in registers. Each result is the sum in the order of `conv-direct.ts`, to the bit.
 */
import { ConvField } from "../src/isa";
import { sumProducts } from "./conv-direct";
import { planeSize } from "./conv-source";
import { mulAdd } from "./simd";
import { word } from "./word";

/** Fewer lines than this are not for `sumNine`. */
const LINES: i32 = 4;

/** Whether a convolution of one channel is one of these. */
export function isNine(pc: usize): bool {
  let other = word(pc, ConvField.KernelSize) - 1;
  other |= (word(pc, ConvField.KernelSize + 1) ^ 3) | (word(pc, ConvField.KernelSize + 2) ^ 3);
  other |= (word(pc, ConvField.Stride + 1) - 1) | (word(pc, ConvField.Stride + 2) - 1);
  other |= planeSize(pc, 0) - 1;
  return other === 0 && planeSize(pc, 1) >= LINES * word(pc, ConvField.Dilation + 1);
}

/**
 * `count` (at least 4) lines of `width` (at least 4) results, `toLine` bytes apart:
 *
 *     to[i][j] = (…((bias + w[0]·s[i][0][j]) + w[1]·s[i][1][j]) + …) + w[8]·s[i][8][j]
 *
 * each step one `mulAdd`, where s[i][k][j] is the element at source + stepOffset[k] + i · line + 4 · j. It takes that a
 * row of taps further down is where a line further down is: stepOffset[k + 3] = stepOffset[k] + line. `line` and `toLine`
 * may be negative. Reads and writes exactly these elements, some twice: the last four lines and the last vector of a line
 * reach back over those before them.
 */
export function sumNine(
  count: i32,
  width: i32,
  weights: usize,
  bias: usize,
  stepOffsets: usize,
  source: usize,
  line: usize,
  to: usize,
  toLine: usize,
): void {
  const seed = bias === 0 ? f32x4.splat(0) : v128.load32_splat(bias);
  const w0 = v128.load32_splat(weights);
  const w1 = v128.load32_splat(weights, 4);
  const w2 = v128.load32_splat(weights, 8);
  const w3 = v128.load32_splat(weights, 12);
  const w4 = v128.load32_splat(weights, 16);
  const w5 = v128.load32_splat(weights, 20);
  const w6 = v128.load32_splat(weights, 24);
  const w7 = v128.load32_splat(weights, 28);
  const w8 = v128.load32_splat(weights, 32);
  const bytes = (<usize>width) << 2;
  const left = source + <usize>load<u32>(stepOffsets);
  const middle = <usize>load<u32>(stepOffsets, 4) - <usize>load<u32>(stepOffsets);
  const right = <usize>load<u32>(stepOffsets, 8) - <usize>load<u32>(stepOffsets);
  for (let i = 0; i < count; i += LINES) {
    i = min(i, count - LINES);
    const from = left + line * <usize>i;
    const out = to + toLine * <usize>i;
    for (let j: usize = 0; j < bytes; j += 16) {
      j = min(j, bytes - 16);
      let at = from + j;
      let s = v128.load(at);
      let a = mulAdd(w0, s, seed);
      s = v128.load(at + middle);
      a = mulAdd(w1, s, a);
      s = v128.load(at + right);
      a = mulAdd(w2, s, a);
      at += line;
      s = v128.load(at);
      a = mulAdd(w3, s, a);
      let b = mulAdd(w0, s, seed);
      s = v128.load(at + middle);
      a = mulAdd(w4, s, a);
      b = mulAdd(w1, s, b);
      s = v128.load(at + right);
      a = mulAdd(w5, s, a);
      b = mulAdd(w2, s, b);
      at += line;
      s = v128.load(at);
      a = mulAdd(w6, s, a);
      b = mulAdd(w3, s, b);
      let c = mulAdd(w0, s, seed);
      s = v128.load(at + middle);
      a = mulAdd(w7, s, a);
      b = mulAdd(w4, s, b);
      c = mulAdd(w1, s, c);
      s = v128.load(at + right);
      a = mulAdd(w8, s, a);
      b = mulAdd(w5, s, b);
      c = mulAdd(w2, s, c);
      let q = out + j;
      v128.store(q, a);
      at += line;
      s = v128.load(at);
      b = mulAdd(w6, s, b);
      c = mulAdd(w3, s, c);
      let d = mulAdd(w0, s, seed);
      s = v128.load(at + middle);
      b = mulAdd(w7, s, b);
      c = mulAdd(w4, s, c);
      d = mulAdd(w1, s, d);
      s = v128.load(at + right);
      b = mulAdd(w8, s, b);
      c = mulAdd(w5, s, c);
      d = mulAdd(w2, s, d);
      q += toLine;
      v128.store(q, b);
      at += line;
      s = v128.load(at);
      c = mulAdd(w6, s, c);
      d = mulAdd(w3, s, d);
      s = v128.load(at + middle);
      c = mulAdd(w7, s, c);
      d = mulAdd(w4, s, d);
      s = v128.load(at + right);
      c = mulAdd(w8, s, c);
      d = mulAdd(w5, s, d);
      q += toLine;
      v128.store(q, c);
      at += line;
      s = v128.load(at);
      d = mulAdd(w6, s, d);
      s = v128.load(at + middle);
      d = mulAdd(w7, s, d);
      s = v128.load(at + right);
      d = mulAdd(w8, s, d);
      v128.store(q + toLine, d);
    }
  }
}

/**
 * What `sumProducts` adds for one output and nine steps, where a row of taps further down is a line further down of the
 * source and its taps are neighbours: with what a line of the source meets in three lines of y, it is read three times in
 * the place of nine. There are at least 3 lines.
 */
export function sumNineProducts(
  stepOffsets: usize,
  lines: i32,
  lineOffsets: usize,
  width: i32,
  source: usize,
  y: usize,
  sums: usize,
): void {
  const bytes = (<usize>width) << 2;
  const second = stepOffsets + 12;
  const third = stepOffsets + 24;
  const inner = lines - 2;
  const end = lineOffsets + ((<usize>inner) << 2);
  const yEnd = y + bytes * <usize>inner;
  sumProducts(false, 1, 3, stepOffsets, 2, lineOffsets, width, source, y, 0, sums, 0);
  sumProducts(false, 1, 3, second, 1, lineOffsets, width, source, y, 0, sums + 48, 0);
  sumInner(inner, load<u32>(lineOffsets, 4), width, source + <usize>load<u32>(third), y, sums);
  sumProducts(false, 1, 3, second, 1, end + 4, width, source, yEnd + bytes, 0, sums + 48, 0);
  sumProducts(false, 1, 3, third, 2, end, width, source, yEnd, 0, sums + 96, 0);
}

/** Of `lines` lines of the source, `line` bytes apart, that meet all rows of taps: the last of them in the line at `y`. */
function sumInner(lines: i32, line: usize, width: i32, source: usize, y: usize, sums: usize): void {
  const bytes = (<usize>width) << 2;
  const whole = bytes & ~15;
  const last = bytes - 16;
  const rest = i32x4.ge_s(i32x4(0, 1, 2, 3), i32x4.splat(4 - (width & 3)));
  let x0 = v128.load(sums);
  let x1 = v128.load(sums, 16);
  let x2 = v128.load(sums, 32);
  let x3 = v128.load(sums, 48);
  let x4 = v128.load(sums, 64);
  let x5 = v128.load(sums, 80);
  let x6 = v128.load(sums, 96);
  let x7 = v128.load(sums, 112);
  let x8 = v128.load(sums, 128);
  for (; lines > 0; lines--) {
    const y1 = y + bytes;
    const y0 = y1 + bytes;
    for (let j: usize = 0; j < whole; j += 16) {
      const u = v128.load(y0 + j);
      const v = v128.load(y1 + j);
      const w = v128.load(y + j);
      let s = v128.load(source + j);
      x0 = mulAdd(u, s, x0);
      x3 = mulAdd(v, s, x3);
      x6 = mulAdd(w, s, x6);
      s = v128.load(source + j, 4);
      x1 = mulAdd(u, s, x1);
      x4 = mulAdd(v, s, x4);
      x7 = mulAdd(w, s, x7);
      s = v128.load(source + j, 8);
      x2 = mulAdd(u, s, x2);
      x5 = mulAdd(v, s, x5);
      x8 = mulAdd(w, s, x8);
    }
    if (whole < bytes) {
      const u = v128.and(v128.load(y0 + last), rest);
      const v = v128.and(v128.load(y1 + last), rest);
      const w = v128.and(v128.load(y + last), rest);
      let s = v128.and(v128.load(source + last), rest);
      x0 = mulAdd(u, s, x0);
      x3 = mulAdd(v, s, x3);
      x6 = mulAdd(w, s, x6);
      s = v128.and(v128.load(source + last, 4), rest);
      x1 = mulAdd(u, s, x1);
      x4 = mulAdd(v, s, x4);
      x7 = mulAdd(w, s, x7);
      s = v128.and(v128.load(source + last, 8), rest);
      x2 = mulAdd(u, s, x2);
      x5 = mulAdd(v, s, x5);
      x8 = mulAdd(w, s, x8);
    }
    source += line;
    y = y1;
  }
  v128.store(sums, x0);
  v128.store(sums, x1, 16);
  v128.store(sums, x2, 32);
  v128.store(sums, x3, 48);
  v128.store(sums, x4, 64);
  v128.store(sums, x5, 80);
  v128.store(sums, x6, 96);
  v128.store(sums, x7, 112);
  v128.store(sums, x8, 128);
}
