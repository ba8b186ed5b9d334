/**
 * Auditing memory: the first run of every program is done twice on poisoned memory, the second time instruction by
 * instruction. The programs of all tests are audited, since `start` installs it.
 *
 * Both patterns are NaN, out of every index's range, and differ in every byte. So a program that reads an element that
 * it never wrote gives other results in one run than in the other; and an element that holds its pattern after both was
 * never written. In the second run what is dead by the plan is poisoned again, and what an instruction may not write is
 * compared after each. The last element touched must be the last that the plan foretells.
 */
import type { TypedArray } from "../../src/graph/dtype.js";
import { Flag, Layout } from "../../src/isa.js";
import type { Buffer } from "../../src/plan/buffer.js";
import { paddedBytes } from "../../src/plan/buffer.js";
import type { Plan } from "../../src/plan/plan.js";
import type { Extent } from "../../src/runtime/arena.js";
import { type MeasuredMemory, measuredBeside, peakBytes } from "../../src/runtime/peak.js";
import type { Bound, Guard, Observer, Program } from "../../src/runtime/runtime.js";

const FIRST = -1;
const SECOND = 0x7fd5a5a5;

/** Bytes of memory above which a program is not audited. */
const MOST_MEMORY = 64e6;
/** Words that may be compared in one audit: larger programs run as a whole in the second run too. */
const MOST_WORK = 64e6;

/** Ranges of words within the temporaries, ascending. */
type Ranges = readonly (readonly [start: number, end: number])[];

function rangesOf(buffers: readonly Buffer[]): Ranges {
  return buffers
    .filter(({ region, bytes }) => region.kind === "temporary" && bytes > 0)
    .map((buffer) => [buffer.offset / 4, (buffer.offset + paddedBytes(buffer)) / 4] as const)
    .sort(([a], [b]) => a - b);
}

/** Calls `visit` with every word of 0 to `end` outside of ranges, until it returns false. */
function outside(ranges: Ranges, end: number, visit: (word: number) => void): void {
  let at = 0;
  for (const [start, stop] of [...ranges, [end, end] as const]) {
    for (; at < start; at++) visit(at);
    at = Math.max(at, stop);
  }
}

function sameBits(a: TypedArray, b: TypedArray): boolean {
  const [x, y] = [a, b].map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength));
  return x?.length === y?.length && (x as Uint8Array).every((byte, i) => byte === y?.[i]);
}

/** The second run's steps: checks what each has changed, and poisons what died. */
class Watch implements Observer {
  readonly touched: Uint8Array;
  private readonly shadow: Int32Array;
  /** The steps of each part, by number: an instruction with its epilogue. */
  private readonly parts: number[][] = [];

  constructor(
    plan: Plan,
    private readonly words: Int32Array,
  ) {
    this.touched = new Uint8Array(words.length);
    this.shadow = words.slice();
    plan.steps.forEach((_, i) => {
      if (i > 0 && (plan.steps[i - 1] as Plan["steps"][number]).flags & Flag.Epilogue) this.parts.at(-1)?.push(i);
      else this.parts.push([i]);
    });
  }

  cuts({ code }: Plan): readonly number[] {
    // A part of no instruction first: what the host wrote.
    return [0, ...this.parts.map(([first]) => code.starts[first as number] as number)];
  }

  passed(plan: Plan, part: number): void {
    const steps = part === 0 ? [] : (this.parts[part - 1] as number[]);
    const inputs = plan.temporaries.filter(({ first }) => first === -1);
    const written = part === 0 ? inputs : steps.flatMap((i) => (plan.steps[i] as Plan["steps"][number]).writes);
    const ranges = rangesOf(written);
    const { words, shadow, touched } = this;
    outside(ranges, words.length, (word) => {
      if (words[word] === shadow[word]) return;
      const names = steps.flatMap((i) => (plan.steps[i] as Plan["steps"][number]).nodes.map((n) => n.primitive.name));
      throw new Error(`audit: ${names.join("+") || "the host"} writes at ${4 * word}, which is none of its outputs`);
    });
    for (const [start, end] of ranges) {
      for (let word = start; word < end; word++) if (words[word] !== shadow[word]) touched[word] = 1;
    }
    this.poisonDead(plan, steps.at(-1) ?? -1);
    shadow.set(words);
  }

  private poisonDead({ temporaries }: Plan, step: number): void {
    const alive = rangesOf(temporaries.filter(({ first, last }) => first <= step && last > step));
    for (const [start, end] of rangesOf(temporaries.filter(({ first, last }) => first <= step && last === step))) {
      if (!alive.some(([from, to]) => from < end && start < to)) this.words.fill(SECOND, start, end);
    }
  }

  ran(): void {}
}

/** Audits the first run of every program. */
export class Audit implements Guard {
  /** What the program audited last took. */
  measured: MeasuredMemory | null = null;
  private readonly seen = new WeakSet<Program>();

  around(program: Program, states: readonly Bound[], execute: () => TypedArray[]): TypedArray[] {
    const { runtime, plan } = program;
    if (this.seen.has(program) || runtime.observer !== null) return execute();
    this.seen.add(program);
    const address = runtime.temporaries(plan.temporaryBytes);
    const { buffer } = runtime.arena.memory;
    if (buffer.byteLength > MOST_MEMORY) return execute();

    const memory = new Int32Array(buffer);
    const temporaries = { address, bytes: plan.temporaryBytes };
    const words = new Int32Array(buffer, address, plan.temporaryBytes / Layout.ElementBytes);
    const poison = (pattern: number): void => {
      words.fill(pattern);
      for (const { address, bytes } of [runtime.scratch, runtime.status]) {
        memory.fill(pattern, address / 4, (address + bytes) / 4);
      }
    };
    const own = [temporaries, runtime.scratch, runtime.status, program.block];
    const updated = plan.updates.map(({ slot }) => states[slot] as Bound);
    const before = memory.slice();
    const expectSame = (except: readonly Extent[], what: string): void => {
      const ranges = except.map(({ address, bytes }) => [address / 4, (address + bytes) / 4] as const);
      outside(
        ranges.sort(([a], [b]) => a - b),
        memory.length,
        (word) => {
          if (memory[word] !== before[word]) throw new Error(`audit: ${what} changed at ${4 * word}`);
        },
      );
    };

    poison(FIRST);
    let first: TypedArray[];
    try {
      first = execute();
    } catch (error) {
      expectSame(own, "a run that failed: memory that is not its own");
      throw error;
    }
    expectSame([...own, ...updated.map(({ resident }) => resident.extent)], "memory that is not the program's");
    const touched = Uint8Array.from(words, (word) => (word === FIRST ? 0 : 1));
    const values = (): TypedArray[] => updated.map(({ resident }) => resident.read());
    const after = values();

    for (const { resident } of updated) {
      const { address, bytes } = resident.extent;
      memory.set(before.subarray(address / 4, (address + bytes) / 4), address / 4);
    }
    poison(SECOND);
    const watch = plan.steps.length * words.length <= MOST_WORK ? new Watch(plan, words) : null;
    runtime.observer = watch;
    let second: TypedArray[];
    try {
      second = execute();
    } finally {
      runtime.observer = null;
    }
    const all = [...second, ...values()];
    [...first, ...after].forEach((value, i) => {
      if (!sameBits(value, all[i] as TypedArray)) {
        const what = i < first.length ? `result ${i}` : `state ${plan.updates[i - first.length]?.slot}`;
        throw new Error(`audit: ${what} depends on memory that was never written`);
      }
    });
    words.forEach((word, i) => {
      if (watch === null ? word !== SECOND : watch.touched[i] === 1) touched[i] = 1;
    });
    outside(rangesOf(plan.temporaries), words.length, (word) => {
      if (touched[word] === 1) throw new Error(`audit: a write at ${4 * word}, where the plan has nothing`);
    });
    const temporaryBytes = peakBytes(plan, touched.lastIndexOf(1) + 1);
    if (temporaryBytes !== plan.temporaryBytes) {
      throw new Error(`audit: the plan foretells ${plan.temporaryBytes} bytes, and ${temporaryBytes} were touched`);
    }
    this.measured = measuredBeside(program, states, temporaryBytes);
    return second;
  }
}
