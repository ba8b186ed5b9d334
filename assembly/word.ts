/** Reading instruction words, and a thread's share of a range. */

/** The word at index `field` of the instruction at `pc`. */
// @ts-ignore: decorator
@inline
export function word(pc: usize, field: i32): i32 {
  return load<i32>(pc + (<usize>field << 2));
}

/** The word at index `field`, as an address. */
// @ts-ignore: decorator
@inline
export function address(pc: usize, field: i32): usize {
  return <usize>load<u32>(pc + (<usize>field << 2));
}

// @ts-ignore: decorator
@inline
export function opcodeOf(pc: usize): u32 {
  return load<u8>(pc);
}

// @ts-ignore: decorator
@inline
export function flagsOf(pc: usize): u32 {
  return load<u8>(pc, 1);
}

/** Length of the instruction in bytes. */
// @ts-ignore: decorator
@inline
export function lengthOf(pc: usize): usize {
  return <usize>load<u16>(pc, 2) << 2;
}

/**
 * Where the share of `thread` starts when `count` units are dealt to `threads` in contiguous, nearly equal runs; the
 * share ends where that of `thread + 1` starts. Which thread computes a unit never changes the unit's value.
 */
// @ts-ignore: decorator
@inline
export function shareStart(count: i32, thread: i32, threads: i32): i32 {
  return <i32>((<u64>(<u32>count) * <u64>(<u32>thread)) / <u64>(<u32>threads));
}
