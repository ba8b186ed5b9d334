/** Initial values: in place, reproducible, and of the promised spread. */
import { beforeAll, describe, expect, it } from "vitest";
import { init, Linear, Parameter } from "../../src/nn/index.js";
import { Generator } from "../../src/ops/random.js";
import { ones, zeros } from "../../src/tensor/creation.js";
import { start } from "../support/builds.js";

function spread(parameter: Parameter): { largest: number; std: number; mean: number } {
  const values = Array.from(parameter.data());
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const std = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length);
  return { largest: Math.max(...values.map(Math.abs)), std, mean };
}

describe("initial values", () => {
  beforeAll(() => start("strict"));

  it("overwrite a parameter in place, without a history", () => {
    const weight = new Parameter(ones([2]));
    expect(init.constant_(weight, 3)).toBe(weight);
    expect(weight.toArray()).toEqual([3, 3]);
    expect(weight.requiresGrad && weight.isLeaf).toBe(true);
    expect(init.zeros_(weight).toArray()).toEqual([0, 0]);
    expect(init.ones_(weight).toArray()).toEqual([1, 1]);
  });

  it("are the same for the same generator", () => {
    const draw = (): unknown => init.normal_(zeros([8]), 1, 2, { generator: new Generator(5) }).toArray();
    expect(draw()).toEqual(draw());
  });

  it("have the bounds and deviations of the papers", () => {
    const weight = (): Parameter => new Parameter(zeros([200, 100]));
    const uniform = (bound: number): { largest: number; std: number } => ({
      largest: bound,
      std: bound / Math.sqrt(3),
    });
    const cases: [Parameter, { largest?: number; std: number; mean?: number }][] = [
      [init.uniform_(weight(), 2, 4), { largest: 4, std: 1 / Math.sqrt(3), mean: 3 }],
      [init.normal_(weight(), 5, 0.5), { std: 0.5, mean: 5 }],
      [init.xavierUniform_(weight()), uniform(Math.sqrt(6 / 300))],
      [init.xavierNormal_(weight(), 2), { std: 2 * Math.sqrt(2 / 300) }],
      [init.kaimingUniform_(weight(), { a: Math.sqrt(5) }), uniform(1 / 10)],
      [init.kaimingNormal_(weight(), { nonlinearity: "relu" }), { std: Math.sqrt(2 / 100) }],
      [init.kaimingNormal_(weight(), { nonlinearity: "relu", mode: "fanOut" }), { std: Math.sqrt(2 / 200) }],
    ];
    for (const [parameter, { largest, std, mean = 0 }] of cases) {
      const actual = spread(parameter);
      expect(actual.std / std).toBeCloseTo(1, 1);
      expect(Math.abs(actual.mean - mean)).toBeLessThan(0.03 * Math.max(std, 0.1));
      if (largest !== undefined) expect(actual.largest / largest).toBeCloseTo(1, 2);
    }
  });

  it("by fan counts the receptive field, and needs a matrix at least", () => {
    const filter = init.kaimingNormal_(new Parameter(zeros([64, 8, 3, 3])), { nonlinearity: "linear" });
    expect(spread(filter).std / Math.sqrt(1 / 72)).toBeCloseTo(1, 1);
    expect(() => init.xavierNormal_(new Linear(2, 2).bias as Parameter)).toThrow(
      /needs a weight \[out, in, \.\.\.\].*not \[2\]/,
    );
  });
});
