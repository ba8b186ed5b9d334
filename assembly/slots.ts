/**
 * How a micro-operation names its operands: slots in a table of 16 bytes each, of which the first two words are where
 * the next vector is and how many bytes on the one behind it is (elementwise.ts fills the table).
 */

/** The slot that byte `byte` of the micro-operation at `pc` names: 1 is the destination, 2 to 7 are operands. */
// @ts-ignore: decorator
@inline
export function slotOf(slots: usize, pc: usize, byte: usize): usize {
  return slots + (<usize>load<u8>(pc + byte) << 4);
}

/** Address of the next vector. */
// @ts-ignore: decorator
@inline
export function pointerOf(slot: usize): usize {
  return <usize>load<u32>(slot);
}

/** Bytes from a vector to the next: 16, or 0 for a scalar. */
// @ts-ignore: decorator
@inline
export function stepOf(slot: usize): usize {
  return <usize>load<u32>(slot, 4);
}
