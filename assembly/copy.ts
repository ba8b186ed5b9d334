/** Moving words without looking at them: strided copies, transposes among them, and fills. */
import { CopyField, FillField } from "../src/isa";
import { address, shareStart, word } from "./word";

/** Bytes of one dimension's record: size, destination stride, source stride. */
const RECORD: usize = 12;
/** Elements of a cache line: shares and transposed blocks are made of whole ones. */
const LINE: i32 = 16;
/**
 * Runs of at least this many bytes go to memory.copy: a call out of Wasm, but one that moves wider vectors. In Node 20,
 * 1 KiB takes 30 ns instead of 44, 16 KiB 108 instead of 284.
 */
const LONG_RUN: usize = 1024;
/** As many zeros go to memory.fill. */
const LONG_ZEROS: i32 = 256;

// @ts-ignore: decorator
@inline
function sizeOf(dims: usize, dim: i32): i32 {
  return dim < 0 ? 1 : load<i32>(dims + <usize>dim * RECORD);
}

/** Bytes between neighbours along `dim` in the destination. */
// @ts-ignore: decorator
@inline
function destinationStride(dims: usize, dim: i32): usize {
  return dim < 0 ? 0 : <usize>(load<i32>(dims + <usize>dim * RECORD, 4) << 2);
}

/** Bytes between neighbours along `dim` in the source. */
// @ts-ignore: decorator
@inline
function sourceStride(dims: usize, dim: i32): usize {
  return dim < 0 ? 0 : <usize>(load<i32>(dims + <usize>dim * RECORD, 8) << 2);
}

/**
 * Copies 32-bit words, whatever they hold (NaN payloads survive), with any strides; those of the source may be zero.
 * Writes the destination's elements and no others, reads the source's and no others. Neither start need be aligned.
 * Destination and source must not overlap.
 *
 * Copies plane by plane: `inner` is a dimension along which the destination is adjacent, `outer` one along which the
 * source is (if that is not `inner` too), so that a plane is a set of runs or a transpose. Threads take ranges of the
 * longest dimension.
 */
export function copy(pc: usize, thread: i32, threads: i32): void {
  const dims = pc + (CopyField.Dims << 2);
  const rank = word(pc, CopyField.Rank);
  let inner = -1;
  let adjacentSource = -1;
  let longest = -1;
  for (let dim = 0; dim < rank; dim++) {
    const size = sizeOf(dims, dim);
    if (size == 0) return;
    if (size > 1 && destinationStride(dims, dim) == 4) inner = dim;
    if (size > 1 && sourceStride(dims, dim) == 4) adjacentSource = dim;
    if (size > sizeOf(dims, longest) || longest < 0) longest = dim;
  }
  if (inner < 0) inner = adjacentSource < 0 ? rank - 1 : adjacentSource;
  const transposed = sourceStride(dims, inner) != 4 && sourceStride(dims, inner) != 0 && adjacentSource >= 0;
  let outer = transposed ? adjacentSource : rank - 1;
  if (outer == inner) outer--;

  // The share of this thread: a range of the longest dimension, which may be one of the plane's.
  const length = sizeOf(dims, longest);
  const unit = length >= LINE * threads ? LINE : 1;
  const units = (length + unit - 1) / unit;
  const first = shareStart(units, thread, threads) * unit;
  const count = min(length, shareStart(units, thread + 1, threads) * unit) - first;
  if (count <= 0) return;
  const innerCount = inner == longest ? count : sizeOf(dims, inner);
  const outerCount = outer == longest ? count : sizeOf(dims, outer);
  const destination = address(pc, CopyField.Destination) + <usize>first * destinationStride(dims, longest);
  const source = address(pc, CopyField.Source) + <usize>first * sourceStride(dims, longest);

  let planes = 1;
  for (let dim = 0; dim < rank; dim++) {
    if (dim != inner && dim != outer) planes *= dim == longest ? count : sizeOf(dims, dim);
  }
  for (let plane = 0; plane < planes; plane++) {
    let to = destination;
    let from = source;
    let index = plane;
    for (let dim = rank - 1; dim >= 0 && index > 0; dim--) {
      if (dim == inner || dim == outer) continue;
      const size = dim == longest ? count : sizeOf(dims, dim);
      const next = index / size;
      const at = <usize>(index - next * size);
      to += at * destinationStride(dims, dim);
      from += at * sourceStride(dims, dim);
      index = next;
    }
    copyPlane(
      to,
      from,
      outerCount,
      destinationStride(dims, outer),
      sourceStride(dims, outer),
      innerCount,
      destinationStride(dims, inner),
      sourceStride(dims, inner),
    );
  }
}

/** Copies `outer` rows of `inner` words; strides are in bytes. */
function copyPlane(
  to: usize,
  from: usize,
  outer: i32,
  toOuter: usize,
  fromOuter: usize,
  inner: i32,
  toInner: usize,
  fromInner: usize,
): void {
  if (toInner == 4 && fromOuter == 4 && fromInner != 4 && fromInner != 0 && outer >= 4 && inner >= 4) {
    transpose(to, from, outer, toOuter, inner, fromInner);
    return;
  }
  if (inner < 4 && outer > inner) {
    // Rows too short to pay for a loop each: down the columns instead.
    for (let column = 0; column < inner; column++) {
      copyStrided(to, toOuter, from, fromOuter, outer);
      to += toInner;
      from += fromInner;
    }
    return;
  }
  for (let row = 0; row < outer; row++) {
    if (toInner == 4 && fromInner == 4) copyRun(to, from, <usize>inner << 2);
    else if (toInner == 4 && fromInner == 0) fillRun(to, inner, load<i32>(from));
    else copyStrided(to, toInner, from, fromInner, inner);
    to += toOuter;
    from += fromOuter;
  }
}

/** Copies `count` words; strides are in bytes. */
function copyStrided(to: usize, toStride: usize, from: usize, fromStride: usize, count: i32): void {
  for (let i = 0; i < count; i++) {
    store<i32>(to, load<i32>(from));
    to += toStride;
    from += fromStride;
  }
}

/**
 * Copies `bytes` adjacent bytes (a multiple of 4), exactly; `to` and `from` must not overlap and need no alignment.
 */
export function copyRun(to: usize, from: usize, bytes: usize): void {
  if (bytes >= LONG_RUN) {
    memory.copy(to, from, bytes);
    return;
  }
  let left = bytes;
  for (; left >= 64; left -= 64) {
    const a = v128.load(from);
    const b = v128.load(from, 16);
    const c = v128.load(from, 32);
    const d = v128.load(from, 48);
    v128.store(to, a);
    v128.store(to, b, 16);
    v128.store(to, c, 32);
    v128.store(to, d, 48);
    from += 64;
    to += 64;
  }
  for (; left >= 16; left -= 16) {
    v128.store(to, v128.load(from));
    from += 16;
    to += 16;
  }
  for (; left > 0; left -= 4) {
    store<i32>(to, load<i32>(from));
    from += 4;
    to += 4;
  }
}

/**
 * to[p, q] = from[q, p]: `p` rows, `toStride` bytes apart, of `q` adjacent words, from `q` rows, `fromStride` bytes
 * apart, of `p` adjacent words. Blocks of a cache line in each direction: every line is touched in one block only,
 * which matters most where the strides are powers of two and lines push each other out of the cache.
 */
function transpose(to: usize, from: usize, p: i32, toStride: usize, q: i32, fromStride: usize): void {
  for (let row = 0; row < p; row += LINE) {
    let target = to + <usize>row * toStride;
    let source = from + (<usize>row << 2);
    const rows = min(LINE, p - row);
    for (let column = 0; column < q; column += LINE) {
      transposeBlock(target, source, rows, toStride, min(LINE, q - column), fromStride);
      target += LINE << 2;
      source += fromStride * LINE;
    }
  }
}

function transposeBlock(to: usize, from: usize, p: i32, toStride: usize, q: i32, fromStride: usize): void {
  const wholeQ = q & ~3;
  let row = 0;
  for (; row + 4 <= p; row += 4) {
    let target = to;
    let source = from;
    for (let column = 0; column < wholeQ; column += 4) {
      transpose4x4(target, toStride, source, fromStride);
      target += 16;
      source += fromStride << 2;
    }
    if (wholeQ < q) {
      for (let i = 0; i < 4; i++) {
        copyStrided(target, 4, source, fromStride, q - wholeQ);
        target += toStride;
        source += 4;
      }
    }
    to += toStride << 2;
    from += 16;
  }
  for (; row < p; row++) {
    copyStrided(to, 4, from, fromStride, q);
    to += toStride;
    from += 4;
  }
}

// @ts-ignore: decorator
@inline
function transpose4x4(to: usize, toStride: usize, from: usize, fromStride: usize): void {
  const from2 = from + (fromStride << 1);
  const a = v128.load(from);
  const b = v128.load(from + fromStride);
  const c = v128.load(from2);
  const d = v128.load(from2 + fromStride);
  const ab0 = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const ab1 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const cd0 = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const cd1 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  const to2 = to + (toStride << 1);
  v128.store(to, v128.shuffle<i64>(ab0, cd0, 0, 2));
  v128.store(to + toStride, v128.shuffle<i64>(ab0, cd0, 1, 3));
  v128.store(to2, v128.shuffle<i64>(ab1, cd1, 0, 2));
  v128.store(to2 + toStride, v128.shuffle<i64>(ab1, cd1, 1, 3));
}

/** Fills `Count` words from any multiple of 4 on, and writes no others. Threads take ranges of whole cache lines. */
export function fill(pc: usize, thread: i32, threads: i32): void {
  const count = word(pc, FillField.Count);
  const lines = (count + LINE - 1) / LINE;
  const first = shareStart(lines, thread, threads) * LINE;
  const end = min(count, shareStart(lines, thread + 1, threads) * LINE);
  fillRun(address(pc, FillField.Destination) + (<usize>first << 2), end - first, word(pc, FillField.Value));
}

function fillRun(to: usize, count: i32, value: i32): void {
  if (value == 0 && count >= LONG_ZEROS) {
    memory.fill(to, 0, <usize>count << 2);
    return;
  }
  const vector = i32x4.splat(value);
  let left = count;
  for (; left >= 16; left -= 16) {
    v128.store(to, vector);
    v128.store(to, vector, 16);
    v128.store(to, vector, 32);
    v128.store(to, vector, 48);
    to += 64;
  }
  for (; left >= 4; left -= 4) {
    v128.store(to, vector);
    to += 16;
  }
  for (; left > 0; left--) {
    store<i32>(to, value);
    to += 4;
  }
}
