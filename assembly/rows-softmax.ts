/** Rows of exponentials against their sum: softmax, its logarithm, the cross entropy with it, and their gradients. */
import { expFalling, expScaled, log, scaledRounder } from "./math";
import { highHalves, interleaveHigh, interleaveLow } from "./lanes";
import { INFINITY, SIGN } from "./math-constants";
import { element, headOf, loadTail, storeTail, sumOf, Term, total } from "./rows-vector";

/** Exponentials that one vector adds up in f32 before it goes over to f64: fewer than elsewhere, as it is one alone. */
const CHUNK: i32 = 256;

/** The largest of `count` adjacent elements, in every lane. A NaN counts as nothing: it will show in the sum. */
export function maximum(at: usize, count: i32): v128 {
  const least = v128.or(INFINITY, SIGN);
  let a = least;
  if (count >= 16) {
    let b = least;
    let c = least;
    let d = least;
    do {
      a = f32x4.pmax(a, v128.load(at));
      b = f32x4.pmax(b, v128.load(at, 16));
      c = f32x4.pmax(c, v128.load(at, 32));
      d = f32x4.pmax(d, v128.load(at, 48));
      at += 64;
      count -= 16;
    } while (count >= 16);
    a = f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d));
  }
  for (; count >= 4; count -= 4) {
    a = f32x4.pmax(a, v128.load(at));
    at += 16;
  }
  if (count > 0) a = f32x4.pmax(a, loadTail(at, count, least));
  a = f32x4.pmax(a, v128.shuffle<i32>(a, a, 2, 3, 0, 1));
  return f32x4.pmax(a, v128.shuffle<i32>(a, a, 1, 0, 3, 2));
}

/** The largest of `count` adjacent elements in lane 0, the least in lane 1. A NaN counts as nothing. */
function extremes(at: usize, count: i32): v128 {
  const least = v128.or(INFINITY, SIGN);
  let a = least;
  let e = INFINITY;
  if (count >= 16) {
    let b = a;
    let c = a;
    let d = a;
    let f = e;
    let g = e;
    let h = e;
    do {
      const x0 = v128.load(at);
      const x1 = v128.load(at, 16);
      const x2 = v128.load(at, 32);
      const x3 = v128.load(at, 48);
      a = f32x4.pmax(a, x0);
      b = f32x4.pmax(b, x1);
      c = f32x4.pmax(c, x2);
      d = f32x4.pmax(d, x3);
      e = f32x4.pmin(e, x0);
      f = f32x4.pmin(f, x1);
      g = f32x4.pmin(g, x2);
      h = f32x4.pmin(h, x3);
      at += 64;
      count -= 16;
    } while (count >= 16);
    a = f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d));
    e = f32x4.pmin(f32x4.pmin(e, f), f32x4.pmin(g, h));
  }
  for (; count >= 4; count -= 4) {
    const x = v128.load(at);
    a = f32x4.pmax(a, x);
    e = f32x4.pmin(e, x);
    at += 16;
  }
  if (count > 0) {
    a = f32x4.pmax(a, loadTail(at, count, least));
    e = f32x4.pmin(e, loadTail(at, count, INFINITY));
  }
  const low = interleaveLow(a, e);
  const high = interleaveHigh(a, e);
  a = f32x4.pmax(low, high);
  e = f32x4.pmin(low, high);
  a = f32x4.pmax(a, highHalves(a, a));
  e = f32x4.pmin(e, highHalves(e, e));
  return v128.shuffle<i32>(a, e, 0, 5, 0, 5);
}

/** Exponentials of a row's elements over that of a number p: a type without fields, as a `Term`. */
@unmanaged
abstract class Exponential {
  abstract apply(x: v128, p: v128): v128;
}
/** e^(x - p), no x above p. */
@unmanaged class Falling extends Exponential {
  @inline apply(x: v128, p: v128): v128 { return expFalling(f32x4.sub(x, p)); }
}
/** e^x over a power of two of which p is the rounder: less to compute, where that is enough. */
@unmanaged class PowerScaled extends Exponential {
  @inline apply(x: v128, p: v128): v128 { return expScaled(x, p); }
}

/**
 * The sum of a row's exponentials; with `keeps` the terms go to `out`, which may be where x is. What lies `ahead`
 * bytes further is touched on the way: the next row comes into the cache while this one is computed. Four vectors, a
 * cache line, one after the other: an engine keeps the constants in registers meanwhile.
 */
// @ts-ignore: decorator
@inline
function exponentialsBy<E extends Exponential>(
  keeps: bool,
  out: usize,
  x: usize,
  count: i32,
  p: v128,
  ahead: usize,
): f64 {
  const exponential = changetype<E>(0);
  let sum: f64 = 0;
  while (true) {
    const part = min(count, CHUNK);
    let left = part;
    let lanes = f32x4.splat(0);
    for (; left >= 16; left -= 16) {
      load<u8>(x + ahead);
      if (keeps) load<u8>(out + ahead);
      const e0 = exponential.apply(v128.load(x), p);
      lanes = f32x4.add(lanes, e0);
      if (keeps) v128.store(out, e0);
      const e1 = exponential.apply(v128.load(x, 16), p);
      lanes = f32x4.add(lanes, e1);
      if (keeps) v128.store(out, e1, 16);
      const e2 = exponential.apply(v128.load(x, 32), p);
      lanes = f32x4.add(lanes, e2);
      if (keeps) v128.store(out, e2, 32);
      const e3 = exponential.apply(v128.load(x, 48), p);
      lanes = f32x4.add(lanes, e3);
      if (keeps) {
        v128.store(out, e3, 48);
        out += 64;
      }
      x += 64;
    }
    for (; left >= 4; left -= 4) {
      const e = exponential.apply(v128.load(x), p);
      lanes = f32x4.add(lanes, e);
      if (keeps) {
        v128.store(out, e);
        out += 16;
      }
      x += 16;
    }
    if (left > 0) {
      const e = exponential.apply(loadTail(x, left, p), p);
      lanes = f32x4.add(lanes, headOf(e, left));
      if (keeps) storeTail(out, e, left);
    }
    sum += total(lanes);
    count -= part;
    if (count === 0) return sum;
  }
}

/** Σ e^(x - shift) over `count` adjacent elements, none above the shift. */
function sumOfExponentials(x: usize, count: i32, shift: v128, ahead: usize): f64 {
  return exponentialsBy<Falling>(false, 0, x, count, shift, ahead);
}

/** As `sumOfExponentials`; the terms go to `out`, which may be where x is. */
export function exponentials(out: usize, x: usize, count: i32, shift: v128, ahead: usize = 0): f64 {
  return exponentialsBy<Falling>(true, out, x, count, shift, ahead);
}

/** As `exponentials`, over a power of two; see `expScaled`. */
function scaledExponentials(out: usize, x: usize, count: i32, rounder: v128, ahead: usize): f64 {
  return exponentialsBy<PowerScaled>(true, out, x, count, rounder, ahead);
}

/** log(sum), in every lane. */
function logOf(sum: f64): v128 {
  return log(f32x4.splat(<f32>sum));
}

/** What makes an output element of two input elements: a type without fields, as a `Term`. */
@unmanaged
abstract class Pointwise {
  abstract apply(x: v128, y: v128, p: v128, q: v128): v128;
}

/** out[i] = f(x[i], y[i], p, q), element by element; out may be where x or y is. */
// @ts-ignore: decorator
@inline
function mapRow<T extends Pointwise>(out: usize, x: usize, y: usize, count: i32, p: v128, q: v128): void {
  for (; count >= 16; count -= 16) {
    v128.store(out, changetype<T>(0).apply(v128.load(x), v128.load(y), p, q));
    v128.store(out, changetype<T>(0).apply(v128.load(x, 16), v128.load(y, 16), p, q), 16);
    v128.store(out, changetype<T>(0).apply(v128.load(x, 32), v128.load(y, 32), p, q), 32);
    v128.store(out, changetype<T>(0).apply(v128.load(x, 48), v128.load(y, 48), p, q), 48);
    out += 64;
    x += 64;
    y += 64;
  }
  for (; count >= 4; count -= 4) {
    v128.store(out, changetype<T>(0).apply(v128.load(x), v128.load(y), p, q));
    out += 16;
    x += 16;
    y += 16;
  }
  if (count > 0) {
    storeTail(out, changetype<T>(0).apply(loadTail(x, count, p), loadTail(y, count, p), p, q), count);
  }
}

@unmanaged class Scaled extends Pointwise {
  @inline apply(x: v128, y: v128, p: v128, q: v128): v128 { return f32x4.mul(x, p); }
}
/** x·p + q */
@unmanaged class Affine extends Pointwise {
  @inline apply(x: v128, y: v128, p: v128, q: v128): v128 { return f32x4.add(f32x4.mul(x, p), q); }
}
/** x - p - q */
@unmanaged class Lower extends Pointwise {
  @inline apply(x: v128, y: v128, p: v128, q: v128): v128 { return f32x4.sub(f32x4.sub(x, p), q); }
}
/** y·(x - p): the gradient of a softmax y, where x is that of its result and p their product's sum. */
@unmanaged class SoftmaxPull extends Pointwise {
  @inline apply(x: v128, y: v128, p: v128, q: v128): v128 { return f32x4.mul(y, f32x4.sub(x, p)); }
}
/** x - p·e^y */
@unmanaged class LogSoftmaxPull extends Pointwise {
  @inline apply(x: v128, y: v128, p: v128, q: v128): v128 { return f32x4.sub(x, f32x4.mul(p, expFalling(y))); }
}
@unmanaged class First extends Term {
  @inline apply(x: v128, y: v128, p: v128, q: v128): v128 { return x; }
}
@unmanaged class Product extends Term {
  @inline apply(x: v128, y: v128, p: v128, q: v128): v128 { return f32x4.mul(x, y); }
}
@unmanaged class Difference extends Term {
  @inline apply(x: v128, y: v128, p: v128, q: v128): v128 { return f32x4.sub(x, p); }
}

/** out = x·factor; out may be where x is. */
export function scale(out: usize, x: usize, count: i32, factor: f32): void {
  const lanes = f32x4.splat(factor);
  mapRow<Scaled>(out, x, x, count, lanes, lanes);
}

/** Largest magnitude of a row's greatest element, and how far below it the least may lie, that `expScaled` takes. */
const SCALED_GREATEST: f32 = 400;
const SCALED_SPAN: f32 = 80;

/**
 * `ahead` bytes further lies the next row, of the input and of the output. Most rows need no shift but a power of two,
 * which the exponential takes with its own: a row takes 0.9 of the time.
 */
export function softmaxRow(out: usize, x: usize, count: i32, ahead: usize): void {
  const ends = extremes(x, count);
  const greatest = f32x4.extract_lane(ends, 0);
  const shift = f32x4.splat(greatest);
  const isOrdinary = abs(greatest) <= SCALED_GREATEST && f32x4.extract_lane(ends, 1) >= greatest - SCALED_SPAN;
  const sum = isOrdinary
    ? scaledExponentials(out, x, count, scaledRounder(shift), ahead)
    : exponentials(out, x, count, shift, ahead);
  scale(out, out, count, <f32>(1 / sum));
}

/** As `softmaxRow`. */
export function logSoftmaxRow(out: usize, x: usize, count: i32, ahead: usize): void {
  const shift = maximum(x, count);
  mapRow<Lower>(out, x, x, count, shift, logOf(sumOfExponentials(x, count, shift, ahead)));
}

/** out = y·(g - Σ g·y), y the softmax; out may be where g is. */
export function softmaxGradientRow(out: usize, y: usize, g: usize, count: i32): void {
  const zero = f32x4.splat(0);
  const sum = f32x4.splat(<f32>sumOf<Product>(g, y, 16, count, zero, zero));
  mapRow<SoftmaxPull>(out, g, y, count, sum, sum);
}

export function logSoftmaxGradientRow(out: usize, y: usize, g: usize, count: i32): void {
  const zero = f32x4.splat(0);
  const sum = f32x4.splat(<f32>sumOf<First>(g, g, 0, count, zero, zero));
  mapRow<LogSoftmaxPull>(out, g, y, count, sum, sum);
}

/** log Σ e^x - (1 - smoothing)·x[target] - smoothing·mean(x). */
export function crossEntropyRow(x: usize, count: i32, target: i32, smoothing: f32, ahead: usize): f32 {
  const shift = maximum(x, count);
  const logSum = f32x4.extract_lane(logOf(sumOfExponentials(x, count, shift, ahead)), 0);
  const picked = load<f32>(element(x, target)) - f32x4.extract_lane(shift, 0);
  if (smoothing === 0) return logSum - picked;
  const mean = sumOf<Difference>(x, x, 16, count, shift, shift) / <f64>count;
  return logSum - ((1 - smoothing) * picked + smoothing * <f32>mean);
}

/** out = g·(softmax(x) - (1 - smoothing)·[target] - smoothing / count). */
export function crossEntropyGradientRow(
  out: usize,
  x: usize,
  count: i32,
  target: i32,
  smoothing: f32,
  g: f32,
  ahead: usize,
): void {
  const sum = exponentials(out, x, count, maximum(x, count), ahead);
  const spread = -(g * smoothing) / <f32>count;
  mapRow<Affine>(out, out, out, count, f32x4.splat(<f32>(<f64>g / sum)), f32x4.splat(spread));
  const picked = element(out, target);
  store<f32>(picked, load<f32>(picked) - g * (1 - smoothing));
}
