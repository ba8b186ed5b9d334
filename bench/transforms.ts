/** What derivatives beyond the gradient cost on a network, in gradients and in forward passes. */
import type { Tensor } from "../src/graph/tensor.js";
import { mseLoss } from "../src/ops/loss.js";
import { linear } from "../src/ops/matmul.js";
import { manualSeed, randn } from "../src/ops/random.js";
import { tanh } from "../src/ops/unary.js";
import { compile } from "../src/tensor/compile.js";
import { init } from "../src/tensor/session.js";
import { vmap } from "../src/transforms/batch.js";
import { hvp, jacobian } from "../src/transforms/derivatives.js";
import { jvp } from "../src/transforms/forward.js";
import { grad } from "../src/transforms/reverse.js";
import "../src/tensor/methods.js";
import { availableBuilds } from "./kernels.js";
import { type Candidate, interleave, type Measured, median, medianRatio } from "./measure.js";
import type { Report, Row } from "./report.js";

type Parameters = readonly (readonly [weight: Tensor, bias: Tensor])[];

const SIZES = [64, 128, 128, 10] as const;
const OUTPUTS = SIZES[3];
const BATCH = 32;

/** A candidate, what it is counted in, and how many of those it should take at most. */
interface Cost {
  readonly candidate: Candidate;
  readonly unit?: Candidate;
  readonly limit?: number;
}

/** The candidates on a network of their own. `work` counts the Jacobian's rows. */
function makeCosts(): Cost[] {
  manualSeed(0);
  const parameters: Parameters = SIZES.slice(1).map((outputs, i) => {
    const inputs = SIZES[i] as number;
    return [randn([outputs, inputs]).div(Math.sqrt(inputs)), randn([outputs])];
  });
  const [x, y] = [randn([BATCH, SIZES[0]]), randn([BATCH, OUTPUTS])];
  const vectors: Parameters = parameters.map(([w, b]) => [randn(w.shape), randn(b.shape)]);
  const network = (p: Parameters, input: Tensor): Tensor =>
    p.reduce((h, [weight, bias], i) => linear(i === 0 ? h : tanh(h), weight, bias), input);
  const loss = (p: Parameters, input: Tensor, target: Tensor): Tensor => mseLoss(network(p, input), target);
  const onBatch = (p: Parameters): Tensor => loss(p, x, y);
  const example = x.select(0, 0);
  const candidate = (name: string, fn: () => Tensor | Parameters, work = 1): Candidate => ({
    name,
    work,
    run: compile(fn),
  });

  const forward = candidate("forward pass, batch", () => network(parameters, x));
  const forwardOne = candidate("forward pass, one example", () => network(parameters, example));
  const gradient = candidate("gradient", () => grad(onBatch)(parameters) as Parameters);
  return [
    { candidate: forward },
    { candidate: gradient, unit: forward },
    { candidate: candidate("jvp", () => jvp(onBatch, [parameters], [vectors])[1]), unit: forward },
    {
      candidate: candidate("hvp", () => hvp(onBatch, [parameters], [vectors])[0]),
      unit: gradient,
      limit: 5,
    },
    {
      candidate: candidate(
        "gradient of every example",
        () => vmap(grad(loss), [null, 0, 0])(parameters, x, y) as Parameters,
      ),
      unit: gradient,
    },
    { candidate: forwardOne },
    {
      candidate: candidate(
        "Jacobian by the input, a row",
        () => jacobian((input: Tensor) => network(parameters, input), 0, { mode: "reverse" })(example),
        OUTPUTS,
      ),
      unit: forwardOne,
      limit: 5,
    },
    {
      candidate: candidate(
        "Jacobian by the parameters, a row",
        () => jacobian((p: Parameters) => network(p, example))(parameters),
        OUTPUTS,
      ),
      unit: forwardOne,
      limit: 5,
    },
  ];
}

/** Measures every derivative on every build that this engine accepts. */
export async function transforms(): Promise<Report> {
  const rows: Row[] = [];
  for (const build of availableBuilds()) {
    await init({ build, wasm: new URL("../build/wasm/", import.meta.url) });
    const costs = makeCosts();
    for (const { candidate } of costs) candidate.run();
    const measured = interleave(costs.map(({ candidate }) => candidate));
    costs.forEach(({ candidate, unit, limit }, i) => {
      const mine = measured[i] as Measured;
      const other = measured[costs.findIndex((cost) => cost.candidate === unit)];
      rows.push({
        build,
        derivative: candidate.name,
        µs: 1e6 / median(mine.rates),
        ratio: other === undefined ? "" : medianRatio(other, [mine]),
        to: unit?.name ?? "",
        "at most": limit ?? "",
      });
    });
  }
  return { title: `derivatives of a ${SIZES.join("-")} network, batch ${BATCH}, compiled, one thread`, rows };
}
