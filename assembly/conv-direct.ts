/** Convolution without gathering, for the few output channels of a group that a depthwise layer has. */
import { mulAdd } from "./simd";

/**
 * `rows` output channels, each of `lines` lines of `width` adjacent elements (at least 4) whose neighbours are adjacent
 * in the source too:
 *
 *     to[i][line][j] = (…(bias[i] + a[i][0]·s[0]) + …) + a[i][steps-1]·s[steps-1],  s[k] = source at lineOffset + stepOffset[k] + j
 *
 * in exactly this order, each step one `mulAdd`. `a` has rows of `steps` floats, the planes of `to` are `plane` bytes
 * apart; bias may be 0 for none. Reads and writes exactly these elements. The last vector of a line reaches back over
 * the one before it and writes the same values again, so a line needs no tail.
 */
export function sumNeighbours(
  rows: i32,
  steps: i32,
  a: usize,
  bias: usize,
  stepOffsets: usize,
  lines: i32,
  lineOffsets: usize,
  width: i32,
  source: usize,
  to: usize,
  plane: usize,
): void {
  const lineBytes = (<usize>width) << 2;
  for (let i = 0; i < rows; i++) {
    const seed = bias === 0 ? f32x4.splat(0) : v128.load32_splat(bias + ((<usize>i) << 2));
    const weights = a + ((<usize>(i * steps)) << 2);
    for (let line = 0; line < lines; line++) {
      const from = source + <usize>load<u32>(lineOffsets + ((<usize>line) << 2));
      const out = to + plane * <usize>i + lineBytes * <usize>line;
      let j: usize = 0;
      for (; j + 64 <= lineBytes; j += 64) {
        let x0 = seed;
        let x1 = seed;
        let x2 = seed;
        let x3 = seed;
        for (let k: usize = 0; k < (<usize>steps) << 2; k += 4) {
          const p = from + j + <usize>load<u32>(stepOffsets + k);
          const w = v128.load32_splat(weights + k);
          x0 = mulAdd(w, v128.load(p), x0);
          x1 = mulAdd(w, v128.load(p, 16), x1);
          x2 = mulAdd(w, v128.load(p, 32), x2);
          x3 = mulAdd(w, v128.load(p, 48), x3);
        }
        v128.store(out + j, x0);
        v128.store(out + j, x1, 16);
        v128.store(out + j, x2, 32);
        v128.store(out + j, x3, 48);
      }
      while (j < lineBytes) {
        if (j + 16 > lineBytes) j = lineBytes - 16;
        let x = seed;
        for (let k: usize = 0; k < (<usize>steps) << 2; k += 4) {
          const p = from + j + <usize>load<u32>(stepOffsets + k);
          x = mulAdd(v128.load32_splat(weights + k), v128.load(p), x);
        }
        v128.store(out + j, x);
        j += 16;
      }
    }
  }
}
