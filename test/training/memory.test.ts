/** What a training step holds besides its parameters and its optimizer's state. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import { Linear } from "../../src/nn/layers.js";
import { mseLoss } from "../../src/ops/loss.js";
import { Adam } from "../../src/optim/adam.js";
import { compile } from "../../src/tensor/compile.js";
import { zeros } from "../../src/tensor/creation.js";
import { backendInfo } from "../../src/tensor/session.js";
import { BUILDS, start } from "../support/builds.js";

const SIZE = 256;
const MATRIX_BYTES = 4 * SIZE * SIZE;

/** A step of Adam on one large layer; `clear` says whether gradients are given up at its end. */
function makeStep(clear: boolean) {
  const layer = new Linear(SIZE, SIZE, { bias: false });
  const optimizer = new Adam(layer.parameters());
  const step = compile((x: Tensor, y: Tensor) => {
    if (!clear) optimizer.zeroGrad();
    mseLoss(layer.forward(x), y).backward();
    optimizer.step();
    if (clear) optimizer.zeroGrad();
  });
  return { layer, step, x: zeros([4, SIZE]), y: zeros([4, SIZE]) };
}

describe.each(BUILDS)("a step of Adam on the %s build", (build) => {
  beforeAll(() => start(build));

  it("keeps a weight and its two averages, and updates them where they are", () => {
    const { step, x, y } = makeStep(true);
    const report = step.memory(x, y);
    expect(report).toMatchObject({ parameterBytes: MATRIX_BYTES, stateBytes: 3 * MATRIX_BYTES, gradientBytes: 0 });
    // The gradient, and no second copy of anything that it updates.
    expect(report.temporaryBytes).toBeLessThan(1.5 * MATRIX_BYTES);
  });

  it("keeps the gradient too where it may be read afterwards", () => {
    const { layer, step, x, y } = makeStep(false);
    expect(step.memory(x, y)).toMatchObject({ gradientBytes: MATRIX_BYTES, stateBytes: 4 * MATRIX_BYTES });
    step(x, y);
    expect(layer.weight.grad?.shape).toEqual([SIZE, SIZE]);
  });

  it("takes the memory that was foretold", async () => {
    await start(build);
    const { step, x, y } = makeStep(true);
    const { arenaBytes } = step.memory(x, y);
    step(x, y);
    step(x, y);
    expect(backendInfo().arenaBytes).toBeGreaterThanOrEqual(arenaBytes);
    expect(backendInfo().arenaBytes - arenaBytes).toBeLessThan(2 * MATRIX_BYTES);
  });
});
