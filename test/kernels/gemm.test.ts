/** Gemm against its contract: each element summed in rising k from its seed, whatever the layout, the batch, the threads. */
import { describe, expect, test } from "vitest";
import { Flag, InputKind, Opcode } from "../../src/isa.js";
import { MicroOp } from "../../src/micro-op.js";
import { gemmWorkspaceBytes } from "../../src/workspace/gemm.js";
import { BUILDS, type Build, elementwise, instantiate, instruction, type Placed } from "./support.js";

/** Strides in elements. */
interface Strides {
  readonly row: number;
  readonly column: number;
}

interface BatchDimension {
  readonly size: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

interface Problem {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Strides;
  readonly b: Strides;
  readonly cRow: number;
  readonly batch: readonly BatchDimension[];
  readonly bias: boolean;
  readonly accumulate: boolean;
  /** Put this into the operands at random places. */
  readonly special: readonly number[];
  readonly threads: number;
  /** Follow with an epilogue that doubles C in place: an element it misses, or visits twice, is wrong. */
  readonly doubled: boolean;
  /** B lies where memory ends. */
  readonly bAtEnd: boolean;
}

/** Row-major, contiguous, nothing added: what a case does not say. */
function problem(m: number, n: number, k: number, rest: Partial<Problem> = {}): Problem {
  const plain = { a: { row: k, column: 1 }, b: { row: n, column: 1 }, cRow: n, batch: [], special: [] };
  return { m, n, k, ...plain, bias: false, accumulate: false, threads: 1, doubled: false, bAtEnd: false, ...rest };
}

/** The same sequence of numbers in [-1, 1) on every run (the minimal standard generator of Park and Miller). */
function randomNumbers(count: number, seed: number): Float32Array {
  const numbers = new Float32Array(count);
  let state = seed;
  for (let i = 0; i < count; i++) {
    state = (state * 48271) % 2147483647;
    numbers[i] = (state / 2147483647) * 2 - 1;
  }
  return numbers;
}

/** Every multi-index of the batch, as the offsets of A, B and C that belong to it. */
function batchOffsets(batch: readonly BatchDimension[]): { a: number; b: number; c: number }[] {
  let offsets = [{ a: 0, b: 0, c: 0 }];
  for (const d of batch) {
    offsets = offsets.flatMap((o) =>
      Array.from({ length: d.size }, (_, i) => ({ a: o.a + i * d.a, b: o.b + i * d.b, c: o.c + i * d.c })),
    );
  }
  return offsets;
}

/** How far below and above its first element an operand reaches. */
function extent(sizes: readonly number[], strides: readonly number[]): { below: number; length: number } {
  let below = 0;
  let above = 0;
  sizes.forEach((size, d) => {
    const reach = (size - 1) * (strides[d] as number);
    if (reach < 0) below -= reach;
    else above += reach;
  });
  return { below, length: sizes.includes(0) ? 0 : below + above + 1 };
}

interface Outcome {
  /** All of the buffer that holds C, gaps between rows included. */
  readonly c: Float32Array;
  /** What each element should be if every step rounds to f32 twice. */
  readonly rounded: Float32Array;
  /** The same in float64, and the bound that any f32 summation of the same terms obeys. */
  readonly exact: Float64Array;
  readonly bound: Float64Array;
}

/** Runs `p` and, in JavaScript, what it should give. */
function solve(build: Build, p: Problem): Outcome {
  const machine = instantiate(build);
  const sizes = p.batch.map((d) => d.size);
  const strided = (name: "a" | "b" | "c") => p.batch.map((d) => d[name]);
  const place = (shape: number[], strides: number[], seed: number, atEnd = false) => {
    const { below, length } = extent([...sizes, ...shape], strides);
    const values = randomNumbers(length, seed);
    p.special.forEach((value, i) => {
      values[(7 * i + seed) % Math.max(length, 1)] = value;
    });
    return { ...(atEnd ? machine.floatsAtEnd(values) : machine.floats(values)), below };
  };
  const a = place([p.m, p.k], [...strided("a"), p.a.row, p.a.column], 11);
  const b = place([p.k, p.n], [...strided("b"), p.b.row, p.b.column], 12, p.bAtEnd);
  const cExtent = extent([...sizes, p.m, p.n], [...strided("c"), p.cRow, 1]);
  const c = machine.floats(randomNumbers(cExtent.length, 13));
  const bias = machine.floats(randomNumbers(p.n, 14));

  const rounded = Float32Array.from(c.view);
  const exact = Float64Array.from(c.view);
  const bound = new Float64Array(exact.length);
  for (const at of batchOffsets(p.batch)) {
    for (let i = 0; i < p.m; i++) {
      for (let j = 0; j < p.n; j++) {
        const out = cExtent.below + at.c + i * p.cRow + j;
        const start = p.accumulate ? (c.view[out] as number) : 0;
        const added = p.bias ? (bias.view[j] as number) : 0;
        let sum = Math.fround(start + added);
        let truth = start + added;
        let magnitude = Math.abs(start) + Math.abs(added);
        const aStart = a.below + at.a + i * p.a.row;
        const bStart = b.below + at.b + j * p.b.column;
        for (let k = 0; k < p.k; k++) {
          const product = (a.view[aStart + k * p.a.column] as number) * (b.view[bStart + k * p.b.row] as number);
          sum = Math.fround(sum + Math.fround(product));
          truth += product;
          magnitude += Math.abs(product);
        }
        const scale = p.doubled ? 2 : 1;
        rounded[out] = scale * sum;
        exact[out] = scale * truth;
        bound[out] = scale * (p.k + 2) * 2 ** -24 * magnitude;
      }
    }
  }

  const workspaceFloats = (p.threads * gemmWorkspaceBytes(p.m, p.n, p.k, p.b.row)) / Float32Array.BYTES_PER_ELEMENT;
  const workspace = machine.floats(new Float32Array(workspaceFloats).fill(Number.NaN)).address;
  const fields = [p.m, p.n, p.k, a.address + 4 * a.below, p.a.row, p.a.column];
  fields.push(b.address + 4 * b.below, p.b.row, p.b.column, c.address + 4 * cExtent.below, p.cRow);
  fields.push(p.bias ? bias.address : 0, workspace, p.batch.length);
  for (const d of p.batch) fields.push(d.size, d.a, d.b, d.c);
  const flags = (p.accumulate ? Flag.Accumulate : 0) | (p.doubled ? Flag.Epilogue : 0);
  const program = [instruction(Opcode.Gemm, fields, flags)];
  if (p.doubled) program.push(doubling(cExtent.length, c.address));
  machine.run(program, p.threads);
  return { c: c.view, rounded, exact, bound };
}

/** An Elementwise of one micro-operation: slot 1, which is C as an output, becomes slot 0 + slot 0, which is C. */
function doubling(count: number, c: number): number[] {
  const add = MicroOp.Add | (1 << 8);
  const counts = 1 | (1 << 8);
  return instruction(Opcode.Elementwise, [count, counts, 1, InputKind.Contiguous, c, c, add, 0]);
}

/** Strict: exactly the bits of the contract. Relaxed: within the bound. Elements that are not C's stay as they were. */
function expectRight(build: Build, p: Problem): void {
  const { c, rounded, exact, bound } = solve(build, p);
  const name = JSON.stringify(p);
  if (build === "strict") {
    const wrong = c.findIndex((value, i) => !Object.is(value, rounded[i]));
    if (wrong >= 0) expect.fail(`element ${wrong} is ${c[wrong]}, not ${rounded[wrong]}: ${name}`);
  } else {
    const off = (value: number, i: number) =>
      !(Object.is(value, exact[i]) || Math.abs(value - (exact[i] as number)) <= (bound[i] as number));
    const wrong = c.findIndex(off);
    if (wrong >= 0) expect.fail(`element ${wrong} is ${c[wrong]}, not ${exact[wrong]} ± ${bound[wrong]}: ${name}`);
  }
}

const EDGES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33, 41];
const LARGE_EDGES = [63, 64, 65, 383, 384, 385];

/** Each operand as it is stored: row by row, or transposed. */
function transposed(m: number, n: number, k: number, aT: boolean, bT: boolean): Partial<Problem> {
  return {
    a: aT ? { row: 1, column: m } : { row: k, column: 1 },
    b: bT ? { row: 1, column: k } : { row: n, column: 1 },
  };
}

const TRANSPOSES = [
  { name: "A·B", aT: false, bT: false },
  { name: "A·Bᵀ", aT: false, bT: true },
  { name: "Aᵀ·B", aT: true, bT: false },
  { name: "Aᵀ·Bᵀ", aT: true, bT: true },
];

describe.each(BUILDS)("gemm (%s)", (build) => {
  describe.each(TRANSPOSES)("$name", ({ aT, bT }) => {
    test.each(EDGES)("is right at every tile edge of N and K with M = %i", (m) => {
      for (const n of EDGES) {
        for (const k of [1, 3, 4, 17]) expectRight(build, problem(m, n, k, transposed(m, n, k, aT, bT)));
      }
    });

    test.each(LARGE_EDGES)("is right at block edges with one size %i", (size) => {
      for (const [m, n, k] of [
        [size, 20, 10],
        [10, size, 20],
        [20, 10, size],
        [size, 33, size],
        [33, size, size],
      ] as const) {
        expectRight(build, problem(m, n, k, transposed(m, n, k, aT, bT)));
      }
    });

    test("is right over several blocks in every direction", () => {
      expectRight(build, problem(131, 519, 389, { ...transposed(131, 519, 389, aT, bT), bias: true }));
      expectRight(build, problem(37, 2061, 20, { ...transposed(37, 2061, 20, aT, bT), doubled: true }));
    });
  });

  test("adds bias, and C when asked to accumulate", () => {
    for (const [m, n, k] of [
      [5, 7, 3],
      [16, 32, 10],
      [65, 50, 400],
    ] as const) {
      expectRight(build, problem(m, n, k, { bias: true }));
      expectRight(build, problem(m, n, k, { accumulate: true }));
      expectRight(build, problem(m, n, k, { accumulate: true, bias: true }));
    }
  });

  test("sums down a single column, the gradient of one output's weights", () => {
    for (const m of [1, 5, 40, 600]) {
      const column = { a: { row: 1, column: m }, b: { row: 1, column: 1 } };
      for (const k of [1, 33, 300]) {
        expectRight(build, problem(m, 1, k, { ...column, accumulate: true, threads: 2 }));
        expectRight(build, problem(m, 1, k, { ...column, doubled: true, threads: 2 }));
        expectRight(build, problem(m, 1, k, { ...column, bias: true }));
      }
    }
  });

  test("reads a layer's weight where it lies, with bias, accumulating, on threads, and before an epilogue", () => {
    for (const [m, n, k] of [
      [3, 70, 19],
      [4, 41, 387],
      [5, 33, 64],
      [8, 70, 19],
      [21, 100, 300],
      [64, 530, 385],
    ] as const) {
      const weight = { b: { row: 1, column: k + 3 }, cRow: n };
      expectRight(build, problem(m, n, k, weight));
      expectRight(build, problem(m, n, k, { ...weight, bias: true, threads: 2 }));
      expectRight(build, problem(m, n, k, { ...weight, accumulate: true, cRow: n + 5 }));
      expectRight(build, problem(m, n, k, { ...weight, accumulate: true, bias: true, threads: 3 }));
      expectRight(build, problem(m, n, k, { ...weight, bias: true, doubled: true, threads: 2 }));
      const batch = [{ size: 3, a: m * k, b: 0, c: m * n }];
      expectRight(build, problem(m, n, k, { ...weight, batch, doubled: true, threads: 4 }));
      expectRight(build, problem(m, n, k, { ...weight, a: { row: 1, column: m }, bias: true }));
    }
  });

  test("reads ahead in a weight no further than its end", () => {
    for (const [m, n, k] of [
      [8, 1030, 515],
      [21, 515, 1030],
    ] as const) {
      const weight = { b: { row: 1, column: k }, bAtEnd: true };
      expectRight(build, problem(m, n, k, weight));
      expectRight(build, problem(m, n, k, { ...weight, bias: true, threads: 3 }));
      expectRight(build, problem(m, n, k, { ...weight, accumulate: true, doubled: true }));
    }
  });

  test("reads ahead in what its epilogue reads no further than its end", () => {
    for (const [m, n, k] of [
      [130, 4097, 5],
      [1030, 517, 3],
    ] as const) {
      const machine = instantiate(build);
      const count = m * n;
      const a = machine.floats(randomNumbers(m * k, 1));
      const b = machine.floats(randomNumbers(k * n, 2));
      const [c, product, x, y] = [3, 4, 5, 6].map((seed) => machine.floats(randomNumbers(count, seed))) as [
        Placed<Float32Array>,
        Placed<Float32Array>,
        Placed<Float32Array>,
        Placed<Float32Array>,
      ];
      const z = machine.floatsAtEnd(randomNumbers(count, 7));
      const workspace = machine.allocate(2 * gemmWorkspaceBytes(m, n, k, n));
      const multiply = (to: number, flags: Flag) =>
        instruction(Opcode.Gemm, [m, n, k, a.address, k, 1, b.address, n, 1, to, n, 0, workspace, 0], flags);
      const sums = elementwise({
        count,
        inputs: [c, x, y, z].map(({ address }) => ({ kind: InputKind.Contiguous, address })),
        outputs: [c.address],
        operations: [
          [MicroOp.Add, 4, 0, 1],
          [MicroOp.Add, 4, 4, 2],
          [MicroOp.Add, 4, 4, 3],
        ],
      });
      machine.run([multiply(product.address, Flag.None), multiply(c.address, Flag.Epilogue), sums], 2);
      const at = (v: Placed<Float32Array>, i: number) => v.view[i] as number;
      const right = c.view.map((_, i) => Math.fround(Math.fround(at(product, i) + at(x, i)) + at(y, i)) + at(z, i));
      expect(c.view.findIndex((value, i) => value !== right[i])).toBe(-1);
    }
  });

  test("with very few rows, columns or steps follows the same order, wherever its sums start", () => {
    for (const [m, n, k] of [
      [1, 77, 37],
      [2, 2051, 9],
      [3, 40, 30],
      [4, 70, 19],
      [50, 1, 23],
      [39, 3, 41],
      [40, 4, 26],
      [269, 1, 70],
      [243, 2, 33],
      [485, 3, 389],
      [3, 130, 389],
      [21, 2061, 3],
      [33, 130, 2],
      [70, 131, 4],
      [33, 135, 1],
    ] as const) {
      for (const { aT, bT } of TRANSPOSES) {
        const layout = transposed(m, n, k, aT, bT);
        const batch = [{ size: 2, a: m * k, b: k * n, c: m * n }];
        expectRight(build, problem(m, n, k, { ...layout, threads: 2, doubled: true }));
        expectRight(build, problem(m, n, k, { ...layout, bias: true, batch }));
        expectRight(build, problem(m, n, k, { ...layout, accumulate: true, cRow: n + 3 }));
        const once = solve(build, problem(m, n, k, layout));
        const again = solve(build, problem(m, n, k, { ...layout, threads: 3 }));
        expect(again.c, `${m}×${n}×${k} on 3 threads`).toEqual(once.c);
      }
    }
  });

  test("of no terms is the seed alone", () => {
    expectRight(build, problem(5, 19, 0));
    expectRight(build, problem(5, 19, 0, { bias: true }));
    expectRight(build, problem(5, 19, 0, { bias: true, accumulate: true }));
  });

  test("of no rows, no columns or no batch does nothing", () => {
    expectRight(build, problem(0, 5, 3));
    expectRight(build, problem(5, 0, 3));
    expectRight(build, problem(2, 2, 2, { batch: [{ size: 0, a: 4, b: 4, c: 4 }] }));
  });

  test.each([
    ["gaps between elements", { row: 41, column: 2 }, { row: 83, column: 2 }],
    ["reversed rows", { row: -20, column: 1 }, { row: -40, column: 1 }],
    ["reversed columns", { row: 20, column: -1 }, { row: 40, column: -1 }],
    ["one row for all", { row: 0, column: 1 }, { row: 0, column: 1 }],
    ["one column for all", { row: 1, column: 0 }, { row: 1, column: 0 }],
    ["one element for all", { row: 0, column: 0 }, { row: 0, column: 0 }],
    ["overlapping windows", { row: 1, column: 1 }, { row: 1, column: 1 }],
  ])("reads operands with %s", (_, a, b) => {
    for (const m of [3, 18, 200]) {
      expectRight(build, problem(m, 35, 20, { a, b }));
      expectRight(build, problem(m, 35, 20, { a, b, cRow: 37 }));
    }
  });

  test("leaves the gaps between rows of C alone", () => {
    for (const n of [1, 2, 3, 5, 13, 30]) expectRight(build, problem(9, n, 6, { cRow: n + 3 }));
  });

  test("runs over a batch, broadcasting where a stride is 0", () => {
    const [m, n, k] = [7, 18, 5];
    const dense = { size: 3, a: m * k, b: k * n, c: m * n };
    expectRight(build, problem(m, n, k, { batch: [dense] }));
    expectRight(build, problem(m, n, k, { batch: [{ ...dense, b: 0 }] }));
    expectRight(build, problem(m, n, k, { batch: [{ ...dense, a: 0 }], bias: true }));
    const outer = { size: 2, a: 0, b: 3 * k * n, c: 3 * m * n };
    expectRight(build, problem(m, n, k, { batch: [outer, dense] }));
    expectRight(build, problem(m, n, k, { batch: [outer, { ...dense, b: -k * n }], accumulate: true }));
  });

  test("lets NaN and infinities through, and makes none at the edges", () => {
    const special = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1e-40];
    for (const n of [1, 3, 16, 21]) expectRight(build, problem(13, n, 9, { special }));
    const machine = instantiate(build);
    const [a, b, c] = [machine.floats([0]), machine.floats([Number.POSITIVE_INFINITY]), machine.floats(1)];
    const workspace = machine.allocate(gemmWorkspaceBytes(1, 1, 1, 1));
    machine.run([instruction(Opcode.Gemm, [1, 1, 1, a.address, 1, 1, b.address, 1, 1, c.address, 1, 0, workspace, 0])]);
    expect(c.view[0]).toBeNaN();
  });

  test("gives the same bits on any number of threads", () => {
    for (const [m, n, k] of [
      [16, 32, 10],
      [70, 30, 300],
      [30, 70, 300],
      [1, 100, 40],
      [100, 1, 40],
    ] as const) {
      const batch = [{ size: 2, a: m * k, b: k * n, c: m * n }];
      for (const rest of [{ batch }, { batch: [] }]) {
        const once = solve(build, problem(m, n, k, { ...rest, bias: true }));
        for (const threads of [2, 3]) {
          const again = solve(build, problem(m, n, k, { ...rest, bias: true, threads }));
          expect(again.c, `${m}×${n}×${k} on ${threads} threads`).toEqual(once.c);
        }
      }
    }
  });

  test("runs its epilogue once on every element of C", () => {
    for (const [m, n, k] of [
      [16, 32, 10],
      [5, 3, 7],
      [130, 20, 300],
      [3, 600, 20],
    ] as const) {
      const batch = [{ size: 2, a: m * k, b: k * n, c: m * n }];
      for (const rest of [{ batch }, { threads: 3 }, { threads: 3, batch, bias: true }]) {
        expectRight(build, problem(m, n, k, { ...rest, doubled: true }));
      }
    }
  });
});
