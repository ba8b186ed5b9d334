/** Sorting: the places of a row's elements in sorted order, or of those in some places of that order. */
import { Layout, SortField, SortPair } from "../src/isa";
import { address, shareStart, word } from "./word";

/** Bits of a key that one pass of a radix sort looks at: its 256 counters and write streams stay in the L1 cache. */
const DIGIT: i32 = 8;
/** Rows of at least this many elements are worth more counters when an end of a range is looked for: fewer passes. */
const LONG_ROW: i32 = 16384;
/** Bits of a key that one such pass looks at. */
const LONG_DIGIT: i32 = 11;
const DIGITS: i32 = 32 / DIGIT;
const VALUES: i32 = 1 << DIGIT;

/**
 * Sorts rows; threads take whole ones. Places are exact: there is no arithmetic. -0 equals +0, and all NaN are equal and
 * above +∞. Input and output need no alignment and must not overlap; nothing is read past a row.
 *
 * Keys are the elements as whole numbers in the same order. A row is sorted by radix, least significant digit first
 * (Knuth 1998, 5.2.5), which keeps the order of equals. Where only some places of the order are wanted, the keys that
 * stand at both ends of them are found first, digit by digit, and only the elements between them are sorted.
 */
export function sort(pc: usize, scratch: usize, thread: i32, threads: i32): void {
  const rows = word(pc, SortField.Rows);
  const length = word(pc, SortField.Length);
  const count = word(pc, SortField.Count);
  if (count === 0) return;
  const end = shareStart(rows, thread + 1, threads);
  for (let row = shareStart(rows, thread, threads); row < end; row++) {
    sortRow(
      pc,
      scratch,
      address(pc, SortField.Workspace) + <usize>thread * address(pc, SortField.WorkspaceBytes),
      address(pc, SortField.In) + <usize>row * <usize>length * Layout.ElementBytes,
      address(pc, SortField.Out) + <usize>row * <usize>count * Layout.ElementBytes,
    );
  }
}

function sortRow(pc: usize, counters: usize, pairs: usize, row: usize, out: usize): void {
  const length = word(pc, SortField.Length);
  const first = word(pc, SortField.First);
  const count = word(pc, SortField.Count);
  const isFloat = word(pc, SortField.Float) !== 0;
  const flip = i32x4.splat(-word(pc, SortField.Descending));
  if (first + count <= SortPair.Few) {
    insertionSort(row, length, isFloat, flip, first + count, pairs, counters);
    writePlaces(out, pairs + <usize>first * SortPair.Bytes, count);
    return;
  }
  if (count === length) {
    collectAll(row, length, isFloat, flip, pairs);
  } else {
    const lowest = first === 0 ? 0 : select(row, length, isFloat, flip, first, counters);
    const highest = count === 1 ? lowest : select(row, length, isFloat, flip, first + count - 1, counters);
    collect(row, length, isFloat, flip, lowest, highest, pairs, counters);
  }
  writePlaces(out, radixSort(pairs, count, counters), count);
}

/**
 * Four elements as unsigned numbers in the same order, then with `flip` (all ones or all zeros) in the opposite one.
 * The bits of a float are in order but for its sign: negative ones run backwards.
 */
// @ts-ignore: decorator
@inline
function keysOf(x: v128, isFloat: bool, flip: v128): v128 {
  const sign = i32x4.splat(i32.MIN_VALUE);
  let keys = v128.xor(x, sign);
  if (isFloat) {
    // Adding zero makes -0 into +0.
    const bits = f32x4.add(x, f32x4.splat(0));
    keys = v128.xor(bits, v128.or(i32x4.shr_s(bits, 31), sign));
    keys = v128.or(keys, f32x4.ne(x, x));
  }
  return v128.xor(keys, flip);
}

/** The first `left` of the four elements at `at`; the others are zeros, and are not read where there are fewer. */
// @ts-ignore: decorator
@inline
function loadUpTo4(at: usize, left: i32): v128 {
  if (left >= 4) return v128.load(at);
  let lanes = v128.load_zero<u32>(at);
  if (left > 1) lanes = v128.load_lane<u32>(at, lanes, 1, 4);
  if (left > 2) lanes = v128.load_lane<u32>(at, lanes, 2, 8);
  return lanes;
}

/** As many of the lowest four bits as there are elements left. */
// @ts-ignore: decorator
@inline
function lanesOf(left: i32): i32 {
  return left >= 4 ? 15 : (1 << left) - 1;
}

/**
 * The key that is number `rank` in sorted order, above its number among its equals. Its digits are found from the most
 * significant one on, by counting those of the keys that begin like it. `counters` take `1 << LONG_DIGIT` words and four.
 */
function select(row: usize, length: i32, isFloat: bool, flip: v128, rank: i32, counters: usize): u64 {
  const digits = counters + (4 << LONG_DIGIT);
  let known = 0;
  let key: u32 = 0;
  while (known < 32) {
    const width = min(32 - known, length < LONG_ROW ? DIGIT : LONG_DIGIT);
    const shift = 32 - known - width;
    memory.fill(counters, 0, 4 << width);
    const begin = i32x4.splat(<i32>key);
    let at = row;
    for (let left = length; left > 0; left -= 4) {
      const keys = keysOf(loadUpTo4(at, left), isFloat, flip);
      let mask = lanesOf(left);
      if (known > 0) {
        const rest = i32x4.shr_u(v128.xor(keys, begin), 32 - known);
        mask &= i32x4.bitmask(i32x4.eq(rest, i32x4.splat(0)));
      }
      if (mask !== 0) {
        v128.store(digits, v128.and(i32x4.shr_u(keys, shift), i32x4.splat((1 << width) - 1)));
        for (; mask !== 0; mask &= mask - 1) {
          const counter = counters + (<usize>load<u32>(digits + (<usize>ctz(mask) << 2)) << 2);
          store<i32>(counter, load<i32>(counter) + 1);
        }
      }
      at += 16;
    }
    let digit = 0;
    for (; rank >= load<i32>(counters + (<usize>digit << 2)); digit++) rank -= load<i32>(counters + (<usize>digit << 2));
    key |= <u32>digit << shift;
    known += width;
  }
  return (<u64>key << 32) | <u64>rank;
}

/** Writes all pairs of a row, in the order of their places. */
function collectAll(row: usize, length: i32, isFloat: bool, flip: v128, pairs: usize): void {
  let places = i32x4(0, 1, 2, 3);
  for (let left = length; left > 0; left -= 4) {
    const keys = keysOf(loadUpTo4(row, left), isFloat, flip);
    const one = v128.shuffle<i32>(places, keys, 0, 4, 1, 5);
    const two = v128.shuffle<i32>(places, keys, 2, 6, 3, 7);
    if (left >= 2) v128.store(pairs, one);
    else v128.store_lane<u64>(pairs, one, 0);
    if (left >= 4) v128.store(pairs, two, 16);
    else if (left === 3) v128.store_lane<u64>(pairs, two, 0, 16);
    row += 16;
    pairs += 4 * SortPair.Bytes;
    places = i32x4.add(places, i32x4.splat(4));
  }
}

/**
 * Writes the pairs of the elements from `lowest` to `highest` in sorted order, in the order of their places. Both ends
 * are what `select` gives; `four` are four words.
 */
function collect(
  row: usize,
  length: i32,
  isFloat: bool,
  flip: v128,
  lowest: u64,
  highest: u64,
  pairs: usize,
  four: usize,
): void {
  const lowKey = lowest >> 32;
  const highKey = highest >> 32;
  const low = i32x4.splat(<i32>lowKey);
  const high = i32x4.splat(<i32>highKey);
  let equalToLow: u64 = 0;
  let equalToHigh: u64 = 0;
  for (let place = 0; place < length; place += 4) {
    const left = length - place;
    const keys = keysOf(loadUpTo4(row, left), isFloat, flip);
    const inside = v128.and(i32x4.ge_u(keys, low), i32x4.le_u(keys, high));
    let mask = i32x4.bitmask(inside) & lanesOf(left);
    if (mask !== 0) {
      v128.store(four, keys);
      for (; mask !== 0; mask &= mask - 1) {
        const lane = ctz(mask);
        const key = <u64>load<u32>(four + (<usize>lane << 2));
        let among: u64 = 0;
        if (key === lowKey) among = equalToLow++;
        else if (key === highKey) among = equalToHigh++;
        const at = (key << 32) | among;
        if (at < lowest || at > highest) continue;
        store<u64>(pairs, (key << 32) | <u64>(place + lane));
        pairs += SortPair.Bytes;
      }
    }
    row += 16;
  }
}

/**
 * Sorts the pairs of the `wanted` first elements in sorted order: each element is put in its place among those kept so
 * far, if it is before the last one of them. `four` are four words.
 */
function insertionSort(
  row: usize,
  length: i32,
  isFloat: bool,
  flip: v128,
  wanted: i32,
  pairs: usize,
  four: usize,
): void {
  const last = pairs + <usize>(wanted - 1) * SortPair.Bytes;
  let end = pairs;
  let limit = i32x4.splat(-1);
  for (let place = 0; place < length; place += 4) {
    const left = length - place;
    const keys = keysOf(loadUpTo4(row, left), isFloat, flip);
    row += 16;
    let mask = lanesOf(left);
    if (end > last) mask &= i32x4.bitmask(i32x4.lt_u(keys, limit));
    if (mask === 0) continue;
    v128.store(four, keys);
    for (; mask !== 0; mask &= mask - 1) {
      const lane = ctz(mask);
      const pair = (<u64>load<u32>(four + (<usize>lane << 2)) << 32) | <u64>(place + lane);
      let at = end;
      if (end <= last) end += SortPair.Bytes;
      else if (pair < load<u64>(last)) at = last;
      else continue;
      for (; at > pairs; at -= SortPair.Bytes) {
        const before = load<u64>(at - SortPair.Bytes);
        if (before < pair) break;
        store<u64>(at, before);
      }
      store<u64>(at, pair);
    }
    limit = v128.load32_splat(last + 4);
  }
}

/** Sorts pairs by their keys, with room for as many behind them, and returns where they are then: here or there. */
function radixSort(pairs: usize, count: i32, counters: usize): usize {
  const bytes = <usize>count * SortPair.Bytes;
  memory.fill(counters, 0, DIGITS * (VALUES << 2));
  for (let at = pairs; at < pairs + bytes; at += SortPair.Bytes) {
    let key = load<u32>(at, 4);
    for (let digit = 0; digit < DIGITS; digit++) {
      const counter = counters + (<usize>(digit * VALUES + <i32>(key & (VALUES - 1))) << 2);
      store<i32>(counter, load<i32>(counter) + 1);
      key >>= DIGIT;
    }
  }
  let from = pairs;
  let to = pairs + bytes;
  for (let digit = 0; digit < DIGITS; digit++) {
    const table = counters + <usize>(digit * (VALUES << 2));
    const shift = 32 + digit * DIGIT;
    const ofFirst = <usize>((load<u64>(from) >> shift) & (VALUES - 1));
    if (load<i32>(table + (ofFirst << 2)) === count) continue;
    // From how many there are of each to where the next one goes.
    let place = to;
    for (let counter = table; counter < table + (VALUES << 2); counter += 4) {
      const size = <usize>load<i32>(counter) * SortPair.Bytes;
      store<u32>(counter, <u32>place);
      place += size;
    }
    for (let at = from; at < from + bytes; at += SortPair.Bytes) {
      const pair = load<u64>(at);
      const counter = table + (<usize>((pair >> shift) & (VALUES - 1)) << 2);
      const target = <usize>load<u32>(counter);
      store<u32>(counter, <u32>target + SortPair.Bytes);
      store<u64>(target, pair);
    }
    const other = from;
    from = to;
    to = other;
  }
  return from;
}

/** The places of `count` pairs. */
function writePlaces(out: usize, pairs: usize, count: i32): void {
  for (let left = count; left > 0; left--) {
    store<u32>(out, load<u32>(pairs));
    pairs += SortPair.Bytes;
    out += Layout.ElementBytes;
  }
}
