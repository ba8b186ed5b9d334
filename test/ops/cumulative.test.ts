import { beforeAll, describe, expect, it } from "vitest";
import { cummax, cumprod, cumsum, sum } from "../../src/ops/index.js";
import { tensor } from "../../src/tensor/creation.js";
import { grad } from "../../src/transforms/reverse.js";
import { BUILDS, start } from "../support/builds.js";

describe.each(BUILDS)("running totals on the %s build", (build) => {
  beforeAll(() => start(build));

  it("have gradients where factors are zero", () => {
    const total = grad((x) => sum(cumprod(x, 0)));
    // d/dx of a + ab + abc at a = 2, b = 0, c = 5.
    expect([...total(tensor([2, 0, 5])).data()]).toEqual([1, 12, 0]);
    expect([...total(tensor([0, 3, 0])).data()]).toEqual([4, 0, 0]);
  });

  it("have second derivatives where factors are zero", () => {
    const first = grad((x) => sum(cumprod(x, 0)));
    // The gradient of 1 + b + bc, a + ac and ab together.
    const second = grad((x) => sum(first(x)));
    expect([...second(tensor([2, 0, 5])).data()]).toEqual([6, 8, 2]);
  });

  it("round each sum once: a long sum of small numbers stays true", () => {
    const sums = cumsum(tensor(new Float32Array(100_000).fill(0.1)), 0).data();
    expect(sums.at(-1)).toBe(Math.fround(100_000 * Math.fround(0.1)));
  });

  it("keep NaN as the extreme once there is one", () => {
    const { values, indices } = cummax(tensor([1, 3, Number.NaN, 4, Number.NaN, 5]), 0);
    expect([...values.data()]).toEqual([1, 3, Number.NaN, Number.NaN, Number.NaN, Number.NaN]);
    expect([...indices.data()]).toEqual([0, 1, 2, 2, 4, 4]);
  });
});
