/**
 * Symbolic replay: runs a program on names of values instead of on numbers, element by element, and checks that every
 * instruction finds what it is meant to read and that what the program must leave is there at its end.
 *
 * It takes nothing from the passes that it checks but their result: where an instruction reads and writes is told from
 * its words, what it ought to read from the graph, and what an operator ought to emit from its record.
 */
import type { KernelContext, Operand } from "../graph/primitive.js";
import { type Shape, sameShape, sizeOf } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { wholeView } from "../graph/view.js";
import { attrsKey, isLeaf } from "../graph/walk.js";
import { Flag, InputKind, Layout, Opcode } from "../isa.js";
import { MicroOp } from "../micro-op.js";
import { accessOf, type Chain, chainOf, eachRun, type Formula, formulaOf, misplaced, type Region } from "./access.js";
import { type Buffer, paddedBytes, type Step } from "./buffer.js";
import { type Code, encode } from "./encode.js";

/** What of a plan is replayed. */
export interface Replayed {
  readonly code: Code;
  readonly steps: readonly Step[];
  readonly temporaries: readonly Buffer[];
  readonly temporaryBytes: number;
  readonly results: readonly { readonly shape: Shape; readonly offset: number }[];
  readonly updates: readonly { readonly slot: number; readonly node: Node }[];
  /** The nodes of the results, then those of the updates. */
  readonly roots: readonly Node[];
  /** For each value that is computed again, the first one. */
  readonly originals: ReadonlyMap<Node, Node>;
}

/** Whether two nodes apply the same operators to the same leaves. `equal` remembers which pairs do. */
function isSameExpression(a: Node, b: Node, equal: Map<Node, Set<Node>>): boolean {
  const stack: [Node, Node][] = [[a, b]];
  for (let pair = stack.pop(); pair !== undefined; pair = stack.pop()) {
    const [x, y] = pair;
    const known = equal.get(x) ?? new Set();
    if (x === y || known.has(y)) continue;
    equal.set(x, known.add(y));
    if (isLeaf(x) || isLeaf(y) || x.primitive !== y.primitive || attrsKey(x.attrs) !== attrsKey(y.attrs)) return false;
    if (!sameShape(x.shape, y.shape) || x.inputs.length !== y.inputs.length) return false;
    for (const [i, input] of x.inputs.entries()) stack.push([input, y.inputs[i] as Node]);
  }
  return true;
}

/** A node, and those that it shows otherwise if it is a view: the value of each is where the node's is. */
function* shownBy(node: Node): Generator<Node> {
  for (let x: Node | undefined = node; x !== undefined; ) {
    yield x;
    x = !isLeaf(x) && x.primitive.lowering.kind === "view" ? x.inputs[0] : undefined;
  }
}

/** An instruction that an operator's own lowering emits: which words are addresses of which inputs. */
interface Emitted {
  readonly opcode: Opcode;
  readonly inputs: readonly { readonly word: number; readonly input: number }[];
}

/** The instructions, other than for rearranging operands, that an operator's own lowering emits for a node. */
function emittedFor(node: Node): Emitted[] {
  const { lowering } = node.primitive;
  if (lowering.kind !== "kernel" || (sizeOf(node.shape) === 0 && lowering.checks === undefined)) return [];
  const emitted: Emitted[] = [];
  const numberOf = new Map<object, number>();
  const operand = ({ shape, dtype }: Pick<Node, "shape" | "dtype">): Operand => ({
    buffer: {},
    dtype,
    ...wholeView(shape),
  });
  const input = (i: number): Operand => {
    const made = operand(node.inputs[i] as Node);
    numberOf.set(made.buffer, i);
    return made;
  };
  const emit = (opcode: Opcode, words: readonly (number | Operand)[]): void => {
    const inputs = words.flatMap((x, word) => {
      const number = typeof x === "object" ? numberOf.get(x.buffer) : undefined;
      return number === undefined ? [] : [{ word, input: number }];
    });
    emitted.push({ opcode, inputs });
  };
  const unlessEmpty = (opcode: Opcode, target: Operand, source: readonly Operand[]): void => {
    if (sizeOf(target.shape) > 0) emit(opcode, [target, ...source]);
  };
  const context: KernelContext<unknown> = {
    attrs: node.attrs,
    inputCount: node.inputs.length,
    epilogue: { bias: null, chain: false },
    input,
    contiguous: input,
    output: () => operand(node),
    copy: (target, source) => unlessEmpty(Opcode.Copy, target, [source]),
    fill: (target) => unlessEmpty(Opcode.Fill, target, []),
    workspace: (bytes) => operand({ shape: [bytes / Layout.ElementBytes], dtype: "f32" }),
    emit: (opcode, _, words) => emit(opcode, words),
  };
  lowering.lower(context);
  return emitted;
}

/** What is left to be emitted for a node before its value is complete. */
class Progress {
  private readonly emitted: readonly Emitted[];
  private done = 0;

  constructor(node: Node) {
    this.emitted = emittedFor(node);
  }

  get complete(): boolean {
    return this.done === this.emitted.length;
  }

  /**
   * Takes note of an instruction for the node: whether it is the next one, which it may be on other inputs than the
   * operator's.
   * @param shows whether the operand of a word has the value of an input
   */
  take({ opcode }: Step, shows: (word: number, input: number) => boolean): "next" | "wrong" | "other" {
    const next = this.emitted[this.done];
    if (next?.opcode !== opcode) return "other";
    if (!next.inputs.every(({ word, input }) => shows(word, input))) {
      // It may be a copy that lays out an operand.
      return opcode === Opcode.Copy ? "other" : "wrong";
    }
    this.done++;
    return "next";
  }
}

/** The micro-operation of an elementwise node. */
function microOf(node: Node): MicroOp | undefined {
  const { lowering } = node.primitive;
  return lowering.kind === "elementwise" ? lowering.micro[(node.inputs.at(-1) ?? node).dtype] : undefined;
}

function namesOf(step: Step): string {
  return step.nodes.map(({ primitive }) => primitive.name).join("+");
}

/** A buffer's bytes in its region. */
function extentOf(buffer: Buffer): readonly [start: number, end: number] {
  return [buffer.offset, buffer.offset + paddedBytes(buffer)];
}

function overlap(a: Buffer, b: Buffer): boolean {
  if (a.region.kind === "pool" || b.region.kind === "pool") return false;
  if (a.region.kind === "state" || b.region.kind === "state") {
    return a.region.kind === "state" && b.region.kind === "state" && a.region.slot === b.region.slot;
  }
  const [[start, end], [from, to]] = [extentOf(a), extentOf(b)];
  return start < to && from < end;
}

class Replay {
  /** For every element of the temporaries, and of each state, which buffer's value it holds; 0 for none. */
  private readonly temporaries: Int32Array;
  private readonly states = new Map<number, Int32Array>();
  private readonly numbers = new Map<Buffer, number>();
  /** The nodes whose values a buffer's elements are. */
  private readonly contents = new Map<Buffer, Set<Node>>();
  /** The states' buffers that instructions write; all others stand for the values at the start. */
  private readonly written: ReadonlySet<Buffer>;
  private readonly progress = new Map<Node, Progress>();

  constructor(private readonly plan: Replayed) {
    this.temporaries = new Int32Array(plan.temporaryBytes / Layout.ElementBytes);
    this.written = new Set(plan.steps.flatMap(({ writes }) => writes));
  }

  run(): void {
    const { plan } = this;
    this.checkCode();
    this.checkCopies();
    for (const buffer of plan.temporaries) {
      const [start, end] = extentOf(buffer);
      if (start < 0 || end > plan.temporaryBytes || start % Layout.Alignment !== 0) {
        throw new Error(`a buffer at ${start} to ${end} is not within the ${plan.temporaryBytes} bytes of temporaries`);
      }
      if (buffer.first === -1) this.write(wholeOf(buffer), [buffer.node as Node]);
    }
    plan.steps.forEach((step, i) => {
      this.step(step, `step ${i} (${namesOf(step)})`, plan.steps[i - 1]);
    });
    this.checkEnd();
  }

  /** The words are what the steps say, so that all else can be checked on steps. */
  private checkCode(): void {
    const { code, steps } = this.plan;
    const again = encode(steps);
    const same = (a: ArrayLike<number>, b: ArrayLike<number>): boolean =>
      a.length === b.length && Array.prototype.every.call(a, (word, i) => word === b[i]);
    const { word, base, offset } = code.relocations;
    const { relocations } = again;
    const addresses = same(word, relocations.word) && same(base, relocations.base) && same(offset, relocations.offset);
    if (!addresses || !same(code.words, again.words)) throw new Error("the program's words are not those of its steps");
  }

  private checkCopies(): void {
    const equal = new Map<Node, Set<Node>>();
    for (const [copy, original] of this.plan.originals) {
      if (isSameExpression(copy, original, equal)) continue;
      throw new Error(`${copy.primitive.name} [${copy.shape}] is computed again from other values than the first time`);
    }
  }

  private step(step: Step, who: string, before: Step | undefined): void {
    const { reads, writes } = accessOf(step);
    this.checkDeclared(step, reads, writes, who);
    const epilogue = before !== undefined && (before.flags & Flag.Epilogue) !== 0;
    if (epilogue && step.opcode !== Opcode.Elementwise) throw new Error(`${who} follows what needs an epilogue`);
    const own = new Set(step.nodes);
    const allowed = new Set(own);
    for (const node of step.nodes) {
      if (!isLeaf(node)) for (const input of node.inputs) for (const x of shownBy(input)) allowed.add(x);
    }
    for (const region of reads) this.read(region, allowed, own, who);
    this.checkAliases(step, reads, writes, epilogue ? before : undefined, who);
    const chain = step.opcode === Opcode.Elementwise ? chainOf(step) : null;
    if (chain !== null) this.checkChain(step, chain, who);
    const taken = step.nodes.map((node) =>
      this.progressOf(node).take(step, (word, input) => this.shows(step.words[word], node.inputs[input] as Node)),
    );
    if (taken.includes("wrong")) throw new Error(`${who} reads other values than its operator's inputs`);
    // A copy that is not the operator's own lays a value out otherwise.
    const moved = step.opcode === Opcode.Copy && !taken.includes("next");
    const made = moved ? this.moved(step, reads[0] as Region) : step.nodes;
    for (const region of writes) {
      const { node } = region.buffer;
      this.write(region, chain !== null && node !== null ? [node] : made);
    }
  }

  /** The nodes whose values a copy from a region has. */
  private moved({ nodes }: Step, { buffer }: Region): readonly Node[] {
    if (buffer.region.kind !== "pool") return this.contentsOf(buffer);
    // A number spread out: the node's own value, or the input of a kernel.
    const shown = nodes.flatMap((node) => [node, ...node.inputs]).flatMap((node) => [...shownBy(node)]);
    return shown.filter((node) => isLeaf(node) || node.primitive.lowering.kind === "view");
  }

  private progressOf(node: Node): Progress {
    const progress = this.progress.get(node) ?? new Progress(node);
    this.progress.set(node, progress);
    return progress;
  }

  private contentsOf(buffer: Buffer): readonly Node[] {
    return this.numberOf(buffer) === -1 ? [buffer.node as Node] : [...(this.contents.get(buffer) ?? [])];
  }

  /** Whether a word's operand is in a buffer that holds the value of `node`. */
  private shows(word: Step["words"][number] | undefined, node: Node): boolean {
    if (typeof word !== "object") return false;
    if (sizeOf(node.shape) === 0) return true;
    const shown = [...shownBy(node)];
    if (word.buffer.region.kind === "pool") return isLeaf(shown.at(-1) as Node);
    const contents = this.contentsOf(word.buffer);
    return shown.some((x) => contents.includes(x));
  }

  /** Computes on names what a chain's micro-operations compute on numbers: the outputs must be what they should. */
  private checkChain(step: Step, { inputs, outputs, operations }: Chain, who: string): void {
    const outer = new Set(step.nodes.flatMap((node) => node.inputs));
    const operands = step.words.filter((word) => typeof word === "object");
    /** Of each slot, the nodes whose value it has; none where that is not known. */
    const slots = new Map<number, readonly Node[]>();
    inputs.forEach((_, i) => {
      slots.set(
        i,
        [...outer].filter((node) => this.shows(operands[i], node)),
      );
    });
    /** The nodes of the step whose value a formula gives of operands. */
    const results = (formula: Formula, given: readonly (readonly Node[])[]): readonly Node[] => {
      if (typeof formula === "number") return given[formula] ?? [];
      const [op, parts] = formula;
      const operands = parts.map((part) => results(part, given));
      const orders = op === MicroOp.Add || op === MicroOp.Mul ? [operands, operands.toReversed()] : [operands];
      return step.nodes.filter(
        (node) =>
          microOf(node) === op &&
          orders.some((order) => order.every((nodes, k) => nodes.includes(node.inputs[k] as Node))),
      );
    };
    operations.forEach(({ op, reads, writes }, i) => {
      const given = reads.map((slot) => slots.get(slot) ?? []);
      const computed = results(formulaOf(op), given);
      if (computed.length === 0) throw new Error(`${who} computes what no node of it does`);
      if (op === MicroOp.AdamStep) {
        const [square, last] = [operations[i + 1], operations[i + 2]];
        const takes =
          last?.op === MicroOp.DivRootMulAdd && last.reads[0] === writes && last.reads[1] === square?.writes;
        if (square?.op !== MicroOp.MulAddMulMul || !takes) throw new Error(`${who} lacks parts of a step of Adam`);
      }
      slots.set(writes, computed);
    });
    outputs.forEach(({ buffer }, j) => {
      if (slots.get(inputs.length + j)?.includes(buffer.node as Node)) return;
      throw new Error(`${who} writes another value than ${buffer.node?.primitive.name}`);
    });
  }

  /** What the step's words name is what the step says it reads and writes: lifetimes follow from that. */
  private checkDeclared(step: Step, reads: readonly Region[], writes: readonly Region[], who: string): void {
    for (const [what, regions, declared] of [
      ["reads", reads, step.reads],
      ["writes", writes, step.writes],
    ] as const) {
      for (const region of regions) {
        if (!declared.includes(region.buffer)) throw new Error(`${who} ${what} a buffer that it does not name`);
        const wrong = misplaced(region);
        if (wrong !== null) throw new Error(`${who} ${what} outside of a buffer: ${wrong}`);
      }
    }
  }

  private numberOf(buffer: Buffer): number {
    // All that stand for a state's value at the start are one.
    if (buffer.region.kind === "state" && !this.written.has(buffer)) return -1;
    const known = this.numbers.get(buffer) ?? this.numbers.size + 1;
    this.numbers.set(buffer, known);
    return known;
  }

  private memoryOf({ region, bytes }: Buffer): Int32Array {
    if (region.kind !== "state") return this.temporaries;
    const memory = this.states.get(region.slot) ?? new Int32Array(bytes / Layout.ElementBytes).fill(-1);
    this.states.set(region.slot, memory);
    return memory;
  }

  private write(region: Region, nodes: readonly Node[]): void {
    const { buffer } = region;
    const memory = this.memoryOf(buffer);
    const number = this.numberOf(buffer);
    const base = buffer.region.kind === "state" ? 0 : buffer.offset / Layout.ElementBytes;
    eachRun(region, (start, count) => memory.fill(number, base + start, base + start + count));
    const contents = this.contents.get(buffer) ?? new Set();
    for (const node of nodes) contents.add(node);
    this.contents.set(buffer, contents);
  }

  /**
   * @param allowed nodes of which one must be what is found
   * @param own those that the instruction computes
   */
  private read(region: Region, allowed: ReadonlySet<Node>, own: ReadonlySet<Node>, who: string): void {
    const { buffer } = region;
    if (buffer.region.kind === "pool") return;
    const memory = this.memoryOf(buffer);
    const number = this.numberOf(buffer);
    const base = buffer.region.kind === "state" ? 0 : buffer.offset / Layout.ElementBytes;
    const name = buffer.node?.primitive.name ?? "a workspace";
    eachRun(region, (start, count) => {
      for (let i = base + start; i < base + start + count; i++) {
        if (memory[i] === number) continue;
        throw new Error(`${who} reads element ${i - base} of ${name}, which was overwritten or never written`);
      }
    });
    if (sizeOf(region.shape) === 0) return;
    const contents = this.contentsOf(buffer);
    if (!contents.some((node) => allowed.has(node))) {
      throw new Error(`${who} reads ${name}, which is not among what it is computed from`);
    }
    if (contents.every((node) => own.has(node) || this.progressOf(node).complete)) return;
    throw new Error(`${who} reads ${name} before it is complete`);
  }

  /** What an instruction writes must not lie where it reads, unless each element is read before it is written. */
  private checkAliases(
    step: Step,
    reads: readonly Region[],
    writes: readonly Region[],
    product: Step | undefined,
    who: string,
  ): void {
    const fail = (): never => {
      throw new Error(`${who} writes where it still reads`);
    };
    const chain = step.opcode === Opcode.Elementwise ? chainOf(step) : null;
    /** Whether a chain reads every element of input `r` before it writes the same one of output `w`. */
    const inStep = (r: number, w: number): boolean => {
      if (chain === null) return false;
      const [{ kind, region }, to] = [chain.inputs[r] as Chain["inputs"][number], chain.outputs[w] as Region];
      const same = region.buffer.offset === to.buffer.offset && region.offset === to.offset;
      const count = sizeOf(to.shape);
      if (!same || !(kind === InputKind.Contiguous || (kind === InputKind.Scalar && count === 1))) return false;
      const first = chain.operations.findIndex(({ writes }) => writes === chain.inputs.length + w);
      return chain.operations.every(({ reads }, i) => i <= first || !reads.includes(r));
    };
    writes.forEach(({ buffer: to }, w) => {
      if (writes.some(({ buffer }, other) => other < w && overlap(buffer, to))) fail();
      reads.forEach(({ buffer: from }, r) => {
        const added = chain === null && from === to;
        if (overlap(from, to) && !added && !inStep(r, w)) fail();
      });
      // An epilogue runs in pieces between those of its product.
      const before = product === undefined ? null : accessOf(product);
      const [own, ...workspace] = before?.writes ?? [];
      const busy = [...(before?.reads ?? []), ...workspace];
      if (busy.some(({ buffer }) => overlap(buffer, to))) fail();
      if (own !== undefined && own.buffer !== to && overlap(own.buffer, to) && own.buffer.offset !== to.offset) fail();
    });
  }

  /** The results are where the host reads them, and the states hold their new values. */
  private checkEnd(): void {
    const { results, updates, roots } = this.plan;
    const byNumber = new Map([...this.numbers].map(([buffer, number]) => [number, buffer]));
    const expect = (memory: Int32Array, start: number, node: Node, what: string): void => {
      const shown = [...shownBy(node)];
      for (let i = start; i < start + sizeOf(node.shape); i++) {
        const number = memory[i] as number;
        const contents = this.contents.get(byNumber.get(number) as Buffer);
        if (number <= 0 || !shown.some((x) => contents?.has(x) && this.progressOf(x).complete)) {
          throw new Error(`${what} (${node.primitive.name}) is not there when the program ends`);
        }
      }
    };
    results.forEach(({ offset }, i) => {
      expect(this.temporaries, offset / Layout.ElementBytes, roots[i] as Node, `result ${i}`);
    });
    for (const { slot, node } of updates) {
      const memory = this.states.get(slot);
      if (memory !== undefined) expect(memory, 0, node, `the new value of state ${slot}`);
      else if (sizeOf(node.shape) > 0) throw new Error(`state ${slot} is never written`);
    }
  }
}

function wholeOf(buffer: Buffer): Region {
  return { buffer, ...wholeView([buffer.bytes / Layout.ElementBytes]) };
}

/**
 * Replays a plan.
 * @throws Error naming the first instruction that reads what is not there or writes where it may not, the first result
 * or state that does not end up in its place, or the value that is not computed again as it was the first time
 */
export function replay(plan: Replayed): void {
  new Replay(plan).run();
}
