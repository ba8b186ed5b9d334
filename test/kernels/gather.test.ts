/** Gather and scatter against plain loops: rows and single elements, repeated indices, and indices that do not exist. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Layout, Opcode, ScatterOp, StatusField } from "../../src/isa.js";
import { expectShares, lastFloats } from "./shares.js";
import { BUILDS, type Build, instantiate, instruction } from "./support.js";
import { extent, random } from "./views.js";

interface Shape {
  readonly outer: number;
  readonly axis: number;
  readonly picked: number;
  readonly inner: number;
}

/** Strides of the index along outer, picked and inner. */
type IndexStrides = readonly [number, number, number];

interface Case extends Shape {
  readonly strides: IndexStrides;
}

const rowStrides: IndexStrides = [0, 1, 0];
const elementStrides = ({ picked, inner }: Shape): IndexStrides => [picked * inner, inner, 1];

const NAN = Number.NaN;

/** How each operation combines what is there with what comes, in f32. */
const COMBINE: readonly { name: string; op: ScatterOp; combine: (a: number, b: number) => number }[] = [
  { name: "Add", op: ScatterOp.Add, combine: (a, b) => Math.fround(a + b) },
  { name: "Replace", op: ScatterOp.Replace, combine: (_, b) => b },
  { name: "Multiply", op: ScatterOp.Multiply, combine: (a, b) => Math.fround(a * b) },
  { name: "Maximum", op: ScatterOp.Maximum, combine: (a, b) => Math.max(a, b) },
  { name: "Minimum", op: ScatterOp.Minimum, combine: (a, b) => Math.min(a, b) },
  { name: "AddI32", op: ScatterOp.AddI32, combine: (a, b) => (a + b) | 0 },
];

/** Calls `visit` for every (o, j, i) in row-major order with its place in the index and in [outer, picked, inner]. */
function walk(
  { outer, picked, inner, strides }: Case,
  visit: (o: number, i: number, at: number, item: number) => void,
) {
  let item = 0;
  for (let o = 0; o < outer; o++) {
    for (let j = 0; j < picked; j++) {
      for (let i = 0; i < inner; i++) visit(o, i, o * strides[0] + j * strides[1] + i * strides[2], item++);
    }
  }
}

/** Places an index with random entries below `axis` and returns it with the offset of its element (0, 0, 0). */
function placeIndex(build: Build, shape: Case, next: () => number) {
  const { lowest, length } = extent([
    { size: shape.outer, stride: shape.strides[0] },
    { size: shape.picked, stride: shape.strides[1] },
    { size: shape.inner, stride: shape.strides[2] },
  ]);
  const machine = instantiate(build);
  const index = machine.ints(Array.from({ length }, () => Math.floor(next() * shape.axis)));
  return { machine, index, zero: -lowest };
}

const fieldsOf = (out: number, source: number, index: number, { outer, axis, picked, inner, strides }: Case) => [
  ...[out, source, index],
  ...[outer, axis, picked, inner],
  ...strides,
];

function checkGather(build: Build, shape: Case, threads: number): void {
  const next = random(shape.outer * 7 + shape.picked * 5 + shape.inner);
  const { machine, index, zero } = placeIndex(build, shape, next);
  const source = machine.floats(Array.from({ length: shape.outer * shape.axis * shape.inner }, next));
  const count = shape.outer * shape.picked * shape.inner;
  const out = machine.floats(count);
  const expected = new Float32Array(count);
  walk(shape, (o, i, at, item) => {
    const row = index.view[zero + at] as number;
    expected[item] = source.view[(o * shape.axis + row) * shape.inner + i] as number;
  });
  const fields = fieldsOf(out.address, source.address, index.address + zero * Layout.ElementBytes, shape);
  expect(machine.run([instruction(Opcode.Gather, fields)], threads)).toBe(0);
  expect(out.view).toEqual(expected);
}

function checkScatter(build: Build, { op, combine }: (typeof COMBINE)[number], shape: Case, threads: number): void {
  const next = random(shape.outer * 7 + shape.picked * 5 + shape.inner);
  const { machine, index, zero } = placeIndex(build, shape, next);
  const sample = () => (op === ScatterOp.AddI32 ? Math.floor(next() * 2 ** 32) - 2 ** 31 : 2 * next() - 1);
  const place = (length: number) => {
    const values = Array.from({ length }, sample);
    return op === ScatterOp.AddI32 ? machine.ints(values) : machine.floats(values);
  };
  const source = place(shape.outer * shape.picked * shape.inner);
  const out = place(shape.outer * shape.axis * shape.inner);
  const expected = out.view.slice();
  walk(shape, (o, i, at, item) => {
    const target = (o * shape.axis + (index.view[zero + at] as number)) * shape.inner + i;
    expected[target] = combine(expected[target] as number, source.view[item] as number);
  });
  const fields = fieldsOf(out.address, source.address, index.address + zero * Layout.ElementBytes, shape);
  expect(machine.run([instruction(Opcode.Scatter, [...fields, op])], threads)).toBe(0);
  expect(out.view).toEqual(expected);
}

/** Whole rows, with lengths around the 4 lanes of a vector and the 16 elements that are dealt together. */
const ROWS: readonly Case[] = [1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 64, 100].flatMap((inner) => [
  { outer: 1, axis: 7, picked: 20, inner, strides: rowStrides },
  { outer: 3, axis: 5, picked: 4, inner, strides: [4, 1, 0] as const },
]);
const ELEMENTS: readonly Case[] = [
  { outer: 1, axis: 9, picked: 50, inner: 1 },
  { outer: 40, axis: 10, picked: 1, inner: 1 },
  { outer: 2, axis: 6, picked: 11, inner: 13 },
  { outer: 3, axis: 4, picked: 5, inner: 32 },
].map((shape) => ({ ...shape, strides: elementStrides(shape) }));
const EMPTY: readonly Case[] = [
  { outer: 0, axis: 3, picked: 2, inner: 4, strides: rowStrides },
  { outer: 2, axis: 3, picked: 0, inner: 4, strides: rowStrides },
  { outer: 2, axis: 3, picked: 2, inner: 0, strides: rowStrides },
  { outer: 2, axis: 0, picked: 0, inner: 4, strides: rowStrides },
];

const stride = fc.integer({ min: -40, max: 40 });
const anyCase: fc.Arbitrary<Case> = fc.record({
  outer: fc.integer({ min: 0, max: 5 }),
  axis: fc.integer({ min: 1, max: 9 }),
  picked: fc.integer({ min: 0, max: 9 }),
  inner: fc.integer({ min: 0, max: 40 }),
  strides: fc.tuple(stride, stride, fc.oneof(fc.constant(0), stride)),
});
const anyThreads = fc.integer({ min: 1, max: 3 });

describe.each(BUILDS)("gather, %s build", (build) => {
  it.each([1, 2, 3])("picks rows, elements and nothing on %i threads", (threads) => {
    for (const shape of [...ROWS, ...ELEMENTS, ...EMPTY]) checkGather(build, shape, threads);
  });

  it("agrees with a plain loop for any shape and index strides", () => {
    fc.assert(
      fc.property(anyCase, anyThreads, (shape, threads) => checkGather(build, shape, threads)),
      { seed: 1, numRuns: 300 },
    );
  });

  it.each([2, 3])("deals every element to one of %i threads, and reads nothing past the last row", (threads) => {
    for (const shape of [...ROWS, ...ELEMENTS]) {
      const { machine, index, zero } = placeIndex(build, shape, () => 0.999);
      const source = lastFloats(machine, shape.outer * shape.axis * shape.inner);
      const out = machine.floats(shape.outer * shape.picked * shape.inner);
      const fields = fieldsOf(out.address, source.address, index.address + zero * Layout.ElementBytes, shape);
      expectShares(machine, instruction(Opcode.Gather, fields), out, threads);
    }
  });

  it("keeps the bits of integers and NaN", () => {
    const machine = instantiate(build);
    const source = machine.ints([0x7fc00001, -1, 0x7f800001]);
    const index = machine.ints([2, 0, 1, 2]);
    const out = machine.ints(4);
    const shape = { outer: 1, axis: 3, picked: 4, inner: 1, strides: rowStrides };
    machine.run([instruction(Opcode.Gather, fieldsOf(out.address, source.address, index.address, shape))]);
    expect([...out.view]).toEqual([0x7f800001, 0x7fc00001, -1, 0x7f800001]);
  });
});

describe.each(BUILDS)("scatter, %s build", (build) => {
  describe.each(COMBINE)("$name", (operation) => {
    it.each([1, 2, 3])("sends rows, elements and nothing on %i threads, in rising order of j", (threads) => {
      for (const shape of [...ROWS, ...ELEMENTS, ...EMPTY]) checkScatter(build, operation, shape, threads);
    });

    it("agrees with a plain loop for any shape and index strides", () => {
      fc.assert(
        fc.property(anyCase, anyThreads, (shape, threads) => checkScatter(build, operation, shape, threads)),
        { seed: 1, numRuns: 150 },
      );
    });
  });

  it("carries NaN through Maximum and Minimum, and orders -0 below +0", () => {
    const sides = [NAN, 1, -0, 0, -Infinity];
    for (const [op, pick] of [
      [ScatterOp.Maximum, Math.max],
      [ScatterOp.Minimum, Math.min],
    ] as const) {
      for (const inner of [1, 6]) {
        const machine = instantiate(build);
        const pairs = sides.flatMap((a) => sides.map((b) => [a, b] as const));
        const rows = (side: 0 | 1) => pairs.flatMap((pair) => new Array<number>(inner).fill(pair[side]));
        const out = machine.floats(rows(0));
        const source = machine.floats(rows(1));
        const index = machine.ints(pairs.map((_, i) => i));
        const shape = { outer: 1, axis: pairs.length, picked: pairs.length, inner, strides: rowStrides };
        machine.run([
          instruction(Opcode.Scatter, [...fieldsOf(out.address, source.address, index.address, shape), op]),
        ]);
        const expected = pairs.flatMap(([a, b]) => new Array<number>(inner).fill(pick(a, b)));
        expect([...out.view]).toEqual(expected);
      }
    }
  });
});

describe.each(BUILDS)("an index out of range, %s build", (build) => {
  const shapes: readonly Case[] = [
    { outer: 2, axis: 5, picked: 9, inner: 6, strides: [9, 1, 0] },
    { outer: 2, axis: 5, picked: 9, inner: 6, strides: [54, 6, 1] },
    { outer: 1, axis: 5, picked: 70, inner: 1, strides: [0, 1, 0] },
    { outer: 70, axis: 5, picked: 1, inner: 1, strides: [1, 0, 0] },
  ];

  it.each([5, -1, 2 ** 31 - 1, -(2 ** 31)])(
    "%i stops the program before anything is written, on every thread",
    (bad) => {
      for (const opcode of [Opcode.Gather, Opcode.Scatter]) {
        for (const shape of shapes) {
          for (const place of [0, 1, 13, 17]) {
            const machine = instantiate(build);
            const count = shape.outer * shape.picked * shape.inner;
            const index = machine.ints(new Array(count).fill(1));
            index.view[place] = bad;
            const source = machine.floats(new Array(shape.outer * 9 * shape.inner + count).fill(1));
            const out = machine.floats(new Array(shape.outer * 9 * shape.inner + count).fill(2));
            const after = machine.ints([7]);
            const fields = fieldsOf(out.address, source.address, index.address, shape);
            const program = [
              instruction(Opcode.Fill, [out.address, 0, 0]),
              instruction(opcode, opcode === Opcode.Scatter ? [...fields, ScatterOp.Add] : fields),
              instruction(Opcode.Fill, [after.address, 1, 8]),
            ];
            expect(machine.run(program, 3)).toBe(1);
            expect(machine.status()[StatusField.Value]).toBe(bad);
            expect(machine.status()[StatusField.Instruction]).toBe(4 * Layout.ElementBytes);
            expect(out.view.every((x) => x === 2)).toBe(true);
            expect([...after.view]).toEqual([7]);
          }
        }
      }
    },
  );

  it("names the first of several", () => {
    const machine = instantiate(build);
    const index = machine.ints([0, 1, 40, 2, -3, 50]);
    const source = machine.floats(10);
    const out = machine.floats(10);
    const shape = { outer: 1, axis: 4, picked: 6, inner: 1, strides: rowStrides };
    expect(machine.run([instruction(Opcode.Gather, fieldsOf(out.address, source.address, index.address, shape))])).toBe(
      1,
    );
    expect(machine.status()[StatusField.Value]).toBe(40);
  });

  it("is any index when the axis is empty", () => {
    const machine = instantiate(build);
    const index = machine.ints([0]);
    const source = machine.floats(1);
    const out = machine.floats(1);
    const shape = { outer: 1, axis: 0, picked: 1, inner: 1, strides: rowStrides };
    expect(machine.run([instruction(Opcode.Gather, fieldsOf(out.address, source.address, index.address, shape))])).toBe(
      1,
    );
    expect(machine.status()[StatusField.Value]).toBe(0);
  });
});
