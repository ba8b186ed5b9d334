/** Reductions against a float64 reference: every operation, every path, any strides, any number of threads. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Layout, Opcode, ReduceOp } from "../../src/isa.js";
import { expectShares, lastFloats } from "./shares.js";
import { BUILDS, type Build, instantiate, instruction } from "./support.js";
import { contiguous, countOf, type Dim, extent, offsets, random } from "./views.js";

interface Operation {
  readonly name: string;
  readonly op: ReduceOp;
  readonly type: "f32" | "i32";
  readonly integerOut: boolean;
  reference(values: readonly number[]): number;
  /** Largest difference from the reference that the kernel's contract allows. */
  tolerance(values: readonly number[], result: number): number;
}

const ULP = 2 ** -24;
const sumOf = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0);

/** Largest (sign 1) or smallest (sign -1) value; NaN if there is one; `empty` of nothing. */
const extreme = (sign: number, empty: number) => (values: readonly number[]) =>
  values.reduce(
    (best, x) => (Number.isNaN(best) || Number.isNaN(x) ? Number.NaN : x * sign > best * sign ? x : best),
    empty,
  );

const argument = (sign: number) => (values: readonly number[]) => {
  const nan = values.findIndex(Number.isNaN);
  if (nan >= 0) return nan;
  return values.reduce((best, x, index) => (x * sign > (values[best] as number) * sign ? index : best), 0);
};

const exact = () => 0;
const floats = { type: "f32", integerOut: false } as const;
const integers = { type: "i32", integerOut: true } as const;
const OPERATIONS: readonly Operation[] = [
  {
    ...floats,
    name: "SumF32",
    op: ReduceOp.SumF32,
    reference: sumOf,
    tolerance: (values, result) => (1024 * sumOf(values.map(Math.abs)) + Math.abs(result)) * ULP,
  },
  {
    ...floats,
    name: "SquareSumF32",
    op: ReduceOp.SquareSumF32,
    reference: (values) => sumOf(values.map((x) => x * x)),
    tolerance: (_, result) => 1026 * result * ULP,
  },
  {
    ...floats,
    name: "ProdF32",
    op: ReduceOp.ProdF32,
    reference: (values) => values.reduce((product, x) => product * x, 1),
    tolerance: (values, result) => values.length * Math.abs(result) * ULP * 1.001 + 2 ** -149,
  },
  { ...floats, name: "MaxF32", op: ReduceOp.MaxF32, reference: extreme(1, -Infinity), tolerance: exact },
  { ...floats, name: "MinF32", op: ReduceOp.MinF32, reference: extreme(-1, Infinity), tolerance: exact },
  { ...integers, name: "SumI32", op: ReduceOp.SumI32, reference: (values) => sumOf(values) | 0, tolerance: exact },
  {
    ...integers,
    name: "ProdI32",
    op: ReduceOp.ProdI32,
    reference: (values) => values.reduce((product, x) => Math.imul(product, x), 1),
    tolerance: exact,
  },
  { ...integers, name: "MaxI32", op: ReduceOp.MaxI32, reference: extreme(1, -(2 ** 31)), tolerance: exact },
  { ...integers, name: "MinI32", op: ReduceOp.MinI32, reference: extreme(-1, 2 ** 31 - 1), tolerance: exact },
  { ...floats, name: "ArgMaxF32", op: ReduceOp.ArgMaxF32, integerOut: true, reference: argument(1), tolerance: exact },
  { ...floats, name: "ArgMinF32", op: ReduceOp.ArgMinF32, integerOut: true, reference: argument(-1), tolerance: exact },
  { ...integers, name: "ArgMaxI32", op: ReduceOp.ArgMaxI32, reference: argument(1), tolerance: exact },
  { ...integers, name: "ArgMinI32", op: ReduceOp.ArgMinI32, reference: argument(-1), tolerance: exact },
];

const sample = (operation: Operation, next: () => number) =>
  operation.type === "i32"
    ? Math.round(next() * 2000) - 1000
    : Math.fround(operation.op === ReduceOp.ProdF32 ? 0.9 + 0.2 * next() : 2 * next() - 1);

function reduceWords(
  { op }: Operation,
  out: number,
  input: number,
  kept: readonly Dim[],
  reduced: readonly Dim[],
): number[] {
  const dims = [...kept, ...reduced].flatMap(({ size, stride }) => [size, stride]);
  const counts = [kept.length, reduced.length, countOf(kept), countOf(reduced)];
  return instruction(Opcode.Reduce, [op, out, input, ...counts, ...dims]);
}

/**
 * Runs one reduction and returns the values of each output's elements beside the outputs. Only elements of the view
 * hold numbers: between them is `hole`, which would spoil the result of any operation that read it.
 */
function reduceOn(
  build: Build,
  operation: Operation,
  kept: readonly Dim[],
  reduced: readonly Dim[],
  value: (index: number) => number,
  threads = 1,
): { groups: number[][]; out: Float32Array | Int32Array } {
  const machine = instantiate(build);
  const keptOffsets = offsets(kept);
  const reducedOffsets = offsets(reduced);
  const { lowest, length } = extent([...kept, ...reduced]);
  const hole = operation.type === "f32" ? Number.NaN : operation.op === ReduceOp.MaxI32 ? 2 ** 31 - 1 : -(2 ** 31);
  const data = new Array<number>(length).fill(hole);
  let placed = 0;
  for (const k of keptOffsets) {
    for (const r of reducedOffsets) {
      const at = k + r - lowest;
      if (Object.is(data[at], hole)) data[at] = value(placed++);
    }
  }
  const input = operation.type === "f32" ? machine.floats(data) : machine.ints(data);
  const count = keptOffsets.length;
  const out = operation.integerOut ? machine.ints(count) : machine.floats(count);
  const words = reduceWords(operation, out.address, input.address - lowest * Layout.ElementBytes, kept, reduced);
  expect(machine.run([words], threads)).toBe(0);
  const groups = keptOffsets.map((k) => reducedOffsets.map((r) => data[k + r - lowest] as number));
  return { groups, out: out.view.slice() };
}

function expectReduced(operation: Operation, groups: readonly number[][], out: ArrayLike<number>): void {
  for (const [index, values] of groups.entries()) {
    const truth = operation.reference(values);
    const allowed = operation.tolerance(values, truth);
    const got = out[index] as number;
    if (!Object.is(got + 0, truth + 0) && !(Math.abs(got - truth) <= allowed)) {
      expect.fail(`${operation.name}, output ${index}: ${got}, should be ${truth} within ${allowed}`);
    }
  }
}

function check(build: Build, operation: Operation, kept: readonly Dim[], reduced: readonly Dim[], threads = 1): void {
  const next = random(countOf(kept) * 31 + countOf(reduced));
  const { groups, out } = reduceOn(build, operation, kept, reduced, () => sample(operation, next), threads);
  expectReduced(operation, groups, out);
}

const bits = (view: Float32Array | Int32Array) => new Uint32Array(view.buffer, view.byteOffset, view.length);
const named = (name: string) => OPERATIONS.find((operation) => operation.name === name) as Operation;

describe.each(BUILDS)("reduce, %s build", (build) => {
  describe.each(OPERATIONS)("$name", (operation) => {
    // Around the 4 lanes of a vector, the 32 of a full iteration and the 4096 of a chunk.
    const lengths = [1, 2, 3, 4, 5, 7, 8, 15, 31, 32, 33, 36, 63, 64, 100, 127, 129, 4095, 4096, 4097, 8195, 12289];
    it.each(lengths)("folds %i adjacent elements into one", (length) => {
      check(build, operation, [], contiguous(length));
    });

    it.each([1, 3, 4, 8, 10, 33])("folds each row of %i elements", (length) => {
      const [row, column] = contiguous(13, length) as [Dim, Dim];
      check(build, operation, [row], [column]);
    });

    // Around the 4 lanes, the 16 columns dealt together and the 512 of a block; rows around the 4 of a pass and 256.
    it.each([
      [16, 32],
      [1, 4],
      [2, 5],
      [3, 15],
      [4, 16],
      [5, 17],
      [7, 1],
      [9, 3],
      [255, 6],
      [256, 18],
      [257, 20],
      [1030, 7],
      [6, 511],
      [6, 512],
      [5, 513],
      [4, 1100],
    ])("folds %i rows of %i columns down the columns", (rows, columns) => {
      const [row, column] = contiguous(rows, columns) as [Dim, Dim];
      check(build, operation, [column], [row]);
    });

    it("folds outer and inner dimensions around kept ones", () => {
      const [a, b, c, d] = contiguous(5, 6, 7, 9) as [Dim, Dim, Dim, Dim];
      check(build, operation, [b], [a, c, d]);
      check(build, operation, [b, d], [a, c]);
      check(build, operation, [a, c], [b, d]);
      check(build, operation, [d, a], [c, b]);
    });

    it("folds strided, reversed and repeated elements", () => {
      check(build, operation, [{ size: 11, stride: 3 }], [{ size: 9, stride: 40 }]);
      check(build, operation, [{ size: 11, stride: 1 }], [{ size: 9, stride: -40 }]);
      check(build, operation, [{ size: 11, stride: -30 }], [{ size: 23, stride: -1 }]);
      check(build, operation, [{ size: 700, stride: 0 }], [{ size: 5, stride: 7 }]);
      check(build, operation, [{ size: 6, stride: 1 }], [{ size: 300, stride: 0 }]);
      check(build, operation, [{ size: 8, stride: 1 }], [{ size: 3, stride: 1 }]);
    });

    it("reduces over no dimension: a copy", () => {
      check(build, operation, contiguous(3, 10), []);
      check(build, operation, [], []);
    });

    it("gives the identity over nothing, and writes nothing where nothing is kept", () => {
      for (const kept of [contiguous(1), contiguous(37), contiguous(3, 2)]) {
        check(build, operation, kept, contiguous(0));
        check(build, operation, kept, contiguous(4, 0));
        check(build, operation, kept, contiguous(0, 4));
      }
      check(build, operation, contiguous(0, 3), contiguous(5));
    });

    it("gives the same bits on any number of threads", () => {
      const [a, b, c] = contiguous(3, 150, 38) as [Dim, Dim, Dim];
      for (const [kept, reduced] of [
        [[a, b], [c]],
        [[a, c], [b]],
        [[c], [a, b]],
        [[c, b], [a]],
        [[], [a, b, c]],
      ] as const) {
        const runs = [1, 2, 3].map((threads) => {
          const next = random(7);
          return bits(reduceOn(build, operation, kept, reduced, () => sample(operation, next), threads).out);
        });
        expect(runs[1]).toEqual(runs[0]);
        expect(runs[2]).toEqual(runs[0]);
      }
    });

    it.each([2, 3])("deals every output to one of %i threads", (threads) => {
      const [a, b, c] = contiguous(3, 50, 38) as [Dim, Dim, Dim];
      for (const [kept, reduced] of [
        [[a, b], [c]],
        [[a, c], [b]],
        [[b, a], [c]],
        [[b, a, c], []],
        [[], [a, b, c]],
      ] as const) {
        const machine = instantiate(build);
        const input = machine.ints(countOf([a, b, c]));
        const out = machine.ints(countOf(kept));
        expectShares(machine, reduceWords(operation, out.address, input.address, kept, reduced), out, threads);
      }
    });

    it("reads nothing past the end of its input", () => {
      for (const length of [1, 3, 5, 9, 35, 71, 4097, 8197]) {
        const machine = instantiate(build);
        const out = machine.ints(length * 3);
        const input = lastFloats(machine, length * 3);
        // The last element is the least or the greatest, so that the arg- variants look for it there.
        const last = operation.name.includes("Min") ? 0 : length * 3;
        for (const at of input.view.keys()) input.view[at] = Math.abs(last - (length * 3 - 1 - at));
        const [row, column] = contiguous(3, length) as [Dim, Dim];
        for (const [kept, reduced] of [
          [[row], [column]],
          [[column], [row]],
          [[], [row, column]],
        ] as const) {
          expect(machine.run([reduceWords(operation, out.address, input.address, kept, reduced)])).toBe(0);
        }
      }
    });

    it("gives a short row the same bits alone and among others", () => {
      for (const length of [8, 9, 10, 11, 15, 31, 32, 33, 63, 64, 65]) {
        const next = random(length);
        const values = Array.from({ length: 11 * length }, () => sample(operation, next));
        const [row, column] = contiguous(11, length) as [Dim, Dim];
        const { groups, out } = reduceOn(build, operation, [row], [column], (i) => values[i] as number, 2);
        expectReduced(operation, groups, out);
        const alone = groups.map((_, r) => {
          const value = (i: number) => values[r * length + i] as number;
          return reduceOn(build, operation, [{ size: 1, stride: length }], [column], value).out[0];
        });
        expect([...out]).toEqual(alone);
      }
    });

    it("agrees with the reference on any view", () => {
      const dim = fc.record({ size: fc.integer({ min: 0, max: 9 }), stride: fc.integer({ min: -20, max: 20 }) });
      const dims = fc.array(dim, { maxLength: 3 });
      const thread = fc.integer({ min: 1, max: 3 });
      fc.assert(
        fc.property(dims, dims, thread, (kept, reduced, threads) => check(build, operation, kept, reduced, threads)),
        { seed: 1, numRuns: 200 },
      );
    });
  });

  it("keeps the digits of a long sum", () => {
    const [rows, columns] = [1 << 17, 5];
    const truth = rows * Math.fround(0.1);
    const along = reduceOn(build, named("SumF32"), [], contiguous(rows), () => 0.1).out;
    const [row, column] = contiguous(rows, columns) as [Dim, Dim];
    const down = reduceOn(build, named("SumF32"), [column], [row], () => 0.1).out;
    for (const sum of [...along, ...down]) expect(Math.abs(sum / truth - 1)).toBeLessThan(5e-7);
  });

  it("wraps sums and products of integers", () => {
    const big = 2 ** 31 - 1;
    expect(reduceOn(build, named("SumI32"), [], contiguous(7), () => big).out[0]).toBe((7 * big) | 0);
    expect(reduceOn(build, named("ProdI32"), [], contiguous(9), () => 12345).out[0]).toBe(
      new Array(9).fill(12345).reduce((product, x) => Math.imul(product, x), 1),
    );
  });

  describe("NaN, infinities and zeros", () => {
    const [row, column] = contiguous(9, 41) as [Dim, Dim];
    const layouts = [
      { layout: "along rows", kept: [row], reduced: [column] },
      { layout: "down columns", kept: [column], reduced: [row] },
      { layout: "strided", kept: [{ size: 5, stride: 2 }], reduced: [{ size: 30, stride: 11 }] },
    ];
    const nanAware = ["MaxF32", "MinF32", "ArgMaxF32", "ArgMinF32"].map(named);

    it.each(layouts)("carries NaN to the result, or the first one's index, $layout", ({ kept, reduced }) => {
      for (const operation of nanAware) {
        for (const every of [1, 5, 17, 50]) {
          const next = random(every);
          const value = (index: number) => (index % every === every - 1 ? Number.NaN : 2 * next() - 1);
          const rounded = (index: number) => Math.fround(value(index));
          const { groups, out } = reduceOn(build, operation, kept, reduced, rounded);
          expectReduced(operation, groups, out);
        }
      }
    });

    it.each(layouts)("takes infinities as the extremes that they are, $layout", ({ kept, reduced }) => {
      for (const operation of nanAware) {
        for (const infinity of [Infinity, -Infinity]) {
          for (const every of [1, 3, 29]) {
            const value = (index: number) => (index % every === 0 ? infinity : index % 7);
            const { groups, out } = reduceOn(build, operation, kept, reduced, value);
            expectReduced(operation, groups, out);
          }
        }
      }
    });

    it.each(layouts)("picks the first of equals, $layout", ({ kept, reduced }) => {
      for (const operation of OPERATIONS.filter(({ name }) => name.startsWith("Arg"))) {
        for (const values of [1, 2, 5]) {
          const { groups, out } = reduceOn(build, operation, kept, reduced, (index) => (index * 7919) % values);
          expectReduced(operation, groups, out);
        }
      }
    });

    it("finds a NaN behind a whole chunk of numbers", () => {
      for (const operation of nanAware) {
        const value = (index: number) => (index === 9001 ? Number.NaN : index % 97);
        const { groups, out } = reduceOn(build, operation, [], contiguous(10_000), value);
        expectReduced(operation, groups, out);
      }
    });

    it("sums negative zeros to +0", () => {
      for (const { kept, reduced } of layouts) {
        for (const x of reduceOn(build, named("SumF32"), kept, reduced, () => -0).out) expect(x).toBe(0);
      }
    });

    it("lets inf - inf be NaN in a sum", () => {
      const value = (index: number) => (index === 3 ? Infinity : index === 200 ? -Infinity : 1);
      expect(reduceOn(build, named("SumF32"), [], contiguous(201), value).out[0]).toBeNaN();
      expect(reduceOn(build, named("SumF32"), [], contiguous(200), value).out[0]).toBe(Infinity);
    });
  });
});
