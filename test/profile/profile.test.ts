/** Profiles: cutting a program into its instructions changes nothing, and what is reported adds up. */
import { beforeEach, describe, expect, it } from "vitest";
import { ArgumentError, IndexError } from "../../src/graph/errors.js";
import type { Tensor } from "../../src/graph/tensor.js";
import { ReLU } from "../../src/nn/activations.js";
import { Linear, Sequential } from "../../src/nn/layers.js";
import { embedding } from "../../src/ops/indexing.js";
import { mseLoss } from "../../src/ops/loss.js";
import { manualSeed, rand } from "../../src/ops/random.js";
import { Adam } from "../../src/optim/adam.js";
import { analyse, type Entry, type Profile } from "../../src/profile/analyse.js";
import { measureCeilings } from "../../src/profile/ceilings.js";
import { MODELS } from "../../src/profile/models.js";
import { printProfile } from "../../src/profile/print.js";
import { record } from "../../src/profile/record.js";
import { compile } from "../../src/tensor/compile.js";
import { tensor } from "../../src/tensor/creation.js";
import { runtime } from "../../src/tensor/session.js";
import { BUILDS, start } from "../support/builds.js";

const CEILINGS = { flops: 50e9, bytes: 100e9 };
const BATCH = 8;

function training(): { model: Sequential; step: () => Tensor } {
  manualSeed(1);
  const model = new Sequential(new Linear(12, 20), new ReLU(), new Linear(20, 3));
  const optimizer = new Adam(model.parameters());
  const [x, y] = [rand([BATCH, 12]), rand([BATCH, 3])];
  const step = compile(() => {
    const loss = mseLoss(model.forward(x), y);
    loss.backward();
    optimizer.step();
    optimizer.zeroGrad();
    return loss;
  });
  return { model, step };
}

function profiled(step: () => unknown): Profile {
  return analyse(record(runtime(), step, 0), CEILINGS);
}

describe.each(BUILDS)("on the %s build", (build) => {
  beforeEach(() => start(build));

  it("training while it is recorded gives the same bits as training alone", () => {
    const watched = training();
    let steps = 0;
    record(
      runtime(),
      () => {
        steps++;
        return watched.step();
      },
      0,
    );
    const alone = training();
    for (let i = 0; i < steps; i++) alone.step();
    expect(watched.model.parameters().map((x) => x.data())).toEqual(alone.model.parameters().map((x) => x.data()));
  });

  it("measures the ceilings of this machine", async () => {
    const { flops, bytes } = await measureCeilings(build, new URL("../../build/wasm/", import.meta.url));
    expect(flops).toBeGreaterThan(1e8);
    expect(bytes).toBeGreaterThan(1e7);
    expect([flops, bytes].every(Number.isFinite)).toBe(true);
  });
});

describe("a profile of a training step", () => {
  let profile: Profile;
  beforeEach(async () => {
    await start("strict");
    profile = profiled(training().step);
  });

  it("counts the arithmetic of every product, and names the phase that each instruction belongs to", () => {
    const products = profile.instructions.filter(({ instruction }) => instruction === "gemm");
    expect(products.map(({ phase }) => phase)).toEqual([
      "forward",
      // The difference to the targets and the square's derivative are computed as the product ends.
      "forward + backward",
      ...products.slice(2).map(() => expect.stringMatching(/^backward/)),
    ]);
    // Two layers: y, and the gradients of both weights and of the hidden values.
    const least = 2 * BATCH * (2 * 12 * 20 + 3 * 20 * 3);
    expect(products.reduce((sum, { flops }) => sum + flops, 0)).toBeGreaterThanOrEqual(least);
    expect(Object.keys(profile.phases)).toContain("forward");
    expect(Object.keys(profile.phases).join()).toContain("backward");
    expect(Object.keys(profile.phases).join()).toContain("optimizer");
  });

  it("sums up what products take, and compares it with the arithmetic ceiling", () => {
    const products = profile.instructions.filter(({ instruction }) => instruction === "gemm");
    const milliseconds = products.reduce((sum, entry) => sum + entry.milliseconds, 0);
    const flops = products.reduce((sum, entry) => sum + entry.flops, 0);
    expect(profile.products.milliseconds).toBeCloseTo(milliseconds, 9);
    expect(profile.products.share).toBeCloseTo(milliseconds / profile.cutMilliseconds, 9);
    expect(profile.products.fraction).toBeCloseTo((1000 * flops) / CEILINGS.flops / milliseconds, 9);
    expect(printProfile(profile, 2)).toMatch(/Products, convolutions and attention take \d+ % of that, at \d+ %/);
  });

  it("sums up instructions to operators and to phases", () => {
    const sum = (entries: readonly Entry[], of: (entry: Entry) => number): number =>
      entries.reduce((all, entry) => all + of(entry), 0);
    const { instructions, operators, phases } = profile;
    const milliseconds = sum(instructions, (entry) => entry.milliseconds);
    expect(sum(operators, ({ calls }) => calls)).toBe(instructions.length);
    expect(sum(operators, ({ flops }) => flops)).toBe(sum(instructions, ({ flops }) => flops));
    expect(sum(operators, (entry) => entry.milliseconds)).toBeCloseTo(milliseconds, 9);
    expect(Object.values(phases).reduce((all, ms) => all + ms, 0)).toBeCloseTo(milliseconds, 9);
    expect(profile.cutMilliseconds).toBeCloseTo(milliseconds, 9);
    expect(sum(instructions, ({ share }) => share)).toBeCloseTo(1, 9);
  });

  it("prints tables with a row for each operator, cut where it is told to", () => {
    const text = printProfile(profile, 2);
    expect(text).toContain(`in ${profile.instructions.length} instructions`);
    expect(text).toContain(`By operator (the first 2 of ${profile.operators.length}):`);
    expect(text).toContain("GFLOP/s");
    expect(printProfile(profile, 1000).split("\n").length).toBeGreaterThan(
      profile.instructions.length + profile.operators.length,
    );
  });
});

describe("recording", () => {
  beforeEach(() => start("strict"));

  it("ends with nobody watching, also where the step throws", () => {
    record(runtime(), training().step, 0);
    expect(runtime().observer).toBeNull();
    let calls = 0;
    expect(() =>
      record(
        runtime(),
        () => {
          if (++calls > 5) throw new RangeError("the user's own");
        },
        0,
      ),
    ).toThrow("the user's own");
    expect(runtime().observer).toBeNull();
  });

  it("says so where the step runs no program", () => {
    expect(() => record(runtime(), () => 1, 0)).toThrow(ArgumentError);
    expect(() => record(runtime(), () => 1, 0)).toThrow("the step ran no program");
  });

  it("reports an index out of range as a run without it does, wherever in the program it is", () => {
    const table = rand([5, 4]);
    const look = compile((x: Tensor) => embedding(x, table).mul(2).sum());
    look(tensor([4], { dtype: "i32" }));
    const bad = tensor([7], { dtype: "i32" });
    const messageOf = (run: () => unknown): string => {
      try {
        run();
      } catch (error) {
        expect(error).toBeInstanceOf(IndexError);
        return (error as IndexError).message;
      }
      throw new Error("the index was accepted");
    };
    const expected = messageOf(() => look(bad));
    const cuts: readonly number[][] = [[0], [0, 0]];
    for (const cut of cuts) {
      runtime().observer = { cuts: ({ code }) => [...cut, ...code.starts.slice(1)], ran: () => {} };
      try {
        expect(messageOf(() => look(bad))).toBe(expected);
      } finally {
        runtime().observer = null;
      }
    }
    expect(look(tensor([4], { dtype: "i32" })).item()).toBe(look(tensor([4], { dtype: "i32" })).item());
  });
});

describe("the models that are built in", () => {
  beforeEach(() => start("strict"));

  it.each(Object.keys(MODELS))("%s starts from the same numbers every time, and learns", (name) => {
    const make = MODELS[name] as () => () => Tensor;
    const losses = [make(), make()].map((step) => Array.from({ length: 3 }, () => step().item()));
    expect(losses[0]).toEqual(losses[1]);
    expect(losses[0]?.[2]).toBeLessThan(losses[0]?.[0] as number);
  });
});
