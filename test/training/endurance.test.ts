/** Nothing to free: a long run ends with the memory that it began with. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { beforeEach, describe, expect, it } from "vitest";
import { detach, type Tensor } from "../../src/graph/tensor.js";
import { ReLU } from "../../src/nn/activations.js";
import { Linear, Sequential } from "../../src/nn/layers.js";
import { mseLoss } from "../../src/ops/loss.js";
import { SGD } from "../../src/optim/sgd.js";
import { compile } from "../../src/tensor/compile.js";
import { tensor } from "../../src/tensor/creation.js";
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
    let sum = 0;
    const run = (): void => {
      sum += compiled(x, y).item();
    };
    expectSteady(run, { few: 10, warm: 10_000, many: 200_000 });
    expect(sum).toBeGreaterThan(0);
  }, 60_000);

  it("is the same after 60,000 compiled steps on batches of three sizes in turn", () => {
    const { step, x, y } = training();
    const compiled = compile(step);
    const batches = [16, 7, 1].map((size) => [detach(x.narrow(0, 0, size)), detach(y.narrow(0, 0, size))] as const);
    const all = (): void => {
      for (const [a, b] of batches) compiled(a, b);
    };
    expectSteady(all, { few: 10, warm: 2_000, many: 20_000 });
    expect(compiled.traces).toBe(3);
  }, 60_000);

  it("of compiled functions and their parameters comes back when they are dropped", async () => {
    const use = (): void => {
      const weight = tensor(new Float32Array(100_000), { requiresGrad: true });
      const step = compile((x: Tensor) => {
        weight.grad = null;
        weight.mul(x).sum().backward();
      });
      step(tensor(2));
    };
    const rounds = async (count: number): Promise<number> => {
      for (let i = 0; i < count; i++) {
        use();
        collect();
        // Regions are given back by finalizers, which run between tasks.
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      return backendInfo().arenaBytes;
    };
    const few = await rounds(5);
    expect(await rounds(50)).toBeLessThanOrEqual(few + 2 * 800_000);
  }, 60_000);

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
      { few: 1_000, warm: 2_000, many: 6_000 },
    );
  }, 60_000);
});
