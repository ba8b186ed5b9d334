/** Which elements an instruction reads and writes, told from its words: what replays and audits check a plan by. */
import { formatShape } from "../graph/shape.js";
import { collapse, wholeView } from "../graph/view.js";
import { ConvMode, Flag, InputKind, Layout, Opcode, PoolMode } from "../isa.js";
import { MicroOp } from "../micro-op.js";
import type { Buffer, PlanOperand, Step } from "./buffer.js";

/** Elements of a buffer: those at `offset + Σ i·stride`. */
export interface Region {
  readonly buffer: Buffer;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

/** What one instruction touches. An operand that is added to is both read and written. */
export interface Access {
  readonly reads: readonly Region[];
  readonly writes: readonly Region[];
}

type Words = Step["words"];

/** The place in a Convolution's words of what it computes; none where that is its workspace. */
const CONVOLVED: Readonly<Record<ConvMode, readonly number[]>> = {
  [ConvMode.Output]: [3],
  [ConvMode.Image]: [1],
  [ConvMode.Weight]: [2],
  [ConvMode.WinogradOutput]: [3],
  [ConvMode.WinogradImage]: [1],
  [ConvMode.WinogradWeight]: [2],
  [ConvMode.WinogradOutputWeight]: [],
  [ConvMode.WinogradImageWeight]: [],
};

/** The places in `words` of what each instruction writes, its workspace included. Elementwise has its own layout. */
const WRITTEN: Readonly<Record<Opcode, (words: Words) => readonly number[]>> = {
  [Opcode.End]: () => [],
  [Opcode.Elementwise]: () => [],
  [Opcode.Gemm]: () => [9, 12],
  [Opcode.Reduce]: () => [1],
  [Opcode.Copy]: () => [0],
  [Opcode.Fill]: () => [0],
  [Opcode.Gather]: () => [0],
  [Opcode.Scatter]: () => [0],
  [Opcode.Convolution]: ([mode]) => [...CONVOLVED[mode as ConvMode], 5],
  [Opcode.Pool]: ([mode]) => [mode === PoolMode.MaxGradient || mode === PoolMode.AverageGradient ? 3 : 1],
  [Opcode.Rows]: () => [3],
  [Opcode.Attention]: () => [0, 29],
  [Opcode.Scan]: () => [1],
  [Opcode.Sort]: () => [0, 8],
  [Opcode.ChannelNorm]: () => [1],
};

function isOperand(word: number | PlanOperand | undefined): word is PlanOperand {
  return typeof word === "object";
}

function linear({ buffer, offset }: PlanOperand, count: number): Region {
  return { buffer, offset, ...linearShape(count) };
}

function linearShape(count: number): Pick<Region, "shape" | "strides"> {
  const { shape, strides } = wholeView([count]);
  return { shape, strides };
}

/** A decoded Elementwise instruction. */
export interface Chain {
  readonly inputs: readonly { readonly kind: InputKind; readonly region: Region }[];
  readonly outputs: readonly Region[];
  /** The micro-operations, and the slots that each reads and writes: inputs first, then outputs, then registers. */
  readonly operations: readonly { readonly op: MicroOp; readonly reads: readonly number[]; readonly writes: number }[];
}

/** What a micro-operation computes: one of its operands, by number, or an operation on such values. */
export type Formula = number | readonly [op: MicroOp, operands: readonly Formula[]];

const sum = (a: Formula, b: Formula): Formula => [MicroOp.Add, [a, b]];
const product = (a: Formula, b: Formula): Formula => [MicroOp.Mul, [a, b]];
const root = (a: Formula): Formula => [MicroOp.Sqrt, [a]];
const SUB_MUL_ADD: Formula = sum(product([MicroOp.Sub, [0, 1]], 2), 3);
const DIV_ROOT: Formula = [MicroOp.Div, [0, sum(product(root(1), 2), 3)]];

/** The micro-operations that are several in one. */
const COMPOUND: Readonly<Partial<Record<MicroOp, Formula>>> = {
  [MicroOp.MulAdd]: sum(product(0, 1), 2),
  [MicroOp.SubMulAdd]: SUB_MUL_ADD,
  [MicroOp.MulAddMul]: sum(product(0, 1), product(2, 3)),
  [MicroOp.MulAddMulMul]: sum(product(0, 1), product(product(2, 3), 4)),
  [MicroOp.RootMulAdd]: sum(product(root(0), 1), 2),
  [MicroOp.DivRoot]: DIV_ROOT,
  [MicroOp.DivRootMulAdd]: sum(product(DIV_ROOT, 4), 5),
  [MicroOp.AdamStep]: SUB_MUL_ADD,
};

/** How many operands a micro-operation has that is not several in one: they come in groups (see `MicroOp`). */
function arityOf(op: MicroOp): number {
  if (op === MicroOp.Iota) return 0;
  if (op === MicroOp.RandomBits) return 1;
  if (op === MicroOp.Select) return 3;
  const binary = op >= MicroOp.Add && op < MicroOp.NegI;
  const binaryInteger = op >= MicroOp.AddI && op < MicroOp.F32ToI32;
  return binary || binaryInteger ? 2 : 1;
}

/** The formula of a micro-operation, in operations that each are the one of a node. */
export function formulaOf(op: MicroOp): Formula {
  return COMPOUND[op] ?? [op, Array.from({ length: arityOf(op) }, (_, k) => k)];
}

/** The number of operands that a formula has. */
function operandsOf(formula: Formula): number {
  if (typeof formula === "number") return formula + 1;
  return Math.max(0, ...formula[1].map(operandsOf));
}

/** Decodes the words of an Elementwise instruction. */
export function chainOf({ words }: Step): Chain {
  const [count, counts, operationCount] = words as readonly number[] as [number, number, number];
  const [inputCount, outputCount, rank] = [counts & 0xff, (counts >>> 8) & 0xff, counts >>> 24];
  let at = 3;
  const take = (): number | PlanOperand => words[at++] as number | PlanOperand;
  const numbers = (n: number): number[] => Array.from({ length: n }, () => take() as number);
  const sizes = numbers(rank);
  const inputs = Array.from({ length: inputCount }, () => {
    const kind = take() as InputKind;
    const operand = take() as PlanOperand;
    const { buffer, offset } = operand;
    const lengths = { [InputKind.Contiguous]: count, [InputKind.Scalar]: 1, [InputKind.Record]: 4 };
    const region =
      kind === InputKind.Strided
        ? { buffer, offset, shape: sizes, strides: numbers(rank) }
        : linear(operand, lengths[kind]);
    return { kind, region };
  });
  const outputs = Array.from({ length: outputCount }, () => linear(take() as PlanOperand, count));
  const operations = Array.from({ length: operationCount }, () => {
    const [word, more] = numbers(2) as [number, number];
    const byte = (from: number, k: number): number => (from >>> (8 * k)) & 0xff;
    const operands = [byte(word, 2), byte(word, 3), ...[0, 1, 2, 3].map((k) => byte(more, k))];
    const op = byte(word, 0);
    return { op, reads: operands.slice(0, operandsOf(formulaOf(op))), writes: byte(word, 1) };
  });
  return { inputs, outputs, operations };
}

function copyOf({ words }: Step): Access {
  const [to, from, rank, ...dims] = words as readonly [PlanOperand, PlanOperand, ...number[]];
  const along = ({ buffer, offset }: PlanOperand, which: number): Region => {
    const pick = (k: number): number[] => Array.from({ length: rank as number }, (_, d) => dims[3 * d + k] as number);
    return { buffer, offset, shape: pick(0), strides: pick(which) };
  };
  return { reads: [along(from, 2)], writes: [along(to, 1)] };
}

/** What an instruction reads and writes. */
export function accessOf(step: Step): Access {
  const { opcode, flags, words } = step;
  if (opcode === Opcode.Elementwise) {
    const { inputs, outputs } = chainOf(step);
    return { reads: inputs.map(({ region }) => region), writes: outputs };
  }
  if (opcode === Opcode.Copy) return copyOf(step);
  if (opcode === Opcode.Fill) return { reads: [], writes: [linear(words[0] as PlanOperand, words[1] as number)] };
  const places = WRITTEN[opcode as Opcode](words).filter((i) => isOperand(words[i]));
  const writes = places.map((i) => words[i] as PlanOperand);
  const adds = opcode === Opcode.Scatter || (flags & Flag.Accumulate) !== 0;
  const reads = words.filter((word, i): word is PlanOperand => isOperand(word) && !places.includes(i));
  return { reads: adds ? [...reads, writes[0] as PlanOperand] : reads, writes };
}

/** Calls `visit` with every run of adjacent elements of a region: where it starts in its buffer, and how many. */
export function eachRun({ shape, strides, offset }: Region, visit: (start: number, count: number) => void): void {
  const kept = shape.map((size, d) => (strides[d] === 0 ? Math.min(size, 1) : size));
  if (kept.includes(0)) return;
  const dims = collapse(kept, [strides]).map(({ size, strides: [stride] }) => ({ size, stride: stride as number }));
  const inner = dims.at(-1)?.stride === 1 ? (dims.pop()?.size as number) : 1;
  const walk = (depth: number, start: number): void => {
    const dim = dims[depth];
    if (dim === undefined) visit(start, inner);
    else for (let i = 0; i < dim.size; i++) walk(depth + 1, start + i * dim.stride);
  };
  walk(0, offset);
}

/** What is wrong with a region by itself, or null: it must lie in its buffer, and start on a vector where it says so. */
export function misplaced(region: Region): string | null {
  let [low, high] = [Number.POSITIVE_INFINITY, 0];
  eachRun(region, (start, count) => {
    low = Math.min(low, start);
    high = Math.max(high, start + count);
  });
  const { buffer, shape } = region;
  if (high === 0 || buffer.region.kind === "pool") return null;
  const inside = low >= 0 && Layout.ElementBytes * high <= buffer.bytes;
  return inside ? null : `elements ${low} to ${high - 1} of ${formatShape(shape)} in ${buffer.bytes} bytes`;
}
