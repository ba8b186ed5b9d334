/** Driving the Wasm modules by hand: builds, memory, hand-made programs, and the ceilings to compare with. */
import { readFileSync } from "node:fs";
import { Flag, Layout, Opcode } from "../src/isa.js";
import type { Candidate } from "./measure.js";

export type Build = "strict" | "relaxed";

const PAGE_BYTES = 65536;
const CACHE_LINE_BYTES = 64;
const CEILING_TURNS = 20000;
const FLOPS_OF_VECTOR_MULTIPLY_ADD = 8;

function bytesOf(name: string): Uint8Array<ArrayBuffer> {
  return readFileSync(new URL(`../build/wasm/${name}.wasm`, import.meta.url));
}

/** The builds that this engine accepts: relaxed SIMD is not in Node 20. */
export function availableBuilds(): Build[] {
  return (["strict", "relaxed"] as const).filter((build) => WebAssembly.validate(bytesOf(build)));
}

/** The header and words of one instruction; `fields` are the words after the header. */
export function instruction(opcode: Opcode, fields: readonly number[], flags: Flag = Flag.None): number[] {
  return [opcode | (flags << 8) | ((fields.length + 1) << 16), ...fields];
}

/** What `assembly/bench.ts` exports. */
interface CeilingExports {
  readonly DEPENDENT_CHAINS: WebAssembly.Global<"i32">;
  readonly INDEPENDENT_CHAINS: WebAssembly.Global<"i32">;
  dependentMulAdds(turns: number, at: number): void;
  independentMulAdds(turns: number, at: number): void;
  triad(count: number, a: number, b: number, c: number, s: number): void;
}

/** One build, and one memory that its kernels and its ceilings share. */
export class Kernels {
  private readonly memory: WebAssembly.Memory;
  private readonly entry: (code: number, scratch: number, status: number, thread: number, threads: number) => number;
  private readonly ceilings: CeilingExports;
  private top = PAGE_BYTES;
  private readonly scratch: number;

  constructor(
    readonly build: Build,
    memoryBytes: number,
  ) {
    this.memory = new WebAssembly.Memory({ initial: Math.ceil(memoryBytes / PAGE_BYTES) + 1, maximum: PAGE_BYTES });
    const load = (name: string) =>
      new WebAssembly.Instance(new WebAssembly.Module(bytesOf(name)), { env: { memory: this.memory } }).exports;
    this.entry = load(build).run as Kernels["entry"];
    this.ceilings = load(`bench-${build}`) as unknown as CeilingExports;
    this.scratch = this.allocate(Layout.ScratchBytes);
  }

  /** Address of `bytes` new bytes; throws a RangeError past the memory given to the constructor. */
  allocate(bytes: number): number {
    const address = this.top;
    this.top += Math.ceil(bytes / CACHE_LINE_BYTES) * CACHE_LINE_BYTES;
    if (this.top > this.memory.buffer.byteLength) throw new RangeError(`no room for ${bytes} more bytes of buffers`);
    return address;
  }

  /** Address of `count` floats between -1 and 1. */
  floats(count: number): number {
    const address = this.allocate(count * Layout.ElementBytes);
    new Float32Array(this.memory.buffer, address, count).forEach((_, i, all) => {
      all[i] = ((i * 7919) % 2048) / 1024 - 1;
    });
    return address;
  }

  /** A function that runs these instructions, followed by End, on one thread. */
  program(instructions: readonly (readonly number[])[]): () => void {
    const words = [...instructions.flat(), ...instruction(Opcode.End, [])];
    const code = this.allocate(words.length * Layout.ElementBytes);
    new Uint32Array(this.memory.buffer, code, words.length).set(words);
    return () => {
      if (this.entry(code, this.scratch, 0, 0, 1) !== 0)
        throw new Error("the program stopped: an index is out of range");
    };
  }

  /**
   * Loops of multiplications and additions in registers alone, work in floating-point operations. Which of them is
   * faster depends on build and processor: the ceiling is the better one.
   */
  arithmeticCeilings(): Candidate[] {
    const { dependentMulAdds, independentMulAdds, DEPENDENT_CHAINS, INDEPENDENT_CHAINS } = this.ceilings;
    const at = this.allocate(48);
    new Float32Array(this.memory.buffer, at, 8).fill(1, 0, 4).fill(0.5, 4, 8);
    const flops = CEILING_TURNS * FLOPS_OF_VECTOR_MULTIPLY_ADD;
    return [
      { name: "dependent", work: flops * DEPENDENT_CHAINS.value, run: () => dependentMulAdds(CEILING_TURNS, at) },
      { name: "independent", work: flops * INDEPENDENT_CHAINS.value, run: () => independentMulAdds(CEILING_TURNS, at) },
    ];
  }

  /** a = b + s·c over vectors of `count` floats, work in bytes. */
  streamingCeiling(count: number): Candidate {
    const [a, b, c] = [this.floats(count), this.floats(count), this.floats(count)];
    return {
      name: "stream",
      work: 3 * Layout.ElementBytes * count,
      run: () => this.ceilings.triad(count, a, b, c, 0.5),
    };
  }
}
