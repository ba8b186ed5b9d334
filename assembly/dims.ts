/** Walking the (size, stride) records that an instruction carries for each dimension of a strided tensor. */

/** Bytes of one record: size and stride, one word each, both counting elements. */
const RECORD: usize = 8;

/** Size of the innermost of `rank` dimensions; a tensor without dimensions has one element. */
// @ts-ignore: decorator
@inline
export function innerSize(dims: usize, rank: i32): i32 {
  return rank > 0 ? load<i32>(dims + <usize>(rank - 1) * RECORD) : 1;
}

/** Bytes from one element to the next along the innermost of `rank` dimensions. */
// @ts-ignore: decorator
@inline
export function innerStride(dims: usize, rank: i32): usize {
  return rank > 0 ? <usize>(load<i32>(dims + <usize>(rank - 1) * RECORD, 4) << 2) : 0;
}

/** How many runs along the innermost of `rank` dimensions make up `count` elements. */
// @ts-ignore: decorator
@inline
export function outerCount(dims: usize, rank: i32, count: i32): i32 {
  if (rank <= 1) return 1;
  return count > 0 ? count / innerSize(dims, rank) : 0;
}

/**
 * Byte offset of the element with row-major number `index` among the first `rank` dimensions. Divides, so it suits
 * the outer loops of a kernel, not the innermost ones.
 */
export function offsetOf(dims: usize, rank: i32, index: i32): usize {
  let offset: i32 = 0;
  for (let dim = rank - 1; dim > 0; dim--) {
    const record = dims + <usize>dim * RECORD;
    const size = load<i32>(record);
    const next = index / size;
    offset += (index - next * size) * load<i32>(record, 4);
    index = next;
  }
  if (rank > 0) offset += index * load<i32>(dims, 4);
  return <usize>(offset << 2);
}
