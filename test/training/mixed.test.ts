/** Compiled steps among eager code: what either does to shared tensors, the other sees, and nothing else changes. */
import { beforeEach, describe, expect, it } from "vitest";
import { IndexError, TraceError } from "../../src/graph/errors.js";
import { detach, noGrad, type Tensor } from "../../src/graph/tensor.js";
import { ReLU } from "../../src/nn/activations.js";
import { Dropout, Embedding, Linear, Sequential } from "../../src/nn/layers.js";
import { crossEntropy, mseLoss } from "../../src/ops/loss.js";
import { manualSeed } from "../../src/ops/random.js";
import { Adam } from "../../src/optim/adam.js";
import { SGD } from "../../src/optim/sgd.js";
import { compile } from "../../src/tensor/compile.js";
import { tensor, zeros } from "../../src/tensor/creation.js";
import { BUILDS, start } from "../support/builds.js";
import { initialize, recorded, uniform } from "./recorded.js";

function regression() {
  const model = new Sequential(new Linear(10, 32), new ReLU(), new Linear(32, 32), new ReLU(), new Linear(32, 1));
  initialize(model, recorded("mlp-sgd"));
  return { model, x: uniform(500, [16, 10]), y: uniform(501, [16, 1]) };
}

function values(tensors: readonly Tensor[]): number[][] {
  return tensors.map((x) => Array.from(x.data()));
}

describe.each(BUILDS)("on the %s build", (build) => {
  beforeEach(() => start(build));

  it("a gradient that was read between steps keeps its value", () => {
    const { model, x, y } = regression();
    const optimizer = new SGD(model.parameters(), { lr: 0.05 });
    const step = compile((x: Tensor, y: Tensor) => {
      optimizer.zeroGrad();
      mseLoss(model.forward(x), y).backward();
      optimizer.step();
    });
    step(x, y);
    const [weight] = model.parameters() as [Tensor];
    const held = weight.grad as Tensor;
    const copy = Array.from(held.data());
    step(x, y);
    const later = Array.from((weight.grad as Tensor).data());
    expect(later).not.toEqual(copy);
    expect(Array.from(held.data())).toEqual(copy);
  });

  it("a gradient that was held unread keeps its value too", () => {
    const { model, x, y } = regression();
    const optimizer = new SGD(model.parameters(), { lr: 0.05 });
    const step = compile((x: Tensor, y: Tensor) => {
      optimizer.zeroGrad();
      mseLoss(model.forward(x), y).backward();
      optimizer.step();
    });
    const [weight] = model.parameters() as [Tensor];
    const history: Tensor[] = [];
    for (let i = 0; i < 3; i++) {
      step(x, y);
      history.push(weight.grad as Tensor);
    }
    expect(new Set(values(history).map(String)).size).toBe(3);
  });

  it("weights read between steps, and what was computed from them, keep their values", () => {
    const { model, x, y } = regression();
    const optimizer = new Adam(model.parameters(), { lr: 0.01 });
    const step = compile((x: Tensor, y: Tensor) => {
      const loss = mseLoss(model.forward(x), y);
      loss.backward();
      optimizer.step();
      optimizer.zeroGrad();
      return loss;
    });
    step(x, y);
    const [weight] = model.parameters() as [Tensor];
    const [frozen, doubled, prediction] = [detach(weight), weight.mul(2), model.forward(x)];
    const read = Array.from(weight.data());
    for (let i = 0; i < 3; i++) step(x, y);
    expect(Array.from(weight.data())).not.toEqual(read);
    expect(Array.from(frozen.data())).toEqual(read);
    expect(Array.from(doubled.data())).toEqual(read.map((w) => 2 * w));
    expect(Array.from(prediction.data())).not.toEqual(Array.from(model.forward(x).data()));
  });

  it("evaluating eagerly between compiled steps does not disturb them", () => {
    const losses = [false, true].map((evaluate) => {
      const { model, x, y } = regression();
      const optimizer = new Adam(model.parameters(), { lr: 0.01 });
      const step = compile((x: Tensor, y: Tensor) => {
        const loss = mseLoss(model.forward(x), y);
        loss.backward();
        optimizer.step();
        optimizer.zeroGrad();
        return loss;
      });
      return Array.from({ length: 10 }, () => {
        const loss = step(x, y).item();
        if (evaluate) noGrad(() => mseLoss(model.forward(x), y).item());
        return loss;
      });
    });
    expect(losses[1]).toEqual(losses[0]);
  });

  it("eager and compiled training give the same losses", () => {
    const [eager, compiled] = [false, true].map((compiles) => {
      const { model, x, y } = regression();
      const optimizer = new Adam(model.parameters(), { lr: 0.01 });
      const step = (x: Tensor, y: Tensor): Tensor => {
        const loss = mseLoss(model.forward(x), y);
        loss.backward();
        optimizer.step();
        optimizer.zeroGrad();
        return loss;
      };
      const run = compiles ? compile(step) : step;
      return Array.from({ length: 20 }, () => run(x, y).item());
    }) as [number[], number[]];
    compiled.forEach((loss, i) => {
      expect(loss / (eager[i] as number)).toBeCloseTo(1, 3);
    });
  });

  it("two compiled functions share parameters: one trains, the other sees it", () => {
    const { model, x, y } = regression();
    const optimizer = new SGD(model.parameters(), { lr: 0.05 });
    const train = compile((x: Tensor, y: Tensor) => {
      const loss = mseLoss(model.forward(x), y);
      loss.backward();
      optimizer.step();
      optimizer.zeroGrad();
      return loss;
    });
    const evaluate = compile((x: Tensor, y: Tensor) => mseLoss(model.forward(x), y));
    for (let i = 0; i < 5; i++) {
      const before = evaluate(x, y).item();
      expect(train(x, y).item()).toBe(before);
      expect(evaluate(x, y).item()).toBeLessThan(before);
    }
    expect([train.traces, evaluate.traces]).toEqual([1, 1]);
  });

  it("gradients accumulate in one compiled function and are applied by another", () => {
    const { model, x, y } = regression();
    const optimizer = new SGD(model.parameters(), { lr: 0.05 });
    const accumulate = compile((x: Tensor, y: Tensor) => {
      mseLoss(model.forward(x), y).mul(0.5).backward();
    });
    const apply = compile(() => {
      optimizer.step();
      optimizer.zeroGrad();
    });
    const halves = [x.narrow(0, 0, 8), x.narrow(0, 8, 8)].map((half, i) => [
      detach(half),
      detach(y.narrow(0, 8 * i, 8)),
    ]);
    for (let i = 0; i < 4; i++) {
      for (const [a, b] of halves as [Tensor, Tensor][]) accumulate(a, b);
      apply();
      expect(model.parameters().every(({ grad }) => grad === null)).toBe(true);
    }
    expect([accumulate.traces, apply.traces]).toEqual([2, 1]);

    const whole = regression();
    const reference = new SGD(whole.model.parameters(), { lr: 0.05 });
    for (let i = 0; i < 4; i++) {
      mseLoss(whole.model.forward(x), y).backward();
      reference.step();
      reference.zeroGrad();
    }
    const expected = values(whole.model.parameters()).flat();
    values(model.parameters())
      .flat()
      .forEach((value, i) => {
        expect(value).toBeCloseTo(expected[i] as number, 6);
      });
  });

  it("a parameter that is replaced between steps is the one that the next step trains", () => {
    const weight = tensor([1, 2], { requiresGrad: true });
    const optimizer = new SGD([weight], { lr: 0.5 });
    const step = compile(() => {
      const loss = weight.mul(weight).sum();
      loss.backward();
      optimizer.step();
      optimizer.zeroGrad();
      return loss;
    });
    expect(step().item()).toBe(5);
    expect(weight.toArray()).toEqual([0, 0]);
    noGrad(() => weight.copy_(tensor([3, 4])));
    expect(step().item()).toBe(25);
    noGrad(() => weight.fill_(1));
    weight.requiresGrad = true;
    expect(step().item()).toBe(2);
    expect(step.traces).toBe(1);
  });

  it("a learning rate may change at any step without a new trace", () => {
    const weight = tensor([0], { requiresGrad: true });
    const optimizer = new SGD([weight], { lr: 1 });
    const step = compile(() => {
      weight.sum().backward();
      optimizer.step();
      optimizer.zeroGrad();
    });
    step();
    optimizer.lr = 10;
    step();
    for (const group of optimizer.paramGroups) group.lr = 100;
    step();
    expect(weight.toArray()).toEqual([-111]);
    expect(step.traces).toBe(1);
  });

  it("another option that changes is traced anew", () => {
    const weight = tensor([1], { requiresGrad: true });
    const optimizer = new SGD([weight], { lr: 1 });
    const step = compile(() => {
      weight.mul(0).sum().backward();
      optimizer.step();
      optimizer.zeroGrad();
    });
    step();
    for (const group of optimizer.paramGroups) group.weightDecay = 0.5;
    step();
    expect(weight.toArray()).toEqual([0.5]);
    expect(step.traces).toBe(2);
  });

  it("model.eval() is traced anew, and model.train() goes back to the first trace", () => {
    manualSeed(0);
    const model = new Sequential(new Dropout(0.5));
    const forward = compile((x: Tensor) => model.forward(x));
    const ones = tensor(new Float32Array(64).fill(1));
    const dropped = (): number =>
      forward(ones)
        .data()
        .filter((x) => x === 0).length;
    expect(dropped()).toBeGreaterThan(0);
    model.eval();
    expect(dropped()).toBe(0);
    model.train();
    expect(dropped()).toBeGreaterThan(0);
    expect(forward.traces).toBe(2);
  });

  it("an exception while a function is traced leaves everything usable", () => {
    const { model, x, y } = regression();
    const optimizer = new SGD(model.parameters(), { lr: 0.05 });
    const before = values(model.parameters());
    let fail = true;
    const step = compile((x: Tensor, y: Tensor) => {
      const loss = mseLoss(model.forward(x), y);
      loss.backward();
      optimizer.step();
      if (fail) throw new RangeError("something of the user's own");
      return loss;
    });
    expect(() => step(x, y)).toThrow("something of the user's own");
    expect(values(model.parameters())).toEqual(before);
    expect(model.parameters().every(({ grad }) => grad === null)).toBe(true);
    expect(mseLoss(model.forward(x), y).requiresGrad).toBe(true);
    fail = false;
    expect(step(x, y).item()).toBe(mseLoss(initialized(model), y).item());

    function initialized(trained: Sequential): Tensor {
      initialize(trained, recorded("mlp-sgd"));
      return trained.forward(x);
    }
  });

  it("a value cannot be read while a function is traced, and the error says so", () => {
    const weight = tensor([1, 2]);
    expect(() => compile(() => tensor(weight.sum().item()))()).toThrow(TraceError);
    expect(weight.sum().item()).toBe(3);
  });

  it("a label out of range stops a compiled step before it changes a parameter", () => {
    const model = new Linear(4, 3);
    const optimizer = new Adam(model.parameters(), { lr: 0.1 });
    const step = compile((x: Tensor, y: Tensor) => {
      const loss = crossEntropy(model.forward(x), y);
      loss.backward();
      optimizer.step();
      optimizer.zeroGrad();
      return loss;
    });
    const x = uniform(1, [2, 4]);
    const good = tensor(Int32Array.of(0, 2));
    step(x, good);
    const before = values(model.parameters());
    expect(() => step(x, tensor(Int32Array.of(0, 3)))).toThrow(IndexError);
    expect(() => step(x, tensor(Int32Array.of(-1, 0)))).toThrow(/crossEntropy.*-1.*3/);
    expect(values(model.parameters())).toEqual(before);
    expect(step(x, good).item()).toBeGreaterThan(0);
    expect(values(model.parameters())).not.toEqual(before);
  });

  it("a step that fails leaves no trace: not in state that it had already computed, nor in the optimizer's count", () => {
    const losses = [false, true].map((fail) => {
      manualSeed(3);
      const model = new Linear(4, 3);
      const optimizer = new Adam(model.parameters(), { lr: 0.1 });
      const seen = zeros([]);
      const step = compile((x: Tensor, y: Tensor) => {
        noGrad(() => seen.add_(1));
        crossEntropy(model.forward(x), y).backward();
        optimizer.step();
        optimizer.zeroGrad();
      });
      const x = uniform(1, [2, 4]);
      step(x, tensor(Int32Array.of(0, 2)));
      if (fail) expect(() => step(x, tensor(Int32Array.of(0, 3)))).toThrow(IndexError);
      step(x, tensor(Int32Array.of(0, 2)));
      expect(seen.item()).toBe(2);
      return values(model.parameters());
    });
    expect(losses[1]).toEqual(losses[0]);
  });

  it("an index out of range in an embedding stops it too", () => {
    const model = new Embedding(5, 2);
    const optimizer = new SGD(model.parameters(), { lr: 1 });
    const step = compile((index: Tensor) => {
      model.forward(index).sum().backward();
      optimizer.step();
      optimizer.zeroGrad();
    });
    const before = values(model.parameters());
    expect(() => step(tensor(Int32Array.of(1, 5)))).toThrow(/embedding.*5/);
    expect(values(model.parameters())).toEqual(before);
    step(tensor(Int32Array.of(1, 4)));
    expect(values(model.parameters())).not.toEqual(before);
  });

  it("shapes that change are traced once each", () => {
    const { model } = regression();
    const forward = compile((x: Tensor) => model.forward(x));
    for (const rows of [1, 16, 1, 7, 16]) expect(forward(uniform(3, [rows, 10])).shape).toEqual([rows, 1]);
    expect(forward.traces).toBe(3);
  });

  it("state that is not a parameter is updated by every run", () => {
    const count = zeros([]);
    const step = compile((x: Tensor) => {
      noGrad(() => count.add_(x.sum()));
    });
    step(tensor([1, 2]));
    step(tensor([3, 4]));
    expect(count.item()).toBe(10);
    noGrad(() => count.mul_(2));
    step(tensor([1, 1]));
    expect(count.item()).toBe(22);
  });
});
