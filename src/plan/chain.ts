/** Elementwise chains: from fused nodes to the micro-operations of one instruction. */

import { sizeOf } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { collapse, expandView, isContiguous } from "../graph/view.js";
import { InputKind, Layout } from "../isa.js";
import { MicroOp } from "../micro-op.js";
import type { PlanOperand } from "./buffer.js";
import { type Term, Terms } from "./terms.js";

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
 * operands take that place. The operand at `mate`, if another, may change places with it.
 */
interface MicroOpFusion {
  readonly outer: MicroOp;
  readonly place: number;
  readonly mate: number;
  readonly inner: MicroOp;
  readonly fused: MicroOp;
  /** The inner result is not rounded on the relaxed build: the only kind that changes bits. */
  readonly contracts: boolean;
}

function fusion(
  outer: MicroOp,
  place: number,
  mate: number,
  inner: MicroOp,
  fused: MicroOp,
  contracts = false,
): MicroOpFusion {
  return { outer, place, mate, inner, fused, contracts };
}

/** The only one that contracts: a product is not rounded before it is added to something. */
export const MULTIPLY_ADD: readonly MicroOpFusion[] = [fusion(MicroOp.Add, 0, 1, MicroOp.Mul, MicroOp.MulAdd, true)];

const FUSIONS: readonly MicroOpFusion[] = [
  ...MULTIPLY_ADD,
  // Moving averages, and what an optimizer does with them.
  fusion(MicroOp.MulAdd, 0, 1, MicroOp.Sub, MicroOp.SubMulAdd),
  fusion(MicroOp.MulAdd, 0, 1, MicroOp.Sqrt, MicroOp.RootMulAdd),
  fusion(MicroOp.MulAdd, 0, 1, MicroOp.DivRoot, MicroOp.DivRootMulAdd),
  fusion(MicroOp.MulAdd, 2, 2, MicroOp.Mul, MicroOp.MulAddMul),
  fusion(MicroOp.MulAddMul, 2, 3, MicroOp.Mul, MicroOp.MulAddMulMul),
  fusion(MicroOp.Div, 1, 1, MicroOp.RootMulAdd, MicroOp.DivRoot),
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
  return operationsOn(termsOf(new Terms(), nodes, alone, apart), fusions).map(({ op, node, operands }) => ({
    op,
    node,
    operands: operands.map((x) => x.node),
  }));
}

function termsOf(known: Terms, nodes: readonly Node[], stored: Nodes, apart: Nodes): Term[] {
  const terms = known.chain(nodes);
  for (const term of terms) {
    term.isStored = stored.has(term.node);
    term.isApart = apart.has(term.node);
  }
  return terms;
}

/** The terms of a chain in which operations end. */
function operationsOn(terms: readonly Term[], fusions: readonly MicroOpFusion[]): Term[] {
  for (const { inputs } of terms) {
    for (const x of inputs) {
      x.uses = 0;
      x.isResult = false;
    }
  }
  for (const { inputs } of terms) for (const x of inputs) x.uses++;
  for (const term of terms) {
    term.micro ??= microOpOf(term.node);
    term.op = term.micro;
    term.operands = term.inputs;
    for (const fusion of fusions) if (term.op === fusion.outer) fuse(term, fusion);
    term.isResult = true;
  }
  return withAdamSteps(terms.filter(({ isResult }) => isResult));
}

/** Moves into an operation what computes one of its operands, if that is possible. */
function fuse(term: Term, fusion: MicroOpFusion): void {
  const { operands } = term;
  const { place, mate, fused } = fusion;
  const [first, second] = [operands[place] as Term, operands[mate] as Term];
  const part = canMove(first, fusion) ? first : canMove(second, fusion) ? second : null;
  if (part === null) return;
  part.isResult = false;
  term.op = fused;
  const moved: Term[] = [];
  for (let k = 0; k < operands.length; k++) {
    if (k === place) for (const x of part.operands) moved.push(x);
    else moved.push(k === mate && part === second ? first : (operands[k] as Term));
  }
  term.operands = moved;
}

/** Whether what gives an operand moves into the operation that reads it: nothing else may want its result. */
function canMove({ isResult, op, uses, isStored, isApart }: Term, { inner, contracts }: MicroOpFusion): boolean {
  return isResult && op === inner && uses === 1 && !isStored && !(contracts && isApart);
}

/** Brings the three micro-operations of each step of Adam together, and marks the first, for one loop to run them. */
function withAdamSteps(operations: Term[]): Term[] {
  for (const last of operations.filter(({ op }) => op === MicroOp.DivRootMulAdd)) {
    const [average, square] = last.operands;
    if (!isResultOf(average, MicroOp.SubMulAdd) || !isResultOf(square, MicroOp.MulAddMulMul)) continue;
    const results = [average, square];
    const at = operations.indexOf(last);
    const first = Math.min(operations.indexOf(average), operations.indexOf(square));
    const readsResult = ({ operands }: Term): boolean => operands.some((x) => results.includes(x));
    if (operations.slice(first, at).some(readsResult) || last.operands.slice(2).some((x) => results.includes(x)))
      continue;
    const before = operations.slice(0, at).filter((operation) => !results.includes(operation));
    average.op = MicroOp.AdamStep;
    operations.splice(0, at + 1, ...before, average, square, last);
  }
  return operations;
}

function isResultOf(term: Term | undefined, op: MicroOp): term is Term {
  return term?.isResult === true && term.op === op;
}

/** What values inside of a chain take: how many have a slot, and how many registers among these. */
interface Slots {
  readonly slots: number;
  readonly registers: number;
}

/** Gives every value a slot: inputs, then outputs, then as few registers as their lifetimes allow. */
function assignSlots(operations: readonly Term[], inputs: readonly Term[], outputs: readonly Term[]): Slots {
  for (const term of operations) term.slot = -1;
  let slots = 0;
  for (const term of inputs) term.slot = slots++;
  for (const term of outputs) term.slot = slots++;
  for (const term of operations) term.lastUse = -1;
  for (let i = 0; i < operations.length; i++) {
    for (const x of (operations[i] as Term).operands) x.lastUse = i;
  }
  const firstRegister = slots;
  const free: number[] = [];
  let registers = 0;
  for (let i = 0; i < operations.length; i++) {
    const term = operations[i] as Term;
    // An operand that dies here hands its register to the result: micro-operations load before they store.
    for (const x of term.operands) {
      if (x.slot < firstRegister || x.lastUse !== i) continue;
      free.push(x.slot);
      // What it reads twice dies once.
      x.lastUse = -1;
    }
    if (term.slot !== -1) continue;
    slots++;
    term.slot = free.pop() ?? firstRegister + registers++;
  }
  return { slots, registers };
}

function inputsOf(operations: readonly Term[], terms: readonly Term[]): Term[] {
  for (const { operands } of operations) for (const x of operands) x.isOwn = false;
  for (const term of terms) term.isOwn = true;
  const inputs: Term[] = [];
  for (const { operands } of operations) {
    for (const x of operands) {
      if (x.isOwn) continue;
      x.isOwn = true;
      inputs.push(x);
    }
  }
  return inputs;
}

/**
 * Whether a chain, all over one shape, fits one instruction: its slots and registers suffice.
 * @param terms its nodes, inputs first; those needed outside of it are marked as stored
 * @param isStrided whether an input from outside of the chain is read by strides
 */
export function fitsChain(terms: readonly Term[], isStrided: (input: Term) => boolean): boolean {
  const operations = operationsOn(terms, FUSIONS);
  const inputs = inputsOf(operations, terms);
  let strided = 0;
  for (const x of inputs) if (isStrided(x)) strided++;
  const { slots, registers } = assignSlots(
    operations,
    inputs,
    terms.filter(({ isStored }) => isStored),
  );
  return slots <= Layout.MaxSlots && registers + strided <= Layout.MaxRegisters;
}

/** Whether a chain over a shape reads an operand by strides. */
export function readsByStrides(operand: PlanOperand, shape: readonly number[]): boolean {
  return describeInput(operand, shape, false).kind === InputKind.Strided;
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
  const known = new Terms();
  const terms = termsOf(known, nodes, targets, apart);
  const outputs = [...targets.keys()].map((node) => known.of(node));
  const operations = operationsOn(terms, FUSIONS);
  const inputTerms = inputsOf(operations, terms);
  const records = new Set(operations.filter(({ op }) => op === MicroOp.RandomBits).flatMap(({ operands }) => operands));
  const inputs = inputTerms.map((x) => describeInput(values.get(x.node) as PlanOperand, shape, records.has(x)));
  const strided = inputs.filter(({ kind }) => kind === InputKind.Strided);
  const dims = collapse(
    shape,
    strided.map(({ strides }) => strides),
  );
  const { slots, registers } = assignSlots(operations, inputTerms, outputs);
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
  for (const { node } of outputs) words.push(targets.get(node) as PlanOperand);
  for (const { op, slot, operands } of operations) {
    const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = operands.map((x) => x.slot);
    words.push(op | (slot << 8) | (a << 16) | (b << 24), c | (d << 8) | (e << 16) | (f << 24));
  }
  if (slots > Layout.MaxSlots || registers + strided.length > Layout.MaxRegisters) {
    throw new Error(
      `a chain of ${nodes.length} nodes needs ${slots} slots and ${registers + strided.length} registers`,
    );
  }
  return { words, inPlace: reusable(operations, inputTerms, inputs, outputs) };
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
  operations: readonly Term[],
  inputTerms: readonly Term[],
  inputs: readonly Input[],
  outputs: readonly Term[],
): Chain["inPlace"] {
  const alone = inputs.map(
    ({ operand, kind }) =>
      kind === InputKind.Contiguous && inputs.filter((other) => other.operand.buffer === operand.buffer).length === 1,
  );
  return outputs.flatMap((output) => {
    const written = operations.indexOf(output);
    return inputs.flatMap(({ operand }, i) => {
      const safe = alone[i] === true && (inputTerms[i] as Term).lastUse <= written;
      return safe ? [{ output: output.node, input: operand }] : [];
    });
  });
}
