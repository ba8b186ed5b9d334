/** The comparison with other systems: all get the same numbers, and lanegrad's part of it computes what they should. */
import { beforeAll, describe, expect, it } from "vitest";
import { markdown, summary } from "../../bench/peers/compare.js";
import { prepare, start } from "../../bench/peers/lanegrad.js";
import { taskOf, valuesOf, WORKLOADS } from "../../bench/peers/workloads.js";
import { recorded } from "../training/recorded.js";

describe("the workloads", () => {
  it("start from numbers that a formula gives", () => {
    // The first weights of the recorded run are u(0) / √10: its seeds and shapes are the tiny network's.
    const [weight] = taskOf(WORKLOADS["tiny MLP"] as (typeof WORKLOADS)[string]).parameters;
    const values = valuesOf(weight as NonNullable<typeof weight>);
    expect(values).toHaveLength(320);
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(1 / Math.sqrt(10));
    const labels = valuesOf({ shape: [100], seed: 3, below: 7 });
    expect(labels).toBeInstanceOf(Int32Array);
    expect(new Set(labels)).toEqual(new Set([0, 1, 2, 3, 4, 5, 6]));
  });

  it("have as many parameters as PyTorch's modules of the same architecture", () => {
    const count = (name: string): number =>
      taskOf(WORKLOADS[name] as (typeof WORKLOADS)[string]).parameters.reduce(
        (sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1),
        0,
      );
    expect(count("MNIST MLP")).toBe(784 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10);
    expect(count("CNN")).toBe(16 * 9 + 16 + 32 * 16 * 9 + 32 + 10 * 32 * 49 + 10);
    expect(count("GPT")).toBe((65 + 64) * 128 + 4 * (12 * 128 * 128 + 13 * 128) + 2 * 128);
  });
});

describe("lanegrad's runs of them", () => {
  beforeAll(() => start("strict"));

  it("follow the losses that PyTorch recorded for the tiny network", () => {
    const runner = prepare(taskOf(WORKLOADS["tiny MLP"] as (typeof WORKLOADS)[string]));
    for (const loss of recorded("mlp-sgd").losses.slice(0, 6)) expect(runner.step()).toBeCloseTo(loss, 6);
  });

  it.each(["CNN", "1,000 adds", "1,000 adds with gradient", "softmax", "layer norm with gradient"])(
    "%s runs",
    (name) => {
      const runner = prepare(taskOf(WORKLOADS[name] as (typeof WORKLOADS)[string]));
      const first = runner.step();
      const values = runner.values?.() ?? [first as number];
      expect(values.every(Number.isFinite)).toBe(true);
    },
  );
});

describe("reports", () => {
  const timing = (system: string, milliseconds: number, ratio: number) => ({
    system,
    milliseconds,
    fastest: milliseconds,
    ratio,
    spread: 0.02,
    samples: [milliseconds],
  });
  const comparison = {
    workload: "GPT",
    timings: [timing("lanegrad", 120, 1), timing("PyTorch", 0.0672, 0.56)],
    failures: ["TensorFlow.js: no kernel"],
    disagreements: [],
  };

  it("are tables with a time for every system, and how many times as long each peer takes", () => {
    expect(markdown([comparison])).toBe(
      ["| | lanegrad | PyTorch |", "| --- | ---: | ---: |", "| GPT | 120 ms | 67.2 µs (0.560×) |"].join("\n"),
    );
  });

  it("say which systems cannot run a workload", () => {
    expect(summary(comparison)).toContain("cannot: TensorFlow.js: no kernel");
  });
});
