/**
 * Lowering by example: programs that compute other values again differ in few units, and a unit that was lowered before,
 * or of which this one is a copy, is lowered to the same steps on other buffers.
 *
 * A template holds all that lowering a unit does to a program. It stands for units of the same structure whose inputs lie
 * in memory in the same way, and everything that lowering looks at is compared before it is used.
 */
import { sizeOf } from "../../graph/shape.js";
import type { Node } from "../../graph/tensor.js";
import { type Buffer, type PlanOperand, type Step, stateBuffer } from "../buffer.js";
import { originalOf } from "../copy.js";
import type { Unit } from "../fuse.js";
import type { Memo, Unfinished } from "../lower.js";

/** An operand in a template, and the number of its buffer. */
interface Place {
  readonly operand: PlanOperand;
  readonly buffer: number;
}

/** A step in a template: nodes and buffers are numbers, and operands are where they stand among the words. */
interface Pattern extends Pick<Step, "opcode" | "flags" | "words"> {
  readonly operands: readonly (Place & { readonly at: number })[];
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  readonly nodes: readonly number[];
}

/** A temporary in a template; steps count from the unit's first. */
interface Temporary {
  readonly bytes: number;
  readonly node: number | null;
  readonly first: number;
  readonly last: number;
  readonly reuses: { readonly from: readonly number[]; readonly step: number } | null;
}

/**
 * What lowering a unit does. Buffers are numbered: first those of its inputs, by the first input that lies in them, then
 * its temporaries, then the states that it writes. So are nodes: its own from 0 on, its inputs from -1 down.
 */
interface Template {
  readonly inputs: readonly Place[];
  readonly temporaries: readonly Temporary[];
  /** Its nodes that are written to a state directly. */
  readonly direct: readonly number[];
  readonly values: readonly (Place & { readonly node: number })[];
  /** The last steps at which it uses the buffers of inputs. */
  readonly lasts: readonly { readonly buffer: number; readonly step: number }[];
  readonly steps: readonly Pattern[];
}

/** How a unit is made up: what it computes, of what, and which values go to memory. */
class Structure {
  readonly templates: Template[] = [];
  /** Whether states can be written in place, by node and state. */
  readonly inPlace = new Map<string, boolean>();
  private readonly originals: readonly Node[];
  private readonly flags: readonly number[];
  private readonly head: number;
  /** The inputs of its nodes, one node's after the other's: numbers of nodes. */
  private readonly inputs: readonly number[];

  constructor(unit: Unit, outside: ReadonlySet<Node>) {
    const { nodes, head } = unit;
    this.originals = nodes.map(originalOf);
    this.flags = nodes.map((node) => flagsOf(node, unit, outside));
    this.head = head === null ? -1 : nodes.indexOf(head);
    const inputs: number[] = [];
    const outer: Node[] = [];
    for (const node of nodes) {
      for (const x of node.inputs) {
        const own = nodes.indexOf(x);
        if (own === -1 && !outer.includes(x)) outer.push(x);
        inputs.push(own === -1 ? -1 - outer.indexOf(x) : own);
      }
    }
    this.inputs = inputs;
  }

  /** The inputs of a unit if it is made up so; else null. */
  inputsOf(unit: Unit, outside: ReadonlySet<Node>): Node[] | null {
    const { originals, flags } = this;
    const { nodes, head } = unit;
    if (nodes.length !== originals.length || (head === null ? -1 : nodes.indexOf(head)) !== this.head) return null;
    const outer: Node[] = [];
    let at = 0;
    for (const [i, node] of nodes.entries()) {
      if (originalOf(node) !== originals[i] || flagsOf(node, unit, outside) !== flags[i]) return null;
      for (const x of node.inputs) {
        const number = this.inputs[at++] as number;
        if (-1 - number === outer.length) outer.push(x);
        if ((number < 0 ? outer[-1 - number] : nodes[number]) !== x) return null;
      }
    }
    return outer;
  }
}

/** What besides its operator tells how a node is lowered. */
function flagsOf(node: Node, { apart }: Unit, outside: ReadonlySet<Node>): number {
  return (outside.has(node) ? 1 : 0) + (apart?.has(node) ? 2 : 0);
}

/** The number of the first input that lies in the same buffer. */
function numberOf(k: number, operands: readonly PlanOperand[]): number {
  const { buffer } = operands[k] as PlanOperand;
  for (let other = 0; other < k; other++) if (operands[other]?.buffer === buffer) return other;
  return k;
}

/** Whether an operand lies in memory like another one. */
function isAlike(a: PlanOperand, b: PlanOperand): boolean {
  return (
    a.offset === b.offset &&
    a.buffer.bytes === b.buffer.bytes &&
    a.buffer.region.kind === b.buffer.region.kind &&
    a.shape.length === b.shape.length &&
    a.shape.every((size, d) => size === b.shape[d] && a.strides[d] === b.strides[d])
  );
}

function isFor(
  { inputs, direct }: Template,
  unit: Unit,
  operands: readonly PlanOperand[],
  program: Unfinished,
): boolean {
  const writes = unit.nodes.flatMap((node, i) => (program.direct.has(node) ? [i] : []));
  return (
    writes.length === direct.length &&
    writes.every((node, i) => node === direct[i]) &&
    inputs.every(({ operand, buffer }, k) => {
      return isAlike(operand, operands[k] as PlanOperand) && numberOf(k, operands) === buffer;
    })
  );
}

/** Lowers a unit, and notes what that does. */
function record(unit: Unit, outer: readonly Node[], operands: readonly PlanOperand[], program: Unfinished): Template {
  const { nodes } = unit;
  const { steps, temporaries, values, direct } = program;
  const [start, before] = [steps.length, temporaries.length];
  program.lowerAnew(unit);
  const own = temporaries.slice(before);
  const written = nodes.flatMap((node, i) => (direct.has(node) && values.has(node) ? [i] : []));
  const outputs = written.map((i) => (values.get(nodes[i] as Node) as PlanOperand).buffer);
  const buffers = [...operands.map(({ buffer }) => buffer), ...own, ...outputs];
  const numberOfBuffer = (buffer: Buffer): number => buffers.indexOf(buffer);
  const numberOfNode = (node: Node): number => {
    const own = nodes.indexOf(node);
    return own === -1 ? -1 - outer.indexOf(node) : own;
  };
  return {
    inputs: operands.map((operand) => ({ operand, buffer: numberOfBuffer(operand.buffer) })),
    temporaries: own.map(({ bytes, node, first, last, reuses }) => ({
      bytes,
      node: node === null ? null : numberOfNode(node),
      first: first - start,
      last: last - start,
      reuses: reuses && { from: reuses.from.map(numberOfBuffer), step: reuses.step - start },
    })),
    direct: written,
    values: nodes.flatMap((node, i) => {
      const operand = values.get(node);
      return operand === undefined ? [] : [{ node: i, operand, buffer: numberOfBuffer(operand.buffer) }];
    }),
    lasts: operands.flatMap(({ buffer }) =>
      buffer.last >= start && Number.isFinite(buffer.last)
        ? [{ buffer: numberOfBuffer(buffer), step: buffer.last - start }]
        : [],
    ),
    steps: steps.slice(start).map(({ opcode, flags, words, reads, writes, nodes }) => ({
      opcode,
      flags,
      words,
      operands: words.flatMap((word, at) =>
        typeof word === "number" ? [] : [{ at, operand: word, buffer: numberOfBuffer(word.buffer) }],
      ),
      reads: reads.map(numberOfBuffer),
      writes: writes.map(numberOfBuffer),
      nodes: nodes.map(numberOfNode),
    })),
  };
}

function operandOf({ dtype, shape, strides, offset }: PlanOperand, buffer: Buffer): PlanOperand {
  return { buffer, dtype, shape, strides, offset };
}

/** Does to a program what lowering a unit would. */
function replay(
  template: Template,
  { nodes }: Unit,
  outer: readonly Node[],
  operands: readonly PlanOperand[],
  { steps, temporaries, values, direct }: Unfinished,
): void {
  const start = steps.length;
  const nodeAt = (number: number): Node => (number < 0 ? outer[-1 - number] : nodes[number]) as Node;
  const buffers = operands.map(({ buffer }) => buffer);
  const bufferAt = (number: number): Buffer => buffers[number] as Buffer;
  for (const { bytes, node, first, last, reuses } of template.temporaries) {
    const buffer: Buffer = {
      region: { kind: "temporary" },
      bytes,
      node: node === null ? null : nodeAt(node),
      first: start + first,
      last: start + last,
      offset: 0,
      reuses: null,
    };
    // What it may take over lies in inputs, or in a temporary before it.
    if (reuses !== null) buffer.reuses = { from: reuses.from.map(bufferAt), step: start + reuses.step };
    buffers.push(buffer);
    temporaries.push(buffer);
  }
  for (const number of template.direct) {
    const node = nodeAt(number);
    buffers.push(stateBuffer(direct.get(node) as number, 4 * sizeOf(node.shape), node));
  }
  for (const { node, operand, buffer } of template.values) {
    values.set(nodeAt(node), operandOf(operand, bufferAt(buffer)));
  }
  for (const { buffer, step } of template.lasts) bufferAt(buffer).last = start + step;
  for (const { opcode, flags, words, operands, reads, writes, nodes } of template.steps) {
    const moved = words.slice();
    for (const { at, operand, buffer } of operands) moved[at] = operandOf(operand, bufferAt(buffer));
    steps.push({
      opcode,
      flags,
      words: moved,
      reads: reads.map(bufferAt),
      writes: writes.map(bufferAt),
      nodes: nodes.map(nodeAt),
    });
  }
}

/** Lowers the units of many programs over the same graph, each kind of unit once. */
export class Templates implements Memo {
  /** By the original of the first node. */
  private readonly known = new Map<Node, Structure[]>();

  lower(unit: Unit, program: Unfinished): void {
    const { structure, outer } = this.structureOf(unit, program.outside);
    const operands = outer.map((x) => program.values.get(x) as PlanOperand);
    const template = structure.templates.find((template) => isFor(template, unit, operands, program));
    if (template === undefined) structure.templates.push(record(unit, outer, operands, program));
    else replay(template, unit, outer, operands, program);
  }

  isInPlace(unit: Unit, node: Node, slot: number, outside: ReadonlySet<Node>, find: () => boolean): boolean {
    const { structure } = this.structureOf(unit, outside);
    const name = `${unit.nodes.indexOf(node)} ${slot}`;
    const known = structure.inPlace.get(name) ?? find();
    structure.inPlace.set(name, known);
    return known;
  }

  private structureOf(unit: Unit, outside: ReadonlySet<Node>): { structure: Structure; outer: readonly Node[] } {
    const first = originalOf(unit.nodes[0] as Node);
    const known = this.known.get(first) ?? [];
    this.known.set(first, known);
    for (const structure of known) {
      const outer = structure.inputsOf(unit, outside);
      if (outer !== null) return { structure, outer };
    }
    const structure = new Structure(unit, outside);
    known.push(structure);
    return { structure, outer: structure.inputsOf(unit, outside) as Node[] };
  }
}
