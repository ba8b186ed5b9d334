/** What kernels may touch: shares of an output that do not meet, and no byte past the end of an input. */
import { expect } from "vitest";
import type { Machine, Placed } from "./support.js";

/** No kernel under test writes this word. */
const UNWRITTEN = 0x2bad2bad;

/** Runs `words` on each of `threads` threads and checks that every word of `out` is written by exactly one of them. */
export function expectShares(
  machine: Machine,
  words: readonly number[],
  out: Placed<ArrayBufferView>,
  threads: number,
) {
  const view = new Int32Array(out.view.buffer, out.view.byteOffset, out.view.byteLength / 4);
  const code = machine.load([words]);
  const writers = new Array<number>(view.length).fill(0);
  for (let thread = 0; thread < threads; thread++) {
    view.fill(UNWRITTEN);
    expect(machine.execute(code, thread, threads)).toBe(0);
    for (const [at, word] of view.entries()) if (word !== UNWRITTEN) writers[at] = (writers[at] as number) + 1;
  }
  expect(writers).toEqual(new Array<number>(view.length).fill(1));
}

/** `length` floats, all 1, that end where the memory ends: a read past them traps. */
export function lastFloats(machine: Machine, length: number): Placed<Float32Array> {
  const address = machine.memory.buffer.byteLength - length * Float32Array.BYTES_PER_ELEMENT;
  const view = new Float32Array(machine.memory.buffer, address, length).fill(1);
  return { address, view };
}
