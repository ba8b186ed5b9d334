/** Learning rate schedules: the rates of each step. */
import { describe, expect, it } from "vitest";
import { cosPi, wholePower } from "../../src/numeric.js";
import {
  CosineAnnealingLR,
  ExponentialLR,
  LambdaLR,
  type LRScheduler,
  MultiStepLR,
  type Schedulable,
  StepLR,
  WarmupCosineLR,
} from "../../src/optim/index.js";

/** The rates of the first `steps` steps of a group that starts with 0.3. */
function rates(make: (optimizer: Schedulable) => LRScheduler, steps: number): number[] {
  const optimizer = { paramGroups: [{ lr: 0.3 }] };
  const schedule = make(optimizer);
  return Array.from({ length: steps }, () => {
    const { lr } = optimizer.paramGroups[0] as { lr: number };
    schedule.step();
    return lr;
  });
}

function expectRates(actual: readonly number[], expected: readonly number[]): void {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((rate, i) => {
    expect(Math.abs(rate - (expected[i] as number)), `step ${i}`).toBeLessThan(1e-7);
  });
}

describe("schedules", () => {
  it("cosine annealing goes down and up again, as PyTorch's does step by step", () => {
    const down = [
      0.3, 0.292903195, 0.272307464, 0.240228862, 0.199807464, 0.155, 0.110192536, 0.069771138, 0.037692536,
      0.017096805,
    ];
    const up = [
      0.01, 0.017096805, 0.037692536, 0.069771138, 0.110192536, 0.155, 0.199807464, 0.240228862, 0.272307464,
      0.292903195,
    ];
    expectRates(
      rates((optimizer) => new CosineAnnealingLR(optimizer, 10, 0.01), 30),
      [...down, ...up, ...down],
    );
  });

  it("steps multiply at intervals", () => {
    const expected = [0.3, 0.3, 0.3, 0.15, 0.15, 0.15, 0.075, 0.075, 0.075, 0.0375];
    expectRates(
      rates((optimizer) => new StepLR(optimizer, 3, 0.5), 10),
      expected,
    );
  });

  it("steps may be counted out, or be every one", () => {
    expectRates(
      rates((optimizer) => new MultiStepLR(optimizer, [2, 5], 0.5), 7),
      [0.3, 0.3, 0.15, 0.15, 0.15, 0.075, 0.075],
    );
    expectRates(
      rates((optimizer) => new ExponentialLR(optimizer, 0.5), 4),
      [0.3, 0.15, 0.075, 0.0375],
    );
    const optimizer = { paramGroups: [{ lr: 1 }] };
    expect(() => new MultiStepLR(optimizer, [3, 1.5])).toThrow(
      /milestone 1 must be a whole number from 1 up, not number 1.5/,
    );
    expect(() => new StepLR(optimizer, { stepSize: 2 } as unknown as number)).toThrow(
      /stepSize must be .*, not an object/,
    );
  });

  it("a function may say the factor, from the first step on", () => {
    expectRates(
      rates((optimizer) => new LambdaLR(optimizer, (step) => 1 / (step + 2)), 3),
      [0.15, 0.1, 0.075],
    );
  });

  it("a warmup goes up in a line, and a cosine takes over at its top", () => {
    expectRates(
      rates((optimizer) => new WarmupCosineLR(optimizer, 3, 7, 0.1), 9),
      [...[0.1, 0.2, 0.3], ...[0.3, 0.1 + 0.1 * (1 + Math.SQRT1_2), 0.2, 0.1 + 0.1 * (1 - Math.SQRT1_2), 0.1, 0.1]],
    );
    expect(() => rates((optimizer) => new WarmupCosineLR(optimizer, 5, 5), 1)).toThrow(/totalSteps - warmupSteps/);
  });

  it("sets every group from its own rate, and continues from a checkpoint", () => {
    const optimizer = { paramGroups: [{ lr: 1 }, { lr: 10 }] };
    const schedule = new StepLR(optimizer, 2);
    for (let i = 0; i < 5; i++) schedule.step();
    expect(optimizer.paramGroups.map(({ lr }) => lr)).toEqual([0.01, 0.1].map((lr) => expect.closeTo(lr, 12)));
    const other = { paramGroups: [{ lr: 1 }, { lr: 10 }] };
    new StepLR(other, 2).loadStateDict(schedule.stateDict());
    expect(other).toEqual(optimizer);
  });
});

describe("numbers that are the same on every engine", () => {
  it("cosPi is the cosine of πx to the last bits", () => {
    for (let i = -4000; i <= 4000; i++) {
      const x = i / 777;
      expect(Math.abs(cosPi(x) - Math.cos(Math.PI * x)), `${x}`).toBeLessThan(2e-15);
    }
    expect([0, 0.5, 1, 1.5, 2, -1].map(cosPi)).toEqual([1, 0, -1, 0, 1, -1].map((x) => expect.closeTo(x, 16)));
  });

  it("wholePower multiplies", () => {
    expect([0, 1, 2, 10].map((n) => wholePower(2, n))).toEqual([1, 2, 4, 1024]);
    expect(wholePower(0.999, 200_000)).toBeCloseTo(0.999 ** 200_000, 90);
    expect(wholePower(0.9, 3)).toBe(0.9 * 0.9 * 0.9);
  });
});
