/**
 * Fused chains of cheap operations on a million elements, by their length and by how the second operand lies in memory:
 * what they compute and stream, and how near that comes to the ceiling that binds.
 */
import { compile, init, mul, noGrad, rand, slice, sub, sum, type Tensor, transpose } from "../src/index.js";
import { availableBuilds, Kernels } from "./kernels.js";
import { against, ceilingsOf, ELEMENTS, MEMORY_BYTES, type Task } from "./operators.js";
import type { Report, Row } from "./report.js";

const SIZE = Math.sqrt(ELEMENTS);
const LENGTHS = [1, 2, 4, 6, 10] as const;

/** A chain over [SIZE, SIZE], and what becomes of it. */
interface Case {
  readonly name: string;
  /** The second operand, as it lies in memory. */
  readonly shape: readonly number[];
  /** Arrays of a million elements that are read or written. */
  readonly arrays: number;
  view?(y: Tensor): Tensor;
  finish?(x: Tensor): Tensor;
}

const CASES: readonly Case[] = [
  { name: "contiguous", shape: [SIZE, SIZE], arrays: 3 },
  { name: "one row for all", shape: [SIZE], arrays: 2 },
  { name: "one column for all", shape: [SIZE, 1], arrays: 2 },
  { name: "transposed", shape: [SIZE, SIZE], arrays: 3, view: (y) => transpose(y, 0, 1) },
  { name: "every other column", shape: [SIZE, 2 * SIZE], arrays: 3, view: (y) => slice(y, 1, 0, 2 * SIZE, 2) },
  { name: "contiguous, sum of all", shape: [SIZE, SIZE], arrays: 2, finish: (x) => sum(x) },
  { name: "contiguous, sum of rows", shape: [SIZE, SIZE], arrays: 2, finish: (x) => sum(x, 1) },
];

/** Products and differences by turns: no two of them are one micro-operation. */
function chain(x: Tensor, y: Tensor, length: number): Tensor {
  let out = x;
  for (let i = 0; i < length; i++) out = i % 2 === 0 ? mul(out, y) : sub(out, y);
  return out;
}

function taskOf({ name, shape, arrays, view = (y) => y, finish = (x) => x }: Case, length: number): Task {
  const [x, y] = [rand([SIZE, SIZE]), rand(shape)];
  const apply = (): Tensor => finish(chain(x, view(y), length));
  const out = noGrad(() => apply().mul(0));
  const run = compile(() => {
    out.copy_(apply());
  });
  return { name: `${name}, ${length}`, flops: length * ELEMENTS, bytes: 4 * arrays * ELEMENTS, run };
}

/** Measures every chain on every build that this engine accepts. */
export async function chains(): Promise<Report> {
  const rows: Row[] = [];
  for (const build of availableBuilds()) {
    await init({ build, wasm: new URL("../build/wasm/", import.meta.url) });
    const ceilings = ceilingsOf(new Kernels(build, MEMORY_BYTES));
    for (const kind of CASES) {
      const tasks = LENGTHS.map((length) => taskOf(kind, length));
      rows.push(...against(ceilings, build, tasks));
    }
  }
  return {
    title: "chains of 1 to 10 products and differences on 1024×1024 elements, by the second operand, one thread",
    rows: rows.map((row) => ({
      ...row,
      "% of what binds": Math.max(row["% of arithmetic"] as number, row["% of streaming"] as number),
    })),
  };
}
