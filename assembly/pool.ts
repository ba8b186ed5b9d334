/**
 * Pooling: the largest element or the average of every window, where the largest one is, and both gradients.
 *
 * Contract: buffers are contiguous f32 (indices i32), the written one overlaps no other; they are read and written
 * exactly, at any alignment. Every window holds at least one element of the plane. The largest is the first of equals, of
 * which -0 and 0 are, or the first NaN. An average is the sum from 0 in row-major order,
 * rounded at each step, then divided; |error| ≤ n·2⁻²⁴·Σ|x| / divisor over n elements. Gradients add up in rising order
 * of windows. Threads take whole planes, so bits do not depend on how many there are.
 *
 * Four windows at a time where they are all inside of the line; the others one by one.
 */
import { PoolField, PoolMode } from "../src/isa";
import { clear } from "./gemm-pack";
import { maxHalves, maxHalvesGradient, takesOver } from "./pool-halves";
import { address, shareStart, word } from "./word";

/** First index of window `o` in dimension `d` that is inside. */
function windowStart(pc: usize, d: i32, o: i32): i32 {
  if (word(pc, PoolField.KernelSize) === 0) {
    return <i32>((<i64>o * <i64>word(pc, PoolField.ImageSize + d)) / <i64>word(pc, PoolField.OutputSize + d));
  }
  const dilation = word(pc, PoolField.Dilation + d);
  const start = o * word(pc, PoolField.Stride + d) - word(pc, PoolField.Padding + d);
  return start >= 0 ? start : start + ((dilation - 1 - start) / dilation) * dilation;
}

/** Behind the last index of window `o` in dimension `d` that is inside. */
function windowEnd(pc: usize, d: i32, o: i32): i32 {
  const size = word(pc, PoolField.ImageSize + d);
  const kernel = word(pc, PoolField.KernelSize + d);
  if (kernel === 0) {
    const outputs = <i64>word(pc, PoolField.OutputSize + d);
    return <i32>(((<i64>o + 1) * <i64>size + outputs - 1) / outputs);
  }
  const start = o * word(pc, PoolField.Stride + d) - word(pc, PoolField.Padding + d);
  return min(size, start + (kernel - 1) * word(pc, PoolField.Dilation + d) + 1);
}

/** Elements of window `o` along dimension `d` that an average counts. */
function windowCount(pc: usize, d: i32, o: i32): i32 {
  const kernel = word(pc, PoolField.KernelSize + d);
  if (kernel === 0 || word(pc, PoolField.CountsPadding) === 0) return windowEnd(pc, d, o) - windowStart(pc, d, o);
  const padding = word(pc, PoolField.Padding + d);
  const start = o * word(pc, PoolField.Stride + d) - padding;
  return min(start + kernel, word(pc, PoolField.ImageSize + d) + padding) - start;
}

/** Four elements, `step` apart, the first at `at`. Reads nothing behind the last one. */
// @ts-ignore: decorator
@inline
function loadFour(at: usize, step: usize): v128 {
  if (step === 4) return v128.load(at);
  if (step === 8) {
    return i8x16.shuffle(v128.load(at), v128.load(at, 12), 0, 1, 2, 3, 8, 9, 10, 11, 20, 21, 22, 23, 28, 29, 30, 31);
  }
  let v = v128.load_zero<u32>(at);
  v = v128.load_lane<u32>(at + step, v, 1);
  v = v128.load_lane<u32>(at + (step << 1), v, 2);
  return v128.load_lane<u32>(at + step * 3, v, 3);
}

/** dst[i] += value for `count` adjacent elements. */
function addToRow(to: usize, count: i32, value: f32): void {
  const four = f32x4.splat(value);
  for (; count >= 4; count -= 4) {
    v128.store(to, f32x4.add(v128.load(to), four));
    to += 16;
  }
  for (; count > 0; count--) {
    store<f32>(to, load<f32>(to) + value);
    to += 4;
  }
}

/** Adds the element at `from` to the one of the plane at `to` that has number `index`. */
// @ts-ignore: decorator
@inline
function addAt(to: usize, index: i32, from: usize): void {
  const at = to + ((<usize>index) << 2);
  store<f32>(at, load<f32>(at) + load<f32>(from));
}

/** Windows of one line of outputs that are inside of the image's lines from end to end: from the first of them on … */
function firstInside(pc: usize): i32 {
  const stride = word(pc, PoolField.Stride + 2);
  return (word(pc, PoolField.Padding + 2) + stride - 1) / stride;
}

/** … to before this one. None where windows adapt. */
function endInside(pc: usize): i32 {
  const kernel = word(pc, PoolField.KernelSize + 2);
  if (kernel === 0) return 0;
  const room = word(pc, PoolField.ImageSize + 2) + word(pc, PoolField.Padding + 2);
  const last = room - 1 - (kernel - 1) * word(pc, PoolField.Dilation + 2);
  return last < 0 ? 0 : min(word(pc, PoolField.OutputSize + 2), last / word(pc, PoolField.Stride + 2) + 1);
}

/**
 * One line of the outputs' plane, number `y` of slice `z`; `out` is where the line starts. Inlined, so that a literal
 * mode makes a loop of its own.
 */
// @ts-ignore: decorator
@inline
function poolLine(pc: usize, mode: i32, z: i32, y: i32, out: usize, image: usize, gradient: usize): void {
  const height = word(pc, PoolField.ImageSize + 1);
  const width = word(pc, PoolField.ImageSize + 2);
  const stepZ = word(pc, PoolField.Dilation);
  const stepY = word(pc, PoolField.Dilation + 1);
  const stepX = word(pc, PoolField.Dilation + 2);
  const startZ = windowStart(pc, 0, z);
  const endZ = windowEnd(pc, 0, z);
  const startY = windowStart(pc, 1, y);
  const endY = windowEnd(pc, 1, y);
  const countZY = mode >= PoolMode.Average ? windowCount(pc, 0, z) * windowCount(pc, 1, y) : 0;
  const fixed = word(pc, PoolField.Divisor);
  const outputs = word(pc, PoolField.OutputSize + 2);
  const inside = firstInside(pc);
  const insideEnd = endInside(pc);
  const stride = word(pc, PoolField.Stride + 2);
  const strideBytes = (<usize>stride) << 2;
  const lanes = i32x4.mul(i32x4.splat(stride), i32x4(0, 1, 2, 3));

  const kernel = word(pc, PoolField.KernelSize + 2);
  const padding = word(pc, PoolField.Padding + 2);

  let x = 0;
  while (x < outputs) {
    const isInside = x >= inside && x < insideEnd;
    const startX = isInside ? x * stride - padding : windowStart(pc, 2, x);
    const endX = isInside ? startX + (kernel - 1) * stepX + 1 : windowEnd(pc, 2, x);
    const first = (startZ * height + startY) * width + startX;
    let divisor: f32 = 1;
    if (mode >= PoolMode.Average) {
      divisor = <f32>(fixed !== 0 ? fixed : countZY * (isInside ? kernel : windowCount(pc, 2, x)));
    }
    if (mode !== PoolMode.AverageGradient && isInside && x + 4 <= insideEnd) {
      let best = mode === PoolMode.Average ? f32x4.splat(0) : loadFour(image + ((<usize>first) << 2), strideBytes);
      let index = i32x4.add(i32x4.splat(first), lanes);
      for (let iz = startZ; iz < endZ; iz += stepZ) {
        for (let iy = startY; iy < endY; iy += stepY) {
          const line = (iz * height + iy) * width;
          for (let ix = startX; ix < endX; ix += stepX) {
            const v = loadFour(image + ((<usize>(line + ix)) << 2), strideBytes);
            if (mode === PoolMode.Average) {
              best = f32x4.add(best, v);
              continue;
            }
            const taken = takesOver(v, best);
            best = v128.bitselect(v, best, taken);
            if (mode !== PoolMode.Max) {
              index = v128.bitselect(i32x4.add(i32x4.splat(line + ix), lanes), index, taken);
            }
          }
        }
      }
      if (mode === PoolMode.Max) {
        v128.store(out, best);
      } else if (mode === PoolMode.Average) {
        v128.store(out, f32x4.div(best, f32x4.splat(divisor)));
      } else if (mode === PoolMode.MaxIndex) {
        v128.store(out, index);
      } else {
        addAt(gradient, i32x4.extract_lane(index, 0), out);
        addAt(gradient, i32x4.extract_lane(index, 1), out + 4);
        addAt(gradient, i32x4.extract_lane(index, 2), out + 8);
        addAt(gradient, i32x4.extract_lane(index, 3), out + 12);
      }
      x += 4;
      out += 16;
      continue;
    }
    let best: f32 = mode >= PoolMode.Average ? 0 : load<f32>(image + ((<usize>first) << 2));
    let index = first;
    for (let iz = startZ; iz < endZ; iz += stepZ) {
      for (let iy = startY; iy < endY; iy += stepY) {
        const line = (iz * height + iy) * width;
        if (mode === PoolMode.AverageGradient) {
          addToRow(gradient + ((<usize>(line + startX)) << 2), endX - startX, load<f32>(out) / divisor);
          continue;
        }
        for (let ix = startX; ix < endX; ix += stepX) {
          const v = load<f32>(image + ((<usize>(line + ix)) << 2));
          if (mode === PoolMode.Average) {
            best += v;
          } else if (v > best || (v !== v && best === best)) {
            best = v;
            index = line + ix;
          }
        }
      }
    }
    if (mode === PoolMode.Max) store<f32>(out, best);
    else if (mode === PoolMode.Average) store<f32>(out, best / divisor);
    else if (mode === PoolMode.MaxIndex) store<i32>(out, index);
    else if (mode === PoolMode.MaxGradient) addAt(gradient, index, out);
    x++;
    out += 4;
  }
}

/** Whether windows are 2×2, side by side, and four in a line. */
function isHalves(pc: usize): bool {
  let odd = word(pc, PoolField.KernelSize) - 1;
  for (let d = 1; d < 3; d++) {
    odd |= word(pc, PoolField.KernelSize + d) ^ 2;
    odd |= word(pc, PoolField.Stride + d) ^ 2;
    odd |= word(pc, PoolField.Padding + d) | (word(pc, PoolField.Dilation + d) ^ 1);
    // A last window that reaches over the end.
    odd |= word(pc, PoolField.ImageSize + d) < word(pc, PoolField.OutputSize + d) * 2 ? 1 : 0;
  }
  odd |= word(pc, PoolField.ImageSize) - 1;
  return odd === 0 && word(pc, PoolField.OutputSize + 2) >= 4;
}

function clearPlane(to: usize, bytes: usize): void {
  clear(to, bytes & ~15);
  for (let at = bytes & ~15; at < bytes; at += 4) store<f32>(to + at, 0);
}

/** Executes the Pool at `pc`: the planes that are the share of `thread`. */
export function pool(pc: usize, thread: i32, threads: i32): void {
  const mode = word(pc, PoolField.Mode);
  const depth = word(pc, PoolField.OutputSize);
  const height = word(pc, PoolField.OutputSize + 1);
  const width = word(pc, PoolField.OutputSize + 2);
  const line = (<usize>width) << 2;
  const outputPlane = <usize>(depth * height) * line;
  const imageLine = (<usize>word(pc, PoolField.ImageSize + 2)) << 2;
  const imagePlane = <usize>(word(pc, PoolField.ImageSize) * word(pc, PoolField.ImageSize + 1)) * imageLine;
  const halves = isHalves(pc);
  // Then windows cover the image, and its gradient is written rather than added up.
  const isCovered = halves && imagePlane === outputPlane << 2;
  const planes = word(pc, PoolField.Planes);
  const end = shareStart(planes, thread + 1, threads);
  for (let p = shareStart(planes, thread, threads); p < end; p++) {
    let out = address(pc, PoolField.Output) + outputPlane * <usize>p;
    const image = address(pc, PoolField.Image) + imagePlane * <usize>p;
    const gradient = address(pc, PoolField.Gradient) + imagePlane * <usize>p;
    if ((mode === PoolMode.MaxGradient && !isCovered) || mode === PoolMode.AverageGradient) {
      clearPlane(gradient, imagePlane);
    }
    if (halves && mode === PoolMode.Max) {
      maxHalves(height, width, image, imageLine, out);
      continue;
    }
    if (halves && mode === PoolMode.MaxGradient) {
      maxHalvesGradient(height, width, image, imageLine, out, gradient);
      continue;
    }
    for (let z = 0; z < depth; z++) {
      for (let y = 0; y < height; y++) {
        switch (mode) {
          case PoolMode.Max:
            poolLine(pc, PoolMode.Max, z, y, out, image, gradient);
            break;
          case PoolMode.MaxIndex:
            poolLine(pc, PoolMode.MaxIndex, z, y, out, image, gradient);
            break;
          case PoolMode.MaxGradient:
            poolLine(pc, PoolMode.MaxGradient, z, y, out, image, gradient);
            break;
          case PoolMode.Average:
            poolLine(pc, PoolMode.Average, z, y, out, image, gradient);
            break;
          default:
            poolLine(pc, PoolMode.AverageGradient, z, y, out, image, gradient);
        }
        out += line;
      }
    }
  }
}
