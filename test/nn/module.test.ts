/** Modules: what belongs to a model, by which names, and how its values are saved and loaded. */
import { beforeAll, describe, expect, it } from "vitest";
import { ArgumentError } from "../../src/graph/errors.js";
import type { Tensor } from "../../src/graph/tensor.js";
import { ReLU } from "../../src/nn/activations.js";
import { Linear, Sequential } from "../../src/nn/layers.js";
import { Buffer, Module, Parameter } from "../../src/nn/module.js";
import { full, ones, tensor, zeros } from "../../src/tensor/creation.js";
import { start } from "../support/builds.js";

class Block extends Module {
  readonly scale = new Parameter(ones([2]));
  readonly seen = new Buffer(zeros([]));
  readonly note = tensor([1, 2, 3]);
  parent: Module | null = null;

  override forward(x: Tensor): Tensor {
    return x.mul(this.scale);
  }
}

class Model extends Module {
  readonly first = new Linear(2, 3, { bias: false });
  readonly blocks = [new Block(), new Block()];
  readonly heads = { main: new Linear(3, 1), extra: null };
  readonly sizes = [1, 2, 3];
  readonly #hidden = new Parameter(ones([1]));
  readonly shared = this.first.weight;

  override forward(x: Tensor): Tensor {
    return this.heads.main.forward(this.first.forward(x)).add(this.#hidden);
  }
}

describe("a module", () => {
  beforeAll(() => start("strict"));

  it("finds parameters in fields, arrays and plain objects, each once", () => {
    expect(new Model().namedParameters().map(([name]) => name)).toEqual([
      "first.weight",
      "blocks.0.scale",
      "blocks.1.scale",
      "heads.main.weight",
      "heads.main.bias",
    ]);
  });

  it("tells buffers from parameters, and neither from tensors that are just kept", () => {
    const model = new Model();
    expect(model.namedBuffers().map(([name]) => name)).toEqual(["blocks.0.seen", "blocks.1.seen"]);
    expect(model.parameters().every((parameter) => parameter.requiresGrad && parameter.isLeaf)).toBe(true);
    expect(model.buffers().some((buffer) => buffer.requiresGrad)).toBe(false);
  });

  it("names the layers of a sequence by their numbers", () => {
    const model = new Sequential(new Linear(2, 3), new ReLU(), new Linear(3, 1));
    expect(Object.keys(model.stateDict())).toEqual(["0.weight", "0.bias", "2.weight", "2.bias"]);
    expect(model.children()).toHaveLength(3);
    expect(() => new Sequential(new ReLU(), "relu" as unknown as ReLU)).toThrow(
      "argument 1 must be a module, not relu",
    );
  });

  it("lists the modules within it once each, even where a child knows its parent", () => {
    const model = new Model();
    for (const block of model.blocks) block.parent = model;
    expect(model.namedModules().map(([name]) => name)).toEqual(["", "first", "blocks.0", "blocks.1", "heads.main"]);
    expect(model.children()).toEqual([model.first, ...model.blocks, model.heads.main]);
    expect(Object.keys(model.stateDict())).toHaveLength(8);
  });

  it("goes in and out of training mode with all that it contains", () => {
    const model = new Model();
    const modes = (): boolean[] => model.modules().map(({ training }) => training);
    expect(new Set(modes())).toEqual(new Set([true]));
    expect(new Set(model.eval() && modes())).toEqual(new Set([false]));
    expect(new Set(model.train() && modes())).toEqual(new Set([true]));
  });

  it("clears gradients and freezes parameters", () => {
    const model = new Model();
    model
      .forward(ones([4, 2]))
      .sum()
      .backward();
    expect(model.first.weight.grad).not.toBeNull();
    expect(model.blocks[0]?.scale.grad).toBeNull();
    model.zeroGrad();
    expect(model.parameters().every(({ grad }) => grad === null)).toBe(true);
    model.requiresGrad_(false);
    expect(model.forward(ones([4, 2])).requiresGrad).toBe(true);
    expect(model.first.forward(ones([4, 2])).requiresGrad).toBe(false);
    model.requiresGrad_();
    expect(model.first.forward(ones([4, 2])).requiresGrad).toBe(true);
  });
});

describe("a state dict", () => {
  beforeAll(() => start("strict"));

  it("holds the values of its time", () => {
    const model = new Block();
    const before = model.stateDict();
    model.loadStateDict({ ...before, scale: tensor([5, 6]) });
    expect(before.scale?.toArray()).toEqual([1, 1]);
    expect(model.scale.toArray()).toEqual([5, 6]);
    expect(model.scale.requiresGrad && model.scale.isLeaf).toBe(true);
  });

  it("carries one model's values to another", () => {
    const [from, to] = [new Model(), new Model()];
    const x = ones([2, 2]);
    expect(to.forward(x).toArray()).not.toEqual(from.forward(x).toArray());
    to.loadStateDict(from.stateDict());
    expect(to.forward(x).toArray()).toEqual(from.forward(x).toArray());
  });

  it("lists a shared tensor under each of its names and needs one of them", () => {
    const model = new Model();
    const { shared, ...rest } = model.stateDict();
    expect(shared?.toArray()).toEqual(rest["first.weight"]?.toArray());
    model.loadStateDict({ ...rest, "first.weight": full([3, 2], 7) });
    expect(model.shared.toArray()).toEqual(full([3, 2], 7).toArray());
  });

  it("that does not fit is refused with all that is wrong, and changes nothing", () => {
    const model = new Linear(2, 3);
    const load = (): void => model.loadStateDict({ weight: ones([2, 3]), extra: ones([1]), more: ones([1]) });
    expect(load).toThrow(ArgumentError);
    expect(load).toThrow(
      "loadStateDict: missing: bias; unexpected: extra, more; wrong shape: weight is [2,3] and must be [3,2]",
    );
    const before = model.bias?.toArray();
    expect(() => model.loadStateDict({ bias: ones([3]), weight: ones([1]) }, { strict: false })).toThrow(/wrong shape/);
    expect(model.bias?.toArray()).toEqual(before);
  });

  it("may be partial where that is asked for", () => {
    const model = new Linear(2, 3);
    model.loadStateDict({ bias: ones([3]), unknown: ones([1]) }, { strict: false });
    expect(model.bias?.toArray()).toEqual([1, 1, 1]);
  });
});
