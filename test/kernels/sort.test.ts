/** Sorting kernels against JavaScript's stable sort: whole rows and ranges of the order, ties, NaN and threads. */
import { describe, expect, it } from "vitest";
import { Opcode, SortPair } from "../../src/isa.js";
import { expectShares, lastFloats } from "./shares.js";
import { BUILDS, instantiate, instruction, type Machine } from "./support.js";
import { random } from "./views.js";

interface Order {
  readonly rows: number;
  readonly length: number;
  readonly first: number;
  readonly count: number;
  readonly float: boolean;
  readonly descending: boolean;
}

const THREADS = 3;

function words(machine: Machine, order: Order, out: { address: number }, input: { address: number }): number[] {
  const { rows, length, first, count, float, descending } = order;
  const bytes = 2 * SortPair.Bytes * Math.max(count, Math.min(length, SortPair.Few));
  const workspace = machine.allocate(THREADS * bytes);
  const sizes = [rows, length, first, count, Number(float), Number(descending)];
  return instruction(Opcode.Sort, [out.address, input.address, ...sizes, workspace, bytes]);
}

function expectedPlaces(row: readonly number[], { first, count, descending }: Order): number[] {
  const compare = (a: number, b: number): number => {
    if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
    return a < b ? -1 : a > b ? 1 : 0;
  };
  const sign = descending ? -1 : 1;
  const order = row.map((_, i) => i).sort((i, j) => sign * compare(row[i] as number, row[j] as number));
  return order.slice(first, first + count);
}

/** What rows are drawn from. */
const KINDS: readonly { name: string; float: boolean; draw(next: () => number): number }[] = [
  { name: "floats", float: true, draw: (next) => Math.fround((next() - 0.5) * 10 ** Math.floor(8 * next() - 4)) },
  {
    name: "floats with ties, NaN, infinities and zeros of both signs",
    float: true,
    draw: (next) => {
      const specials = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0];
      return next() < 0.4 ? (specials[Math.floor(5 * next())] as number) : Math.floor(5 * next()) - 2;
    },
  },
  { name: "equal floats", float: true, draw: () => 1.5 },
  { name: "whole numbers", float: false, draw: (next) => Math.floor((next() - 0.5) * 2 ** 32) },
  { name: "few whole numbers", float: false, draw: (next) => Math.floor(3 * next()) },
];

/** Lengths around a vector, and around the rows that are sorted by insertion. */
const LENGTHS = [1, 2, 3, 4, 5, 8, 31, 32, 33, 34, 100, 257, 1000];

/** Ranges of the order: all of it, its start, its end, one place, and places in the middle. */
function ranges(length: number): readonly (readonly [first: number, count: number])[] {
  const middle = Math.floor((length - 1) / 2);
  const all = [
    [0, length],
    [0, Math.min(length, 3)],
    [0, Math.min(length, 50)],
    [middle, 1],
    [length - 1, 1],
    [middle, Math.min(length - middle, 40)],
    [Math.max(0, length - 60), Math.min(length, 60)],
    [0, 0],
  ] as const;
  return all;
}

describe.each(BUILDS)("sorting on the %s build", (build) => {
  it.each(KINDS)("puts rows of $name in order, and any places of that order", ({ float, draw }) => {
    for (const length of LENGTHS) {
      for (const [first, count] of ranges(length)) {
        for (const descending of [false, true]) {
          const order: Order = { rows: 4, length, first, count, float, descending };
          const machine = instantiate(build);
          const next = random(length + first);
          const values = Array.from({ length: order.rows * length }, () => draw(next));
          const input = float ? machine.floats(values) : machine.ints(values);
          const out = machine.ints(order.rows * count);
          machine.run([words(machine, order, out, input)], THREADS);
          const expected = Array.from({ length: order.rows }, (_, r) =>
            expectedPlaces(values.slice(r * length, (r + 1) * length), order),
          ).flat();
          expect([...out.view], `${length} elements, ${count} from place ${first} on`).toEqual(expected);
        }
      }
    }
  });

  it("finds places of long rows", () => {
    const length = 20_001;
    const next = random(5);
    const values = Array.from({ length }, () => Math.fround(next() - 0.5));
    for (const [first, count] of [
      [10_000, 1],
      [7, 100],
      [0, length],
    ] as const) {
      const order: Order = { rows: 1, length, first, count, float: true, descending: false };
      const machine = instantiate(build);
      const input = machine.floats(values);
      const out = machine.ints(count);
      machine.run([words(machine, order, out, input)]);
      expect([...out.view]).toEqual(expectedPlaces(values, order));
    }
  });

  it("deals every row to one thread, and reads nothing past the last one", () => {
    for (const length of LENGTHS) {
      for (const [first, count] of ranges(length)) {
        const order: Order = { rows: 7, length, first, count, float: true, descending: false };
        const machine = instantiate(build);
        const input = lastFloats(machine, order.rows * length);
        const out = machine.ints(order.rows * count);
        expectShares(machine, words(machine, order, out, input), out, THREADS);
      }
    }
  });
});
