/** Row kernels against float64: every operation, lengths around vectors and chunks, edges, threads and memory. */
import { describe, expect, it } from "vitest";
import { Opcode, RowBlock, RowOp, RowsField, StatusField } from "../../src/isa.js";
import { expectShares, lastFloats } from "./shares.js";
import { BUILDS, type Build, instantiate, instruction, type Machine } from "./support.js";
import { random } from "./views.js";

/** A matrix of rows, and what else an operation reads. */
interface Problem {
  readonly rows: number;
  readonly length: number;
  /** Row-major. */
  readonly a: readonly number[];
  /** As A, or one number for each row. */
  readonly b: readonly number[];
  readonly weight: readonly number[];
  readonly bias: readonly number[];
  readonly index: readonly number[];
  readonly parameter: number;
}

/** One row of a problem, in float64. */
interface RowProblem {
  readonly a: readonly number[];
  readonly b: readonly number[];
  /** This row's number of B, where there is one for each row. */
  readonly scalar: number;
  readonly weight: readonly number[];
  readonly bias: readonly number[];
  readonly index: number;
  readonly parameter: number;
}

interface Operation {
  readonly name: string;
  readonly op: RowOp;
  /** Elements of the output for each row of A. */
  readonly out: "row" | "scalar" | "blocks";
  reference(row: RowProblem): readonly number[];
  /** The largest term that the row's outputs are sums of, where that may be larger than the outputs. */
  scale?(row: RowProblem): number;
  /** Largest error in units of 2⁻²⁴ of that term or the largest output. */
  readonly bound: number;
}

const total = (xs: readonly number[]) => xs.reduce((sum, x) => sum + x, 0);
const largest = (xs: readonly number[]) => xs.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
const dot = (xs: readonly number[], ys: readonly number[]) => total(xs.map((x, i) => x * (ys[i] as number)));

function softmax(x: readonly number[]): number[] {
  const top = x.reduce((a, b) => Math.max(a, b));
  const powers = x.map((xi) => Math.exp(xi - top));
  return powers.map((p) => p / total(powers));
}

function logSumExp(x: readonly number[]): number {
  const top = x.reduce((a, b) => Math.max(a, b));
  return top + Math.log(total(x.map((xi) => Math.exp(xi - top))));
}

/** The distribution that a loss compares with. */
function targetOf({ a, index, parameter }: RowProblem): number[] {
  return a.map((_, j) => (j === index ? 1 - parameter : 0) + parameter / a.length);
}

function normal(a: readonly number[], centered: boolean, eps: number): { normal: number[]; scale: number } {
  const mean = centered ? total(a) / a.length : 0;
  const deviation = a.map((x) => x - mean);
  const scale = 1 / Math.sqrt(dot(deviation, deviation) / a.length + eps);
  return { normal: deviation.map((d) => d * scale), scale };
}

/** The three operations of a norm. */
function norm(name: string, centered: boolean, ops: readonly [RowOp, RowOp, RowOp]): Operation[] {
  return [
    {
      name,
      op: ops[0],
      out: "row",
      bound: 5,
      reference: ({ a, weight, bias, parameter }) =>
        normal(a, centered, parameter).normal.map((n, j) => n * (weight[j] as number) + (bias[j] as number)),
    },
    {
      name: `${name} gradient`,
      op: ops[1],
      out: "row",
      bound: 4,
      scale({ a, b, weight, parameter }) {
        const { normal: x, scale } = normal(a, centered, parameter);
        return scale * largest(b) * largest(weight) * Math.max(1, largest(x)) ** 2;
      },
      reference({ a, b, weight, parameter }) {
        const { normal: x, scale } = normal(a, centered, parameter);
        const g = b.map((bj, j) => bj * (weight[j] as number));
        const level = centered ? total(g) / g.length : 0;
        const slope = dot(g, x) / g.length;
        return g.map((gj, j) => scale * (gj - level - (x[j] as number) * slope));
      },
    },
    {
      name: `${name} weight`,
      op: ops[2],
      out: "blocks",
      bound: 3,
      reference: ({ a, b, parameter }) => normal(a, centered, parameter).normal.map((n, j) => n * (b[j] as number)),
    },
  ];
}

const OPERATIONS: readonly Operation[] = [
  { name: "softmax", op: RowOp.Softmax, out: "row", bound: 3, reference: ({ a }) => softmax(a) },
  {
    name: "log softmax",
    op: RowOp.LogSoftmax,
    out: "row",
    bound: 3,
    reference: ({ a }) => a.map((x) => x - logSumExp(a)),
  },
  {
    name: "softmax gradient",
    op: RowOp.SoftmaxGradient,
    out: "row",
    bound: 2,
    scale: ({ b }) => largest(b),
    reference: ({ a, b }) => a.map((y, i) => y * ((b[i] as number) - dot(a, b))),
  },
  {
    name: "log softmax gradient",
    op: RowOp.LogSoftmaxGradient,
    out: "row",
    bound: 4,
    scale: ({ a, b }) => Math.abs(total(b)) * Math.exp(Math.max(...a)),
    reference: ({ a, b }) => b.map((g, i) => g - Math.exp(a[i] as number) * total(b)),
  },
  {
    name: "cross entropy",
    op: RowOp.CrossEntropy,
    out: "scalar",
    bound: 3,
    scale: ({ a }) => Math.max(...a) - Math.min(...a),
    reference: (row) => [logSumExp(row.a) - dot(targetOf(row), row.a)],
  },
  {
    name: "cross entropy gradient",
    op: RowOp.CrossEntropyGradient,
    out: "row",
    bound: 3,
    scale: ({ scalar }) => Math.abs(scalar),
    reference: (row) => softmax(row.a).map((p, j) => row.scalar * (p - (targetOf(row)[j] as number))),
  },
  ...norm("layer norm", true, [RowOp.LayerNorm, RowOp.LayerNormGradient, RowOp.LayerNormWeight]),
  ...norm("RMS norm", false, [RowOp.RmsNorm, RowOp.RmsNormGradient, RowOp.RmsNormWeight]),
];

const fround = (x: number) => Math.fround(x);

/** Numbers that suit an operation: where A is a softmax or its logarithm, it is that of the numbers drawn. */
function draw({ op }: Operation, rows: number, length: number, parameter: number): Problem {
  const next = random(rows * 31 + length);
  const normals = (count: number) => Array.from({ length: count }, () => fround(4 * (next() + next() + next() - 1.5)));
  const drawn = Array.from({ length: rows }, () => normals(length));
  const prepared = drawn.map((row) => {
    if (op === RowOp.SoftmaxGradient) return softmax(row);
    return op === RowOp.LogSoftmaxGradient ? row.map((x) => x - logSumExp(row)) : row;
  });
  const isLoss = op === RowOp.CrossEntropyGradient;
  return {
    rows,
    length,
    a: prepared.flat().map(fround),
    b: normals(isLoss ? rows : rows * length),
    weight: normals(length),
    bias: normals(length),
    index: Array.from({ length: rows }, () => Math.floor(next() * length)),
    parameter: fround(parameter),
  };
}

interface Placed {
  readonly words: number[];
  readonly out: { readonly address: number; readonly view: Float32Array };
}

function outLength({ out }: Operation, { rows, length }: Problem): number {
  if (out === "scalar") return rows;
  return out === "row" ? rows * length : Math.ceil(rows / RowBlock.Rows) * length;
}

const bitsOf = (x: number) => new Int32Array(Float32Array.of(x).buffer)[0] as number;

/** Places a problem in memory. With `shared`, one weight and one bias serve all columns. */
function place(machine: Machine, operation: Operation, problem: Problem, shared = false): Placed {
  const { rows, length, a, b, weight, bias, index, parameter } = problem;
  const out = machine.floats(outLength(operation, problem));
  const floats = (xs: readonly number[]) => machine.floats([...xs]).address;
  const parameters = [floats(weight), shared ? 0 : 1, floats(bias), shared ? 0 : 1];
  const words = [operation.op, rows, length, out.address, floats(a), floats(b), machine.ints([...index]).address];
  return { words: instruction(Opcode.Rows, [...words, ...parameters, bitsOf(parameter)]), out };
}

/** The output in float64: the numbers of each of its rows, and what their errors are measured by. */
function referenceOf(operation: Operation, problem: Problem): { values: number[]; scale: number }[] {
  const { rows, length, a, b, weight, bias, index, parameter } = problem;
  const results = Array.from({ length: rows }, (_, r) => {
    const cut = (xs: readonly number[]) => xs.slice(r * length, (r + 1) * length);
    const row = { a: cut(a), b: cut(b), scalar: b[r] as number, weight, bias, index: index[r] as number, parameter };
    const values = [...operation.reference(row)];
    return { values, scale: Math.max(largest(values), operation.scale?.(row) ?? 0) };
  });
  if (operation.out !== "blocks") return results;
  return Array.from({ length: Math.ceil(rows / RowBlock.Rows) }, (_, block) => {
    const added = results.slice(block * RowBlock.Rows, (block + 1) * RowBlock.Rows);
    const values = Array.from({ length }, (_, j) => total(added.map((row) => row.values[j] as number)));
    return { values, scale: total(added.map(({ scale }) => scale)) };
  });
}

/** The largest error, in units of 2⁻²⁴ of what it is measured by. */
function worstError(actual: Float32Array, expected: readonly { values: number[]; scale: number }[]): number {
  let worst = 0;
  let at = 0;
  for (const { values, scale } of expected) {
    for (const x of values) worst = Math.max(worst, Math.abs((actual[at++] as number) - x) / Math.max(scale, 1e-30));
  }
  return worst * 2 ** 24;
}

const LENGTHS = [1, 2, 3, 4, 5, 7, 8, 10, 15, 16, 17, 31, 33, 65, 100, 1023, 1024, 1025, 2051];

describe.each(BUILDS)("on the %s build", (build) => {
  describe.each(OPERATIONS)("$name", (operation) => {
    it.each(LENGTHS)("of rows of %i agrees with float64", (length) => {
      const problem = draw(operation, 5, length, 0.01);
      const machine = instantiate(build);
      const { words, out } = place(machine, operation, problem);
      expect(machine.run([words])).toBe(0);
      expect(worstError(out.view, referenceOf(operation, problem))).toBeLessThanOrEqual(operation.bound);
    });

    it.each([0, 1, 3, 64, 65, 130])("of %i rows gives the same bits on any number of threads", (rows) => {
      const problem = draw(operation, rows, 13, 0.01);
      const results = [1, 2, 3, 4].map((threads) => {
        const machine = instantiate(build);
        const { words, out } = place(machine, operation, problem);
        expect(machine.run([words], threads)).toBe(0);
        return out.view.slice();
      });
      expect(worstError(results[0] as Float32Array, referenceOf(operation, problem))).toBeLessThanOrEqual(
        operation.bound,
      );
      for (const result of results) expect(result).toEqual(results[0]);
    });

    it("writes every element once, whichever thread does", () => {
      const machine = instantiate(build);
      const { words, out } = place(machine, operation, draw(operation, 70, 9, 0.01));
      expectShares(machine, words, out, 3);
    });

    it("gives a row the same bits wherever it stands", () => {
      if (operation.out === "blocks") return;
      const problem = draw(operation, 3, 11, 0.01);
      const machine = instantiate(build);
      const whole = place(machine, operation, problem);
      machine.run([whole.words]);
      const width = outLength(operation, problem) / 3;
      const last = <T>(xs: readonly T[]) => xs.slice((2 * xs.length) / 3);
      const { a, b, index } = problem;
      const alone = place(machine, operation, { ...problem, rows: 1, a: last(a), b: last(b), index: last(index) });
      machine.run([alone.words]);
      expect(alone.out.view).toEqual(whole.out.view.slice(2 * width));
    });
  });

  describe("softmax", () => {
    const rowOf = (op: RowOp, row: readonly number[]): number[] => {
      const operation = OPERATIONS.find((candidate) => candidate.op === op) as Operation;
      const machine = instantiate(build);
      const problem = { ...draw(operation, 1, row.length, 0), a: row };
      const { words, out } = place(machine, operation, problem);
      machine.run([words]);
      return [...out.view];
    };
    const [inf, nan] = [Number.POSITIVE_INFINITY, Number.NaN];

    it("is NaN in a row with a NaN or an infinity, or of nothing but negative infinities", () => {
      for (const row of [
        [1, nan, 2, 3, 4],
        [inf, 1, 2],
        [-inf, -inf, -inf, -inf, -inf],
        [1, 2, 3, 4, 5, nan],
      ]) {
        expect(rowOf(RowOp.Softmax, row)).toEqual(row.map(() => nan));
        expect(rowOf(RowOp.LogSoftmax, row)).toEqual(row.map(() => nan));
      }
    });

    it("gives a negative infinity among numbers probability 0", () => {
      expect(rowOf(RowOp.Softmax, [-inf, 0, -inf, 0, -inf])).toEqual([0, 0.5, 0, 0.5, 0]);
      expect(rowOf(RowOp.LogSoftmax, [-inf, 3])).toEqual([-inf, 0]);
    });

    it("does not overflow, and keeps the logarithms of what underflows", () => {
      expect(rowOf(RowOp.Softmax, [1e38, -1e38, 1e38, 0])).toEqual([0.5, 0, 0.5, 0]);
      expect(rowOf(RowOp.LogSoftmax, [0, -1000, -1e38])).toEqual([0, -1000, fround(-1e38)]);
      const [, small] = rowOf(RowOp.Softmax, [0, -87]) as [number, number];
      expect(Math.abs(small / Math.exp(-87) - 1)).toBeLessThan(1e-6);
    });
  });

  describe("norms", () => {
    it("take one weight and one bias for all columns", () => {
      const operation = OPERATIONS.find(({ op }) => op === RowOp.LayerNorm) as Operation;
      const problem = draw(operation, 3, 10, 0.01);
      const machine = instantiate(build);
      const { words, out } = place(machine, operation, problem, true);
      machine.run([words]);
      const same = (xs: readonly number[]) => xs.map(() => xs[0] as number);
      const spread = { ...problem, weight: same(problem.weight), bias: same(problem.bias) };
      expect(worstError(out.view, referenceOf(operation, spread))).toBeLessThanOrEqual(operation.bound);
    });

    it("are accurate where the mean is large beside the deviations", () => {
      const operation = OPERATIONS.find(({ op }) => op === RowOp.LayerNorm) as Operation;
      const drawn = draw(operation, 2, 300, 0);
      const problem = { ...drawn, a: drawn.a.map((x) => fround(4096 + x)) };
      const machine = instantiate(build);
      const { words, out } = place(machine, operation, problem);
      machine.run([words]);
      // Half a unit in the last place of the mean, 2⁻¹³, is all that is lost.
      expect(worstError(out.view, referenceOf(operation, problem)) * 2 ** -24).toBeLessThan(2 ** -12);
    });

    it("give the bias where a row has no variance", () => {
      const operation = OPERATIONS.find(({ op }) => op === RowOp.LayerNorm) as Operation;
      const problem = { ...draw(operation, 1, 7, 1e-5), a: new Array<number>(7).fill(3) };
      const machine = instantiate(build);
      const { words, out } = place(machine, operation, problem);
      machine.run([words]);
      expect([...out.view]).toEqual(problem.bias);
    });
  });

  describe("losses", () => {
    it.each([-1, 10, 2 ** 31 - 1])("stop at class %i of 10, and write nothing", (bad) => {
      for (const op of [RowOp.CrossEntropy, RowOp.CrossEntropyGradient]) {
        const operation = OPERATIONS.find((candidate) => candidate.op === op) as Operation;
        const drawn = draw(operation, 6, 10, 0);
        const machine = instantiate(build);
        const { words, out } = place(machine, operation, { ...drawn, index: [0, 9, bad, 3, -7, 1] });
        const before = out.view.slice();
        expect(machine.run([words], 2)).toBe(1);
        expect(machine.status()[StatusField.Value]).toBe(bad);
        expect(out.view).toEqual(before);
      }
    });
  });

  it("reads nothing past the end of memory", () => {
    for (const operation of OPERATIONS) expectWithinMemory(build, operation);
  });
});

/** Runs an operation on a matrix whose last element is the last of memory. */
function expectWithinMemory(build: Build, operation: Operation): void {
  const problem = draw(operation, 3, 7, 0.01);
  const machine = instantiate(build);
  const { words, out } = place(machine, operation, problem);
  machine.run([words]);
  const expected = out.view.slice();
  const { address, view } = lastFloats(machine, problem.a.length);
  view.set(problem.a);
  out.view.fill(Number.NaN);
  expect(machine.run([words.with(RowsField.A, address)])).toBe(0);
  expect(out.view).toEqual(expected);
}
