/** Rows moved to mean 0 and variance 1 (layer norm), or to mean square 1 (RMS norm), and their gradients. */
import { RowBlock, RowsField } from "../src/isa";
import { CHUNK, element, headOf, loadTail, storeTail, sumOf, Term, total } from "./rows-vector";
import { mulAdd } from "./simd";
import { address, word } from "./word";

@unmanaged export class Sum extends Term {
  @inline apply(x: v128, y: v128, p: v128, q: v128): v128 { return x; }
}
/** (x - p)² */
@unmanaged export class Deviation extends Term {
  @inline apply(x: v128, y: v128, p: v128, q: v128): v128 {
    const d = f32x4.sub(x, p);
    return f32x4.mul(d, d);
  }
}

/** The mean of the row at `x`, in every lane: 0 where it is not subtracted. */
// @ts-ignore: decorator
@inline
function meanOf(centered: bool, x: usize, length: i32): v128 {
  const zero = f32x4.splat(0);
  return centered ? f32x4.splat(<f32>(sumOf<Sum>(x, x, 0, length, zero, zero) / <f64>length)) : zero;
}

/** 1 / √(mean((x - mean)²) + eps), in every lane, rounded once. */
// @ts-ignore: decorator
@inline
function scaleOf(x: usize, length: i32, mean: v128, eps: f32): v128 {
  const variance = sumOf<Deviation>(x, x, 0, length, mean, mean) / <f64>length;
  return f32x4.splat(<f32>(1 / Math.sqrt(variance + <f64>eps)));
}

/**
 * A parameter of the rows: one element for each column, or (stride 0) one for all, which then goes to the 16 bytes at
 * `cell` to be read again and again.
 */
// @ts-ignore: decorator
@inline
function parameter(at: usize, stride: i32, cell: usize): usize {
  if (stride !== 0) return at;
  v128.store(cell, v128.load32_splat(at));
  return cell;
}

/** Rows [first, end) of x̂·weight + bias, x̂ = (x - mean)·scale. */
export function normRows(pc: usize, scratch: usize, centered: bool, first: i32, end: i32): void {
  const length = word(pc, RowsField.Length);
  const eps = reinterpret<f32>(word(pc, RowsField.Parameter));
  const weightStride = word(pc, RowsField.WeightStride);
  const biasStride = word(pc, RowsField.BiasStride);
  const weight = parameter(address(pc, RowsField.Weight), weightStride, scratch);
  const bias = parameter(address(pc, RowsField.Bias), biasStride, scratch + 16);
  const weightStep = <usize>(weightStride << 4);
  const biasStep = <usize>(biasStride << 4);
  for (let row = first; row < end; row++) {
    let x = element(address(pc, RowsField.A), row * length);
    let out = element(address(pc, RowsField.Out), row * length);
    const mean = meanOf(centered, x, length);
    const scale = scaleOf(x, length, mean, eps);
    let w = weight;
    let b = bias;
    let left = length;
    for (; left >= 4; left -= 4) {
      const normal = f32x4.mul(f32x4.sub(v128.load(x), mean), scale);
      v128.store(out, mulAdd(normal, v128.load(w), v128.load(b)));
      x += 16;
      out += 16;
      w += weightStep;
      b += biasStep;
    }
    if (left > 0) {
      const normal = f32x4.mul(f32x4.sub(loadTail(x, left, mean), mean), scale);
      storeTail(out, mulAdd(normal, loadTail(w, left, mean), loadTail(b, left, mean)), left);
    }
  }
}

/** Sums of a row of gradients: Σ a in lane 0 and Σ a·x̂ in lane 1, with a = g·weight. */
export function gradientSums(x: usize, g: usize, w: usize, wStep: usize, length: i32, mean: v128, scale: v128): v128 {
  let sum: f64 = 0;
  let product: f64 = 0;
  for (let rest = length; rest > 0; rest -= CHUNK) {
    let left = min(rest, CHUNK);
    let s0 = f32x4.splat(0);
    let s1 = s0;
    let p0 = s0;
    let p1 = s0;
    for (; left >= 8; left -= 8) {
      const a0 = f32x4.mul(v128.load(g), v128.load(w));
      w += wStep;
      const a1 = f32x4.mul(v128.load(g, 16), v128.load(w));
      w += wStep;
      s0 = f32x4.add(s0, a0);
      s1 = f32x4.add(s1, a1);
      p0 = mulAdd(a0, f32x4.mul(f32x4.sub(v128.load(x), mean), scale), p0);
      p1 = mulAdd(a1, f32x4.mul(f32x4.sub(v128.load(x, 16), mean), scale), p1);
      x += 32;
      g += 32;
    }
    if (left >= 4) {
      const a = f32x4.mul(v128.load(g), v128.load(w));
      w += wStep;
      s0 = f32x4.add(s0, a);
      p0 = mulAdd(a, f32x4.mul(f32x4.sub(v128.load(x), mean), scale), p0);
      x += 16;
      g += 16;
      left -= 4;
    }
    if (left > 0) {
      const zero = f32x4.splat(0);
      const a = headOf(f32x4.mul(loadTail(g, left, zero), loadTail(w, left, zero)), left);
      s1 = f32x4.add(s1, a);
      p1 = mulAdd(a, f32x4.mul(f32x4.sub(loadTail(x, left, mean), mean), scale), p1);
    }
    sum += total(f32x4.add(s0, s1));
    product += total(f32x4.add(p0, p1));
  }
  return f64x2.replace_lane(f64x2.splat(sum), 1, product);
}

/** Rows [first, end) of scale·(a - mean(a) - x̂·mean(a·x̂)), a = g·weight; mean(a) only where x's was subtracted. */
export function normGradientRows(pc: usize, scratch: usize, centered: bool, first: i32, end: i32): void {
  const length = word(pc, RowsField.Length);
  const eps = reinterpret<f32>(word(pc, RowsField.Parameter));
  const weightStride = word(pc, RowsField.WeightStride);
  const weight = parameter(address(pc, RowsField.Weight), weightStride, scratch);
  const weightStep = <usize>(weightStride << 4);
  for (let row = first; row < end; row++) {
    let x = element(address(pc, RowsField.A), row * length);
    let g = element(address(pc, RowsField.B), row * length);
    let out = element(address(pc, RowsField.Out), row * length);
    const mean = meanOf(centered, x, length);
    const scale = scaleOf(x, length, mean, eps);
    const sums = gradientSums(x, g, weight, weightStep, length, mean, scale);
    const level = f32x4.splat(centered ? <f32>(f64x2.extract_lane(sums, 0) / <f64>length) : 0);
    const slope = f32x4.splat(<f32>(f64x2.extract_lane(sums, 1) / <f64>length));
    let w = weight;
    let left = length;
    for (; left >= 4; left -= 4) {
      const a = f32x4.mul(v128.load(g), v128.load(w));
      v128.store(out, pulled(a, v128.load(x), mean, scale, level, slope));
      x += 16;
      g += 16;
      out += 16;
      w += weightStep;
    }
    if (left > 0) {
      const a = f32x4.mul(loadTail(g, left, mean), loadTail(w, left, mean));
      storeTail(out, pulled(a, loadTail(x, left, mean), mean, scale, level, slope), left);
    }
  }
}

// @ts-ignore: decorator
@inline
function pulled(a: v128, x: v128, mean: v128, scale: v128, level: v128, slope: v128): v128 {
  const normal = f32x4.mul(f32x4.sub(x, mean), scale);
  return f32x4.mul(scale, f32x4.sub(f32x4.sub(a, level), f32x4.mul(normal, slope)));
}

/**
 * Row `block` of the output: Σ g·x̂ down each column of one block of rows, added up in f32 from the first row on. Fixed
 * blocks, so that the result does not depend on the threads; a Reduce adds them up.
 */
export function normWeightBlock(pc: usize, centered: bool, block: i32): void {
  const length = word(pc, RowsField.Length);
  const eps = reinterpret<f32>(word(pc, RowsField.Parameter));
  const start = element(address(pc, RowsField.Out), block * length);
  const first = block * RowBlock.Rows;
  const end = min(first + RowBlock.Rows, word(pc, RowsField.Count));
  for (let row = first; row < end; row++) {
    let x = element(address(pc, RowsField.A), row * length);
    let g = element(address(pc, RowsField.B), row * length);
    const mean = meanOf(centered, x, length);
    const scale = scaleOf(x, length, mean, eps);
    const zero = f32x4.splat(0);
    let out = start;
    let left = length;
    for (; left >= 4; left -= 4) {
      const before = row === first ? zero : v128.load(out);
      v128.store(out, mulAdd(v128.load(g), f32x4.mul(f32x4.sub(v128.load(x), mean), scale), before));
      x += 16;
      g += 16;
      out += 16;
    }
    if (left > 0) {
      const before = row === first ? zero : loadTail(out, left, zero);
      const normal = f32x4.mul(f32x4.sub(loadTail(x, left, mean), mean), scale);
      storeTail(out, mulAdd(loadTail(g, left, zero), normal, before), left);
    }
  }
}
