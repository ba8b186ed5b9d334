/** Gradients added up over micro-batches: the full batch's gradient, in the memory of one micro-batch. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import { ReLU } from "../../src/nn/activations.js";
import { Linear, Sequential } from "../../src/nn/layers.js";
import { crossEntropy } from "../../src/ops/loss.js";
import { manualSeed, randn } from "../../src/ops/random.js";
import { SGD } from "../../src/optim/sgd.js";
import { compile } from "../../src/tensor/compile.js";
import { tensor } from "../../src/tensor/creation.js";
import { backendInfo } from "../../src/tensor/session.js";
import { BUILDS, start } from "../support/builds.js";

const [ROWS, WIDTH, CLASSES] = [32, 24, 5];

function makeModel() {
  manualSeed(5);
  const model = new Sequential(new Linear(WIDTH, 48), new ReLU(), new Linear(48, CLASSES));
  return { model, optimizer: new SGD(model.parameters(), { lr: 0.1 }) };
}

const inputs = (): Tensor => randn([ROWS, WIDTH]);
const labels = (): Tensor => tensor(Int32Array.from({ length: ROWS }, (_, i) => (i * 3) % CLASSES));

/** The gradients, and the weights after a step, of the mean loss over all rows, computed in `parts` micro-batches. */
function accumulated(parts: number, compiled: boolean) {
  const { model, optimizer } = makeModel();
  const run = (x: Tensor, y: Tensor): Tensor => {
    const loss = crossEntropy(model.forward(x), y).div(parts);
    loss.backward();
    return loss;
  };
  const accumulate = compiled ? compile(run) : run;
  manualSeed(9);
  const [x, y] = [inputs(), labels()];
  const rows = ROWS / parts;
  const losses: number[] = [];
  for (let i = 0; i < parts; i++) {
    losses.push(accumulate(x.narrow(0, i * rows, rows), y.narrow(0, i * rows, rows)).item());
  }
  const gradients = model.parameters().map(({ grad }) => (grad as Tensor).toArray());
  const apply = (): void => {
    optimizer.step();
    optimizer.zeroGrad();
  };
  if (compiled) compile(apply)();
  else apply();
  return {
    loss: losses.reduce((sum, loss) => sum + loss, 0),
    gradients,
    weights: model.parameters().map((weight) => weight.toArray()),
  };
}

/** All numbers of nested arrays. */
function numbers(value: unknown): number[] {
  return [value].flat(8) as number[];
}

describe.each(BUILDS)("gradient accumulation on the %s build", (build) => {
  beforeAll(async () => void (await start(build)));

  it.each([true, false])("is the full batch's gradient within rounding (compiled: %s)", (compiled) => {
    const whole = accumulated(1, compiled);
    for (const parts of [2, 8]) {
      const split = accumulated(parts, compiled);
      expect(split.loss).toBeCloseTo(whole.loss, 5);
      const pairs = [
        [split.gradients, whole.gradients],
        [split.weights, whole.weights],
      ] as const;
      for (const [actual, expected] of pairs) {
        const right = numbers(expected);
        const most = Math.max(...right.map(Math.abs));
        const off = numbers(actual).map((value, i) => Math.abs(value - (right[i] as number)));
        expect(Math.max(...off)).toBeLessThan(2e-6 * Math.max(1, most));
      }
    }
  });

  it("takes one set of gradient buffers, however many micro-batches there are", () => {
    const { model, optimizer } = makeModel();
    const accumulate = compile((x: Tensor, y: Tensor) => {
      crossEntropy(model.forward(x), y).backward();
    });
    const update = compile(() => {
      optimizer.step();
      optimizer.zeroGrad();
    });
    const x = randn([4, WIDTH]);
    const y = tensor(Int32Array.of(0, 1, 2, 3));
    accumulate(x, y);
    accumulate(x, y);
    const { stateBytes, gradientBytes, parameterBytes, arenaBytes } = accumulate.memory(x, y);
    expect(gradientBytes).toBe(parameterBytes);
    expect(stateBytes).toBe(2 * parameterBytes);
    for (let i = 0; i < 20; i++) accumulate(x, y);
    expect(accumulate.memory(x, y).arenaBytes).toBe(arenaBytes);
    // One gradient for each parameter, by name, and the update finds them where they are.
    const kept = accumulate.memory(x, y).states.filter(({ kind }) => kind === "gradient");
    const names = model.namedParameters().map(([name]) => `${name}.grad`);
    expect(kept.map(({ name }) => name).sort()).toEqual(names.sort());
    const before = backendInfo().arenaBytes;
    update();
    expect(backendInfo().arenaBytes - before).toBeLessThan(gradientBytes);
    expect(model.parameters().every(({ grad }) => grad === null)).toBe(true);
  });

  it("lets micro-batches unrolled in one compiled function take turns: a further one costs its inputs and no more", () => {
    const peak = (parts: number): number => {
      const { model, optimizer } = makeModel();
      const rows = 16 * WIDTH; // so that what a pass keeps outweighs the gradients
      const step = compile((x: Tensor, y: Tensor) => {
        optimizer.zeroGrad();
        for (let i = 0; i < parts; i++) {
          const loss = crossEntropy(model.forward(x.narrow(0, i * rows, rows)), y.narrow(0, i * rows, rows));
          loss.div(parts).backward();
        }
        optimizer.step();
        optimizer.zeroGrad();
      });
      const x = randn([parts * rows, WIDTH]);
      const y = tensor(new Int32Array(parts * rows));
      const { temporaryBytes } = step.memory(x, y);
      const inputBytes = 4 * (x.numel + y.numel);
      step(x, y);
      return temporaryBytes - inputBytes;
    };
    const one = peak(1);
    for (const parts of [2, 4, 16]) expect(peak(parts)).toBeLessThan(1.1 * one);
  });
});
