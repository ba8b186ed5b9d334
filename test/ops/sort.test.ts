import { beforeAll, describe, expect, it } from "vitest";
import { kthvalue, median, mode, nanmedian, quantile, sort, topk } from "../../src/ops/index.js";
import { tensor } from "../../src/tensor/creation.js";
import { uniform } from "../operators/samples.js";
import { BUILDS, start } from "../support/builds.js";

/** Places in sorted order by JavaScript's own stable sort; NaN is the largest. */
function expectedPlaces(values: readonly number[], descending: boolean): number[] {
  const compare = (a: number, b: number): number => {
    if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
    return a < b ? -1 : a > b ? 1 : 0;
  };
  const sign = descending ? -1 : 1;
  return values.map((_, i) => i).sort((i, j) => sign * compare(values[i] as number, values[j] as number));
}

describe.each(BUILDS)("sorting on the %s build", (build) => {
  beforeAll(() => start(build));

  it.each([false, true])(
    "agrees with JavaScript's sort at every length, with ties, NaN and infinities (descending: %s)",
    (descending) => {
      const random = uniform(3);
      const specials = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0];
      for (let length = 1; length <= 33; length++) {
        const values = Array.from({ length }, () =>
          random() < 0.3 ? (specials[Math.floor(random() * 5)] as number) : Math.floor(random() * 6),
        );
        const { indices } = sort(tensor(values), 0, descending);
        expect(Array.from(indices.data()), `of [${values}]`).toEqual(expectedPlaces(values, descending));
      }
    },
  );

  it("sorts whole numbers up to the ends of their range", () => {
    const values = [2 ** 31 - 1, -(2 ** 31), 0, 2 ** 31 - 1, -1];
    const x = tensor(Int32Array.from(values));
    expect(Array.from(sort(x).indices.data())).toEqual([1, 4, 2, 0, 3]);
    expect(Array.from(sort(x, 0, true).indices.data())).toEqual([0, 3, 2, 4, 1]);
  });

  it("puts NaN first among the largest, as PyTorch does", () => {
    const { values } = topk(tensor([1, Number.NaN, 3, 2]), 3);
    expect(Array.from(values.data())).toEqual([Number.NaN, 3, 2]);
  });

  it("takes the lower median, and NaN where there is one unless told to pass over it", () => {
    expect(median(tensor([4, 1, 3, 2])).item()).toBe(2);
    const x = tensor([4, Number.NaN, 1, 3]);
    expect(median(x).item()).toBeNaN();
    expect(median(x, 0).indices.item()).toBe(1);
    expect(nanmedian(x).item()).toBe(3);
    expect(nanmedian(tensor([Number.NaN, Number.NaN])).item()).toBeNaN();
  });

  it("finds the element that appears most often, and the place of the last of its kind", () => {
    const { values, indices } = mode(tensor([3, 1, 2, 1, 2, 0]));
    expect([values.item(), indices.item()]).toEqual([1, 3]);
  });

  it("interpolates quantiles between elements", () => {
    const x = tensor([40, 10, 30, 20]);
    const at = (q: number, interpolation?: "lower" | "higher" | "midpoint" | "nearest"): number =>
      quantile(x, q, null, false, interpolation === undefined ? {} : { interpolation }).item();
    expect(at(0.5)).toBe(25);
    expect(at(0.9)).toBeCloseTo(37, 4);
    expect([at(0.4, "lower"), at(0.4, "higher"), at(0.4, "midpoint"), at(0.4, "nearest")]).toEqual([20, 30, 25, 20]);
  });

  it("says which places there are", () => {
    expect(() => topk(tensor([1, 2]), 3)).toThrow(/k is 3, and must be from 0 to 2/);
    expect(() => kthvalue(tensor([1, 2]), 0)).toThrow(/k is 0, and must be from 1 to 2/);
    expect(() => quantile(tensor([1, 2]), 1.5)).toThrow(/q must be from 0 to 1/);
  });
});
