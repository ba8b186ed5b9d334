/**
 * A bench for kernels: one build over a memory of its own, buffers with poisoned guards around them, and hand-made
 * programs to run.
 */
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { Flag, type InputKind, Layout, Opcode, StatusField } from "../../src/isa.js";
import type { MicroOp } from "../../src/micro-op.js";

export type Build = "strict" | "relaxed";

/** Every build that there is; describe.each(BUILDS) runs a suite on each. */
export const BUILDS: readonly Build[] = ["strict", "relaxed"];

const PAGE_BYTES = 65536;
const MEMORY_BYTES = 128 * 1024 * 1024;
const GUARD_BYTES = 64;
/** As f32 this byte pattern is -2.9e-16 and as i32 a large negative number: never a plausible result. */
const POISON = 0xa5;
const MAX_THREADS = 4;
const STATUS = PAGE_BYTES;

type Run = (code: number, scratch: number, status: number, thread: number, threads: number) => number;

const modules = new Map<Build, WebAssembly.Module>();

function moduleOf(build: Build): WebAssembly.Module {
  let module = modules.get(build);
  if (module === undefined) {
    const bytes = readFileSync(new URL(`../../build/wasm/${build}.wasm`, import.meta.url));
    // Node 20 knows relaxed SIMD but keeps it behind a flag; 22 and later have it on.
    if (!WebAssembly.validate(bytes)) setFlagsFromString("--experimental-wasm-relaxed-simd");
    module = new WebAssembly.Module(bytes);
    modules.set(build, module);
  }
  return module;
}

/** `length` elements at `address`, a multiple of 16 bytes, seen through `view`. */
export interface Placed<View> {
  readonly address: number;
  readonly view: View;
}

/** The header and words of one instruction; `fields` are the words after the header. */
export function instruction(opcode: Opcode, fields: readonly number[], flags: Flag = Flag.None): number[] {
  return [opcode | (flags << 8) | ((fields.length + 1) << 16), ...fields];
}

/** One build, its memory, and the buffers placed in it. */
export class Machine {
  readonly memory = new WebAssembly.Memory({
    initial: MEMORY_BYTES / PAGE_BYTES,
    maximum: MEMORY_BYTES / PAGE_BYTES,
  });
  private readonly bytes = new Uint8Array(this.memory.buffer);
  private readonly entry: Run;
  private readonly scratch: readonly number[];
  private readonly bottom: number;
  private top = STATUS + PAGE_BYTES;
  private guards: number[] = [];

  constructor(readonly build: Build) {
    const instance = new WebAssembly.Instance(moduleOf(build), { env: { memory: this.memory } });
    this.entry = instance.exports.run as Run;
    this.scratch = Array.from({ length: MAX_THREADS }, () => this.allocate(Layout.ScratchBytes));
    this.bottom = this.top;
  }

  /** Forgets all buffers, so that one machine serves many cases. */
  reset(): void {
    this.top = this.bottom;
    this.guards = this.guards.slice(0, MAX_THREADS * 2);
  }

  /** Address of `bytes` poisoned bytes (rounded up to `Layout.Alignment`) between two guards. */
  allocate(bytes: number): number {
    const address = this.top + GUARD_BYTES;
    const end = address + Math.ceil(bytes / Layout.Alignment) * Layout.Alignment;
    if (end + GUARD_BYTES > MEMORY_BYTES) throw new RangeError(`${bytes} bytes do not fit in the test memory`);
    this.bytes.fill(POISON, this.top, end + GUARD_BYTES);
    this.guards.push(this.top, end);
    this.top = end + GUARD_BYTES;
    return address;
  }

  /** A buffer of f32 holding `values`, or poison when given a length. */
  floats(values: number | ArrayLike<number>): Placed<Float32Array> {
    const length = typeof values === "number" ? values : values.length;
    const address = this.allocate(length * Layout.ElementBytes);
    const view = new Float32Array(this.memory.buffer, address, length);
    if (typeof values !== "number") view.set(values);
    return { address, view };
  }

  /** The values at the very end of the memory, so that reading past them traps: one such buffer at a time. */
  floatsAtEnd(values: ArrayLike<number>): Placed<Float32Array> {
    const address = MEMORY_BYTES - Math.ceil((4 * values.length) / Layout.Alignment) * Layout.Alignment;
    if (address < this.top) throw new RangeError(`${values.length} floats do not fit in the test memory`);
    const view = new Float32Array(this.memory.buffer, address, values.length);
    view.set(values);
    return { address, view };
  }

  /** A buffer of i32 (bool is i32 too) holding `values`, or poison when given a length. */
  ints(values: number | ArrayLike<number>): Placed<Int32Array> {
    const length = typeof values === "number" ? values : values.length;
    const address = this.allocate(length * Layout.ElementBytes);
    const view = new Int32Array(this.memory.buffer, address, length);
    if (typeof values !== "number") view.set(values);
    return { address, view };
  }

  /** Places a program (an End is added) and returns its address. */
  load(instructions: readonly (readonly number[])[]): number {
    const words = [...instructions.flat(), ...instruction(Opcode.End, [])];
    const code = this.allocate(words.length * Layout.ElementBytes);
    new Uint32Array(this.memory.buffer, code, words.length).set(words);
    return code;
  }

  /** Runs the program at `code` on one thread and returns 0, or 1 when an instruction stopped it. */
  execute(code: number, thread = 0, threads = 1): number {
    return this.entry(code, this.scratch[thread] as number, STATUS, thread, threads);
  }

  /**
   * Runs instructions on each of `threads` threads, one after the other, then checks that no guard was touched.
   * Returns 0, or 1 when an instruction stopped the program.
   */
  run(instructions: readonly (readonly number[])[], threads = 1): number {
    const code = this.load(instructions);
    let failed = 0;
    for (let thread = 0; thread < threads; thread++) failed |= this.execute(code, thread, threads);
    this.checkGuards();
    return failed;
  }

  /** The status record that a stopped program left. */
  status(): Int32Array {
    return new Int32Array(this.memory.buffer, STATUS, StatusField.Length);
  }

  private checkGuards(): void {
    for (const guard of this.guards) {
      for (let at = guard; at < guard + GUARD_BYTES; at++) {
        if (this.bytes[at] !== POISON) throw new Error(`byte ${at} was overwritten: it is a guard beside a buffer`);
      }
    }
  }
}

const machines = new Map<Build, Machine>();

/** The machine of `build`, without buffers. There is one for each build: what an earlier case placed is gone. */
export function instantiate(build: Build): Machine {
  let machine = machines.get(build);
  if (machine === undefined) {
    machine = new Machine(build);
    machines.set(build, machine);
  }
  machine.reset();
  return machine;
}

/** An input of an Elementwise instruction; `strides` (in elements) for `InputKind.Strided` only. */
export interface ElementwiseInput {
  readonly kind: InputKind;
  readonly address: number;
  readonly strides?: readonly number[];
}

/** A micro-operation, its destination slot and its operands' slots: [op, destination, a, b, c]. */
export type Operation = readonly [op: MicroOp, destination: number, a?: number, b?: number, c?: number];

/** What an Elementwise instruction consists of. */
export interface Chain {
  readonly count: number;
  /** Sizes of the iteration space, for strided inputs; their product is `count`. */
  readonly sizes?: readonly number[];
  readonly inputs: readonly ElementwiseInput[];
  /** Addresses. */
  readonly outputs: readonly number[];
  readonly registers?: number;
  readonly operations: readonly Operation[];
}

/** The words of an Elementwise instruction. Slots are numbered inputs first, then outputs, then registers. */
export function elementwise({ count, sizes = [], inputs, outputs, registers = 0, operations }: Chain): number[] {
  return instruction(Opcode.Elementwise, [
    count,
    inputs.length | (outputs.length << 8) | (registers << 16) | (sizes.length << 24),
    operations.length,
    ...sizes,
    ...inputs.flatMap(({ kind, address, strides = [] }) => [kind, address, ...strides]),
    ...outputs,
    ...operations.flatMap(([op, to, a = 0, b = 0, c = 0]) => [op | (to << 8) | (a << 16) | (b << 24), c]),
  ]);
}
