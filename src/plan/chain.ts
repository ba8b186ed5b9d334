/** Elementwise chains: from fused nodes to the micro-operations of one instruction. */

import { sizeOf } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { collapse, expandView, isContiguous } from "../graph/view.js";
import { InputKind, Layout } from "../isa.js";
import { MicroOp } from "../micro-op.js";
import type { PlanOperand } from "./buffer.js";

/** A chain ready for encoding. */
export interface Chain {
  readonly words: readonly (number | PlanOperand)[];
  /** Inputs whose memory an output may take: nothing reads the input after the output is written. */
  readonly inPlace: readonly { readonly output: Node; readonly input: PlanOperand }[];
}

interface Input {
  readonly operand: PlanOperand;
  readonly kind: InputKind;
  readonly strides: readonly number[];
}

/** A micro-operation and the node that it computes. */
export interface Operation {
  readonly op: MicroOp;
  readonly node: Node;
  readonly operands: readonly Node[];
}

/** The micro-operation of an elementwise node. */
function microOpOf(node: Node): MicroOp {
  const { lowering } = node.primitive;
  if (lowering.kind !== "elementwise") throw new Error(`${node.primitive.name} is not elementwise`);
  const dtype = (node.inputs.at(-1) ?? node).dtype;
  const op = lowering.micro[dtype];
  if (op === undefined) throw new Error(`${node.primitive.name} has no micro-operation for ${dtype}`);
  return op;
}

/**
 * Micro-operations that are two others in one: what computes the operand at `place` of `outer` moves into it, and its
 * operands take that place. The operand at `mate` may change places with it.
 */
interface MicroOpFusion {
  /** The inner result is not rounded on the relaxed build: the only kind that changes bits. */
  readonly contracts?: true;
  readonly outer: MicroOp;
  readonly place: number;
  readonly mate?: number;
  readonly inner: MicroOp;
  readonly fused: MicroOp;
}

/** The only one that contracts: a product is not rounded before it is added to something. */
export const MULTIPLY_ADD: readonly MicroOpFusion[] = [
  { outer: MicroOp.Add, place: 0, mate: 1, inner: MicroOp.Mul, fused: MicroOp.MulAdd, contracts: true },
];

const FUSIONS: readonly MicroOpFusion[] = [
  ...MULTIPLY_ADD,
  // Moving averages, and what an optimizer does with them.
  { outer: MicroOp.MulAdd, place: 0, mate: 1, inner: MicroOp.Sub, fused: MicroOp.SubMulAdd },
  { outer: MicroOp.MulAdd, place: 0, mate: 1, inner: MicroOp.Sqrt, fused: MicroOp.RootMulAdd },
  { outer: MicroOp.MulAdd, place: 0, mate: 1, inner: MicroOp.DivRoot, fused: MicroOp.DivRootMulAdd },
  { outer: MicroOp.MulAdd, place: 2, inner: MicroOp.Mul, fused: MicroOp.MulAddMul },
  { outer: MicroOp.MulAddMul, place: 2, mate: 3, inner: MicroOp.Mul, fused: MicroOp.MulAddMulMul },
  { outer: MicroOp.Div, place: 1, inner: MicroOp.RootMulAdd, fused: MicroOp.DivRoot },
];

/** Some nodes. */
export type Nodes = Pick<ReadonlySet<Node>, "has">;
const NONE: Nodes = new Set();

/**
 * The micro-operations of a chain, in order. One whose result a single other one reads becomes a part of that, where
 * there is a micro-operation for both: it then reads its operands where the other stood.
 * @param alone nodes whose results are to be had
 * @param apart products that are rounded before they are added to something, besides those
 * @param fusions those that may be made
 */
export function operationsOf(
  nodes: readonly Node[],
  alone: Nodes,
  apart: Nodes = NONE,
  fusions: readonly MicroOpFusion[] = FUSIONS,
): Operation[] {
  const uses = new Map<Node, number>();
  for (const node of nodes) for (const x of node.inputs) uses.set(x, (uses.get(x) ?? 0) + 1);
  const operations = new Map<Node, Operation>();
  /** The operation that gives an operand, if nothing else wants its result. */
  const source = (x: Node, contracts?: true): Operation | undefined =>
    uses.get(x) === 1 && !alone.has(x) && !(contracts && apart.has(x)) ? operations.get(x) : undefined;
  for (const node of nodes) {
    let op = microOpOf(node);
    let operands = node.inputs;
    for (const fusion of fusions) {
      if (op !== fusion.outer) continue;
      const { place, mate = place, inner, fused, contracts } = fusion;
      const at = [place, mate].find((k) => source(operands[k] as Node, contracts)?.op === inner);
      if (at === undefined) continue;
      const part = operations.get(operands[at] as Node) as Operation;
      operations.delete(part.node);
      op = fused;
      operands = operands.flatMap((x, k) => {
        if (k === place) return part.operands;
        return k === at ? [operands[place] as Node] : [x];
      });
    }
    operations.set(node, { op, node, operands });
  }
  return withAdamSteps([...operations.values()]);
}

/** Brings the three micro-operations of each step of Adam together, and marks the first, for one loop to run them. */
function withAdamSteps(operations: Operation[]): Operation[] {
  for (const last of operations.filter(({ op }) => op === MicroOp.DivRootMulAdd)) {
    const [average, square] = last.operands.map((x) => operations.find(({ node }) => node === x));
    if (average?.op !== MicroOp.SubMulAdd || square?.op !== MicroOp.MulAddMulMul) continue;
    const results = [average.node, square.node];
    const at = operations.indexOf(last);
    const first = Math.min(operations.indexOf(average), operations.indexOf(square));
    const readsResult = ({ operands }: Operation): boolean => operands.some((x) => results.includes(x));
    if (operations.slice(first, at).some(readsResult) || last.operands.slice(2).some((x) => results.includes(x)))
      continue;
    const before = operations.slice(0, at).filter((operation) => operation !== average && operation !== square);
    const step = [{ ...average, op: MicroOp.AdamStep }, square, last];
    operations.splice(0, at + 1, ...before, ...step);
  }
  return operations;
}

/** Gives every value a slot: inputs, then outputs, then as few registers as their lifetimes allow. */
function assignSlots(
  operations: readonly Operation[],
  inputs: readonly Node[],
  outputs: readonly Node[],
): { slots: Map<Node, number>; registers: number; lastUse: Map<Node, number> } {
  const slots = new Map<Node, number>();
  for (const node of [...inputs, ...outputs]) slots.set(node, slots.size);
  const lastUse = new Map<Node, number>();
  operations.forEach(({ operands }, i) => {
    for (const x of operands) lastUse.set(x, i);
  });
  const firstRegister = slots.size;
  const free: number[] = [];
  let registers = 0;
  operations.forEach(({ node, operands }, i) => {
    // An operand that dies here hands its register to the result: micro-operations load before they store.
    for (const x of new Set(operands)) {
      const slot = slots.get(x) as number;
      if (slot >= firstRegister && lastUse.get(x) === i) free.push(slot);
    }
    if (!slots.has(node)) slots.set(node, free.pop() ?? firstRegister + registers++);
  });
  return { slots, registers, lastUse };
}

function inputsOf(operations: readonly Operation[], nodes: readonly Node[]): Node[] {
  const own = new Set(nodes);
  return [...new Set(operations.flatMap(({ operands }) => operands))].filter((x) => !own.has(x));
}

/**
 * Whether nodes, all over one shape, fit one instruction: its slots and registers suffice.
 * @param values where those from outside of the chain are
 * @param stored nodes that are needed outside of the chain
 * @param apart as in {@link encodeChain}
 */
export function fitsChain(
  nodes: readonly Node[],
  values: ReadonlyMap<Node, PlanOperand>,
  stored: Nodes,
  apart: Nodes,
): boolean {
  const { shape } = nodes[0] as Node;
  const operations = operationsOf(nodes, stored, apart);
  const inputNodes = inputsOf(operations, nodes);
  const strided = inputNodes.filter((node) => {
    const operand = values.get(node);
    return operand !== undefined && describeInput(operand, shape, false).kind === InputKind.Strided;
  });
  const outputs = nodes.filter((node) => stored.has(node));
  const { slots, registers } = assignSlots(operations, inputNodes, outputs);
  return slots.size <= Layout.MaxSlots && registers + strided.length <= Layout.MaxRegisters;
}

/**
 * Encodes `nodes`, all over one shape, as the words of one Elementwise instruction.
 * @param values where the values from outside of the chain are; strided ones have at most `Layout.MaxRank` dimensions
 * @param targets where the values that are needed outside of the chain go
 * @param apart products that are rounded before they are added to something, besides those needed outside
 */
export function encodeChain(
  nodes: readonly Node[],
  values: ReadonlyMap<Node, PlanOperand>,
  targets: ReadonlyMap<Node, PlanOperand>,
  apart: Nodes = NONE,
): Chain {
  const { shape } = nodes[0] as Node;
  const outputs = [...targets.keys()];
  const operations = operationsOf(nodes, targets, apart);
  const inputNodes = inputsOf(operations, nodes);
  const records = new Set(operations.filter(({ op }) => op === MicroOp.RandomBits).flatMap(({ operands }) => operands));
  const inputs = inputNodes.map((node) => describeInput(values.get(node) as PlanOperand, shape, records.has(node)));
  const strided = inputs.filter(({ kind }) => kind === InputKind.Strided);
  const dims = collapse(
    shape,
    strided.map(({ strides }) => strides),
  );
  const { slots, registers, lastUse } = assignSlots(operations, inputNodes, outputs);
  const rank = strided.length === 0 ? 0 : dims.length;

  const words: (number | PlanOperand)[] = [
    sizeOf(shape),
    inputs.length | (outputs.length << 8) | (registers << 16) | (rank << 24),
    operations.length,
    ...dims.slice(0, rank).map(({ size }) => size),
  ];
  for (const input of inputs) {
    words.push(input.kind, input.operand);
    if (input.kind === InputKind.Strided) {
      const k = strided.indexOf(input);
      words.push(...dims.map(({ strides }) => strides[k] as number));
    }
  }
  for (const node of outputs) words.push(targets.get(node) as PlanOperand);
  for (const { op, node, operands } of operations) {
    const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = operands.map((x) => slots.get(x) as number);
    words.push(op | ((slots.get(node) as number) << 8) | (a << 16) | (b << 24), c | (d << 8) | (e << 16) | (f << 24));
  }
  if (slots.size > Layout.MaxSlots || registers + strided.length > Layout.MaxRegisters) {
    throw new Error(
      `a chain of ${nodes.length} nodes needs ${slots.size} slots and ${registers + strided.length} registers`,
    );
  }
  return { words, inPlace: reusable(operations, inputNodes, inputs, outputs, lastUse) };
}

function describeInput(operand: PlanOperand, shape: readonly number[], record: boolean): Input {
  if (record) return { operand, kind: InputKind.Record, strides: [] };
  const { strides } = expandView(operand, shape);
  if (strides.every((s, d) => s === 0 || shape[d] === 1)) return { operand, kind: InputKind.Scalar, strides: [] };
  if (isContiguous({ shape, strides, offset: 0 })) return { operand, kind: InputKind.Contiguous, strides: [] };
  return { operand, kind: InputKind.Strided, strides };
}

/** Pairs of an output and an input where nothing reads the input, or its buffer, once the output is written. */
function reusable(
  operations: readonly Operation[],
  inputNodes: readonly Node[],
  inputs: readonly Input[],
  outputs: readonly Node[],
  lastUse: ReadonlyMap<Node, number>,
): Chain["inPlace"] {
  return outputs.flatMap((output) => {
    const written = operations.findIndex(({ node }) => node === output);
    return inputs.flatMap(({ operand, kind }, i) => {
      const alone = inputs.filter((other) => other.operand.buffer === operand.buffer).length === 1;
      const safe = kind === InputKind.Contiguous && alone && (lastUse.get(inputNodes[i] as Node) as number) <= written;
      return safe ? [{ output, input: operand }] : [];
    });
  });
}
