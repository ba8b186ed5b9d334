/** Products of matrices, square ones and those of training steps, as a share of what the machine can do. */

import { Opcode } from "../src/isa.js";
import { gemmWorkspaceBytes } from "../src/workspace/gemm.js";
import { availableBuilds, instruction, Kernels } from "./kernels.js";
import { type Candidate, interleave, type Measured, median, medianRatio } from "./measure.js";
import type { Report, Row } from "./report.js";

/** The stored layout of both operands: T stands for one that is stored transposed. */
type Form = "NN" | "NT" | "TN" | "TT";

/** C[m,n] = A[m,k]·B[k,n] for every index of a batch. */
interface Product {
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly form: Form;
  readonly batch: number;
}

const SQUARES: Product[][] = [128, 256, 512, 1024, 2048].map((size) =>
  (["NN", "NT", "TN", "TT"] as const).map((form) => ({ name: "square", m: size, n: size, k: size, form, batch: 1 })),
);

function product(name: string, m: number, n: number, k: number, form: Form, batch = 1): Product {
  return { name, m, n, k, form, batch };
}

/** A dense layer y = x·Wᵀ with W [outputs, inputs], and what its gradients need. */
function layer(rows: number, inputs: number, outputs: number): Product[] {
  const name = `${inputs} → ${outputs}`;
  return [
    product(`${name}: y`, rows, outputs, inputs, "NT"),
    product(`${name}: dW`, outputs, inputs, rows, "TN"),
    product(`${name}: dx`, rows, inputs, outputs, "NN"),
  ];
}

/** Forty products of training steps, each of at least 2 MFLOP. */
const TRAINING: readonly Product[][] = [
  layer(64, 784, 256),
  layer(128, 784, 1024),
  layer(128, 1024, 1024),
  layer(1024, 128, 512),
  layer(1024, 512, 128),
  layer(32, 1024, 1024),
  layer(8, 1024, 1024),
  layer(4, 1024, 1024),
  layer(1, 1024, 1024),
  layer(512, 256, 10),
  layer(1024, 128, 65),
  [
    product("scores of 64 heads", 64, 64, 32, "NT", 64),
    product("values of 64 heads", 64, 32, 64, "NN", 64),
    product("keys of 64 heads", 64, 32, 64, "TN", 64),
  ],
  [product("three columns", 8192, 3, 64, "NN"), product("three rows", 3, 8192, 64, "TN")],
  [product("three steps", 1024, 512, 3, "NN"), product("65 steps", 256, 256, 65, "TT")],
];

/** What a product has to reach of the smaller of its two ceilings. */
const LEAST_PERCENT = 40;

/** The stream reads two floats and writes one. */
const BYTES_OF_STREAMED = 12;
/** Four products of 2048² with their operands, results and workspaces, and the stream. */
const MEMORY_BYTES = 512 * 1024 * 1024;

function flopsOf({ m, n, k, batch }: Product): number {
  return 2 * m * n * k * batch;
}

/** Of both operands and the result, each counted once. */
function bytesOf({ m, n, k, batch }: Product): number {
  return Float32Array.BYTES_PER_ELEMENT * batch * (m * k + k * n + m * n);
}

function candidate(kernels: Kernels, product: Product): Candidate {
  const { m, n, k, form, batch } = product;
  const [a, b, c] = [kernels.floats(batch * m * k), kernels.floats(batch * k * n), kernels.floats(batch * m * n)];
  const aStrides = form[0] === "N" ? [k, 1] : [1, m];
  const bStrides = form[1] === "N" ? [n, 1] : [1, k];
  const workspace = kernels.allocate(gemmWorkspaceBytes(m, n, k, bStrides[0] as number));
  const fields = [m, n, k, a, ...aStrides, b, ...bStrides, c, n, 0, workspace, 1, batch, m * k, k * n, m * n];
  return { name: product.name, work: flopsOf(product), run: kernels.program([instruction(Opcode.Gemm, fields)]) };
}

function row(
  build: string,
  product: Product,
  measured: Measured,
  arithmetic: readonly Measured[],
  streaming: Measured,
): Row {
  const percentOfArithmetic = 100 * medianRatio(measured, arithmetic);
  const bytesPerFlop = bytesOf(product) / flopsOf(product);
  const percentOfMemory = 100 * bytesPerFlop * medianRatio(measured, [streaming]);
  const { m, n, k, form, batch } = product;
  return {
    build,
    product: product.name,
    form,
    "m×n×k": `${m}×${n}×${k}${batch > 1 ? ` ×${batch}` : ""}`,
    "GFLOP/s": median(measured.rates) / 1e9,
    "% of arithmetic": percentOfArithmetic,
    "% of memory": percentOfMemory,
    note: Math.max(percentOfArithmetic, percentOfMemory) < LEAST_PERCENT ? `under ${LEAST_PERCENT} % of both` : "",
  };
}

/**
 * Measures every product on every build that this engine accepts, against multiply-adds in registers and against a
 * stream over as many bytes as the product's operands and result have, all in turns.
 */
export function matmul(): Report {
  const rows: Row[] = [];
  for (const build of availableBuilds()) {
    for (const products of [...SQUARES, ...TRAINING]) {
      const kernels = new Kernels(build, MEMORY_BYTES);
      const ceilings = kernels.arithmeticCeilings();
      const [first] = products as [Product];
      const streaming = kernels.streamingCeiling(Math.ceil(bytesOf(first) / BYTES_OF_STREAMED / 8) * 8);
      const candidates = products.map((product) => candidate(kernels, product));
      const all = interleave([...ceilings, streaming, ...candidates]);
      const measured = all.slice(ceilings.length + 1);
      products.forEach((product, i) => {
        const stream = all[ceilings.length] as Measured;
        rows.push(row(build, product, measured[i] as Measured, all.slice(0, ceilings.length), stream));
      });
    }
  }
  return { title: "matrix products, one thread", rows };
}
