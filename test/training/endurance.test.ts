/** Nothing to free: a long run ends with the memory that it began with. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { beforeEach, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import { ReLU } from "../../src/nn/activations.js";
import { Linear, Sequential } from "../../src/nn/layers.js";
import { mseLoss } from "../../src/ops/loss.js";
import { SGD } from "../../src/optim/sgd.js";
import { compile } from "../../src/tensor/compile.js";
import { backendInfo } from "../../src/tensor/session.js";
import { start } from "../support/builds.js";
import { initialize, recorded, uniform } from "./recorded.js";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Bytes that JavaScript holds after a collection. */
function heapBytes(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

/** What the engine itself may come to hold: optimized code, feedback, counters. */
const ENGINE_BYTES = 256 * 1024;

/** A step of the network that the parity tests train, and its inputs. */
function training(): { step: (x: Tensor, y: Tensor) => Tensor; x: Tensor; y: Tensor } {
  const model = new Sequential(new Linear(10, 32), new ReLU(), new Linear(32, 32), new ReLU(), new Linear(32, 1));
  initialize(model, recorded("mlp-sgd"));
  const optimizer = new SGD(model.parameters(), { lr: 0.05, momentum: 0.5 });
  const step = (x: Tensor, y: Tensor): Tensor => {
    optimizer.zeroGrad();
    const loss = mseLoss(model.forward(x), y);
    loss.backward();
    optimizer.step();
    return loss;
  };
  return { step, x: uniform(500, [16, 10]), y: uniform(501, [16, 1]) };
}

/** Runs `step` and expects the last of many runs to hold no more than the first few. */
function expectSteady(step: () => void, { few, warm, many }: { few: number; warm: number; many: number }): void {
  for (let i = 0; i < few; i++) step();
  const { arenaBytes } = backendInfo();
  for (let i = few; i < warm; i++) step();
  const heap = heapBytes();
  for (let i = warm; i < many; i++) step();
  expect(backendInfo().arenaBytes).toBe(arenaBytes);
  expect(heapBytes() - heap).toBeLessThan(ENGINE_BYTES);
}

describe("memory", () => {
  beforeEach(() => start("strict"));

  it("is the same after 200,000 compiled steps", () => {
    const { step, x, y } = training();
    const compiled = compile(step);
    expectSteady(() => compiled(x, y), { few: 10, warm: 10_000, many: 200_000 });
  });

  it("is the same after 200,000 compiled steps whose losses are read", () => {
    const { step, x, y } = training();
    const compiled = compile(step);
    let sum = 0;
    expectSteady(
      () => {
        sum += compiled(x, y).item();
      },
      { few: 10, warm: 10_000, many: 200_000 },
    );
    expect(sum).toBeGreaterThan(0);
  });

  it("is the same after 20,000 eager steps", () => {
    const { step, x, y } = training();
    expectSteady(() => step(x, y).item(), { few: 10, warm: 2_000, many: 20_000 });
  }, 60_000);

  it("is bounded in an eager loop that never reads anything", () => {
    const { step, x, y } = training();
    expectSteady(
      () => {
        step(x, y);
      },
      { few: 1_000, warm: 2_000, many: 20_000 },
    );
  }, 60_000);
});
