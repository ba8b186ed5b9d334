/**
 * A 3×3 convolution of one channel with stride 1, which depthwise layers are made of: four lines at a time with all nine
 * weights in registers, so that an element is read three times in the place of nine. Each result is the sum in the order of
 * `conv-direct.ts`, to the bit.
 */
import { mulAdd } from "./simd";

/** Fewer lines than this are not for `sumNine`. */
// @ts-ignore: decorator
@inline
export const LINES: i32 = 4;

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
