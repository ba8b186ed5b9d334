/** The memory report: what it says of values and states, in terms that users know. */
import { beforeAll, describe, expect, it } from "vitest";
import { TraceError } from "../../src/graph/errors.js";
import type { Tensor } from "../../src/graph/tensor.js";
import { GELU, LayerNorm, Linear, Module, Sequential } from "../../src/nn/index.js";
import { randn } from "../../src/ops/random.js";
import { Adam } from "../../src/optim/adam.js";
import { memoryParts } from "../../src/plan/report.js";
import { type CompileOptions, compile } from "../../src/tensor/compile.js";
import { checkpointName } from "../../src/transforms/checkpoint.js";
import { start } from "../support/builds.js";

const [BATCH, WIDTH] = [16, 12];

class Block extends Module {
  readonly norm = new LayerNorm(WIDTH);
  readonly mlp = new Sequential(new Linear(WIDTH, 4 * WIDTH), new GELU(), new Linear(4 * WIDTH, WIDTH));

  override forward(x: Tensor): Tensor {
    return x.mul(checkpointName(this.mlp.forward(this.norm.forward(x)), "mixed")).tanh();
  }
}

class Model extends Module {
  readonly blocks = [new Block(), new Block()];

  override forward(x: Tensor): Tensor {
    return this.blocks.reduce((h, block) => block.forward(h), x).exp();
  }
}

function makeStep(options: CompileOptions = {}) {
  const model = new Model();
  const optimizer = new Adam(model.parameters());
  const step = compile((x: Tensor) => {
    model.forward(x).sum().backward();
    optimizer.step();
    optimizer.zeroGrad();
  }, options);
  return { model, step, x: randn([BATCH, WIDTH]) };
}

describe("the memory report", () => {
  beforeAll(async () => void (await start("strict")));

  it("names the innermost module that made each value, the line of the user's, and names given to values", () => {
    const { step, x } = makeStep();
    const { saved } = step.memory(x);
    const modules = new Set(saved.map(({ module }) => module));
    for (const module of ["blocks.0.norm", "blocks.1.norm", "blocks.1.mlp.1"]) expect(modules).toContain(module);
    expect(saved.find(({ operator }) => operator === "layerNorm")?.source).toMatch(/report\.test\.ts:\d+$/);
    expect(saved.filter(({ names }) => names.includes("mixed")).length).toBeGreaterThan(0);
    const text = step.explainMemory(x);
    expect(text).toMatch(/layerNorm +blocks\.\*\.norm +\S+report\.test\.ts:\d+/);
    expect(text).toMatch(/"mixed" +blocks\.\*/);
  });

  it("names parameters as the state dict does, with their gradients and what the optimizer keeps of them", () => {
    const { model, step, x } = makeStep();
    const { states, parameterBytes } = step.memory(x);
    const named = (kind: string): (string | null)[] =>
      states.filter((state) => state.kind === kind).map(({ name }) => name);
    const names = Object.keys(model.stateDict());
    expect(named("parameter").sort()).toEqual([...names].sort());
    expect(named("other").sort()).toEqual(names.flatMap((name) => [`${name}.expAvg`, `${name}.expAvgSq`]).sort());
    const bytes = states.filter(({ kind }) => kind === "parameter").reduce((sum, state) => sum + state.bytes, 0);
    expect(bytes).toBe(parameterBytes);
    const gradients = compile((x: Tensor) => model.forward(x).sum().backward());
    const kept = gradients.memory(x).states.filter(({ kind }) => kind === "gradient");
    expect(kept.map(({ name }) => name).sort()).toEqual(names.map((name) => `${name}.grad`).sort());
  });

  it("knows a module by the name that the whole model gives it, whoever else asked for its parts", () => {
    const { model, step, x } = makeStep();
    model.blocks[0]?.parameters();
    const { states } = step.memory(x);
    expect(states.map(({ name }) => name)).toContain("blocks.0.norm.weight");
  });

  it.each([
    ["as it is", 0],
    ["within a budget", 0.25],
  ])("accounts for the peak, %s, to the byte: each piece of memory once, with what it is for", (_, share) => {
    const { step: whole, x } = makeStep();
    const { arenaBytes, temporaryBytes } = whole.memory(x);
    const { step } = makeStep({ memoryBudget: Math.ceil(arenaBytes - share * temporaryBytes) });
    const report = step.memory(x);
    const sum = (items: readonly { readonly bytes: number }[]): number =>
      items.reduce((all, each) => all + each.bytes, 0);
    expect(sum(report.alive)).toBe(report.liveBytes);
    expect(new Set(report.alive.map(({ role }) => role))).toContain("saved");
    expect(report.recomputed.length > 0).toBe(share > 0);
    const parts = memoryParts(report);
    const isUse = ({ what }: { readonly what: string }): boolean => what.startsWith("  ");
    expect(sum(parts.filter(isUse))).toBe(report.temporaryBytes);
    expect(sum(parts.filter((part) => !isUse(part)))).toBe(report.arenaBytes);
  });

  it("is what a measured call takes, which trains like any other", () => {
    const { model, step, x } = makeStep();
    const { arenaBytes, stateBytes, temporaryBytes, programBytes, sharedBytes } = step.memory(x);
    const before = model.blocks[0]?.norm.bias?.toArray();
    // The argument waits for a program of its own, which is not what is measured.
    const measured = step.measureMemory(x.mul(2));
    expect(measured).toEqual({ arenaBytes, stateBytes, temporaryBytes, programBytes, sharedBytes });
    expect(model.blocks[0]?.norm.bias?.toArray()).not.toEqual(before);
    expect(() => compile((x: Tensor) => void step.measureMemory(x))(x)).toThrow(TraceError);
  });
});
