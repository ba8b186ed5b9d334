/**
 * Symbolic replay: runs a program on names of elements instead of on numbers, and checks that every instruction finds
 * each element that it is meant to read where it reads it, and that what the program must leave is there at its end.
 *
 * It takes nothing from the passes that it checks but their result: which elements an instruction reads and writes, and
 * in which order, is told from its words; which these ought to be, from the graph and the operators' records.
 */
import { type Shape, sameShape, sizeOf } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { expandView, isContiguous, type Layout as View } from "../graph/view.js";
import { attrsKey, isLeaf, topological } from "../graph/walk.js";
import { CopyField, FillField, Flag, GemmField, InputKind, Layout, Opcode } from "../isa.js";
import { MicroOp } from "../micro-op.js";
import {
  type Access,
  accessOf,
  type Chain,
  chainOf,
  type Formula,
  formulaOf,
  misplaced,
  type Region,
} from "./access.js";
import { type Buffer, paddedBytes, type Step } from "./buffer.js";
import { assign, type Difference, differenceOf, type Elements, tabled, tableOf } from "./elements.js";
import { type Code, encode } from "./encode.js";
import { type Emission, Meaning } from "./meaning.js";

/** What of a plan is replayed. */
export interface Replayed {
  readonly code: Code;
  readonly steps: readonly Step[];
  readonly temporaries: readonly Buffer[];
  readonly temporaryBytes: number;
  /** The program's own numbers, and the leaves whose numbers the host writes there before a run. */
  readonly pool: Uint32Array;
  readonly cells: readonly { readonly node: Node; readonly offset: number }[];
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

/** The leaves that stand for what states hold at the start. */
function stateLeaves(steps: readonly Step[]): Map<Node, number> {
  const written = new Set(steps.flatMap(({ writes }) => writes));
  const found = new Map<Node, number>();
  for (const { region, node } of steps.flatMap(({ reads }) => reads.filter((buffer) => !written.has(buffer)))) {
    if (region.kind === "state" && node !== null && isLeaf(node)) found.set(node, region.slot);
  }
  return found;
}

class Replay {
  /** For every word of the temporaries, of the program's numbers and of each state, the name of what it holds. */
  private readonly temporaries: Int32Array;
  private readonly pool: Int32Array;
  private readonly states = new Map<number, Int32Array>();
  private readonly meaning: Meaning;
  /** How many of the instructions that its record asks for a node has got. */
  private readonly emitted = new Map<Node, number>();

  constructor(private readonly plan: Replayed) {
    // A unit that is computed again may hold nodes that nothing reads the second time.
    const nodes = topological([...plan.roots, ...plan.steps.flatMap((step) => step.nodes)]);
    this.meaning = new Meaning(nodes, stateLeaves(plan.steps));
    this.temporaries = new Int32Array(plan.temporaryBytes / Layout.ElementBytes);
    this.pool = Int32Array.from(plan.pool, (word) => this.meaning.constant(word));
    for (const { node, offset } of plan.cells) {
      this.pool.set(tableOf(this.meaning.of(node)), offset / Layout.ElementBytes);
    }
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
      if (buffer.first === -1) this.temporaries.set(tableOf(this.meaning.of(buffer.node as Node)), start / 4);
    }
    plan.steps.forEach((step, i) => {
      this.step(step, `step ${i} (${namesOf(step)})`, plan.steps[i - 1]);
    });
    if ((plan.steps.at(-1)?.flags ?? 0) & Flag.Epilogue) throw new Error("the program ends before an epilogue");
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
    const access = accessOf(step);
    this.checkDeclared(step, access, who);
    const product = before !== undefined && (before.flags & Flag.Epilogue) !== 0 ? before : null;
    if (product !== null && step.opcode !== Opcode.Elementwise)
      throw new Error(`${who} follows what needs an epilogue`);
    this.checkAliases(step, access, product, who);
    if (step.opcode === Opcode.Elementwise) this.runChain(step, product, who);
    else if (step.opcode === Opcode.Copy) this.runCopy(access, who);
    else if (step.opcode === Opcode.Fill) this.runFill(step, access);
    else this.runEmission(step, access, who);
  }

  // ── Instructions ────────────────────────────────────────────────────────────────────────────────────────────────

  private runCopy({ reads, writes }: Access, who: string): void {
    const [from] = reads.filter(({ word }) => word === CopyField.Source - 1) as [Region];
    const [to] = writes as [Region];
    const moved = tableOf({ table: this.memoryOf(from.buffer), ...this.placeOf(from) });
    const missing = moved.indexOf(0);
    if (missing >= 0) throw new Error(`${who} copies element ${missing} of what was never written`);
    assign(this.memoryOf(to.buffer), this.placeOf(to), tabled(moved));
  }

  private runFill({ words }: Step, { writes: [to] }: Access): void {
    const { buffer } = to as Region;
    const place = this.placeOf(to as Region);
    const offset = this.meaning.constant(words[FillField.Value - 1] as number);
    assign(this.memoryOf(buffer), place, { table: null, shape: place.shape, strides: [0], offset });
  }

  /** An instruction other than a chain must be the next that its operator's record asks for, and read what that says. */
  private runEmission(step: Step, { reads, writes, sizes }: Access, who: string): void {
    const [node] = step.nodes as readonly [Node];
    const done = this.emitted.get(node) ?? 0;
    const emission = this.meaning.emissionsOf(node)[done];
    if (emission === undefined || !isOf(step, sizes, emission)) {
      throw new Error(`${who} is not the instruction that its operator asks for next`);
    }
    this.emitted.set(node, done + 1);
    const biased = this.checkBias(step, reads, who);
    const operands = reads.filter((region) => region !== biased?.region);
    if (operands.length !== emission.reads.size || writes.length !== emission.writes.size) {
      throw new Error(`${who} has other operands than its operator`);
    }
    for (const region of operands) this.expectAt(region, emission.reads.get(region.word)?.(), who);
    const flagged = (step.flags & Flag.Epilogue) !== 0;
    writes.forEach((region, i) => {
      if (flagged && i === 0 && !isContiguous(region)) throw new Error(`${who} has an epilogue and is not row-major`);
      const made = i === 0 && biased !== null ? this.meaning.of(biased.sum) : emission.writes.get(region.word);
      const isSame = made !== undefined && sizeOf(made.shape) === sizeOf(region.shape);
      // How much of its workspace a product takes depends on how its operands lie; nothing reads it afterwards.
      const names = i > 0 && !isSame ? { ...region, table: null, strides: [0], offset: 0 } : made;
      if (names === undefined || (i === 0 && !isSame)) {
        throw new Error(`${who} writes another number of elements than its operator`);
      }
      assign(this.memoryOf(region.buffer), this.placeOf(region), names);
    });
  }

  /** The bias that was moved into a matrix product, if there is one, and the sum that the product thereby is. */
  private checkBias(step: Step, reads: readonly Region[], who: string): { region: Region; sum: Node } | null {
    const [product] = step.nodes as readonly [Node];
    const region = reads.find(({ word }) => word === GemmField.Bias - 1);
    if (step.opcode !== Opcode.Gemm || region === undefined) return null;
    const sum = step.nodes.find(({ primitive, inputs }) => primitive.name === "add" && inputs.includes(product));
    const added = sum?.inputs.find((x) => x !== product);
    if (sum === undefined || added === undefined) throw new Error(`${who} adds what no node of it adds`);
    this.expectAt(region, expanded(this.meaning.of(added), product.shape), who);
    return { region, sum };
  }

  /** Computes on nodes what a chain's micro-operations compute on numbers: the outputs must be what they should. */
  private runChain(step: Step, product: Step | null, who: string): void {
    const chain = chainOf(step);
    const { inputs, outputs, operations } = chain;
    const [{ shape }] = step.nodes as readonly [Node];
    this.checkSpace(chain, sizeOf(shape), product, who);
    const outer = [...new Set(step.nodes.flatMap((node) => node.inputs))];
    /** Of each slot, the nodes whose value it has. */
    const slots = new Map<number, readonly Node[]>();
    inputs.forEach(({ kind, region }, i) => {
      const [first] = outer;
      const names = (node: Node): Elements =>
        kind === InputKind.Record ? this.meaning.of(node) : expanded(this.meaning.of(node), shape);
      const found = outer.filter((node) => this.differenceAt(region, names(node)) === null);
      if (found.length === 0) this.expectAt(region, first && names(first), who);
      slots.set(i, found);
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
    outputs.forEach((region, j) => {
      const node = region.buffer.node as Node;
      if (!slots.get(inputs.length + j)?.includes(node)) {
        throw new Error(`${who} writes another value than ${node.primitive.name}`);
      }
      assign(this.memoryOf(region.buffer), this.placeOf(region), this.meaning.of(node));
    });
  }

  /** A chain goes over all elements of its nodes, with slots that it has, and over its product as that is finished. */
  private checkSpace(chain: Chain, count: number, product: Step | null, who: string): void {
    const { inputs, outputs, operations, registers } = chain;
    if (chain.count !== count) throw new Error(`${who} goes over ${chain.count} elements of ${count}`);
    const slots = inputs.length + outputs.length + registers;
    const gathered = inputs.filter(({ kind }) => kind === InputKind.Strided).length;
    const wild = operations.some(({ writes }) => writes < inputs.length || writes >= slots);
    if (wild || slots > Layout.MaxSlots || registers + gathered > Layout.MaxRegisters) {
      throw new Error(`${who} writes to slots that it does not have`);
    }
    if (product === null) return;
    const [made] = accessOf(product).writes as readonly [Region];
    if (sizeOf(made.shape) !== count) throw new Error(`${who} is over other elements than the product before it`);
    const early = inputs.some(
      ({ kind, region: { buffer, offset } }) =>
        buffer === made.buffer && count > 1 && (kind !== InputKind.Contiguous || offset !== made.offset),
    );
    if (early) throw new Error(`${who} reads elements of the product before it that are not finished`);
  }

  // ── Memory ──────────────────────────────────────────────────────────────────────────────────────────────────────

  private memoryOf({ region, bytes }: Buffer): Int32Array {
    if (region.kind === "temporary") return this.temporaries;
    if (region.kind === "pool") return this.pool;
    const { slot } = region;
    const memory = this.states.get(slot) ?? tableOf(this.meaning.state(slot, bytes / Layout.ElementBytes));
    this.states.set(slot, memory);
    return memory;
  }

  /** A region's layout within the memory that it is in. */
  private placeOf({ buffer, shape, strides, offset }: Region): View {
    const base = buffer.region.kind === "temporary" ? buffer.offset / Layout.ElementBytes : 0;
    return { shape, strides, offset: base + offset };
  }

  private differenceAt(region: Region, elements: Elements): Difference | "size" | null {
    if (sizeOf(region.shape) !== sizeOf(elements.shape)) return "size";
    return differenceOf(this.memoryOf(region.buffer), this.placeOf(region), elements);
  }

  /** @throws Error unless a region holds these elements, in this order */
  private expectAt(region: Region, elements: Elements | undefined, who: string): void {
    const difference = elements === undefined ? "size" : this.differenceAt(region, elements);
    if (difference === null) return;
    if (difference === "size") throw new Error(`${who} reads another number of elements than its operator`);
    const { at, expected } = difference;
    const found = this.meaning.describe(this.memoryOf(region.buffer)[at] ?? 0);
    throw new Error(`${who} should read ${this.meaning.describe(expected)} and finds ${found}`);
  }

  /** What the step's words name is what the step says it reads and writes: lifetimes follow from that. */
  private checkDeclared(step: Step, { reads, writes }: Access, who: string): void {
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

  /** What an instruction writes must not lie where it reads, unless each element is read before it is written. */
  private checkAliases(step: Step, { reads, writes }: Access, product: Step | null, who: string): void {
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
      const before = product === null ? null : accessOf(product);
      const [own, ...workspace] = before?.writes ?? [];
      const busy = [...(before?.reads ?? []), ...workspace];
      if (busy.some(({ buffer }) => overlap(buffer, to))) fail();
      if (own !== undefined && own.buffer !== to && overlap(own.buffer, to) && own.buffer.offset !== to.offset) fail();
    });
  }

  /** The results are where the host reads them, and the states hold their new values. */
  private checkEnd(): void {
    const { results, updates, roots } = this.plan;
    const expect = (memory: Int32Array, start: number, node: Node, what: string): void => {
      const view = { shape: [sizeOf(node.shape)], strides: [1], offset: start };
      if (differenceOf(memory, view, this.meaning.of(node)) === null) return;
      throw new Error(`${what} (${node.primitive.name}) is not there when the program ends`);
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

/** Whether an instruction is one that a record asks for, but for where its operands are; a chain may be added to it. */
function isOf({ opcode, flags, nodes: [node] }: Step, sizes: readonly number[], emission: Emission): boolean {
  const lowering = node?.primitive.lowering;
  const takesChain = lowering?.kind === "kernel" && lowering.epilogue !== undefined;
  const own = takesChain ? flags & ~Flag.Epilogue : flags;
  if (opcode !== emission.opcode || own !== emission.flags || sizes.length !== emission.sizes.length) return false;
  return sizes.every((size, i) => size === emission.sizes[i]);
}

/** Names as they are repeated where a value is broadcast. */
function expanded(elements: Elements, shape: Shape): Elements {
  return { table: elements.table, ...expandView(elements, shape) };
}

/**
 * Replays a plan.
 * @throws Error naming the first instruction that reads what is not there or writes where it may not, the first result
 * or state that does not end up in its place, or the value that is not computed again as it was the first time
 */
export function replay(plan: Replayed): void {
  new Replay(plan).run();
}
