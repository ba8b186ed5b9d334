/**
 * What a graph's values mean to a replay: the names of each value's elements, and the instructions that each operator's
 * record asks for, on which names. Records lower here on operands that lie row-major, apart from any plan.
 */
import type { KernelContext, Lowering, Operand } from "../graph/primitive.js";
import { sizeOf } from "../graph/shape.js";
import { constantValue } from "../graph/simplify.js";
import type { Node } from "../graph/tensor.js";
import { isContiguous, type Layout as View, wholeView } from "../graph/view.js";
import { isLeaf } from "../graph/walk.js";
import { Flag, Layout, Opcode } from "../isa.js";
import { type Access, decode, type Region } from "./access.js";
import { assign, type Elements, isWhole, numbered, tabled, tableOf } from "./elements.js";

/** An instruction that an operator's record asks for. */
export interface Emission {
  readonly opcode: number;
  readonly flags: number;
  readonly sizes: readonly number[];
  /** What the operands in these words must hold, row-major over how the instruction goes through them. */
  readonly reads: ReadonlyMap<number, () => Elements>;
  /** What the operands in these words hold afterwards. */
  readonly writes: ReadonlyMap<number, Elements>;
}

/** The word that holds a number. */
function bitsOf(value: number, { dtype }: Node): number {
  return dtype === "f32" ? (new Int32Array(Float32Array.of(value).buffer)[0] as number) : value | 0;
}

/** Elements seen through a layout within their value, row-major. */
function through(elements: Elements, view: View): Elements {
  if (isWhole(elements)) return { table: elements.table, ...view, offset: elements.offset + view.offset };
  if (isAll(view, elements)) return elements;
  return { ...tabled(tableOf(elements)), ...view };
}

/** Whether a layout goes through all of a value in row-major order. */
function isAll(view: View, { shape }: Elements): boolean {
  return view.offset === 0 && isContiguous(view) && sizeOf(view.shape) === sizeOf(shape);
}

/** Memory in which a record's instructions run: a row-major buffer for each operand. */
class Scratch {
  private readonly contents = new Map<object, Elements>();
  /** Tables that nothing else refers to. */
  private readonly own = new Set<Int32Array | null>();

  buffer(elements: Elements): object {
    const buffer = {};
    this.contents.set(buffer, elements);
    return buffer;
  }

  get(buffer: object): Elements {
    const elements = this.contents.get(buffer) as Elements;
    this.own.delete(elements.table);
    return elements;
  }

  set(buffer: object, view: View, elements: Elements): void {
    const before = this.contents.get(buffer) as Elements;
    if (isAll(view, before)) {
      this.contents.set(buffer, elements);
      return;
    }
    const table = before.table !== null && this.own.has(before.table) ? before.table : tableOf(before);
    assign(table, view, elements);
    this.own.add(table);
    this.contents.set(buffer, tabled(table));
  }
}

/** Names all elements of a graph's values. */
export class Meaning {
  private next = 1;
  /** For each run of names that a value was given: the first, and what it is. */
  private readonly given: { readonly first: number; readonly what: string }[] = [];
  private readonly elements = new Map<Node, Elements>();
  private readonly emissions = new Map<Node, readonly Emission[]>();
  private readonly constants = new Map<number, number>();
  private readonly states = new Map<number, number>();

  /**
   * @param order the nodes, inputs before their users
   * @param slotOf which state a leaf stands for
   */
  constructor(order: readonly Node[], slotOf: ReadonlyMap<Node, number>) {
    for (const node of order) this.elements.set(node, this.name(node, slotOf.get(node)));
  }

  /** The names of a node's elements. */
  of(node: Node): Elements {
    const elements = this.elements.get(node);
    if (elements === undefined) throw new Error(`${node.primitive.name} is none of what the graph asks for`);
    return elements;
  }

  /** The instructions that a node's record asks for, other than those that copy or fill. */
  emissionsOf(node: Node): readonly Emission[] {
    return this.emissions.get(node) ?? [];
  }

  /** The name of a word that is known. */
  constant(word: number): number {
    const name = this.constants.get(word | 0) ?? this.fresh(1, `the constant ${word}`);
    this.constants.set(word | 0, name);
    return name;
  }

  /** What a state holds at the start. */
  state(slot: number, count: number): Elements {
    const first = this.states.get(slot) ?? this.fresh(count, `state ${slot}`);
    this.states.set(slot, first);
    return numbered(first, [count]);
  }

  /** A name in words. */
  describe(name: number): string {
    if (name === 0) return "nothing that was written";
    const place = name >>> 0;
    const at = this.given.findLastIndex(({ first }) => first <= place);
    const { first, what } = this.given[at] ?? { first: 0, what: "?" };
    return `element ${place - first} of ${what}`;
  }

  private fresh(count: number, what: string): number {
    const first = this.next;
    this.given.push({ first, what });
    this.next += count;
    return first;
  }

  private name(node: Node, slot: number | undefined): Elements {
    const { shape, primitive } = node;
    const count = sizeOf(shape);
    const what = `${primitive.name} [${shape}]`;
    if (isLeaf(node)) {
      const value = constantValue(node);
      if (value !== undefined) {
        return { table: null, shape, strides: shape.map(() => 0), offset: this.constant(bitsOf(value, node)) };
      }
      return slot === undefined
        ? numbered(this.fresh(count, what), shape)
        : { ...this.state(slot, count), ...wholeShape(shape) };
    }
    const { lowering } = primitive;
    if (lowering.kind === "view") {
      const input = this.of(node.inputs[0] as Node);
      const seen = lowering.view(input, shape, node.attrs);
      if (seen !== null) return { table: input.table, ...seen };
      const whole = tabled(tableOf(input));
      const again = lowering.view(wholeView((node.inputs[0] as Node).shape), shape, node.attrs) as View;
      return { table: whole.table, ...again };
    }
    if (lowering.kind === "kernel") return this.run(node, what, (context) => lowering.lower(context));
    if (lowering.kind === "reduce") return this.run(node, what, (context) => reduce(node, lowering, context));
    return numbered(this.fresh(count, what), shape);
  }

  /** Lowers a node on operands that lie row-major, and gives the names of what its last instruction leaves. */
  private run(node: Node, what: string, lower: (context: KernelContext<unknown>) => void): Elements {
    const { shape, dtype, inputs, attrs, primitive } = node;
    const checks = primitive.lowering.kind === "kernel" && primitive.lowering.checks !== undefined;
    if (sizeOf(shape) === 0 && !checks) return numbered(this.fresh(0, what), shape);
    const scratch = new Scratch();
    const emissions: Emission[] = [];
    const nothing = (count: number): Elements => ({ table: null, shape: [count], strides: [0], offset: 0 });
    const operand = (elements: Elements, x: Pick<Node, "shape" | "dtype">): Operand => ({
      buffer: scratch.buffer(elements),
      dtype: x.dtype,
      ...wholeView(x.shape),
    });
    const input = (i: number): Operand => operand(this.of(inputs[i] as Node), inputs[i] as Node);
    const out = operand(nothing(sizeOf(shape)), node);
    const fill = ({ buffer, ...view }: Operand, name: number): void => {
      scratch.set(buffer, view, { table: null, shape: view.shape, strides: view.shape.map(() => 0), offset: name });
    };
    lower({
      attrs,
      inputCount: inputs.length,
      epilogue: { bias: null, chain: false },
      input,
      contiguous: input,
      output: () => out,
      copy: ({ buffer, ...view }, source) => scratch.set(buffer, view, through(scratch.get(source.buffer), source)),
      fill: (target, word) => fill(target, this.constant(word)),
      workspace: (bytes) => {
        const count = bytes / Layout.ElementBytes;
        return operand(nothing(count), { shape: [count], dtype });
      },
      emit: (opcode, flags, words) => {
        const { reads, writes, sizes }: Access<object> = decode({ opcode, flags, words });
        const read = (region: Region<object>): readonly [number, () => Elements] => {
          const elements = scratch.get(region.buffer);
          return [region.word, () => through(elements, region)];
        };
        const written = writes.map((region) => {
          const names = numbered(this.fresh(sizeOf(region.shape), what), region.shape);
          return { region, names };
        });
        emissions.push({
          opcode,
          flags,
          sizes,
          reads: new Map(reads.map(read)),
          writes: new Map(written.map(({ region, names }) => [region.word, names])),
        });
        for (const { region, names } of written) scratch.set(region.buffer, region, names);
      },
    });
    this.emissions.set(node, emissions);
    return through(scratch.get(out.buffer), wholeView(shape));
  }
}

function wholeShape(shape: readonly number[]): Pick<View, "shape" | "strides"> {
  const { strides } = wholeView(shape);
  return { shape, strides };
}

/** A reduction's instruction, on an input that lies row-major. */
function reduce(
  node: Node,
  lowering: Extract<Lowering<unknown>, { kind: "reduce" }>,
  context: KernelContext<unknown>,
): void {
  const { dims } = node.attrs as { dims: readonly number[] };
  if (sizeOf(node.shape) === 0) return;
  const input = context.input(0);
  const out = context.output();
  const all = input.shape.map((size, d) => ({ size, stride: input.strides[d] as number, d }));
  const [kept, reduced] = [false, true].map((wanted) => all.filter(({ d }) => dims.includes(d) === wanted)) as [
    typeof all,
    typeof all,
  ];
  const count = (loops: typeof all): number => sizeOf(loops.map(({ size }) => size));
  const op = lowering.op[input.dtype] as number;
  const loops = [...kept, ...reduced].flatMap(({ size, stride }) => [size, stride]);
  const words = [op, out, input, kept.length, reduced.length, count(kept), count(reduced), ...loops];
  context.emit(Opcode.Reduce, Flag.None, words, { reads: [input], writes: [out] });
}
