/** Products of matrices, square ones and those of training steps, as a fraction of what the arithmetic units can do. */
import { gemmWorkspaceBytes } from "../src/gemm-workspace.js";
import { Opcode } from "../src/isa.js";
import { availableBuilds, instruction, Kernels } from "./kernels.js";
import { type Candidate, interleave, type Measured, median, medianRatio } from "./measure.js";
import type { Report, Row } from "./report.js";

/** C[m,n] = A[m,k]·B[k,n]; T stands for an operand that is stored transposed. */
interface Product {
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly form: "NN" | "NT" | "TN" | "TT";
}

const SQUARES: Product[][] = [128, 256, 512, 1024].map((size) =>
  (["NN", "NT", "TN", "TT"] as const).map((form) => ({ name: "square", m: size, n: size, k: size, form })),
);

/** A dense layer y = x·Wᵀ with W [outputs, inputs], and what its gradients need. */
function layer(name: string, batch: number, inputs: number, outputs: number): Product[] {
  return [
    { name: `${name}: y`, m: batch, n: outputs, k: inputs, form: "NT" },
    { name: `${name}: dW`, m: outputs, n: inputs, k: batch, form: "TN" },
    { name: `${name}: dx`, m: batch, n: inputs, k: outputs, form: "NN" },
  ];
}

const TRAINING: Product[][] = [
  layer("784 → 256", 64, 784, 256),
  layer("256 → 10", 64, 256, 10),
  layer("784 → 256", 1, 784, 256),
  layer("64 → 65", 2048, 64, 65),
  layer("10 → 32", 16, 10, 32),
  layer("32 → 32", 16, 32, 32),
  layer("32 → 1", 16, 32, 1),
  [
    { name: "outer", m: 256, n: 256, k: 1, form: "NN" },
    { name: "matrix · vector", m: 1024, n: 1, k: 1024, form: "NN" },
    { name: "matrix · vector", m: 1024, n: 1, k: 1024, form: "TN" },
    { name: "vector · matrix", m: 1, n: 1024, k: 1024, form: "NN" },
    { name: "vector · matrix", m: 1, n: 1024, k: 1024, form: "NT" },
    { name: "three columns", m: 1024, n: 3, k: 64, form: "NN" },
  ],
];

const MEMORY_BYTES = 64 * 1024 * 1024;
/** Small products are repeated within a program: what counts is their cost in a program, not that of a call into Wasm. */
const MIN_FLOPS_OF_RUN = 400_000;

function flopsOf({ m, n, k }: Product): number {
  return 2 * m * n * k;
}

function candidate(kernels: Kernels, product: Product): Candidate {
  const { m, n, k, form } = product;
  const [a, b, c] = [kernels.floats(m * k), kernels.floats(k * n), kernels.floats(m * n)];
  const aStrides = form[0] === "N" ? [k, 1] : [1, m];
  const bStrides = form[1] === "N" ? [n, 1] : [1, k];
  const workspace = kernels.allocate(gemmWorkspaceBytes(m, n, k));
  const gemm = instruction(Opcode.Gemm, [m, n, k, a, ...aStrides, b, ...bStrides, c, n, 0, workspace, 0]);
  const repeats = Math.ceil(MIN_FLOPS_OF_RUN / flopsOf(product));
  const run = kernels.program(Array.from({ length: repeats }, () => gemm));
  return { name: product.name, work: flopsOf(product) * repeats, run };
}

function row(build: string, product: Product, measured: Measured, ceilings: readonly Measured[]): Row {
  const rate = median(measured.rates);
  return {
    build,
    product: product.name,
    form: product.form,
    "m×n×k": `${product.m}×${product.n}×${product.k}`,
    "GFLOP/s": rate / 1e9,
    "% of ceiling": 100 * medianRatio(measured, ceilings),
    µs: (1e6 * flopsOf(product)) / rate,
  };
}

/** Measures every product on every build that this engine accepts. */
export function matmul(): Report {
  const rows: Row[] = [];
  for (const build of availableBuilds()) {
    for (const products of [...SQUARES, ...TRAINING]) {
      const kernels = new Kernels(build, MEMORY_BYTES);
      const ceilings = kernels.arithmeticCeilings();
      const all = interleave([...ceilings, ...products.map((product) => candidate(kernels, product))]);
      const measuredCeilings = all.slice(0, ceilings.length);
      products.forEach((product, i) => {
        rows.push(row(build, product, all[ceilings.length + i] as Measured, measuredCeilings));
      });
    }
  }
  return { title: "matrix products, one thread", rows };
}
