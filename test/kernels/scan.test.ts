/** Scans against float64: rows and columns, both directions, threads, NaN and signed zeros. */
import { describe, expect, it } from "vitest";
import { Opcode, ScanOp } from "../../src/isa.js";
import { expectShares, lastFloats } from "./shares.js";
import { BUILDS, instantiate, instruction } from "./support.js";
import { random } from "./views.js";

interface Shape {
  readonly outer: number;
  readonly steps: number;
  readonly inner: number;
}

/** Rows around the 4 elements of a turn; columns around the 4 of a vector, and the 512 that are scanned together. */
const SHAPES: readonly Shape[] = [
  ...[1, 2, 3, 4, 5, 7, 8, 9, 31, 100, 1025].map((steps) => ({ outer: 3, steps, inner: 1 })),
  ...[2, 3, 4, 5, 7, 8, 17, 64, 511, 512, 513, 700].map((inner) => ({ outer: 2, steps: 6, inner })),
  { outer: 40, steps: 1, inner: 1 },
  { outer: 0, steps: 3, inner: 2 },
  { outer: 2, steps: 0, inner: 2 },
  { outer: 2, steps: 3, inner: 0 },
];

const sizeOf = ({ outer, steps, inner }: Shape): number => outer * steps * inner;

/** The elements of every column in the order of the scan, as positions. */
function columns({ outer, steps, inner }: Shape, backwards: boolean): number[][] {
  return Array.from({ length: outer * inner }, (_, c) => {
    const start = Math.floor(c / inner) * steps * inner + (c % inner);
    return Array.from({ length: steps }, (_, j) => start + (backwards ? steps - 1 - j : j) * inner);
  });
}

type Placed = { readonly address: number };

function words(op: ScanOp, out: Placed, input: Placed, factors: Placed, shape: Shape, backwards: boolean): number[] {
  const sizes = [shape.outer, shape.steps, shape.inner, Number(backwards)];
  return instruction(Opcode.Scan, [op, out.address, input.address, factors.address, ...sizes]);
}

type Combine = (state: number, x: number, factor: number) => number;

const FLOATS: readonly { name: string; op: ScanOp; start: number; combine: Combine }[] = [
  { name: "sum", op: ScanOp.SumF32, start: 0, combine: (s, x) => s + x },
  { name: "product", op: ScanOp.ProdF32, start: 1, combine: (s, x) => s * x },
  { name: "recurrence", op: ScanOp.LinearF32, start: 0, combine: (s, x, factor) => factor * s + x },
];

const INTEGERS: readonly { name: string; op: ScanOp; start: number; combine: Combine }[] = [
  { name: "sum", op: ScanOp.SumI32, start: 0, combine: (s, x) => (s + x) | 0 },
  { name: "product", op: ScanOp.ProdI32, start: 1, combine: Math.imul },
];

const EXTREMES = [
  { name: "maximum of f32", op: ScanOp.MaxIndexF32, sign: 1, float: true },
  { name: "minimum of f32", op: ScanOp.MinIndexF32, sign: -1, float: true },
  { name: "maximum of i32", op: ScanOp.MaxIndexI32, sign: 1, float: false },
  { name: "minimum of i32", op: ScanOp.MinIndexI32, sign: -1, float: false },
] as const;

describe.each(BUILDS)("scans on the %s build", (build) => {
  describe.each([false, true])("backwards: %s", (backwards) => {
    it.each(FLOATS)("round the $name of every prefix once", ({ op, start, combine }) => {
      for (const shape of SHAPES) {
        for (const threads of [1, 2, 3]) {
          const machine = instantiate(build);
          const next = random(shape.inner + shape.steps);
          const draw = () => machine.floats(Array.from({ length: sizeOf(shape) }, () => 2.4 * next() - 1.2));
          const [input, factors] = [draw(), draw()];
          const out = machine.floats(sizeOf(shape));
          machine.run([words(op, out, input, factors, shape, backwards)], threads);
          for (const column of columns(shape, backwards)) {
            let state = start;
            let terms = Math.abs(start);
            for (const at of column) {
              const x = input.view[at] as number;
              state = combine(state, x, factors.view[at] as number);
              terms += Math.abs(x);
              // One rounding to f32, and those of f64 before it.
              const bound = Math.abs(state) * 2 ** -24 + column.length * terms * 2 ** -50;
              expect(Math.abs((out.view[at] as number) - state)).toBeLessThanOrEqual(bound);
            }
          }
        }
      }
    });

    it.each(INTEGERS)("wrap the $name of whole numbers", ({ op, start, combine }) => {
      for (const shape of SHAPES) {
        const machine = instantiate(build);
        const next = random(shape.inner + shape.steps);
        const input = machine.ints(Array.from({ length: sizeOf(shape) }, () => Math.floor((next() - 0.5) * 2 ** 32)));
        const out = machine.ints(sizeOf(shape));
        machine.run([words(op, out, input, input, shape, backwards)], 2);
        const expected = new Int32Array(sizeOf(shape));
        for (const column of columns(shape, backwards)) {
          let state = start;
          for (const at of column) {
            state = combine(state, input.view[at] as number, 0);
            expected[at] = state;
          }
        }
        expect(out.view).toEqual(expected);
      }
    });
  });

  it.each(EXTREMES)("name the last $name so far, and the last NaN", ({ op, sign, float }) => {
    const specials = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0];
    for (const shape of SHAPES) {
      const machine = instantiate(build);
      const next = random(shape.inner + shape.steps);
      const number = (): number =>
        float && next() < 0.1 ? (specials[Math.floor(next() * 5)] as number) : Math.floor(next() * 9) - 4;
      const values = Array.from({ length: sizeOf(shape) }, number);
      const input = float ? machine.floats(values) : machine.ints(values);
      const out = machine.ints(sizeOf(shape));
      machine.run([words(op, out, input, input, shape, false)], 2);
      const expected = new Int32Array(sizeOf(shape));
      for (const column of columns(shape, false)) {
        let best = 0;
        column.forEach((at, j) => {
          const [x, y] = [values[at] as number, values[column[best] as number] as number];
          if (Number.isNaN(x) || sign * x >= sign * y) best = j;
          expected[at] = best;
        });
      }
      expect(out.view).toEqual(expected);
    }
  });

  it("sum a long row to within one rounding", () => {
    const machine = instantiate(build);
    const input = machine.floats(new Array<number>(100_003).fill(0.1));
    const out = machine.floats(input.view.length);
    machine.run([words(ScanOp.SumF32, out, input, input, { outer: 1, steps: input.view.length, inner: 1 }, false)]);
    const tenth = input.view[0] as number;
    expect(out.view.every((y, i) => Math.abs(y - tenth * (i + 1)) <= tenth * (i + 1) * 2 ** -24)).toBe(true);
  });

  it("deal every column to one thread, and read nothing past the last element", () => {
    for (const shape of SHAPES.filter((shape) => sizeOf(shape) > 0)) {
      const machine = instantiate(build);
      const input = lastFloats(machine, sizeOf(shape));
      const out = machine.floats(sizeOf(shape));
      expectShares(machine, words(ScanOp.LinearF32, out, input, input, shape, true), out, 3);
    }
  });
});
