/**
 * Auditing memory: the first run of every program is done twice on poisoned memory, the second time instruction by
 * instruction. The programs of all tests are audited, since `start` installs it.
 *
 * Both patterns are NaN, out of every index's range, and differ in every byte. So a program that reads an element that
 * it never wrote gives other results in one run than in the other; and an element that holds its pattern after both was
 * never written. In the second run what is dead by the plan is poisoned again, and what an instruction may not write is
 * compared after each. The last element touched must be the last that the plan foretells.
 *
 * What must not change is compared by digests of chunks: beside the program's own memory, an audit holds only what its
 * states were before, and so can be made of programs of any size.
 */
import type { TypedArray } from "../../src/graph/dtype.js";
import { Flag, Layout } from "../../src/isa.js";
import { type Buffer, paddedBytes } from "../../src/plan/buffer.js";
import type { Plan } from "../../src/plan/plan.js";
import type { Extent } from "../../src/runtime/arena.js";
import { type MeasuredMemory, measuredBeside, peakBytes } from "../../src/runtime/peak.js";
import type { Bound, Guard, Observer, Program } from "../../src/runtime/runtime.js";

const FIRST = -1;
const SECOND = 0x7fd5a5a5;

/** Words of one digest, a page of 4 KiB: so exactly it is told where something has changed. */
const CHUNK = 1024;
/** Words that are looked at in the second run, if not many more: of larger programs, after several instructions each time. */
const WORK = 64e6;
/** Times that the second run of a program of any size is looked at. */
const FEWEST_PARTS = 4;

/** Ranges of words, by where they start; they may overlap. */
type Ranges = readonly (readonly [start: number, end: number])[];

function ascending(ranges: Ranges): Ranges {
  return ranges.toSorted(([a], [b]) => a - b);
}

/** The words of buffers within the temporaries. */
function rangesOf(buffers: readonly Buffer[]): Ranges {
  const temporaries = buffers.filter(({ region, bytes }) => region.kind === "temporary" && bytes > 0);
  return ascending(
    temporaries.map((buffer) => [buffer.offset / 4, (buffer.offset + paddedBytes(buffer)) / 4] as const),
  );
}

/** The words of regions within the memory. */
function wordsOf(extents: readonly Extent[]): Ranges {
  return ascending(extents.map(({ address, bytes }) => [address / 4, (address + bytes) / 4] as const));
}

/** What of 0 to `end` is in none of some ranges. */
function outside(ranges: Ranges, end: number): Ranges {
  const between: (readonly [start: number, end: number])[] = [];
  let at = 0;
  for (const [start, stop] of [...ranges, [end, end] as const]) {
    if (start > at) between.push([at, start]);
    at = Math.max(at, stop);
  }
  return between;
}

/** A hash of which every step is a bijection, so that one word that changes always shows; the shift spreads high bits. */
function digest(words: Int32Array, start: number, end: number): number {
  let hash = 0;
  for (let i = start; i < end; i++) {
    hash = Math.imul(hash ^ (words[i] as number), 0x85ebca6b);
    hash ^= hash >>> 13;
  }
  return hash;
}

function digestOf({ buffer, byteOffset, byteLength }: TypedArray): number {
  const words = new Int32Array(Math.ceil(byteLength / 4));
  new Uint8Array(words.buffer).set(new Uint8Array(buffer, byteOffset, byteLength));
  return digest(words, 0, words.length);
}

/** Looks at ranges of words, and returns a function that says at which byte the first chunk starts that has changed since. */
function watch(words: Int32Array, ranges: Ranges): () => number | null {
  const digests = (): Int32Array => {
    const count = ranges.reduce((sum, [start, end]) => sum + Math.ceil((end - start) / CHUNK), 0);
    const found = new Int32Array(count);
    let next = 0;
    for (const [start, end] of ranges) {
      for (let at = start; at < end; at += CHUNK) found[next++] = digest(words, at, Math.min(end, at + CHUNK));
    }
    return found;
  };
  const before = digests();
  return () => {
    const after = digests();
    let chunk = before.findIndex((hash, i) => hash !== after[i]);
    if (chunk < 0) return null;
    for (const [start, end] of ranges) {
      const chunks = Math.ceil((end - start) / CHUNK);
      if (chunk < chunks) return 4 * (start + chunk * CHUNK);
      chunk -= chunks;
    }
    return null;
  };
}

/** The end of the last word, at `least` or behind it, that does not hold a pattern. */
function touchedEnd(words: Int32Array, pattern: number, least: number): number {
  let end = words.length;
  while (end > least && words[end - 1] === pattern) end--;
  return end;
}

/** @throws Error where the plan has nothing, and a pattern has been overwritten */
function expectUntouched(words: Int32Array, { temporaries }: Plan, pattern: number): void {
  for (const [start, end] of outside(rangesOf(temporaries), words.length)) {
    for (let at = start; at < end; at++) {
      if (words[at] !== pattern) throw new Error(`audit: a write at ${4 * at}, where the plan has nothing`);
    }
  }
}

/** Looks at the second run: checks what each part of it has changed, and poisons what died. */
class Watch implements Observer {
  /** The end of the last word that was written. */
  end = 0;
  /** The steps of each part, by number: none at first, when the host has written. */
  private readonly parts: readonly (readonly number[])[];
  private changed: () => number | null;

  constructor(
    private readonly plan: Plan,
    private readonly words: Int32Array,
  ) {
    // An instruction with its epilogue is not divided.
    const units: number[][] = [];
    plan.steps.forEach((_, i) => {
      if (i > 0 && (plan.steps[i - 1] as Plan["steps"][number]).flags & Flag.Epilogue) units.at(-1)?.push(i);
      else units.push([i]);
    });
    const size = Math.ceil(units.length / Math.max(FEWEST_PARTS, Math.floor(WORK / words.length)));
    const count = size === 0 ? 0 : Math.ceil(units.length / size);
    const parts = Array.from({ length: count }, (_, i) => units.slice(i * size, (i + 1) * size).flat());
    this.parts = [[], ...parts];
    this.changed = this.watchPart(0);
  }

  cuts({ code }: Plan): readonly number[] {
    return [0, ...this.parts.slice(1).map(([first]) => code.starts[first as number] as number)];
  }

  passed(plan: Plan, part: number): void {
    const at = this.changed();
    if (at !== null) {
      const names = this.stepsOf(part).flatMap(({ nodes }) => nodes.map(({ primitive }) => primitive.name));
      throw new Error(`audit: ${names.join("+") || "the host"} writes near ${at}, which is none of its outputs`);
    }
    this.end = touchedEnd(this.words, SECOND, this.end);
    this.poisonDead(plan, this.parts[part] as readonly number[]);
    if (part + 1 < this.parts.length) this.changed = this.watchPart(part + 1);
  }

  ran(): void {}

  private stepsOf(part: number): Plan["steps"] {
    return (this.parts[part] as readonly number[]).map((i) => this.plan.steps[i] as Plan["steps"][number]);
  }

  /** Watches all that a part may not write. */
  private watchPart(part: number): () => number | null {
    const inputs = this.plan.temporaries.filter(({ first }) => first === -1);
    const written = part === 0 ? inputs : this.stepsOf(part).flatMap(({ writes }) => writes);
    return watch(this.words, outside(rangesOf(written), this.words.length));
  }

  private poisonDead({ temporaries }: Plan, steps: readonly number[]): void {
    const [start, end] = [steps[0] ?? -1, steps.at(-1) ?? -1];
    const alive = rangesOf(temporaries.filter(({ first, last }) => first <= end && last > end));
    for (const [from, to] of rangesOf(temporaries.filter(({ last }) => last >= start && last <= end))) {
      if (!alive.some(([low, high]) => low < to && from < high)) this.words.fill(SECOND, from, to);
    }
  }
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
    const memory = new Int32Array(buffer);
    const words = new Int32Array(buffer, address, plan.temporaryBytes / Layout.ElementBytes);
    const poison = (pattern: number): void => {
      words.fill(pattern);
      for (const [start, end] of wordsOf([runtime.scratch, runtime.status])) memory.fill(pattern, start, end);
    };
    const updated = plan.updates.map(({ slot }) => states[slot] as Bound);
    const extents = updated.map(({ resident }) => resident.extent);
    const own = [{ address, bytes: plan.temporaryBytes }, runtime.scratch, runtime.status, program.block];
    const before = wordsOf(extents).map(([start, end]) => [start, memory.slice(start, end)] as const);
    const [othersChanged, statesChanged] = [
      watch(memory, outside(wordsOf([...own, ...extents]), memory.length)),
      watch(memory, wordsOf(extents)),
    ];
    const expectSame = (at: number | null, what: string): void => {
      if (at !== null) throw new Error(`audit: ${what} changed near ${at}`);
    };
    const digests = (results: TypedArray[]): number[] => [
      ...results.map(digestOf),
      ...updated.map(({ resident }) => digestOf(resident.read())),
    ];

    poison(FIRST);
    let first: number[];
    try {
      first = digests(execute());
    } catch (error) {
      expectSame(othersChanged() ?? statesChanged(), "a run that failed: memory that is not its own");
      throw error;
    }
    expectSame(othersChanged(), "memory that is not the program's");
    expectUntouched(words, plan, FIRST);
    const end = touchedEnd(words, FIRST, 0);

    for (const [start, values] of before) memory.set(values, start);
    poison(SECOND);
    const observer = new Watch(plan, words);
    runtime.observer = observer;
    let results: TypedArray[];
    try {
      results = execute();
    } finally {
      runtime.observer = null;
    }
    const at = digests(results).findIndex((hash, i) => hash !== first[i]);
    if (at >= 0) {
      const what = at < results.length ? `result ${at}` : `state ${plan.updates[at - results.length]?.slot}`;
      throw new Error(`audit: ${what} depends on memory that was never written`);
    }
    expectUntouched(words, plan, SECOND);
    const temporaryBytes = peakBytes(plan, Math.max(end, observer.end));
    if (temporaryBytes !== plan.temporaryBytes) {
      throw new Error(`audit: the plan foretells ${plan.temporaryBytes} bytes, and ${temporaryBytes} were touched`);
    }
    this.measured = measuredBeside(program, states, temporaryBytes);
    return results;
  }
}
