/** Which elements an instruction reads and writes, told from its words: what a replay checks a plan by. */
import type { Operand } from "../graph/primitive.js";
import { formatShape, sizeOf } from "../graph/shape.js";
import type { Layout as View } from "../graph/view.js";
import {
  AttentionField,
  ConvMode,
  CopyField,
  ElementwiseField,
  FillField,
  Flag,
  GatherField,
  GemmField,
  InputKind,
  Layout,
  Opcode,
  PoolMode,
  ReduceField,
  RowsField,
} from "../isa.js";
import { MicroOp } from "../micro-op.js";
import { gemmWorkspaceBytes } from "../workspace/gemm.js";
import type { Buffer, Step } from "./buffer.js";

/** Elements of a buffer that the operand in word `word` of an instruction names: those at `offset + Σ i·stride`. */
export interface Region<B extends object = Buffer> extends View {
  readonly word: number;
  readonly buffer: B;
}

/** What one instruction touches. An operand that is added to is both read and written. */
export interface Access<B extends object = Buffer> {
  readonly reads: readonly Region<B>[];
  readonly writes: readonly Region<B>[];
  /** The words that say neither where operands are nor how they lie there, and counts that follow from the others. */
  readonly sizes: readonly number[];
}

type Word<B extends object> = number | (Operand & { readonly buffer: B });

/** An instruction whose operands are in buffers of some kind: a plan's, or those that stand for a node's inputs. */
export interface Instruction<B extends object = Buffer> {
  readonly opcode: number;
  readonly flags: number;
  readonly words: readonly Word<B>[];
}

type Words = Instruction<object>["words"];

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

function isOperand<B extends object>(word: Word<B> | undefined): word is Exclude<Word<B>, number> {
  return typeof word === "object";
}

/** How an operand lies, but for where it begins. */
type Laid = Pick<View, "shape" | "strides">;

function linear(count: number): Laid {
  return { shape: [count], strides: [1] };
}

function regionOf<B extends object>(words: readonly Word<B>[], word: number, laid: Laid): Region<B> {
  const { buffer, offset } = words[word] as Exclude<Word<B>, number>;
  return { word, buffer, offset, ...laid };
}

/** Words of a record that a micro-operation reads by itself: the key of random bits. */
const RECORD = 4;

/** A decoded Elementwise instruction. */
export interface Chain {
  /** Elements that it goes over. */
  readonly count: number;
  readonly registers: number;
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
  const [inputCount, outputCount] = [counts & 0xff, (counts >>> 8) & 0xff];
  const [registers, rank] = [(counts >>> 16) & 0xff, counts >>> 24];
  let at = ElementwiseField.Body - 1;
  const numbers = (n: number): number[] => Array.from({ length: n }, () => words[at++] as number);
  const sizes = numbers(rank);
  const inputs = Array.from({ length: inputCount }, () => {
    const [kind] = numbers(1) as [InputKind];
    const word = at++;
    const laid = {
      [InputKind.Contiguous]: () => linear(count),
      [InputKind.Scalar]: () => ({ shape: [count], strides: [0] }),
      [InputKind.Record]: () => linear(RECORD),
      [InputKind.Strided]: () => ({ shape: sizes, strides: numbers(rank) }),
    };
    return { kind, region: regionOf(words, word, laid[kind]()) };
  });
  const outputs = Array.from({ length: outputCount }, () => regionOf(words, at++, linear(count)));
  expectWords(words, at + 2 * operationCount);
  const operations = Array.from({ length: operationCount }, () => {
    const [word, more] = numbers(2) as [number, number];
    const byte = (from: number, k: number): number => (from >>> (8 * k)) & 0xff;
    const operands = [byte(word, 2), byte(word, 3), ...[0, 1, 2, 3].map((k) => byte(more, k))];
    const op = byte(word, 0);
    return { op, reads: operands.slice(0, operandsOf(formulaOf(op))), writes: byte(word, 1) };
  });
  return { count, registers, inputs, outputs, operations };
}

// ── Layouts in words ────────────────────────────────────────────────────────────────────────────────────────────────

/** How the operands of an instruction lie, by word; those that are not named are row-major. */
interface Layouts {
  readonly laid: Readonly<Record<number, Laid>>;
  readonly sizes: readonly number[];
}

/** @throws Error unless an instruction has as many words as it says, by its own counts */
function expectWords(words: Words, count: number): void {
  if (words.length !== count) throw new Error(`an instruction says that it has ${count} words, of ${words.length}`);
}

/** The last words, from `at` on: `rank` groups of `width`, as a list for each place in a group. */
function groups(words: Words, at: number, rank: number, width: number): number[][] {
  expectWords(words, at + width * rank);
  return Array.from({ length: width }, (_, k) =>
    Array.from({ length: rank }, (_, d) => words[at + width * d + k] as number),
  );
}

/** An optional operand's word: a number, which is to be 0, where it is missing. */
function missing(words: Words, field: number): number {
  const word = words[field - 1];
  return typeof word === "number" ? word : 0;
}

function numbersBut(words: Words, left: readonly number[]): number[] {
  return words.filter((word, i): word is number => typeof word === "number" && !left.includes(i));
}

const noLayouts = (words: Words): Layouts => ({ laid: {}, sizes: numbersBut(words, []) });

function gemmLayouts(words: Words): Layouts {
  const number = (field: GemmField): number => words[field - 1] as number;
  const [m, n, k] = [number(GemmField.M), number(GemmField.N), number(GemmField.K)];
  const [sizes, a, b, c] = groups(words, GemmField.Batch - 1, number(GemmField.BatchRank), 4) as [
    ...[number[], number[], number[], number[]],
  ];
  const none = sizes.map(() => 0);
  // B and the bias have the rows as a dimension too, so that it does not matter which dimensions are taken as rows.
  return {
    laid: {
      [GemmField.A - 1]: {
        shape: [...sizes, m, k],
        strides: [...a, number(GemmField.ARow), number(GemmField.AColumn)],
      },
      [GemmField.B - 1]: {
        shape: [...sizes, m, k, n],
        strides: [...b, 0, number(GemmField.BRow), number(GemmField.BColumn)],
      },
      [GemmField.C - 1]: { shape: [...sizes, m, n], strides: [...c, number(GemmField.CRow), 1] },
      [GemmField.Bias - 1]: { shape: [...sizes, m, n], strides: [...none, 0, 1] },
      [GemmField.Workspace - 1]: linear(gemmWorkspaceBytes(m, n, k, number(GemmField.BRow)) / Layout.ElementBytes),
    },
    sizes: [sizeOf(sizes) * m, n, k, missing(words, GemmField.Bias)],
  };
}

function reduceLayouts(words: Words): Layouts {
  const [op, , , keptRank, reducedRank, keptCount, reducedCount] = words as readonly number[] as [
    ...[number, number, number, number, number, number, number],
  ];
  const [shape, strides] = groups(words, ReduceField.Dims - 1, keptRank + reducedRank, 2) as [number[], number[]];
  return {
    laid: { [ReduceField.Out - 1]: linear(keptCount), [ReduceField.In - 1]: { shape, strides } },
    sizes: [op, keptCount, reducedCount, sizeOf(shape.slice(0, keptRank)), sizeOf(shape.slice(keptRank))],
  };
}

function copyLayouts(words: Words): Layouts {
  const [shape, to, from] = groups(words, CopyField.Dims - 1, words[CopyField.Rank - 1] as number, 3) as [
    ...[number[], number[], number[]],
  ];
  const laid = {
    [CopyField.Destination - 1]: { shape, strides: to },
    [CopyField.Source - 1]: { shape, strides: from },
  };
  return { laid, sizes: [] };
}

/** Of a Gather or a Scatter, whose table is what it writes. */
function indexLayouts(table: number, picked: number): (words: Words) => Layouts {
  return (words) => {
    const [outer, axis, count, inner, ...rest] = words.slice(GatherField.Outer - 1) as number[] as [
      ...[number, number, number, number, ...number[]],
    ];
    return {
      laid: {
        [table]: linear(outer * axis * inner),
        [picked]: linear(outer * count * inner),
        [GatherField.Index - 1]: { shape: [outer, count, inner], strides: rest.slice(0, 3) },
      },
      sizes: [outer, axis, count, inner, ...rest.slice(3)],
    };
  };
}

function rowsLayouts(words: Words): Layouts {
  const row = (field: RowsField): Laid => ({
    shape: [words[RowsField.Length - 1] as number],
    strides: [words[field - 1] as number],
  });
  return {
    laid: {
      [RowsField.Weight - 1]: row(RowsField.WeightStride),
      [RowsField.Bias - 1]: row(RowsField.BiasStride),
    },
    sizes: numbersBut(words, [RowsField.WeightStride - 1, RowsField.BiasStride - 1]),
  };
}

function attentionLayouts(words: Words): Layouts {
  const [batch, heads, queries, keys, width, valueWidth] = words.slice(AttentionField.Batch - 1) as number[] as [
    ...[number, number, number, number, number, number],
  ];
  const operand = (field: AttentionField, rows: number, columns: number) => ({
    [field - 1]: { shape: [batch, heads, rows, columns], strides: words.slice(field, field + 4) as number[] },
  });
  return {
    laid: {
      ...operand(AttentionField.Query, queries, width),
      ...operand(AttentionField.Key, keys, width),
      ...operand(AttentionField.Value, keys, valueWidth),
      ...operand(AttentionField.Gradient, queries, valueWidth),
    },
    sizes: [missing(words, AttentionField.Gradient), ...numbersBut(words.slice(AttentionField.Batch - 1), [])],
  };
}

/** How the operands of each instruction lie, told from its words. Elementwise has its own way. */
const LAYOUTS: Readonly<Record<Exclude<Opcode, Opcode.Elementwise>, (words: Words) => Layouts>> = {
  [Opcode.End]: noLayouts,
  [Opcode.Gemm]: gemmLayouts,
  [Opcode.Reduce]: reduceLayouts,
  [Opcode.Copy]: copyLayouts,
  [Opcode.Fill]: (words) => ({
    laid: { [FillField.Destination - 1]: linear(words[FillField.Count - 1] as number) },
    sizes: numbersBut(words, []),
  }),
  [Opcode.Gather]: indexLayouts(GatherField.Source - 1, GatherField.Out - 1),
  [Opcode.Scatter]: indexLayouts(GatherField.Out - 1, GatherField.Source - 1),
  [Opcode.Convolution]: noLayouts,
  [Opcode.Pool]: noLayouts,
  [Opcode.Rows]: rowsLayouts,
  [Opcode.Attention]: attentionLayouts,
  [Opcode.Scan]: noLayouts,
  [Opcode.Sort]: noLayouts,
  [Opcode.ChannelNorm]: noLayouts,
};

/** What an instruction other than Elementwise reads and writes. */
export function decode<B extends object>({ opcode, flags, words }: Instruction<B>): Access<B> {
  const { laid, sizes } = LAYOUTS[opcode as Exclude<Opcode, Opcode.Elementwise>](words);
  const regions = words.flatMap((operand, word) =>
    isOperand(operand) ? [regionOf(words, word, laid[word] ?? linear(sizeOf(operand.shape)))] : [],
  );
  const places = WRITTEN[opcode as Opcode](words);
  const writes = places.flatMap((place) => regions.filter(({ word }) => word === place));
  const adds = opcode === Opcode.Scatter || (flags & Flag.Accumulate) !== 0;
  const reads = regions.filter(({ word }) => !places.includes(word) || (adds && word === places[0]));
  return { reads, writes, sizes };
}

/** What an instruction reads and writes. */
export function accessOf(step: Step): Access {
  if (step.opcode !== Opcode.Elementwise) return decode(step);
  const { inputs, outputs } = chainOf(step);
  return { reads: inputs.map(({ region }) => region), writes: outputs, sizes: [] };
}

/** What is wrong with where a region is, or null: it must lie in its buffer. */
export function misplaced({ buffer, shape, strides, offset }: Region): string | null {
  if (shape.includes(0) || buffer.region.kind === "pool") return null;
  const reach = shape.map((size, d) => (size - 1) * (strides[d] as number));
  const low = offset + reach.reduce((sum, x) => sum + Math.min(0, x), 0);
  const high = offset + reach.reduce((sum, x) => sum + Math.max(0, x), 0);
  if (low >= 0 && Layout.ElementBytes * (high + 1) <= buffer.bytes) return null;
  return `elements ${low} to ${high} of ${formatShape(shape)} in ${buffer.bytes} bytes`;
}
