/** The runtime: kernels, their memory, and running programs. It knows programs and no operators. */
import { debug, debugLevel } from "../graph/debug.js";
import { allocate, type DType, type TypedArray } from "../graph/dtype.js";
import { IndexError } from "../graph/errors.js";
import { sizeOf } from "../graph/shape.js";
import type { Storage } from "../graph/tensor.js";
import { Layout, Opcode, StatusField } from "../isa.js";
import { Base, type Code } from "../plan/encode.js";
import { expectAddressable } from "../plan/place.js";
import type { Feed, Plan, State } from "../plan/plan.js";
import { Arena, type Extent } from "./arena.js";
import { type Build, chooseBuild, compileBuild, type Kernels } from "./load.js";

/** Options of a runtime. */
export interface RuntimeOptions {
  /**
   * Which kernels. `strict` (the default) gives the same bits on every engine and processor; `relaxed` uses fused
   * multiply-add and is somewhat faster; `auto` is `relaxed` where the engine has it.
   */
  readonly build?: Build | "auto";
  /** The folder of the .wasm files, ending in a slash, where a bundler or server has moved them. */
  readonly wasm?: URL | string;
  /** Bytes that the arena may grow to; 4 GiB by default. */
  readonly maximumBytes?: number;
}

/** Watches programs run: what `lanegrad profile` measures with. */
export interface Observer {
  /** The words before which to cut the program; each part, from one cut to the next or the end, is timed alone. */
  cuts(plan: Plan): readonly number[];
  /** Told after each part of a run, by number. */
  passed?(plan: Plan, part: number): void;
  /** Told after a run what each part took. */
  ran(plan: Plan, milliseconds: readonly number[]): void;
}

/** Above so many elements `slice` is the fastest way to copy; a single number, such as a loss, it takes four times as long. */
const LONG = 32;

/** A state's memory, as a program takes it. */
export interface Bound {
  readonly resident: Resident;
}

/** Stands around every run of a program: what measures and audits its memory. */
export interface Guard {
  /**
   * @param states the states' memory, by slot
   * @param execute writes the inputs and runs the program; it may be called again
   * @returns the values of the results
   */
  around(program: Program, states: readonly Bound[], execute: () => TypedArray[]): TypedArray[];
}

/** Kernels on a memory of their own. */
export class Runtime {
  /** Who watches, if anyone does. */
  observer: Observer | null = null;
  /** Who guards the memory, if anyone does. */
  guard: Guard | null = null;
  readonly status: Extent;
  readonly scratch: Extent;
  private temporary: Extent;
  /** Views of the memory; made anew when it grows. */
  private f32: Float32Array;
  private i32: Int32Array;
  /** Gives back the regions of states and programs that were collected. */
  private readonly collected = new FinalizationRegistry<Extent>((extent) => this.arena.release(extent));

  private constructor(
    readonly build: Build,
    readonly arena: Arena,
    private readonly kernels: Kernels,
  ) {
    this.status = arena.allocate(4 * StatusField.Length, "the status record");
    this.scratch = arena.allocate(Layout.ScratchBytes, "scratch");
    this.temporary = arena.allocate(0, "temporaries");
    this.f32 = new Float32Array(arena.memory.buffer);
    this.i32 = new Int32Array(arena.memory.buffer);
  }

  /** Loads the kernels. */
  static async create(options: RuntimeOptions = {}): Promise<Runtime> {
    const build = chooseBuild(options.build ?? "strict");
    const location = new URL(options.wasm ?? "../../wasm/", import.meta.url);
    const module = await compileBuild(build, location);
    const arena = new Arena(options.maximumBytes ?? 2 ** 32);
    const instance = await WebAssembly.instantiate(module, { env: { memory: arena.memory, abort: unreachable } });
    return new Runtime(build, arena, instance.exports as unknown as Kernels);
  }

  /** Bytes that every program of this runtime shares: scratch and the status record. */
  get sharedBytes(): number {
    return this.status.bytes + this.scratch.bytes;
  }

  /** A region that is released when `owner` is collected. */
  own(owner: object, bytes: number, what: string): Extent {
    const extent = this.allocate(bytes, what);
    this.collected.register(owner, extent, owner);
    return extent;
  }

  /** Releases the region of `owner` at once. */
  disown(owner: object, extent: Extent): void {
    this.collected.unregister(owner);
    this.arena.release(extent);
  }

  /** The address of a temporary region of at least `bytes`, shared by all programs, one of which runs at a time. */
  temporaries(bytes: number): number {
    if (bytes > this.temporary.bytes) {
      const before = this.temporary;
      this.arena.release(before);
      this.temporary = { address: before.address, bytes: 0 };
      this.temporary = this.allocate(bytes, "temporaries");
    }
    return this.temporary.address;
  }

  /** Allocates, and sees to the views: memory grows nowhere else. */
  private allocate(bytes: number, what: string): Extent {
    const extent = this.arena.allocate(bytes, what);
    if (this.f32.buffer !== this.arena.memory.buffer) {
      this.f32 = new Float32Array(this.arena.memory.buffer);
      this.i32 = new Int32Array(this.arena.memory.buffer);
    }
    return extent;
  }

  /** Copies a value into memory. */
  write(address: number, value: TypedArray): void {
    if (value instanceof Float32Array) this.f32.set(value, address >>> 2);
    else this.i32.set(value, address >>> 2);
  }

  /** Copies `length` elements out of memory. */
  read(address: number, dtype: DType, length: number): TypedArray {
    const from = address >>> 2;
    const memory = dtype === "f32" ? this.f32 : this.i32;
    if (dtype !== "bool" && length > LONG) return memory.slice(from, from + length);
    const copy = allocate(dtype, length);
    for (let i = 0; i < length; i++) copy[i] = memory[from + i] as number;
    return copy;
  }

  /** Writes a program's words with the addresses that its relocations ask for. */
  writeCode(address: number, { words, relocations }: Code, bases: readonly number[]): void {
    const start = address >>> 2;
    this.i32.set(words, start);
    const { word, base, offset } = relocations;
    for (let i = 0; i < word.length; i++) {
      this.i32[start + (word[i] as number)] = (bases[base[i] as number] as number) + (offset[i] as number);
    }
  }

  /** Writes the numbers of a cell. */
  writeCell(address: number, dtype: DType, values: readonly number[]): void {
    const memory = dtype === "f32" ? this.f32 : this.i32;
    for (let i = 0; i < values.length; i++) memory[(address >>> 2) + i] = values[i] as number;
  }

  /**
   * Runs the program at `address`.
   * @returns null, or the byte offset of the instruction that stopped it and the index that it found out of range
   */
  run(address: number): { readonly at: number; readonly index: number } | null {
    if (this.kernels.run(address, this.scratch.address, this.status.address, 0, 1) === 0) return null;
    const status = this.status.address >>> 2;
    return {
      at: this.i32[status + StatusField.Instruction] as number,
      index: this.i32[status + StatusField.Value] as number,
    };
  }

  /** Runs the words `from` to `to` of the program at `address`: an End stands behind them while they run. */
  runPart(address: number, from: number, to: number): ReturnType<Runtime["run"]> {
    const end = (address >>> 2) + to;
    const covered = this.i32[end] as number;
    this.i32[end] = Opcode.End | (1 << 16);
    const stopped = this.run(address + 4 * from);
    this.i32[end] = covered;
    return stopped && { ...stopped, at: stopped.at + 4 * from };
  }
}

function unreachable(): never {
  throw new Error("a kernel aborted: this is a defect of lanegrad");
}

/** A state in the arena. */
export class Resident implements Storage {
  readonly extent: Extent;
  private readonly length: number;

  constructor(
    readonly runtime: Runtime,
    readonly state: State,
  ) {
    this.length = sizeOf(state.shape);
    this.extent = runtime.own(this, 4 * this.length, `a state ${state.dtype}[${state.shape}]`);
  }

  get address(): number {
    return this.extent.address;
  }

  read(): TypedArray {
    return this.runtime.read(this.extent.address, this.state.dtype, this.length);
  }

  write(value: TypedArray): void {
    this.runtime.write(this.extent.address, value);
  }
}

/** A plan loaded into a runtime: it can be run any number of times. */
export class Program {
  /** Where its words and its numbers are. */
  readonly block: Extent;
  private readonly codeBytes: number;
  private bases: number[] = [];

  constructor(
    readonly runtime: Runtime,
    readonly plan: Plan,
  ) {
    expectAddressable(plan.temporaries, plan.temporaryBytes);
    this.codeBytes = Math.ceil((4 * plan.code.words.length) / Layout.Alignment) * Layout.Alignment;
    this.block = runtime.own(this, this.codeBytes + 4 * plan.pool.length, "a program");
    runtime.write(this.poolAddress, new Int32Array(plan.pool.buffer));
  }

  /** Where its numbers are. */
  get poolAddress(): number {
    return this.block.address + this.codeBytes;
  }

  /** Gives its memory back at once. It must not be run again. */
  release(): void {
    this.runtime.disown(this, this.block);
  }

  /**
   * Runs once.
   * @param states the states' memory, by slot
   * @param inputs the value of each of the plan's inputs
   * @param cells the numbers of each of the plan's cells
   * @returns the value of each result, in arrays of their own
   * @throws IndexError where an index in a tensor is out of range; the run stops there
   */
  run(states: readonly Bound[], inputs: readonly TypedArray[], cells: readonly (readonly number[])[]): TypedArray[] {
    const { guard } = this.runtime;
    if (guard === null) return this.execute(states, inputs, cells);
    return guard.around(this, states, () => this.execute(states, inputs, cells));
  }

  private execute(
    states: readonly Bound[],
    inputs: readonly TypedArray[],
    cells: readonly (readonly number[])[],
  ): TypedArray[] {
    const { runtime, plan } = this;
    const temporaries = runtime.temporaries(plan.temporaryBytes);
    this.bind(temporaries, states);
    for (let i = 0; i < plan.inputs.length; i++) {
      const feed = plan.inputs[i] as Feed;
      runtime.write(temporaries + feed.offset, inputs[i] as TypedArray);
    }
    for (let i = 0; i < plan.cells.length; i++) {
      const feed = plan.cells[i] as Feed;
      runtime.writeCell(this.poolAddress + feed.offset, feed.dtype, cells[i] as readonly number[]);
    }
    const started = debugLevel >= 4 ? performance.now() : 0;
    const stopped = runtime.observer === null ? runtime.run(this.block.address) : this.runFor(runtime.observer);
    debug(
      4,
      () =>
        `run: ${plan.steps.length} step${plan.steps.length === 1 ? "" : "s"}, ${(1000 * (performance.now() - started)).toFixed(1)} µs`,
    );
    if (stopped !== null) throw this.indexError(stopped);
    return plan.results.map(({ offset, dtype, shape }) => runtime.read(temporaries + offset, dtype, sizeOf(shape)));
  }

  /** Writes the code again where a region has moved since it last was written. */
  private bind(temporaries: number, states: readonly Bound[]): void {
    let same = this.bases.length === Base.State + states.length && this.bases[Base.Temporary] === temporaries;
    for (let i = 0; same && i < states.length; i++) {
      same = this.bases[Base.State + i] === (states[i] as Bound).resident.address;
    }
    if (same) return;
    this.bases = [temporaries, this.poolAddress, ...states.map(({ resident }) => resident.address)];
    this.runtime.writeCode(this.block.address, this.plan.code, this.bases);
  }

  /** Runs part by part for an observer. */
  private runFor(observer: Observer): ReturnType<Runtime["run"]> {
    const { runtime, plan, block } = this;
    const cuts = observer.cuts(plan);
    const milliseconds: number[] = [];
    for (let i = 0; i < cuts.length; i++) {
      const started = performance.now();
      const stopped = runtime.runPart(block.address, cuts[i] as number, cuts[i + 1] ?? plan.code.words.length - 1);
      milliseconds.push(performance.now() - started);
      if (stopped !== null) return stopped;
      observer.passed?.(plan, i);
    }
    observer.ran(plan, milliseconds);
    return null;
  }

  private indexError({ at, index }: { at: number; index: number }): IndexError {
    const { steps, code } = this.plan;
    const step = steps[code.starts.indexOf(at / 4)];
    const node = step?.nodes[0];
    const { dim, op } = (node?.attrs ?? { dim: 0, op: "index" }) as { dim: number; op: string };
    const size = node?.inputs[0]?.shape[dim];
    return new IndexError(
      `${op}: index ${index} is out of range for dimension ${dim}, which has ${size} entries (0 to ${Number(size) - 1})`,
    );
  }
}
