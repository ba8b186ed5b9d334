/** Attention and its gradients against float64: sizes around blocks and panels, strides, causality, threads, memory. */
import { describe, expect, it } from "vitest";
import { Layout, Opcode } from "../../src/isa.js";
import { AttentionBlock, attentionWorkspaceBytes } from "../../src/workspace/attention.js";
import { expectShares } from "./shares.js";
import { BUILDS, type Build, instantiate, instruction, type Machine } from "./support.js";
import { random } from "./views.js";

interface Problem {
  readonly batch: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly width: number;
  readonly valueWidth: number;
  readonly causal: boolean;
}

/** How a [batch, head, row, column] operand lies in memory. */
type Order = "heads first" | "rows first" | "columns first" | "reversed";

const SCALE = Math.fround(0.3);

/** The strides of an operand, and the offset of its first element. */
function layout([n, h, r, c]: readonly [number, number, number, number], order: Order) {
  if (order === "heads first") return { strides: [h * r * c, r * c, c, 1], offset: 0 };
  if (order === "rows first") return { strides: [r * h * c, c, h * c, 1], offset: 0 };
  if (order === "columns first") return { strides: [h * r * c, r * c, 1, r], offset: 0 };
  return { strides: [h * r * c, r * c, -c, -1], offset: n * h > 0 ? r * c - 1 : 0 };
}

type Sizes = readonly [number, number, number, number];

const shapes = ({ batch, heads, queries, keys, width, valueWidth }: Problem): Readonly<Record<string, Sizes>> => ({
  query: [batch, heads, queries, width],
  key: [batch, heads, keys, width],
  value: [batch, heads, keys, valueWidth],
  gradient: [batch, heads, queries, valueWidth],
});

const countOf = (sizes: Sizes) => sizes.reduce((a, b) => a * b, 1);

/** An operand's place in memory, and element [n, h, r, c] of it. */
interface Placed {
  readonly words: number[];
  at(n: number, h: number, r: number, c: number): number;
}

function place(machine: Machine, sizes: Sizes, order: Order, next: () => number): Placed {
  const { strides, offset } = layout(sizes, order);
  const { address, view } = machine.floats(Array.from({ length: countOf(sizes) }, () => Math.fround(2 * next() - 1)));
  const [n, h, r, c] = strides as [number, number, number, number];
  return {
    words: [address + offset * Layout.ElementBytes, n, h, r, c],
    at: (i, j, k, l) => view[offset + i * n + j * h + k * r + l * c] as number,
  };
}

interface Run {
  readonly words: number[];
  readonly out: { readonly address: number; readonly view: Float32Array };
  readonly operands: Readonly<Record<string, Placed>>;
}

function prepare(machine: Machine, problem: Problem, order: Order, gradient: boolean, threads: number): Run {
  const { batch, heads, queries, keys, width, valueWidth, causal } = problem;
  const next = random(queries * 31 + keys);
  const all = shapes(problem);
  const operands = Object.fromEntries(
    Object.entries(all).map(([name, sizes]) => [name, place(machine, sizes, order, next)]),
  );
  const { query, key, value, gradient: g } = all as { query: Sizes; key: Sizes; value: Sizes; gradient: Sizes };
  const out = machine.floats(gradient ? countOf(query) + countOf(key) + countOf(value) : countOf(g));
  const bytes = attentionWorkspaceBytes(keys, width, valueWidth, gradient);
  const workspace = machine.allocate(bytes * threads);
  const wordsOf = (name: string) => (operands[name] as Placed).words;
  const bits = new Int32Array(Float32Array.of(SCALE).buffer)[0] as number;
  const words = instruction(Opcode.Attention, [
    ...[out.address, ...wordsOf("query"), ...wordsOf("key"), ...wordsOf("value")],
    ...(gradient ? wordsOf("gradient") : [0, 0, 0, 0, 0]),
    ...[batch, heads, queries, keys, width, valueWidth, causal ? 1 : 0, bits, workspace, bytes],
  ]);
  return { words, out, operands };
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const total = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0);

/** The output and the gradients in float64, in the order in which the kernel writes them. */
function reference(problem: Problem, operands: Run["operands"], gradient: boolean): number[] {
  const { batch, heads, queries, keys, width, valueWidth, causal } = problem;
  const { query, key, value, gradient: g } = operands as Record<"query" | "key" | "value" | "gradient", Placed>;
  const out: number[] = new Array<number>(batch * queries * heads * valueWidth).fill(0);
  const pulled = [queries * width, keys * width, keys * valueWidth].map((n) =>
    new Array<number>(batch * heads * n).fill(0),
  ) as [number[], number[], number[]];
  const accumulate = (to: number[], at: number, x: number) => {
    to[at] = (to[at] as number) + x;
  };
  for (const n of range(batch)) {
    for (const h of range(heads)) {
      for (const i of range(queries)) {
        const seen = range(causal ? Math.min(keys, i + 1) : keys);
        const scores = seen.map(
          (j) => SCALE * total(range(width).map((c) => query.at(n, h, i, c) * key.at(n, h, j, c))),
        );
        const top = Math.max(...scores);
        const powers = scores.map((s) => Math.exp(s - top));
        const weights = powers.map((p) => p / total(powers));
        for (const c of range(valueWidth)) {
          out[((n * queries + i) * heads + h) * valueWidth + c] = total(
            seen.map((j) => (weights[j] as number) * value.at(n, h, j, c)),
          );
        }
        const pulls = seen.map((j) => total(range(valueWidth).map((c) => g.at(n, h, i, c) * value.at(n, h, j, c))));
        const mean = total(seen.map((j) => (weights[j] as number) * (pulls[j] as number)));
        for (const j of seen) {
          const weight = weights[j] as number;
          const score = SCALE * weight * ((pulls[j] as number) - mean);
          const [atQuery, atKey] = [(n * queries + i) * heads + h, (n * keys + j) * heads + h];
          for (const c of range(width)) {
            accumulate(pulled[0], atQuery * width + c, score * key.at(n, h, j, c));
            accumulate(pulled[1], atKey * width + c, score * query.at(n, h, i, c));
          }
          for (const c of range(valueWidth)) accumulate(pulled[2], atKey * valueWidth + c, weight * g.at(n, h, i, c));
        }
      }
    }
  }
  if (!gradient) return out;
  if (queries !== keys || width !== valueWidth) return pulled.flat();
  const row = heads * width;
  return range(batch * queries).flatMap((i) => pulled.flatMap((x) => x.slice(i * row, (i + 1) * row)));
}

/** The largest error in units of 2⁻²⁴ of `scale`. */
function worstError(actual: Float32Array, expected: readonly number[], scale: number): number {
  const worst = expected.reduce((most, x, i) => Math.max(most, Math.abs((actual[i] as number) - x)), 0);
  return (worst / scale) * 2 ** 24;
}

function check(build: Build, problem: Problem, order: Order, gradient: boolean, threads = 1): Float32Array {
  const machine = instantiate(build);
  const { words, out, operands } = prepare(machine, problem, order, gradient, threads);
  expect(machine.run([words], threads)).toBe(0);
  const expected = reference(problem, operands, gradient);
  // The output mixes values, which are below 1; gradients are measured by the largest of them.
  const scale = gradient ? expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0) : 1;
  expect(worstError(out.view, expected, scale)).toBeLessThanOrEqual(gradient ? 12 : 4);
  return out.view.slice();
}

const rows = AttentionBlock.Rows;
/** Queries, keys, width and width of values, around blocks of rows and panels of columns. */
const SIZES: readonly (readonly [number, number, number, number])[] = [
  [1, 1, 1, 1],
  [3, 2, 5, 3],
  [7, 20, 4, 8],
  [rows - 1, 19, 16, 20],
  [rows, rows, 8, 8],
  [rows + 1, 37, 7, 21],
  [2 * rows, 2 * rows, 32, 32],
  [2 * rows + 5, 81, 12, 33],
  [50, 260, 8, 4],
  [5, 300, 24, 9],
  [100, 9, 72, 6],
];

describe.each(BUILDS)("on the %s build", (build) => {
  describe.each([
    { what: "the output", gradient: false },
    { what: "the gradients", gradient: true },
  ])("$what", ({ gradient }) => {
    describe.each([false, true])("causal: %s", (causal) => {
      it.each(SIZES)(
        "of %i queries, %i keys, widths %i and %i agree with float64",
        (queries, keys, width, valueWidth) => {
          check(build, { batch: 1, heads: 2, queries, keys, width, valueWidth, causal }, "heads first", gradient);
        },
      );
    });

    it.each(["heads first", "rows first", "columns first", "reversed"] as const)("read operands with %s", (order) => {
      const sizes = { queries: 37, keys: 41, width: 10, valueWidth: 6 };
      check(
        build,
        { batch: order === "reversed" ? 1 : 2, heads: order === "reversed" ? 1 : 3, ...sizes, causal: true },
        order,
        gradient,
      );
    });

    it("of queries, keys and values of one size agree with float64 in every batch", () => {
      const sizes = { queries: 37, keys: 37, width: 10, valueWidth: 10 };
      check(build, { batch: 2, heads: 3, ...sizes, causal: true }, "rows first", gradient);
    });

    it("have the same bits on any number of threads, each written once", () => {
      const problem = { batch: 2, heads: 3, queries: 70, keys: 50, width: 9, valueWidth: 12, causal: true };
      const [one, ...others] = [1, 2, 3, 4].map((threads) => check(build, problem, "rows first", gradient, threads));
      for (const other of others) expect(other).toEqual(one);
      const machine = instantiate(build);
      const { words, out } = prepare(machine, problem, "heads first", gradient, 3);
      expectShares(machine, words, out, 3);
    });

    it("of nothing are nothing", () => {
      const problem = { batch: 0, heads: 2, queries: 3, keys: 4, width: 5, valueWidth: 6, causal: false };
      const machine = instantiate(build);
      expect(machine.run([prepare(machine, problem, "heads first", gradient, 1).words])).toBe(0);
    });
  });

  it("a causal query is not changed by what later keys and values hold", () => {
    const problem = { batch: 1, heads: 1, queries: 64, keys: 64, width: 8, valueWidth: 8, causal: true };
    const outputs = [1, 1e30].map((later) => {
      const machine = instantiate(build);
      const { words, out, operands } = prepare(machine, problem, "heads first", false, 1);
      for (const name of ["key", "value"]) {
        const { words: operand } = operands[name] as Placed;
        new Float32Array(machine.memory.buffer, operand[0], 64 * 8).fill(later, 40 * 8);
      }
      machine.run([words]);
      return out.view.slice(0, 40 * 8);
    });
    expect(outputs[1]).toEqual(outputs[0]);
  });

  it("a query with a NaN gives NaN, and no other does", () => {
    const problem = { batch: 1, heads: 1, queries: 5, keys: 6, width: 4, valueWidth: 4, causal: false };
    const machine = instantiate(build);
    const { words, out, operands } = prepare(machine, problem, "heads first", false, 1);
    new Float32Array(machine.memory.buffer, (operands.query as Placed).words[0], 20)[9] = Number.NaN;
    machine.run([words]);
    expect([...out.view].map((x, i) => Number.isNaN(x) === (i >= 8 && i < 12))).toEqual(new Array(20).fill(true));
  });
});
