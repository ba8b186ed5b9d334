/** Measuring how much memory a program really takes: its temporaries are filled with a pattern before it runs. */
import type { TypedArray } from "../graph/dtype.js";
import { Layout } from "../isa.js";
import { paddedBytes } from "../plan/buffer.js";
import type { Plan } from "../plan/plan.js";
import type { Bound, Guard, Program, Runtime } from "./runtime.js";

/** What a run took of the arena, in bytes; the parts and the sum are named as in the report that foretells them. */
export interface MeasuredMemory {
  readonly arenaBytes: number;
  readonly stateBytes: number;
  /** To the end of the last vector that the run changed, or of the workspace that it lies in. */
  readonly temporaryBytes: number;
  readonly programBytes: number;
  readonly sharedBytes: number;
}

/** A NaN, as an integer out of every index's range, and no number that programs are likely to write. */
const PATTERN = 0x7fd5a5a5;
/** Bytes behind the temporaries that are watched too. */
const MARGIN = 65536;

/**
 * Bytes to the end of the last vector of temporaries that a run has changed.
 * @param words to behind the last one changed; a kernel's workspace is for the worst case of its blocking, so one in use
 * counts as a whole
 */
export function peakBytes({ temporaries }: Plan, words: number): number {
  const bytes = Layout.ElementBytes * words;
  const inUse = temporaries.filter(({ node, offset }) => node === null && offset < bytes);
  const ends = inUse.map((buffer) => buffer.offset + paddedBytes(buffer));
  return Math.max(Math.ceil(bytes / Layout.Alignment) * Layout.Alignment, ...ends);
}

/** What of the arena is taken besides temporaries. */
export function measuredBeside(program: Program, states: readonly Bound[], temporaryBytes: number): MeasuredMemory {
  const { runtime, block } = program;
  const stateBytes = states.reduce((sum, { resident }) => sum + resident.extent.bytes, 0);
  const { sharedBytes } = runtime;
  return {
    arenaBytes: stateBytes + temporaryBytes + block.bytes + sharedBytes,
    stateBytes,
    temporaryBytes,
    programBytes: block.bytes,
    sharedBytes,
  };
}

/** Measures every run. */
export class PeakMeter implements Guard {
  /** What the last run took. */
  last: MeasuredMemory | null = null;

  around(program: Program, states: readonly Bound[], execute: () => TypedArray[]): TypedArray[] {
    const { runtime, plan } = program;
    const bytes = plan.temporaryBytes + MARGIN;
    const words = new Int32Array(memoryOf(runtime, bytes), runtime.temporaries(bytes), bytes / Layout.ElementBytes);
    words.fill(PATTERN);
    const results = execute();
    let end = words.length;
    while (end > 0 && words[end - 1] === PATTERN) end--;
    this.last = measuredBeside(program, states, peakBytes(plan, end));
    return results;
  }
}

/** The memory, once its temporaries are of so many bytes: growing gives it another buffer. */
function memoryOf(runtime: Runtime, bytes: number): ArrayBuffer {
  runtime.temporaries(bytes);
  return runtime.arena.memory.buffer;
}
