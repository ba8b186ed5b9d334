/** A training step of a small network (10-32-32-1, batch 16, MSE, SGD): what is left when arithmetic is almost nothing. */
import type { Tensor } from "../src/graph/tensor.js";
import { ReLU } from "../src/nn/activations.js";
import { Linear, Sequential } from "../src/nn/layers.js";
import { mseLoss } from "../src/ops/loss.js";
import { manualSeed, rand } from "../src/ops/random.js";
import { SGD } from "../src/optim/sgd.js";
import { compile } from "../src/tensor/compile.js";
import { init } from "../src/tensor/session.js";
import "../src/tensor/methods.js";
import { availableBuilds } from "./kernels.js";
import { interleave, type Measured, median, medianRatio } from "./measure.js";
import { programOf } from "./program.js";
import type { Report, Row } from "./report.js";

/** The step on tensors of its own, compiled and eager. */
function makeSteps(): { compiled: () => Tensor; eager: () => number } {
  manualSeed(0);
  const model = new Sequential(new Linear(10, 32), new ReLU(), new Linear(32, 32), new ReLU(), new Linear(32, 1));
  // With a rate of 0 every step does its work on the same numbers: training on would end among denormal ones.
  const optimizer = new SGD(model.parameters(), { lr: 0 });
  const [x, y] = [rand([16, 10]), rand([16, 1])];
  const step = (x: Tensor, y: Tensor): Tensor => {
    const loss = mseLoss(model.forward(x), y);
    loss.backward();
    optimizer.step();
    optimizer.zeroGrad();
    return loss;
  };
  const compiled = compile(step);
  return { compiled: () => compiled(x, y), eager: () => step(x, y).item() };
}

/** V8 optimizes the many small functions of an eager step one by one, while it runs. */
const WARM_UP_STEPS = 20_000;

/** Steps per second, and how much of a step is Wasm and how much the JavaScript around it. */
export async function mlp(): Promise<Report> {
  const rows: Row[] = [];
  for (const build of availableBuilds()) {
    await init({ build, wasm: new URL("../build/wasm/", import.meta.url) });
    for (const [way, step] of Object.entries(makeSteps())) {
      for (let i = 0; i < WARM_UP_STEPS; i++) step();
      const program = programOf(step);
      const [whole, inside] = interleave([
        { name: "step", work: 1, run: () => void step() },
        { name: "program", work: 1, run: program },
      ]) as [Measured, Measured];
      const rate = median(whole.rates);
      const total = 1e6 / rate;
      const wasm = total * medianRatio(whole, [inside]);
      rows.push({
        build,
        step: way,
        "steps/s": rate,
        "µs a step": total,
        "in Wasm": wasm,
        "in JavaScript": total - wasm,
      });
    }
  }
  return { title: "training step of a 10-32-32-1 network, batch 16, MSE, SGD, one thread", rows };
}
