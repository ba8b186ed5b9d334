/** Lowering: from units to steps. Views become strides, chains and kernels become instructions on buffers. */
import type { Epilogue, KernelContext, Lowering, Operand } from "../graph/primitive.js";
import { formatShape, sizeOf } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { collapse, expandView, isContiguous, type Layout as View, wholeView } from "../graph/view.js";
import { isLeaf } from "../graph/walk.js";
import { Flag, Layout, Opcode } from "../isa.js";
import { type Buffer, type PlanOperand, type Step, stateBuffer } from "./buffer.js";
import { encodeChain } from "./chain.js";
import type { Unit } from "./fuse.js";
import { type InPlace, type LeafOperand, type Targets, writtenDirectly } from "./updates.js";

/** A lowered program. */
export interface Lowered {
  readonly steps: Step[];
  /** Every buffer of the temporary region. */
  readonly temporaries: Buffer[];
  /** Where each result is, row-major. */
  readonly results: PlanOperand[];
  /** Where every value is, of those that reach memory. */
  readonly values: ReadonlyMap<Node, PlanOperand>;
  /** The number of the first step of each unit. */
  readonly starts: readonly number[];
}

/** A program while units are lowered. */
export interface Unfinished extends Pick<Lowered, "steps" | "temporaries"> {
  readonly values: Map<Node, PlanOperand>;
  /** Nodes whose values must reach memory. */
  readonly outside: ReadonlySet<Node>;
  /** The state that a node's value may be written to directly, by node. */
  readonly direct: ReadonlyMap<Node, number>;
  /** Lowers a unit other than a leaf. */
  lowerAnew(unit: Unit): void;
}

/** Does what was done before for units that are alike. */
export interface Memo extends InPlace {
  /** Lowers a unit other than a leaf. */
  lower(unit: Unit, program: Unfinished): void;
}

const NO_EPILOGUE: Epilogue = { bias: null, chain: false };

/** Elements, each in another cache line, after which a walk over them comes back to the lines of the first ones. */
const MANY_LINES = 128;

/**
 * Whether a walk over the last dimension leaves most of each cache line to the walks behind it, and takes so many lines
 * that they are gone by then: the operand is better copied, which goes by tiles. (Two operations
 * with a transposed operand of 1024×1024 take a sixth of the time so, of 128×128 half.)
 */
function isAcross({ shape, strides }: View): boolean {
  const near = (stride: number): boolean => Math.abs(stride) * Layout.ElementBytes < 64;
  const [inner, ...outer] = shape
    .map((size, d) => ({ size, stride: strides[d] as number }))
    .filter(({ size }) => size > 1)
    .reverse();
  if (inner === undefined || inner.size < MANY_LINES || near(inner.stride)) return false;
  return outer.some(({ stride }) => stride !== 0 && near(stride));
}

/** Nodes whose values must reach memory: roots, and what another unit reads. */
function neededOutside(unitOf: ReadonlyMap<Node, number>, { results, updates }: Targets): Set<Node> {
  const needed = new Set<Node>([...results, ...updates.map(({ node }) => node)]);
  for (const [node, unit] of unitOf) {
    if (!isLeaf(node)) for (const input of node.inputs) if (unitOf.get(input) !== unit) needed.add(input);
  }
  return needed;
}

class Lowerer implements Unfinished {
  readonly steps: Step[] = [];
  readonly temporaries: Buffer[] = [];
  readonly values = new Map<Node, PlanOperand>();
  readonly outside: ReadonlySet<Node>;
  readonly direct: ReadonlyMap<Node, number>;

  constructor(
    private readonly units: readonly Unit[],
    private readonly targets: Targets,
    private readonly leafOperand: LeafOperand,
    private readonly memo: Memo | undefined,
  ) {
    const unitOf = new Map<Node, number>();
    for (const [i, { nodes }] of units.entries()) for (const node of nodes) unitOf.set(node, i);
    this.outside = neededOutside(unitOf, targets);
    this.direct = writtenDirectly(units, unitOf, targets, this.outside, leafOperand, memo);
  }

  run(): Lowered {
    const starts: number[] = [];
    for (const unit of this.units) {
      starts.push(this.steps.length);
      this.lowerUnit(unit);
    }
    const results = this.targets.results.map((node) => this.resultOperand(node));
    this.copyUpdates();
    return { steps: this.steps, temporaries: this.temporaries, results, values: this.values, starts };
  }

  private lowerUnit(unit: Unit): void {
    const [first] = unit.nodes as [Node];
    if (isLeaf(first)) {
      this.values.set(first, this.leafOperand(first));
      return;
    }
    if (this.memo === undefined) this.lowerAnew(unit);
    else this.memo.lower(unit, this);
  }

  lowerAnew(unit: Unit): void {
    const [first] = unit.nodes as [Node];
    const { lowering } = first.primitive;
    switch (lowering.kind) {
      case "elementwise":
        this.lowerChain(unit);
        break;
      case "view":
        this.values.set(first, this.viewOf(first, lowering));
        break;
      case "reduce":
        this.lowerReduce(first, lowering);
        break;
      case "kernel":
        if (unit.head === null) this.lowerKernel(first, lowering, NO_EPILOGUE);
        else this.lowerProduct(unit, lowering);
        break;
      case "source":
        throw new Error(`${first.primitive.name} has no value and is not bound`);
    }
  }

  private valueOf(node: Node): PlanOperand {
    const value = this.values.get(node);
    if (value === undefined) throw new Error(`${node.primitive.name} is used before it was computed`);
    return value;
  }

  // ── Buffers and steps ─────────────────────────────────────────────────────────────────────────────────────────────

  private temporary(bytes: number, node: Node | null): Buffer {
    const buffer: Buffer = {
      region: { kind: "temporary" },
      bytes,
      node,
      first: this.steps.length,
      last: this.steps.length,
      offset: 0,
      reuses: null,
    };
    this.temporaries.push(buffer);
    return buffer;
  }

  /** A new row-major buffer for the value of `node`: its state's own memory where that may be overwritten. */
  private allocate(node: Node): PlanOperand {
    const slot = this.direct.get(node);
    const bytes = 4 * sizeOf(node.shape);
    const buffer = slot === undefined ? this.temporary(bytes, node) : stateBuffer(slot, bytes, node);
    const operand: PlanOperand = { buffer, dtype: node.dtype, ...wholeView(node.shape) };
    this.values.set(node, operand);
    return operand;
  }

  private emit(
    opcode: number,
    flags: number,
    words: readonly (number | Operand)[],
    reads: readonly Operand[],
    writes: readonly Operand[],
    nodes: readonly Node[],
  ): Step {
    const step: Step = {
      opcode,
      flags,
      words: words as readonly (number | PlanOperand)[],
      reads: reads.map((x) => x.buffer as Buffer),
      writes: writes.map((x) => x.buffer as Buffer),
      nodes,
    };
    const at = this.steps.push(step) - 1;
    for (const buffer of step.reads) buffer.last = Math.max(buffer.last, at);
    for (const buffer of step.writes) buffer.last = Math.max(buffer.last, at);
    return step;
  }

  private copy(target: Operand, source: Operand, node: Node): void {
    if (sizeOf(target.shape) === 0) return;
    const dims = collapse(target.shape, [target.strides, source.strides]);
    const outer = dims.slice(0, Math.max(0, dims.length - Layout.MaxRank));
    const inner = dims.slice(outer.length).flatMap(({ size, strides }) => [size, ...strides]);
    const emitAt = (depth: number, to: number, from: number): void => {
      const dim = outer[depth];
      if (dim === undefined) {
        const words = [{ ...target, offset: to }, { ...source, offset: from }, dims.length - outer.length, ...inner];
        this.emit(Opcode.Copy, Flag.None, words, [source], [target], [node]);
        return;
      }
      const [toStride, fromStride] = dim.strides as [number, number];
      for (let i = 0; i < dim.size; i++) emitAt(depth + 1, to + i * toStride, from + i * fromStride);
    };
    emitAt(0, target.offset, source.offset);
  }

  /** `operand` itself where it is row-major, else a copy of it that is. */
  private contiguous(operand: PlanOperand, node: Node): PlanOperand {
    if (isContiguous(operand)) return operand;
    const buffer = this.temporary(4 * sizeOf(operand.shape), node);
    const out: PlanOperand = { buffer, dtype: operand.dtype, ...wholeView(operand.shape) };
    this.copy(out, operand, node);
    return out;
  }

  // ── Units ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  private viewOf(node: Node, lowering: Extract<Lowering<unknown>, { kind: "view" }>): PlanOperand {
    const input = this.valueOf(node.inputs[0] as Node);
    const seen = (operand: PlanOperand): View | null => lowering.view(operand, node.shape, node.attrs);
    const layout = seen(input);
    if (layout !== null) return { ...input, ...layout };
    const copied = this.contiguous(input, node);
    const again = seen(copied);
    if (again === null)
      throw new Error(`${node.primitive.name} ${formatShape(node.shape)} is no view of a row-major buffer`);
    return { ...copied, ...again };
  }

  /** The values that `chain` reads from outside of its unit, as operands that it can walk. */
  private chainInputs(chain: readonly Node[], unit: readonly Node[]): Map<Node, PlanOperand> {
    const { shape } = chain[0] as Node;
    const outer = new Set(chain.flatMap((node) => node.inputs).filter((x) => !unit.includes(x)));
    const inputs = new Map([...outer].map((x) => [x, this.valueOf(x)]));
    for (const [x, operand] of inputs) {
      if (isAcross({ ...operand, ...expandView(operand, shape) })) inputs.set(x, this.contiguous(operand, x));
    }
    const strides = [...inputs.values()].map((x) => expandView(x, shape).strides);
    if (collapse(shape, strides).length > Layout.MaxRank) {
      for (const [x, operand] of inputs) {
        const expanded = { ...operand, ...expandView(operand, shape) };
        if (operand.strides.some((s) => s !== 0)) inputs.set(x, this.contiguous(expanded, x));
      }
    }
    return inputs;
  }

  private lowerChain({ nodes: chain, apart }: Unit): void {
    const inputs = this.chainInputs(chain, chain);
    const targets = new Map(chain.filter((node) => this.outside.has(node)).map((node) => [node, this.allocate(node)]));
    if (sizeOf((chain[0] as Node).shape) === 0) return;
    const { words, inPlace } = encodeChain(chain, inputs, targets, apart);
    this.emit(Opcode.Elementwise, Flag.None, words, [...inputs.values()], [...targets.values()], chain);
    this.reuse(inPlace);
  }

  /** Lets outputs of the last step take over the memory of inputs that die there. */
  private reuse(pairs: readonly { readonly output: Node; readonly input: PlanOperand }[]): void {
    for (const { output, input } of pairs) {
      const { buffer } = this.valueOf(output);
      const whole = input.offset === 0 && input.buffer.bytes === buffer.bytes;
      const bothTemporary = input.buffer.region.kind === "temporary" && buffer.region.kind === "temporary";
      if (!whole || !bothTemporary) continue;
      buffer.reuses = { from: [...(buffer.reuses?.from ?? []), input.buffer], step: this.steps.length - 1 };
    }
  }

  private lowerReduce(node: Node, lowering: Extract<Lowering<unknown>, { kind: "reduce" }>): void {
    const { dims } = node.attrs as { dims: readonly number[] };
    const source = this.valueOf(node.inputs[0] as Node);
    const op = lowering.op[source.dtype];
    if (op === undefined) throw new Error(`${node.primitive.name} has no reduction for ${source.dtype}`);
    const walk = (x: PlanOperand) => {
      const pick = (wanted: boolean) => x.shape.map((_, d) => d).filter((d) => dims.includes(d) === wanted);
      const loop = (ds: readonly number[]) =>
        collapse(
          ds.map((d) => x.shape[d] as number),
          [ds.map((d) => x.strides[d] as number)],
        );
      return { kept: loop(pick(false)), reduced: loop(pick(true)) };
    };
    let input = source;
    let { kept, reduced } = walk(input);
    if (kept.length > Layout.MaxRank || reduced.length > Layout.MaxRank) {
      input = this.contiguous(source, node);
      ({ kept, reduced } = walk(input));
    }
    const out = this.allocate(node);
    const count = sizeOf(node.shape);
    if (count === 0) return;
    const sizes = [kept.length, reduced.length, count, sizeOf(dims.map((d) => input.shape[d] as number))];
    const loops = [...kept, ...reduced].flatMap(({ size, strides }) => [size, ...strides]);
    this.emit(Opcode.Reduce, Flag.None, [op, out, input, ...sizes, ...loops], [input], [out], [node]);
  }

  private lowerKernel(
    node: Node,
    lowering: Extract<Lowering<unknown>, { kind: "kernel" }>,
    epilogue: Epilogue,
    nodes: readonly Node[] = [node],
  ): void {
    if (sizeOf(node.shape) === 0 && lowering.checks === undefined) {
      this.allocate(node);
      return;
    }
    const context: KernelContext<unknown> = {
      attrs: node.attrs,
      inputCount: node.inputs.length,
      epilogue,
      input: (i) => this.valueOf(node.inputs[i] as Node),
      contiguous: (i) => this.contiguous(this.valueOf(node.inputs[i] as Node), node),
      output: () => this.allocate(node),
      copy: (target, source) => this.copy(target, source, node),
      fill: (target, word) => {
        const count = sizeOf(target.shape);
        if (count > 0) this.emit(Opcode.Fill, Flag.None, [target, count, word], [], [target], [node]);
      },
      workspace: (bytes) => {
        const buffer = this.temporary(bytes, null);
        return { buffer, dtype: "f32", ...wholeView([bytes / 4]) } as PlanOperand;
      },
      emit: (opcode, flags, words, { reads, writes }) => {
        this.emit(opcode, flags, words, reads, writes, nodes);
      },
    };
    lowering.lower(context);
  }

  /** A product and the chain behind it; a bias that the chain adds first moves into a matrix product. */
  private lowerProduct(unit: Unit, lowering: Extract<Lowering<unknown>, { kind: "kernel" }>): void {
    const [product, ...members] = unit.nodes as [Node, ...Node[]];
    const reshaped = members.find((node) => node.primitive.lowering.kind === "view") ?? null;
    const { added, bias } =
      lowering.epilogue === "bias and chain"
        ? this.findBias(product, members, reshaped !== null)
        : { added: null, bias: null };
    const chain = members.filter((node) => node !== added && node !== reshaped);
    if (sizeOf(product.shape) === 0) {
      for (const node of members) if (this.outside.has(node)) this.allocate(node);
      return;
    }
    const fused = chain.length > 0;
    const operands = fused ? this.chainInputs(chain, unit.nodes) : null;
    const named = unit.nodes.filter((node) => node !== reshaped);
    this.lowerKernel(product, lowering, { bias, chain: fused }, named);
    const value = this.valueOf(product);
    if (added !== null) this.values.set(added, value);
    if (operands === null) return;
    if (reshaped === null) operands.set(added ?? product, value);
    else operands.set(reshaped, { ...value, ...wholeView(reshaped.shape) });
    const targets = new Map(chain.filter((node) => this.outside.has(node)).map((node) => [node, this.allocate(node)]));
    const { words, inPlace } = encodeChain(chain, operands, targets, unit.apart);
    const reads = [...operands.values()];
    const step = this.emit(Opcode.Elementwise, Flag.None, words, reads, [...targets.values()], chain);
    // The chain runs inside of the product's step, so nothing that it touches may share memory with what that reads.
    for (const buffer of [...step.reads, ...step.writes]) buffer.first = Math.min(buffer.first, this.steps.length - 2);
    for (const buffer of (this.steps.at(-2) as Step).reads) buffer.last = Math.max(buffer.last, this.steps.length - 1);
    this.reuse(inPlace.filter(({ input }) => input.buffer === value.buffer));
  }

  /**
   * The addition of a row vector to the product, if that is the only thing done with the product itself.
   * @param copies whether the row is copied where its elements are not adjacent
   */
  private findBias(
    product: Node,
    members: readonly Node[],
    copies: boolean,
  ): { added: Node | null; bias: PlanOperand | null } {
    const none = { added: null, bias: null };
    const readers = members.filter((node) => node.inputs.includes(product));
    const [added] = readers;
    if (added === undefined || readers.length !== 1 || added.primitive.name !== "add" || added.dtype !== "f32")
      return none;
    const other = added.inputs[0] === product ? added.inputs[1] : added.inputs[0];
    if (other === undefined || other === product || members.includes(other)) return none;
    const value = this.valueOf(other);
    const operand = copies ? this.contiguous(value, other) : value;
    const { strides } = expandView(operand, product.shape);
    const last = product.shape.length - 1;
    const row = strides.every((s, d) => product.shape[d] === 1 || s === (d === last ? 1 : 0));
    return row && this.direct.get(added) === undefined ? { added, bias: operand } : none;
  }

  // ── Roots ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A result, row-major, in memory that no later step of the program writes. */
  private resultOperand(node: Node): PlanOperand {
    const value = this.valueOf(node);
    let operand = value;
    if (value.buffer.region.kind !== "temporary" || !isContiguous(value)) {
      const buffer = this.temporary(4 * sizeOf(value.shape), node);
      operand = { buffer, dtype: value.dtype, ...wholeView(value.shape) };
      this.copy(operand, value, node);
    }
    operand.buffer.last = Number.POSITIVE_INFINITY;
    return operand;
  }

  /** Copies the updates that were not written directly; all are read before the first is written. */
  private copyUpdates(): void {
    const rest = this.targets.updates.filter(({ slot, node }) => this.direct.get(node) !== slot);
    const written = new Set(rest.map(({ slot }) => slot));
    const staged = rest.map(({ slot, node }) => {
      const value = this.valueOf(node);
      const { region } = value.buffer;
      if (region.kind !== "state" || !written.has(region.slot)) return { slot, node, value };
      const buffer = this.temporary(4 * sizeOf(node.shape), node);
      const stage: PlanOperand = { buffer, dtype: node.dtype, ...wholeView(node.shape) };
      this.copy(stage, value, node);
      return { slot, node, value: stage };
    });
    for (const { slot, node, value } of staged) {
      const buffer = stateBuffer(slot, 4 * sizeOf(node.shape), node);
      this.copy({ buffer, dtype: node.dtype, ...wholeView(node.shape) } as PlanOperand, value, node);
    }
  }
}

/** Lowers units, in their order, to steps. */
export function lower(units: readonly Unit[], targets: Targets, leafOperand: LeafOperand, memo?: Memo): Lowered {
  return new Lowerer(units, targets, leafOperand, memo).run();
}
