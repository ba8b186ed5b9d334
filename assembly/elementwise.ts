/**
 * The elementwise engine: runs a chain of micro-operations over a linear space, block by block, so that everything
 * between the first read and the last write stays in the L1 cache.
 *
 * A thread's scratch holds, below the block registers:
 *
 *     0     slot table: for every slot pointer, step, advance, and (strided inputs) the address of its odometer
 *     1536  cells: 16 bytes for every slot, the splat of a scalar input, the address of a strided one's register, or the
 *           staging of a ragged end
 *     3072  odometers: for every strided input where it stands (source address, one index for every dimension)
 *     4096  block registers: those that the instruction counts, then one for every strided input
 *
 * A micro-operation sees each operand as (pointer, step): the next vector is `step` bytes on, 16 or (for a scalar) 0.
 */
import { ElementwiseField, InputKind, Layout } from "../src/isa";
import { readAhead, readAheadToo } from "./ahead";
import { microOps } from "./micro";
import { address, shareStart, word } from "./word";

const SLOT_BYTES: usize = 16;
const SLOT_STEP: usize = 4;
const SLOT_ADVANCE: usize = 8;
const SLOT_ODOMETER: usize = 12;
const CELLS: usize = <usize>Layout.MaxSlots * SLOT_BYTES;
const ODOMETERS: usize = CELLS + Layout.MaxSlots * 16;
/** An odometer: address of the strides, address of the source element it stands at, its index in every dimension. */
const ODOMETER_BYTES: usize = 8 + 4 * Layout.MaxRank;
const SOURCE: usize = 4;
const INDICES: usize = 8;
const BLOCK_BYTES: usize = Layout.BlockElements * Layout.ElementBytes;
/** An operand of fewer elements may still be in the cache since it was last used: reading it ahead would be in vain. */
const FAR_ELEMENTS = 1 << 15;

/**
 * Runs this thread's share of the Elementwise instruction at `pc`: whole blocks, so that shares start at multiples of
 * `Layout.BlockElements`.
 *
 * An output may stand where a contiguous input stands, provided no later micro-operation reads that input. Reads and
 * writes whole vectors up to the 16-byte rounding of a buffer, nothing past it.
 */
export function elementwise(pc: usize, scratch: usize, thread: i32, threads: i32): void {
  const count = word(pc, ElementwiseField.Count);
  const blocks = (count + (Layout.BlockElements - 1)) / Layout.BlockElements;
  const start = shareStart(blocks, thread, threads) * Layout.BlockElements;
  const end = min(shareStart(blocks, thread + 1, threads) * Layout.BlockElements, count);
  elementwiseRange(pc, scratch, start, end);
}

/**
 * Runs the Elementwise instruction at `pc` on its elements [start, end), which may start and end anywhere. Inputs and
 * outputs may start at any element of a buffer. Reads and writes nothing outside [start, end), but for the rest of the
 * vector in which the whole space ends, where all its buffers start on vectors.
 */
export function elementwiseRange(pc: usize, scratch: usize, start: i32, end: i32): void {
  if (start >= end) return;
  const counts = word(pc, ElementwiseField.Counts);
  const inputs = counts & 0xff;
  const outputs = (counts >> 8) & 0xff;
  const registers = (counts >> 16) & 0xff;
  const rank = <usize>(counts >>> 24);
  const operations = word(pc, ElementwiseField.Operations);
  const sizes = pc + (ElementwiseField.Body << 2);
  const offset = <usize>start << 2;

  let at = sizes + (rank << 2);
  let slot = scratch;
  let odometer = scratch + ODOMETERS;
  const registerStart = scratch + Layout.ScratchRegisters;
  let gathered = registerStart + <usize>registers * BLOCK_BYTES;
  const firstOutput = scratch + <usize>inputs * SLOT_BYTES;
  const firstRegister = firstOutput + <usize>outputs * SLOT_BYTES;
  let starts: usize = 0;
  while (slot < firstOutput) {
    const kind = load<u32>(at);
    const source = <usize>load<u32>(at, 4);
    at += 8;
    if (kind == InputKind.Contiguous) {
      setSlot(slot, source + offset, 16, BLOCK_BYTES, 0);
      starts |= source + offset;
    } else if (kind == InputKind.Scalar) {
      const cell = cellOf(slot);
      v128.store(cell, v128.load32_splat(source));
      setSlot(slot, cell, 0, 0, 0);
    } else if (kind == InputKind.Strided) {
      startOdometer(odometer, source, sizes, at, rank, start);
      setSlot(slot, gathered, 16, 0, odometer);
      store<u32>(cellOf(slot), <u32>gathered);
      at += rank << 2;
      gathered += BLOCK_BYTES;
      odometer += ODOMETER_BYTES;
    } else {
      setSlot(slot, source, 0, 0, 0);
    }
    slot += SLOT_BYTES;
  }
  while (slot < firstRegister) {
    const target = address(at, 0) + offset;
    setSlot(slot, target, 16, BLOCK_BYTES, 0);
    starts |= target;
    at += 4;
    slot += SLOT_BYTES;
  }
  let register = registerStart;
  for (let i = 0; i < registers; i++) {
    setSlot(slot, register, 16, 0, 0);
    register += BLOCK_BYTES;
    slot += SLOT_BYTES;
  }

  const program = at;
  const programEnd = program + (<usize>operations << 3);
  const strided = odometer != scratch + ODOMETERS;
  // A range that ends with the space, and starts on a vector of every buffer, may spill into the buffers' rounding.
  const spill = (starts & 15) == 0 && end == word(pc, ElementwiseField.Count) ? 3 : 0;
  let first = start;
  while (true) {
    const count = min(end - first, Layout.BlockElements);
    if (strided) gatherInputs(scratch, firstOutput, sizes, rank, count);
    const vectors = (count + spill) >> 2;
    microOps(program, programEnd, scratch, vectors, first);
    first += count;
    if (first >= end) {
      const ragged = count - (vectors << 2);
      if (ragged > 0) {
        stage(scratch, firstOutput, firstRegister, vectors, ragged);
        microOps(program, programEnd, scratch, 1, first - ragged);
        unstage(scratch, firstOutput, firstRegister, ragged);
      }
      return;
    }
    advance(scratch, firstRegister, end - first);
  }
}

/**
 * Has `turns` turns read ahead what the Elementwise instruction at `pc` reads of `count` elements from `start` on, from
 * contiguous inputs other than the one at `known`.
 */
export function readInputsAhead(pc: usize, known: usize, start: i32, count: i32, turns: i32): void {
  if (word(pc, ElementwiseField.Count) < FAR_ELEMENTS) return;
  const counts = word(pc, ElementwiseField.Counts);
  const rank = <usize>(counts >>> 24);
  let at = pc + (ElementwiseField.Body << 2) + (rank << 2);
  let first = true;
  for (let i = counts & 0xff; i > 0; i--) {
    const kind = load<u32>(at);
    const source = address(at, 1);
    at += kind == InputKind.Strided ? 8 + (rank << 2) : 8;
    if (kind != InputKind.Contiguous || source === known) continue;
    const from = source + ((<usize>start) << 2);
    if (first) readAhead(from, (<usize>count) << 2, turns);
    else readAheadToo(from);
    first = false;
  }
}

/**
 * Moves every slot on by a block. What lies in memory is touched two blocks, a page of 4 KiB, ahead: processors fetch no
 * further than a page by themselves, and one that waits at the start of each computes nothing meanwhile. exp takes
 * 0.88 of the time on a million elements, and a copy, which waits for memory all the time, no more.
 */
function advance(slot: usize, end: usize, elementsLeft: i32): void {
  const ahead: u32 = elementsLeft > 2 * Layout.BlockElements ? 2 : 0;
  for (; slot < end; slot += SLOT_BYTES) {
    const step = load<u32>(slot, SLOT_ADVANCE);
    const pointer = load<u32>(slot) + step;
    store<u32>(slot, pointer);
    load<u8>(<usize>(pointer + step * ahead));
  }
}

// @ts-ignore: decorator
@inline
function setSlot(slot: usize, pointer: usize, step: u32, advance: usize, odometer: usize): void {
  store<u32>(slot, <u32>pointer);
  store<u32>(slot, step, SLOT_STEP);
  store<u32>(slot, <u32>advance, SLOT_ADVANCE);
  store<u32>(slot, <u32>odometer, SLOT_ODOMETER);
}

/** The 16 bytes that belong to a slot. */
// @ts-ignore: decorator
@inline
function cellOf(slot: usize): usize {
  return slot + CELLS;
}

/**
 * Redirects every input and output that lies in a buffer to its cell, for the last `ragged` (1 to 3) elements of a
 * range that ends inside a vector; the inputs' elements are copied there, and each cell's address kept as its way back.
 */
function stage(scratch: usize, firstOutput: usize, firstRegister: usize, vectors: i32, ragged: i32): void {
  for (let slot = scratch; slot < firstRegister; slot += SLOT_BYTES) {
    const odometer = load<u32>(slot, SLOT_ODOMETER);
    const advance = load<u32>(slot, SLOT_ADVANCE);
    if (!(odometer | advance)) continue;
    const pointer = <usize>load<u32>(slot) + (<usize>vectors << 4);
    if (odometer) {
      store<u32>(slot, <u32>pointer);
      continue;
    }
    const cell = cellOf(slot);
    store<u32>(slot, <u32>cell);
    if (slot < firstOutput) copyElements(cell, pointer, ragged);
    else store<u32>(slot, <u32>pointer, SLOT_ADVANCE);
  }
}

/** Copies the staged elements of every output to where they belong. */
function unstage(scratch: usize, firstOutput: usize, firstRegister: usize, ragged: i32): void {
  for (let slot = firstOutput; slot < firstRegister; slot += SLOT_BYTES) {
    copyElements(load<u32>(slot, SLOT_ADVANCE), cellOf(slot), ragged);
  }
}

/** Points an odometer (strides, source address, indices) at the element with linear index `start`. */
function startOdometer(odometer: usize, base: usize, sizes: usize, strides: usize, rank: usize, start: i32): void {
  let source = base;
  let rest = <u32>start;
  for (let k = rank << 2; k > 0; ) {
    k -= 4;
    const size = load<u32>(sizes + k);
    const index = rest % size;
    rest /= size;
    store<u32>(odometer + k, index, INDICES);
    source += <usize>(<i32>index * load<i32>(strides + k)) << 2;
  }
  store<u32>(odometer, <u32>strides);
  store<u32>(odometer, <u32>source, SOURCE);
}

/** Points the slot of every strided input at its next `count` elements: in its register, or where they lie in a row. */
function gatherInputs(scratch: usize, firstOutput: usize, sizes: usize, rank: usize, count: i32): void {
  for (let slot = scratch; slot < firstOutput; slot += SLOT_BYTES) {
    const odometer = <usize>load<u32>(slot, SLOT_ODOMETER);
    if (odometer) store<u32>(slot, <u32>gatherBlock(load<u32>(cellOf(slot)), odometer, sizes, rank, count));
  }
}

/**
 * Copies `count` elements from where the odometer stands to `to`, one run along the innermost dimension at a time, and
 * returns where they are: a whole block of adjacent ones stays where it is.
 */
function gatherBlock(to: usize, odometer: usize, sizes: usize, rank: usize, count: i32): usize {
  const strides = <usize>load<u32>(odometer);
  const last = (rank - 1) << 2;
  const inner = load<i32>(sizes + last);
  const stride = load<i32>(strides + last);
  let source = <usize>load<u32>(odometer, SOURCE);
  let index = load<i32>(odometer + last, INDICES);
  let left = count;
  let block = to;
  while (true) {
    const run = min(left, inner - index);
    if (stride == 1 && run == Layout.BlockElements) block = source;
    else if (stride == 1) copyElements(to, source, run);
    else if (stride == 0) fillElements(to, load<u32>(source), run);
    else copyStrided(to, source, <usize>stride << 2, run);
    to += <usize>run << 2;
    source += <usize>(run * stride) << 2;
    index += run;
    left -= run;
    if (index == inner) {
      index = 0;
      source -= <usize>(inner * stride) << 2;
      for (let k = last; k > 0; ) {
        k -= 4;
        const step = load<i32>(strides + k);
        const size = load<i32>(sizes + k);
        const next = load<i32>(odometer + k, INDICES) + 1;
        source += <usize>step << 2;
        if (next < size) {
          store<i32>(odometer + k, next, INDICES);
          break;
        }
        source -= <usize>(size * step) << 2;
        store<i32>(odometer + k, 0, INDICES);
      }
    }
    if (left == 0) break;
  }
  store<u32>(odometer, <u32>source, SOURCE);
  store<i32>(odometer + last, index, INDICES);
  return block;
}

function copyElements(to: usize, from: usize, count: i32): void {
  while (count >= 4) {
    v128.store(to, v128.load(from));
    to += 16;
    from += 16;
    count -= 4;
  }
  while (count > 0) {
    store<u32>(to, load<u32>(from));
    to += 4;
    from += 4;
    count--;
  }
}

function fillElements(to: usize, value: u32, count: i32): void {
  const splat = i32x4.splat(value);
  while (count >= 4) {
    v128.store(to, splat);
    to += 16;
    count -= 4;
  }
  while (count > 0) {
    store<u32>(to, value);
    to += 4;
    count--;
  }
}

function copyStrided(to: usize, from: usize, step: usize, count: i32): void {
  while (count >= 4) {
    const first = load<u32>(from);
    const second = load<u32>(from + step);
    const third = load<u32>(from + 2 * step);
    const fourth = load<u32>(from + 3 * step);
    store<u32>(to, first);
    store<u32>(to, second, 4);
    store<u32>(to, third, 8);
    store<u32>(to, fourth, 12);
    to += 16;
    from += 4 * step;
    count -= 4;
  }
  while (count > 0) {
    store<u32>(to, load<u32>(from));
    to += 4;
    from += step;
    count--;
  }
}
