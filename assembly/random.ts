/**
 * Counter-based random bits: Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
 * 1, 2, 3" (SC'11). Element i of a stream depends on the key, the offset and i alone, so any block, range or thread
 * that computes it gets the same bits.
 *
 * A group is the four elements that one counter gives: elements 4·group to 4·group + 3. The counter of a group is the
 * record's 64-bit offset plus the group, then two zero words.
 */
import { ints } from "./math-constants";

const ROUNDS: i32 = 10;
const MULTIPLIER_0: u64 = 0xd2511f53;
const MULTIPLIER_1: u64 = 0xcd9e8d57;
const WEYL_0: u32 = 0x9e3779b9;
const WEYL_1: u32 = 0xbb67ae85;
const MULTIPLIER_0_LANES = ints(<i32>MULTIPLIER_0);
const MULTIPLIER_1_LANES = ints(<i32>MULTIPLIER_1);
const WEYL_0_LANES = ints(<i32>WEYL_0);
const WEYL_1_LANES = ints(<i32>WEYL_1);

/** The four words of one group of the stream at `record`. */
function oneGroup(record: usize, group: u32): v128 {
  let key0 = load<u32>(record);
  let key1 = load<u32>(record, 4);
  const counter = load<u64>(record, 8) + <u64>group;
  let c0 = <u32>counter;
  let c1 = <u32>(counter >> 32);
  let c2: u32 = 0;
  let c3: u32 = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const product0 = MULTIPLIER_0 * <u64>c0;
    const product1 = MULTIPLIER_1 * <u64>c2;
    c0 = <u32>(product1 >> 32) ^ c1 ^ key0;
    c2 = <u32>(product0 >> 32) ^ c3 ^ key1;
    c1 = <u32>product1;
    c3 = <u32>product0;
    key0 += WEYL_0;
    key1 += WEYL_1;
  }
  return i32x4.replace_lane(i32x4.replace_lane(i32x4.replace_lane(i32x4.splat(c0), 1, c1), 2, c2), 3, c3);
}

// @ts-ignore: decorator
@inline
function evenLanes(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
}

// @ts-ignore: decorator
@inline
function oddLanes(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

// @ts-ignore: decorator
@inline
function interleaveLow(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
}

// @ts-ignore: decorator
@inline
function interleaveHigh(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
}

/** Writes the sixteen words of four groups to `to`: each lane carries one group through the rounds. */
// @ts-ignore: decorator
@inline
function fourGroups(to: usize, record: usize, group: u32): void {
  const low = i64x2.add(i64x2.splat(load<u64>(record, 8) + <u64>group), i64x2(0, 1));
  const high = i64x2.add(low, i64x2.splat(2));
  let key0 = v128.load32_splat(record);
  let key1 = v128.load32_splat(record, 4);
  let c0 = evenLanes(low, high);
  let c1 = oddLanes(low, high);
  let c2 = i32x4.splat(0);
  let c3 = i32x4.splat(0);
  for (let round = 0; round < ROUNDS; round++) {
    const low0 = i64x2.extmul_low_i32x4_u(c0, MULTIPLIER_0_LANES);
    const high0 = i64x2.extmul_high_i32x4_u(c0, MULTIPLIER_0_LANES);
    const low1 = i64x2.extmul_low_i32x4_u(c2, MULTIPLIER_1_LANES);
    const high1 = i64x2.extmul_high_i32x4_u(c2, MULTIPLIER_1_LANES);
    c0 = v128.xor(v128.xor(oddLanes(low1, high1), c1), key0);
    c2 = v128.xor(v128.xor(oddLanes(low0, high0), c3), key1);
    c1 = evenLanes(low1, high1);
    c3 = evenLanes(low0, high0);
    key0 = i32x4.add(key0, WEYL_0_LANES);
    key1 = i32x4.add(key1, WEYL_1_LANES);
  }
  const a = interleaveLow(c0, c2);
  const b = interleaveLow(c1, c3);
  const c = interleaveHigh(c0, c2);
  const d = interleaveHigh(c1, c3);
  v128.store(to, interleaveLow(a, b));
  v128.store(to, interleaveHigh(a, b), 16);
  v128.store(to, interleaveLow(c, d), 32);
  v128.store(to, interleaveHigh(c, d), 48);
}

/**
 * Writes the random bits of elements first, first + 1, … of the stream at `record` into `vectors` vectors from `to` on.
 * `first` may be any index; the last vector is whole.
 */
export function randomBits(to: usize, record: usize, first: i32, vectors: i32): void {
  let group = <u32>first >>> 2;
  const lead = <usize>(first & 3) << 2;
  const end = to + (<usize>vectors << 4);
  if (lead == 0) {
    for (; to + 64 <= end; to += 64) {
      fourGroups(to, record, group);
      group += 4;
    }
    for (; to < end; to += 16) v128.store(to, oneGroup(record, group++));
    return;
  }
  // Each vector straddles two groups: its front is the back of one, its back the front of the next.
  let bits = oneGroup(record, group++);
  for (; to < end; to += 16) {
    const next = oneGroup(record, group++);
    v128.store(to, straddle(bits, next, lead));
    bits = next;
  }
}

/** The 16 bytes that start `lead` (4, 8 or 12) bytes into the 32 of `low` and `high`. */
function straddle(low: v128, high: v128, lead: usize): v128 {
  if (lead == 4) return i8x16.shuffle(low, high, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19);
  if (lead == 8) return i8x16.shuffle(low, high, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23);
  return i8x16.shuffle(low, high, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27);
}
