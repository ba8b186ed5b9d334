/** Fused kernels against the compositions that they replace: each stands only while it is faster. */
import type { Tensor } from "../src/graph/tensor.js";
import { div, mul, ne, neg, sub, where } from "../src/ops/arithmetic.js";
import { scaledDotProductAttention } from "../src/ops/attention.js";
import { lowerTriangle } from "../src/ops/helpers.js";
import { gather } from "../src/ops/indexing.js";
import { crossEntropy } from "../src/ops/loss.js";
import { squeeze, unsqueeze } from "../src/ops/movement.js";
import { layerNorm, nativeLayerNorm } from "../src/ops/norm.js";
import { manualSeed, rand } from "../src/ops/random.js";
import { amax, mean, sum } from "../src/ops/reduction.js";
import { logSoftmax, softmax } from "../src/ops/softmax.js";
import { exp, log } from "../src/ops/unary.js";
import { compile } from "../src/tensor/compile.js";
import { tensor } from "../src/tensor/creation.js";
import { init } from "../src/tensor/session.js";
import { grad } from "../src/transforms/reverse.js";
import "../src/tensor/methods.js";
import { availableBuilds } from "./kernels.js";
import { interleave, type Measured, median, medianRatio } from "./measure.js";
import { programOf } from "./program.js";
import type { Report, Row } from "./report.js";

function shifted(x: Tensor): Tensor {
  return sub(x, amax(x, -1, true).detach());
}

function composedSoftmax(x: Tensor): Tensor {
  const powers = exp(shifted(x));
  return div(powers, sum(powers, -1, true));
}

function composedLogSoftmax(x: Tensor): Tensor {
  const low = shifted(x);
  return sub(low, log(sum(exp(low), -1, true)));
}

function composedCrossEntropy(x: Tensor, target: Tensor): Tensor {
  const picked = squeeze(gather(composedLogSoftmax(x), 1, unsqueeze(target, 1)), 1);
  return mean(where(ne(target, -100), neg(picked), 0));
}

/** An operator in both ways. */
interface Case {
  readonly name: string;
  readonly size: string;
  readonly inputs: readonly Tensor[];
  fused(...inputs: Tensor[]): Tensor;
  composed(...inputs: Tensor[]): Tensor;
}

/** The rows of a large matrix, of a small language model, and of a classifier. */
const ROWS: readonly (readonly [number, number])[] = [
  [1024, 1024],
  [1024, 128],
  [64, 10],
];

/** Batch, heads, rows and columns: of a small language model, and of longer rows. */
const HEADS: readonly (readonly [number, number, number, number])[] = [
  [16, 4, 64, 32],
  [2, 4, 512, 64],
];

function rowCases([rows, length]: readonly [number, number]): Case[] {
  const [x, weight, bias] = [rand([rows, length]), rand([length]), rand([length])];
  const target = tensor(Int32Array.from({ length: rows }, (_, i) => (i * 7919) % length));
  const size = `${rows}×${length}`;
  return [
    { name: "softmax", size, inputs: [x], fused: (x) => softmax(x, -1), composed: composedSoftmax },
    { name: "logSoftmax", size, inputs: [x], fused: (x) => logSoftmax(x, -1), composed: composedLogSoftmax },
    {
      name: "layerNorm",
      size,
      inputs: [x, weight, bias],
      fused: (x, weight, bias) => layerNorm(x, [length], weight, bias),
      composed: (x, weight, bias) => nativeLayerNorm(x, [length], weight, bias, 1e-5)[0],
    },
    {
      name: "crossEntropy",
      size,
      inputs: [x],
      fused: (x) => crossEntropy(x, target),
      composed: (x) => composedCrossEntropy(x, target),
    },
  ];
}

function attentionCase(shape: readonly [number, number, number, number]): Case {
  const [, , rows] = shape;
  const attnMask = lowerTriangle(rows, rows, 0);
  return {
    name: "attention, causal",
    size: shape.join("×"),
    inputs: [rand(shape), rand(shape), rand(shape)],
    fused: (q, k, v) => scaledDotProductAttention(q, k, v, { isCausal: true }),
    composed: (q, k, v) => scaledDotProductAttention(q, k, v, { attnMask }),
  };
}

/** The operator alone, on tensors that the compiled function keeps in memory. */
function forward(fn: Case["fused"], inputs: readonly Tensor[]): () => unknown {
  return compile(() => fn(...inputs));
}

/** The gradients of Σ y·g: as much of the operator as they need, and the pass back. */
function gradient(fn: Case["fused"], inputs: readonly Tensor[]): () => unknown {
  const g = rand(fn(...inputs).shape);
  const pull = grad((xs: readonly Tensor[]) => sum(mul(fn(...xs), g)));
  return compile(() => [...pull(inputs)]);
}

function rowOf(build: string, { name, size }: Case, pass: string, fused: Measured, composed: Measured): Row {
  return {
    build,
    operator: name,
    size,
    pass,
    "fused, µs": 1e6 / median(fused.rates),
    "composed, µs": 1e6 / median(composed.rates),
    "times as fast": medianRatio(fused, [composed]),
  };
}

/** Measures every fused operator on every build that this engine accepts. */
export async function fused(): Promise<Report> {
  const rows: Row[] = [];
  for (const build of availableBuilds()) {
    await init({ build, wasm: new URL("../build/wasm/", import.meta.url) });
    manualSeed(0);
    for (const measured of [...ROWS.flatMap(rowCases), ...HEADS.map(attentionCase)]) {
      const ways = [forward, gradient].flatMap((pass) =>
        [measured.fused, measured.composed].map((fn) => ({ pass, fn })),
      );
      const steps = ways.map(({ pass, fn }) => pass(fn, measured.inputs));
      // Programs share the memory of their temporaries, which moves when one of them needs more.
      for (const step of steps) step();
      const [a, b, c, d] = interleave(
        steps.map((step) => ({ name: measured.name, work: 1, run: programOf(step) })),
      ) as [Measured, Measured, Measured, Measured];
      rows.push(rowOf(build, measured, "forward", a, b), rowOf(build, measured, "gradient", c, d));
    }
  }
  return { title: "fused kernels and the compositions that they replace, one thread", rows };
}
