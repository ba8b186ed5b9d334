/**
 * Single operators on a million elements, through the public API and compiled, forward and with their gradient: rates,
 * and how near they come to what this machine can compute and stream, measured in the same rounds.
 */
import {
  add,
  compile,
  contiguous,
  cumsum,
  embedding,
  exp,
  gather,
  gelu,
  init,
  layerNorm,
  log,
  mul,
  noGrad,
  scatterAdd,
  sigmoid,
  softmax,
  sort,
  sum,
  type Tensor,
  tanh,
  tensor,
  topk,
  transpose,
  vjp,
} from "../src/index.js";
import { availableBuilds, Kernels } from "./kernels.js";
import { type Candidate, interleave, type Measured, median, medianRatio } from "./measure.js";
import type { Report, Row } from "./report.js";

const ROWS = 1024;
const COLUMNS = 1024;
/** Elements of every operand. */
export const ELEMENTS = ROWS * COLUMNS;
/** Sizes that are no powers of two: columns of those fall onto few sets of a cache. */
const ODD = [1000, 1048] as const;
/** Room for the vectors of the ceilings. */
export const MEMORY_BYTES = 64 * 1024 * 1024;

/** Operands of a case. */
interface Operands {
  readonly x: Tensor;
  readonly y: Tensor;
  /** Numbers of rows, and for every element one of the columns. */
  readonly rows: Tensor;
  readonly columns: Tensor;
}

/** An operator and the work that it cannot do without: what a perfect kernel would compute and move. */
interface Case {
  readonly name: string;
  /** Floating-point operations an element; a function such as exp counts 16, as in the operators' records. */
  readonly flops: number;
  /** Arrays of a million elements that are read or written. */
  readonly arrays: number;
  apply(operands: Operands): Tensor;
  /** The same for the gradient with respect to `x`; without it there is none worth measuring. */
  readonly backward?: { readonly flops: number; readonly arrays: number };
}

const CASES: readonly Case[] = [
  {
    name: "x·y + x",
    flops: 2,
    arrays: 3,
    apply: ({ x, y }) => add(mul(x, y), x),
    backward: { flops: 2, arrays: 3 },
  },
  { name: "exp", flops: 16, arrays: 2, apply: ({ x }) => exp(x), backward: { flops: 1, arrays: 2 } },
  { name: "log", flops: 16, arrays: 2, apply: ({ y }) => log(y) },
  { name: "tanh", flops: 16, arrays: 2, apply: ({ x }) => tanh(x), backward: { flops: 3, arrays: 2 } },
  { name: "sigmoid", flops: 16, arrays: 2, apply: ({ x }) => sigmoid(x), backward: { flops: 3, arrays: 2 } },
  {
    name: "gelu (tanh)",
    flops: 24,
    arrays: 2,
    apply: ({ x }) => gelu(x, { approximate: "tanh" }),
    backward: { flops: 12, arrays: 2 },
  },
  { name: "sum", flops: 1, arrays: 1, apply: ({ x }) => sum(x), backward: { flops: 0, arrays: 1 } },
  { name: "softmax", flops: 20, arrays: 2, apply: ({ x }) => softmax(x, -1), backward: { flops: 4, arrays: 2 } },
  {
    name: "layer norm",
    flops: 7,
    arrays: 2,
    apply: ({ x }) => layerNorm(x, [COLUMNS]),
    backward: { flops: 10, arrays: 3 },
  },
  { name: "running sum", flops: 1, arrays: 2, apply: ({ x }) => cumsum(x, 1), backward: { flops: 1, arrays: 2 } },
  { name: "sort", flops: 0, arrays: 2, apply: ({ x }) => sort(x, 1).values },
  { name: "largest ten", flops: 0, arrays: 1, apply: ({ x }) => topk(x, 10, 1).values },
  { name: "copy", flops: 0, arrays: 2, apply: ({ x }) => x.clone() },
  { name: "transpose", flops: 0, arrays: 2, apply: ({ x }) => contiguous(transpose(x, 0, 1)) },
  {
    name: "transpose, odd sizes",
    flops: 0,
    arrays: 2,
    apply: ({ x }) =>
      contiguous(
        transpose(
          x
            .flatten()
            .narrow(0, 0, ODD[0] * ODD[1])
            .view([...ODD]),
          0,
          1,
        ),
      ),
  },
  { name: "gather rows", flops: 0, arrays: 2, apply: ({ x, rows }) => embedding(rows, x) },
  { name: "gather elements", flops: 0, arrays: 3, apply: ({ x, columns }) => gather(x, 1, columns) },
  {
    name: "scatter-add elements",
    flops: 1,
    arrays: 4,
    apply: ({ x, y, columns }) => scatterAdd(x, 1, columns, y),
  },
];

function operands(): Operands {
  const floats = (from: number, to: number, step: number): Tensor =>
    tensor(
      Float32Array.from({ length: ELEMENTS }, (_, i) => from + (((i * step) % 4096) / 4096) * (to - from)),
      { shape: [ROWS, COLUMNS] },
    );
  return {
    x: floats(-4, 4, 7919),
    y: floats(0.1, 4, 104729),
    rows: tensor(Int32Array.from({ length: ROWS }, (_, i) => (i * 7919) % ROWS)),
    columns: tensor(
      Int32Array.from({ length: ELEMENTS }, (_, i) => (i * 7919) % COLUMNS),
      { shape: [ROWS, COLUMNS] },
    ),
  };
}

/** Runs of an operator whose result stays in the arena: the new value of a tensor, as in a training step. */
function forward({ apply }: Case, given: Operands): () => void {
  const out = noGrad(() => apply(given).mul(0));
  return compile(() => {
    out.copy_(apply(given));
  });
}

/** The operator and its gradient. */
function withGradient({ apply }: Case, given: Operands): () => void {
  const out = noGrad(() => apply(given).mul(0));
  const gradient = noGrad(() => given.x.mul(0));
  const cotangent = noGrad(() => out.add(1));
  return compile(() => {
    const [value, pull] = vjp((x: Tensor) => apply({ ...given, x }), given.x);
    const [pulled] = pull(cotangent);
    out.copy_(value);
    gradient.copy_(pulled);
  });
}

/** Something to run, and the work that it cannot do without. */
export interface Task {
  readonly name: string;
  readonly flops: number;
  readonly bytes: number;
  readonly run: () => void;
}

function tasksOf(kind: Case, given: Operands): Task[] {
  const task = (name: string, flops: number, arrays: number, run: () => void): Task => ({
    name,
    flops: flops * ELEMENTS,
    bytes: 4 * arrays * ELEMENTS,
    run,
  });
  const { name, flops, arrays, backward } = kind;
  const own = task(name, flops, arrays, forward(kind, given));
  if (backward === undefined) return [own];
  return [
    own,
    task(`${name}, with gradient`, flops + backward.flops, arrays + backward.arrays, withGradient(kind, given)),
  ];
}

function row(build: string, { name, flops, bytes }: Task, measured: Measured, ceilings: Ceilings): Row {
  const rate = median(measured.rates);
  const share = (work: number, to: readonly Measured[]): number => 100 * work * medianRatio(measured, to);
  return {
    build,
    operator: name,
    ms: 1000 / rate,
    "GFLOP/s": (flops * rate) / 1e9,
    "% of arithmetic": share(flops, ceilings.arithmetic),
    "GB/s": (bytes * rate) / 1e9,
    "% of streaming": share(bytes, ceilings.streaming),
  };
}

interface Ceilings {
  readonly arithmetic: readonly Measured[];
  readonly streaming: readonly Measured[];
}

/** What the machine does at most: arithmetic in registers, and streaming vectors of `ELEMENTS`, which comes last. */
export function ceilingsOf(kernels: Kernels): Candidate[] {
  return [...kernels.arithmeticCeilings(), kernels.streamingCeiling(ELEMENTS)];
}

/** Times tasks in turns with the ceilings: a row for each of them. */
export function against(ceilings: readonly Candidate[], build: string, tasks: readonly Task[]): Row[] {
  const measured = interleave([...ceilings, ...tasks.map(({ name, run }) => ({ name, work: 1, run }))]);
  const own = measured.splice(ceilings.length);
  const streaming = measured.splice(-1);
  return tasks.map((task, i) => row(build, task, own[i] as Measured, { arithmetic: measured, streaming }));
}

/** Measures every operator on every build that this engine accepts. */
export async function operators(): Promise<Report> {
  const rows: Row[] = [];
  for (const build of availableBuilds()) {
    await init({ build, wasm: new URL("../build/wasm/", import.meta.url) });
    const ceilings = ceilingsOf(new Kernels(build, MEMORY_BYTES));
    const given = operands();
    for (const kind of CASES) rows.push(...against(ceilings, build, tasksOf(kind, given)));
  }
  return { title: "operators on 1024×1024 elements, compiled, one thread", rows };
}
