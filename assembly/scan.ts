/** Scans: all prefixes of a dimension combined: running sums, products, linear recurrences, places of extremes. */
import { Layout, ScanField, ScanOp } from "../src/isa";
import { loadTail, storeTail } from "./rows-vector";
import { address, shareStart, word } from "./word";

/** Adjacent columns that are scanned together: what they carry from step to step stays in the L1 cache. */
const BLOCK_COLUMNS: i32 = 512;
/** Elements of a cache line: shares are made of whole ones. */
const LINE: i32 = 16;
/** Bytes that four columns carry from step to step. */
const STATE: usize = 32;

/**
 * Scans every column of every one of `Outer` planes. Threads take ranges of columns. Nothing is read or written outside
 * of the planes; no alignment is needed, and the output overlaps no input.
 *
 * Floats are carried in f64 and rounded to f32 once for each output: the error of a running sum is below
 * 2⁻²⁴·|out| + steps · 2⁻⁵³ · Σ|x|. The sum of zeros is +0 whatever their sign. Integers wrap. A NaN is an extreme, of
 * which the last one counts, and so does the last of equal extremes; -0 equals +0.
 */
export function scan(pc: usize, scratch: usize, thread: i32, threads: i32): void {
  const steps = word(pc, ScanField.Steps);
  const inner = word(pc, ScanField.Inner);
  const columns = word(pc, ScanField.Outer) * inner;
  if (steps === 0 || columns === 0) return;
  const unit = inner === 1 ? 1 : LINE;
  const units = (columns + unit - 1) / unit;
  let at = shareStart(units, thread, threads) * unit;
  const end = min(columns, shareStart(units, thread + 1, threads) * unit);
  const backwards = word(pc, ScanField.Backwards) !== 0;
  const stride = <usize>inner * Layout.ElementBytes;
  while (at < end) {
    const plane = at / inner;
    const column = at - plane * inner;
    const count = min(min(inner - column, BLOCK_COLUMNS), end - at);
    const firstStep = backwards ? steps - 1 : 0;
    const offset = (<usize>(plane * steps + firstStep) * <usize>inner + <usize>column) * Layout.ElementBytes;
    const out = address(pc, ScanField.Out) + offset;
    const input = address(pc, ScanField.In) + offset;
    const factors = address(pc, ScanField.Factors) + offset;
    const op = word(pc, ScanField.Operation);
    if (inner === 1) scanRow(op, out, input, factors, steps, backwards);
    else scanColumns(op, out, input, factors, count, steps, backwards ? -stride : stride, scratch);
    at += count;
  }
}

// ── Rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Scans adjacent elements, from the address of the first step on. */
function scanRow(op: i32, out: usize, input: usize, factors: usize, steps: i32, backwards: bool): void {
  const stride: usize = backwards ? -Layout.ElementBytes : Layout.ElementBytes;
  switch (op) {
    case ScanOp.SumF32:
      if (backwards) return floatRow<Sum>(true, out, input, steps);
      return floatRow<Sum>(false, out, input, steps);
    case ScanOp.ProdF32:
      if (backwards) return floatRow<Product>(true, out, input, steps);
      return floatRow<Product>(false, out, input, steps);
    case ScanOp.LinearF32:
      return linearRow(out, input, factors, steps, stride);
    case ScanOp.SumI32:
      return integerRow(false, out, input, steps, stride);
    case ScanOp.ProdI32:
      return integerRow(true, out, input, steps, stride);
    case ScanOp.MaxIndexF32:
      return indexRow<Maximum>(out, input, steps);
    case ScanOp.MinIndexF32:
      return indexRow<Minimum>(out, input, steps);
    case ScanOp.MaxIndexI32:
      return indexRow<IntegerMaximum>(out, input, steps);
    default:
      return indexRow<IntegerMinimum>(out, input, steps);
  }
}

/** An associative operation on f64 pairs: a type without fields, so that each gets loops of its own. */
@unmanaged
abstract class Operation {
  /** In every lane what changes nothing. */
  abstract neutral(): v128;
  abstract apply(x: v128, y: v128): v128;
}

@unmanaged class Sum extends Operation {
  @inline neutral(): v128 { return f64x2.splat(0); }
  @inline apply(x: v128, y: v128): v128 { return f64x2.add(x, y); }
}
@unmanaged class Product extends Operation {
  @inline neutral(): v128 { return f64x2.splat(1); }
  @inline apply(x: v128, y: v128): v128 { return f64x2.mul(x, y); }
}

/**
 * Four elements a turn: their own prefixes first, then combined with what came before, so that one operation a turn
 * waits for that of the turn before.
 */
// @ts-ignore: decorator
@inline
function floatRow<T extends Operation>(backwards: bool, out: usize, input: usize, steps: i32): void {
  const neutral = changetype<T>(0).neutral();
  let before = neutral;
  let left = steps;
  for (; left >= 4; left -= 4) {
    const at = backwards ? input - 12 : input;
    let x = v128.load(at);
    if (backwards) x = v128.shuffle<i32>(x, x, 3, 2, 1, 0);
    const low = f64x2.promote_low_f32x4(x);
    const high = f64x2.promote_low_f32x4(v128.shuffle<i64>(x, x, 1, 1));
    const two = changetype<T>(0).apply(low, v128.shuffle<i64>(neutral, low, 0, 2));
    const lastTwo = changetype<T>(0).apply(high, v128.shuffle<i64>(neutral, high, 0, 2));
    const four = changetype<T>(0).apply(v128.shuffle<i64>(two, two, 1, 1), lastTwo);
    let y = v128.shuffle<i32>(
      f32x4.demote_f64x2_zero(changetype<T>(0).apply(before, two)),
      f32x4.demote_f64x2_zero(changetype<T>(0).apply(before, four)),
      0, 1, 4, 5,
    );
    if (backwards) y = v128.shuffle<i32>(y, y, 3, 2, 1, 0);
    v128.store(backwards ? out - 12 : out, y);
    before = changetype<T>(0).apply(before, v128.shuffle<i64>(four, four, 1, 1));
    input = backwards ? input - 16 : input + 16;
    out = backwards ? out - 16 : out + 16;
  }
  for (; left > 0; left--) {
    before = changetype<T>(0).apply(before, f64x2.promote_low_f32x4(v128.load_zero<u32>(input)));
    v128.store_lane<u32>(out, f32x4.demote_f64x2_zero(before), 0);
    input = backwards ? input - 4 : input + 4;
    out = backwards ? out - 4 : out + 4;
  }
}

function linearRow(out: usize, input: usize, factors: usize, steps: i32, stride: usize): void {
  let state: f64 = 0;
  for (; steps > 0; steps--) {
    state = <f64>load<f32>(factors) * state + <f64>load<f32>(input);
    store<f32>(out, <f32>state);
    input += stride;
    factors += stride;
    out += stride;
  }
}

function integerRow(isProduct: bool, out: usize, input: usize, steps: i32, stride: usize): void {
  let state = isProduct ? 1 : 0;
  for (; steps > 0; steps--) {
    const x = load<i32>(input);
    state = isProduct ? state * x : state + x;
    store<i32>(out, state);
    input += stride;
    out += stride;
  }
}

/** Which elements become the extreme: a type without fields, as an `Operation`. */
@unmanaged
abstract class Extreme {
  /** In every lane what every element beats. */
  abstract start(): v128;
  /** Mask of the lanes where `x` takes the place of `best`. */
  abstract takes(x: v128, best: v128): v128;
}

@unmanaged class Maximum extends Extreme {
  @inline start(): v128 { return f32x4.splat(-Infinity); }
  @inline takes(x: v128, best: v128): v128 { return v128.or(f32x4.ge(x, best), f32x4.ne(x, x)); }
}
@unmanaged class Minimum extends Extreme {
  @inline start(): v128 { return f32x4.splat(Infinity); }
  @inline takes(x: v128, best: v128): v128 { return v128.or(f32x4.le(x, best), f32x4.ne(x, x)); }
}
@unmanaged class IntegerMaximum extends Extreme {
  @inline start(): v128 { return i32x4.splat(i32.MIN_VALUE); }
  @inline takes(x: v128, best: v128): v128 { return i32x4.ge_s(x, best); }
}
@unmanaged class IntegerMinimum extends Extreme {
  @inline start(): v128 { return i32x4.splat(i32.MAX_VALUE); }
  @inline takes(x: v128, best: v128): v128 { return i32x4.le_s(x, best); }
}

/** Most elements are no extreme: four at once then. */
// @ts-ignore: decorator
@inline
function indexRow<T extends Extreme>(out: usize, input: usize, steps: i32): void {
  let best = changetype<T>(0).start();
  let index = 0;
  let place = 0;
  while (place < steps) {
    if (place + 4 <= steps && !v128.any_true(changetype<T>(0).takes(v128.load(input), best))) {
      v128.store(out, i32x4.splat(index));
      place += 4;
      input += 16;
      out += 16;
      continue;
    }
    for (const stop = min(place + 4, steps); place < stop; place++) {
      const x = v128.load32_splat(input);
      if (v128.any_true(changetype<T>(0).takes(x, best))) {
        best = x;
        index = place;
      }
      store<i32>(out, index);
      input += Layout.ElementBytes;
      out += Layout.ElementBytes;
    }
  }
}

// ── Columns ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What a scan does to four columns in one step: a type without fields, as an `Operation`. */
@unmanaged
abstract class Step {
  /** Writes the two vectors that are carried into the first step. */
  abstract start(state: usize): void;
  /** Moves the state on by elements `x` at step `place` and returns the outputs. */
  abstract apply(state: usize, x: v128, factor: v128, place: v128): v128;
}

/** Carries two pairs of f64 on, each with an input pair. */
// @ts-ignore: decorator
@inline
function carry(state: usize, low: v128, high: v128): v128 {
  v128.store(state, low);
  v128.store(state, high, 16);
  return v128.shuffle<i64>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2);
}

// @ts-ignore: decorator
@inline
function lowPair(x: v128): v128 {
  return f64x2.promote_low_f32x4(x);
}

// @ts-ignore: decorator
@inline
function highPair(x: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<i64>(x, x, 1, 1));
}

// @ts-ignore: decorator
@inline
function begin(state: usize, both: v128): void {
  v128.store(state, both);
  v128.store(state, both, 16);
}

@unmanaged class SumStep extends Step {
  @inline start(state: usize): void { begin(state, f64x2.splat(0)); }
  @inline apply(state: usize, x: v128, factor: v128, place: v128): v128 {
    return carry(state, f64x2.add(v128.load(state), lowPair(x)), f64x2.add(v128.load(state, 16), highPair(x)));
  }
}
@unmanaged class ProductStep extends Step {
  @inline start(state: usize): void { begin(state, f64x2.splat(1)); }
  @inline apply(state: usize, x: v128, factor: v128, place: v128): v128 {
    return carry(state, f64x2.mul(v128.load(state), lowPair(x)), f64x2.mul(v128.load(state, 16), highPair(x)));
  }
}
@unmanaged class LinearStep extends Step {
  @inline start(state: usize): void { begin(state, f64x2.splat(0)); }
  @inline apply(state: usize, x: v128, factor: v128, place: v128): v128 {
    const low = f64x2.mul(v128.load(state), lowPair(factor));
    const high = f64x2.mul(v128.load(state, 16), highPair(factor));
    return carry(state, f64x2.add(low, lowPair(x)), f64x2.add(high, highPair(x)));
  }
}
@unmanaged class IntegerSumStep extends Step {
  @inline start(state: usize): void { begin(state, i32x4.splat(0)); }
  @inline apply(state: usize, x: v128, factor: v128, place: v128): v128 {
    const total = i32x4.add(v128.load(state), x);
    v128.store(state, total);
    return total;
  }
}
@unmanaged class IntegerProductStep extends Step {
  @inline start(state: usize): void { begin(state, i32x4.splat(1)); }
  @inline apply(state: usize, x: v128, factor: v128, place: v128): v128 {
    const total = i32x4.mul(v128.load(state), x);
    v128.store(state, total);
    return total;
  }
}
@unmanaged class IndexStep<T extends Extreme> extends Step {
  @inline start(state: usize): void {
    v128.store(state, changetype<T>(0).start());
    v128.store(state, i32x4.splat(0), 16);
  }
  @inline apply(state: usize, x: v128, factor: v128, place: v128): v128 {
    const best = v128.load(state);
    const takes = changetype<T>(0).takes(x, best);
    v128.store(state, v128.bitselect(x, best, takes));
    const index = v128.bitselect(place, v128.load(state, 16), takes);
    v128.store(state, index, 16);
    return index;
  }
}

function scanColumns(
  op: i32,
  out: usize,
  input: usize,
  factors: usize,
  columns: i32,
  steps: i32,
  stride: usize,
  states: usize,
): void {
  switch (op) {
    case ScanOp.SumF32:
      return columnsBy<SumStep>(out, input, factors, columns, steps, stride, states);
    case ScanOp.ProdF32:
      return columnsBy<ProductStep>(out, input, factors, columns, steps, stride, states);
    case ScanOp.LinearF32:
      return columnsBy<LinearStep>(out, input, factors, columns, steps, stride, states);
    case ScanOp.SumI32:
      return columnsBy<IntegerSumStep>(out, input, factors, columns, steps, stride, states);
    case ScanOp.ProdI32:
      return columnsBy<IntegerProductStep>(out, input, factors, columns, steps, stride, states);
    case ScanOp.MaxIndexF32:
      return columnsBy<IndexStep<Maximum>>(out, input, factors, columns, steps, stride, states);
    case ScanOp.MinIndexF32:
      return columnsBy<IndexStep<Minimum>>(out, input, factors, columns, steps, stride, states);
    case ScanOp.MaxIndexI32:
      return columnsBy<IndexStep<IntegerMaximum>>(out, input, factors, columns, steps, stride, states);
    default:
      return columnsBy<IndexStep<IntegerMinimum>>(out, input, factors, columns, steps, stride, states);
  }
}

/** All columns of a block one step further, step by step: `stride` bytes from one to the next. */
// @ts-ignore: decorator
@inline
function columnsBy<T extends Step>(
  out: usize,
  input: usize,
  factors: usize,
  columns: i32,
  steps: i32,
  stride: usize,
  states: usize,
): void {
  const rest = columns & 3;
  for (let column = 0; column < columns; column += 4) changetype<T>(0).start(states + (<usize>column >> 2) * STATE);
  for (let step = 0; step < steps; step++) {
    const place = i32x4.splat(step);
    let state = states;
    let at: usize = 0;
    for (const end = <usize>(columns & ~3) << 2; at < end; at += 16) {
      v128.store(out + at, changetype<T>(0).apply(state, v128.load(input + at), v128.load(factors + at), place));
      state += STATE;
    }
    if (rest > 0) {
      const x = loadTail(input + at, rest, place);
      storeTail(out + at, changetype<T>(0).apply(state, x, loadTail(factors + at, rest, place), place), rest);
    }
    out += stride;
    input += stride;
    factors += stride;
  }
}
