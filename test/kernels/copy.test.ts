/** Copies and fills against a plain loop: any strides, every word of the destination's surroundings left alone. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Layout, Opcode } from "../../src/isa.js";
import { expectShares, lastFloats } from "./shares.js";
import { BUILDS, type Build, instantiate, instruction } from "./support.js";
import { extent, offsets } from "./views.js";

interface CopyDim {
  readonly size: number;
  readonly to: number;
  readonly from: number;
}

const UNTOUCHED = -77;

/** Copies on each of `threads` threads, then compares the whole destination buffer, holes and margins included. */
function check(build: Build, dims: readonly CopyDim[], threads = 1): void {
  const machine = instantiate(build);
  const toDims = dims.map(({ size, to }) => ({ size, stride: to }));
  const fromDims = dims.map(({ size, from }) => ({ size, stride: from }));
  const to = extent(toDims);
  const from = extent(fromDims);
  const margin = 3;
  const source = machine.ints(Array.from({ length: from.length }, (_, i) => i + 1));
  const destination = machine.ints(new Array(to.length + 2 * margin).fill(UNTOUCHED));
  const expected = destination.view.slice();
  const fromOffsets = offsets(fromDims);
  for (const [i, offset] of offsets(toDims).entries()) {
    expected[offset - to.lowest + margin] = source.view[(fromOffsets[i] as number) - from.lowest] as number;
  }
  const words = [
    destination.address + (margin - to.lowest) * Layout.ElementBytes,
    source.address - from.lowest * Layout.ElementBytes,
    dims.length,
    ...dims.flatMap((dim) => [dim.size, dim.to, dim.from]),
  ];
  expect(machine.run([instruction(Opcode.Copy, words)], threads)).toBe(0);
  const wrong = destination.view.findIndex((x, i) => x !== expected[i]);
  if (wrong >= 0) {
    const shape = dims.map(({ size, to, from }) => `${size}:${to}←${from}`).join(" ");
    expect.fail(`copy [${shape}]: word ${wrong} is ${destination.view[wrong]}, should be ${expected[wrong]}`);
  }
}

describe.each(BUILDS)("copy, %s build", (build) => {
  // Around the 4 lanes of a vector, the 16 words of a line and the run that is long enough for memory.copy.
  it.each([0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 19, 31, 33, 64, 67, 1000, 8191, 8192, 8195])(
    "copies a run of %i words",
    (size) => {
      for (const threads of [1, 2, 3]) check(build, [{ size, to: 1, from: 1 }], threads);
    },
  );

  it("copies one word when there are no dimensions", () => {
    check(build, []);
    check(build, [], 3);
  });

  it.each([1, 3, 4, 5, 16, 21, 64])("copies rows of %i words into the middle of wider ones", (size) => {
    const rows = [
      { size: 7, to: size + 5, from: size + 2 },
      { size, to: 1, from: 1 },
    ];
    for (const threads of [1, 2, 3]) check(build, rows, threads);
  });

  // Around the 4×4 tile and the 16 columns of a band.
  const sides = [1, 2, 3, 4, 5, 8, 15, 16, 17, 20, 33, 50];
  it.each(sides)("transposes matrices with %i rows", (rows) => {
    for (const columns of sides) {
      const dims = [
        { size: rows, to: columns + 1, from: 1 },
        { size: columns, to: 1, from: rows + 2 },
      ];
      for (const threads of [1, 2, 3]) check(build, dims, threads);
      check(build, dims.toReversed());
    }
  });

  it("transposes the matrices of a batch, and other permutations", () => {
    const batch = [
      { size: 3, to: 20 * 18, from: 20 * 18 },
      { size: 20, to: 18, from: 1 },
      { size: 18, to: 1, from: 20 },
    ];
    const heads = [
      { size: 2, to: 5 * 6 * 8, from: 5 * 6 * 8 },
      { size: 6, to: 5 * 8, from: 8 },
      { size: 5, to: 8, from: 6 * 8 },
      { size: 8, to: 1, from: 1 },
    ];
    for (const threads of [1, 2, 3]) {
      check(build, batch, threads);
      check(build, heads, threads);
    }
  });

  it("repeats words and rows where a source stride is zero", () => {
    for (const size of [1, 4, 6, 37]) {
      check(build, [{ size, to: 1, from: 0 }], 2);
      check(build, [
        { size: 5, to: size, from: 0 },
        { size, to: 1, from: 1 },
      ]);
      check(build, [
        { size: 5, to: size, from: 1 },
        { size, to: 1, from: 0 },
      ]);
    }
  });

  it("reverses, skips and interleaves", () => {
    check(build, [{ size: 29, to: 1, from: -1 }], 2);
    check(build, [{ size: 29, to: -1, from: 1 }], 2);
    check(build, [{ size: 29, to: 2, from: 3 }], 3);
    check(build, [
      { size: 9, to: -30, from: 1 },
      { size: 10, to: -3, from: -9 },
    ]);
  });

  it("agrees with a plain loop on any view, and writes nothing else", () => {
    // Strides of a destination without overlaps: its dimensions in some order, each beyond the reach of those inside.
    const dim = fc.record({
      size: fc.integer({ min: 0, max: 20 }),
      gap: fc.integer({ min: 0, max: 2 }),
      order: fc.nat(),
      flip: fc.integer({ min: 0, max: 5 }).map((x) => (x === 0 ? -1 : 1)),
      from: fc.oneof(fc.constantFrom(0, 1, -1), fc.integer({ min: -30, max: 30 })),
    });
    const view = fc.array(dim, { maxLength: 4 }).map((dims) => {
      let stride = 1;
      const strides = new Map<number, number>();
      for (const [at, { size, gap, flip }] of [...dims.entries()].sort(([, a], [, b]) => a.order - b.order)) {
        stride += gap;
        strides.set(at, stride * flip);
        stride *= Math.max(1, size);
      }
      return dims.map(({ size, from }, at) => ({ size, to: strides.get(at) as number, from }));
    });
    const threads = fc.integer({ min: 1, max: 3 });
    fc.assert(
      fc.property(view, threads, (dims, count) => check(build, dims, count)),
      { seed: 1, numRuns: 400 },
    );
  });

  // Rows and columns of a matrix, and what becomes of them: as they are, or transposed.
  const shapes = [1, 3, 16, 37, 300].flatMap((rows) => [1, 2, 5, 20, 65].map((columns) => [rows, columns] as const));

  it.each([2, 3])("deals every word to one of %i threads", (threads) => {
    for (const [rows, columns] of shapes) {
      for (const from of [
        [columns, 1],
        [1, rows],
      ] as const) {
        const machine = instantiate(build);
        const source = machine.ints(rows * columns);
        const destination = machine.ints(rows * columns);
        const dims = [rows, columns, from[0], columns, 1, from[1]];
        const words = instruction(Opcode.Copy, [destination.address, source.address, 2, ...dims]);
        expectShares(machine, words, destination, threads);
      }
    }
  });

  it("reads nothing past the end of its source", () => {
    for (const [rows, columns] of shapes) {
      const machine = instantiate(build);
      const destination = machine.floats(rows * columns);
      const source = lastFloats(machine, rows * columns);
      for (const from of [
        [columns, 1],
        [1, rows],
      ] as const) {
        destination.view.fill(0);
        const dims = [rows, columns, from[0], columns, 1, from[1]];
        machine.run([instruction(Opcode.Copy, [destination.address, source.address, 2, ...dims])]);
        expect(destination.view.every((x) => x === 1)).toBe(true);
      }
    }
  });

  it("keeps the bits of a NaN", () => {
    const machine = instantiate(build);
    const bits = [0x7fc00001, -4194303, 0x7f800001, -1, 0x7fabcdef];
    const source = machine.ints(bits);
    const destination = machine.ints(bits.length);
    machine.run([instruction(Opcode.Copy, [destination.address, source.address, 1, bits.length, 1, 1])]);
    expect([...destination.view]).toEqual(bits);
  });
});

describe.each(BUILDS)("fill, %s build", (build) => {
  it.each([0, 1, 3, 4, 5, 15, 16, 17, 31, 47, 48, 100, 1027])("fills %i words and no others", (count) => {
    for (const threads of [1, 2, 3]) {
      for (const start of [0, 1, 3]) {
        const machine = instantiate(build);
        const buffer = machine.ints(new Array(count + 8).fill(UNTOUCHED));
        const value = 0x3f800001;
        const words = [buffer.address + start * Layout.ElementBytes, count, value];
        expect(machine.run([instruction(Opcode.Fill, words)], threads)).toBe(0);
        const expected = new Array(count + 8).fill(UNTOUCHED).fill(value, start, start + count);
        expect([...buffer.view]).toEqual(expected);
      }
    }
  });

  it.each([2, 3])("deals every word to one of %i threads", (threads) => {
    for (const count of [1, 15, 16, 17, 1000]) {
      const machine = instantiate(build);
      const buffer = machine.ints(count);
      expectShares(machine, instruction(Opcode.Fill, [buffer.address, count, 0]), buffer, threads);
    }
  });
});
