/** Whole training runs agree with PyTorch's, step by step, eager and compiled, on both builds. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import { GELU, ReLU, Tanh } from "../../src/nn/activations.js";
import { Linear, Sequential } from "../../src/nn/layers.js";
import { clipGradNorm_ } from "../../src/nn/utils.js";
import { crossEntropy, mseLoss } from "../../src/ops/loss.js";
import { Adam, AdamW } from "../../src/optim/adam.js";
import { CosineAnnealingLR } from "../../src/optim/schedules.js";
import { SGD } from "../../src/optim/sgd.js";
import { type Compiled, compile } from "../../src/tensor/compile.js";
import { BUILDS, start } from "../support/builds.js";
import { expectClose, expectFinal, initialize, labels, recorded, uniform } from "./recorded.js";

type Step = (x: Tensor, y: Tensor) => { loss: Tensor; norm?: Tensor };

/** The function itself, or compiled. */
const WAYS = {
  eager: (step: Step): Step => step,
  compiled: (step: Step): Step => compile(step as (x: Tensor, y: Tensor) => { loss: Tensor }),
};

describe.each(BUILDS)("training on the %s build", (build) => {
  beforeAll(() => start(build));

  describe.each(Object.entries(WAYS))("%s", (way, make) => {
    it("follows PyTorch through 50 steps of SGD on a small regression", () => {
      const run = recorded("mlp-sgd");
      const model = new Sequential(new Linear(10, 32), new ReLU(), new Linear(32, 32), new ReLU(), new Linear(32, 1));
      initialize(model, run);
      const optimizer = new SGD(model.parameters(), { lr: 0.05 });
      const step = make((x, y) => {
        const loss = mseLoss(model.forward(x), y);
        optimizer.zeroGrad();
        loss.backward();
        optimizer.step();
        return { loss };
      });
      const [x, y] = [uniform(500, [16, 10]), uniform(501, [16, 1])];
      run.losses.forEach((loss, t) => {
        expectClose(step(x, y).loss.item(), loss, `the loss before update ${t}`);
      });
      expectFinal(model, run);
      if (way === "compiled") expect((step as Compiled<[Tensor, Tensor], { loss: Tensor }>).traces).toBe(1);
    });

    it("follows PyTorch through 20 steps of Adam on a classifier with 784 inputs", () => {
      const run = recorded("mlp-adam");
      const model = new Sequential(new Linear(784, 64), new ReLU(), new Linear(64, 10));
      initialize(model, run);
      const optimizer = new Adam(model.parameters(), { lr: 1e-3 });
      const step = make((x, y) => {
        const loss = crossEntropy(model.forward(x), y);
        loss.backward();
        optimizer.step();
        optimizer.zeroGrad();
        return { loss };
      });
      run.losses.forEach((loss, t) => {
        const [x, y] = [uniform(600 + t, [32, 784]), labels(700 + t, 10, [32])];
        expectClose(step(x, y).loss.item(), loss, `the loss before update ${t}`);
      });
      expectFinal(model, run);
    });

    it("follows PyTorch through 20 steps of AdamW with clipped gradients and a cosine schedule", () => {
      const run = recorded("mlp-adamw-clip-cosine");
      const model = new Sequential(new Linear(20, 64), new GELU(), new Linear(64, 64), new Tanh(), new Linear(64, 5));
      initialize(model, run);
      const optimizer = new AdamW(model.parameters(), { lr: 5e-3, weightDecay: 0.05 });
      const schedule = new CosineAnnealingLR(optimizer, 20);
      const step = make((x, y) => {
        optimizer.zeroGrad();
        const loss = crossEntropy(model.forward(x), y, { labelSmoothing: 0.1 });
        loss.backward();
        const norm = clipGradNorm_(model.parameters(), 0.5);
        optimizer.step();
        return { loss, norm };
      });
      run.losses.forEach((expected, t) => {
        const { loss, norm } = step(uniform(800 + t, [24, 20], 2), labels(850 + t, 5, [24]));
        schedule.step();
        expectClose(loss.item(), expected, `the loss before update ${t}`);
        expectClose(
          (norm as Tensor).item(),
          run.gradNorms?.[t] as number,
          `the norm of the gradients before update ${t}`,
        );
      });
      expectFinal(model, run);
      if (way === "compiled") expect((step as Compiled<[Tensor, Tensor], { loss: Tensor }>).traces).toBe(1);
    });
  });
});
