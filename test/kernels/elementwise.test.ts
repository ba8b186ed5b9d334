import { describe, expect, test } from "vitest";
import { Flag, InputKind, Layout, Opcode } from "../../src/isa.js";
import { MicroOp } from "../../src/micro-op.js";
import {
  BUILDS,
  type Chain,
  type ElementwiseInput,
  elementwise,
  instantiate,
  instruction,
  type Machine,
  type Operation,
  type Placed,
} from "./support.js";

/** Below, at and above a vector and a block, and more than two blocks. */
const SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 63, 64, 65, 511, 512, 513, 1025];

const f32 = Math.fround;
const FLOATS = [0, -0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 3, 1e-40, -1e-40, 7.25, 1e10, -3e38, Infinity, -Infinity, NaN];
const INTS = [0, 1, -1, 2, -2, 3, 7, -7, 100, 65537, -65537, 2147483647, -2147483648, 123456789];

/** `length` values that run through all pairs of `values` when read with different strides. */
function cycle(values: readonly number[], length: number, divisor = 1): number[] {
  return Array.from({ length }, (_, i) => values[Math.floor(i / divisor) % values.length] as number);
}

const bool = (condition: boolean): number => (condition ? 1 : 0);

/** C's integer conversion, saturating, NaN to 0. */
function saturate(x: number): number {
  if (Number.isNaN(x)) return 0;
  return Math.max(-2147483648, Math.min(2147483647, Math.trunc(x))) + 0;
}

function roundHalfEven(x: number): number {
  const up = Math.round(x);
  return up - x === 0.5 && up % 2 !== 0 ? up - 1 : x < 0 && up === 0 ? -0 : up;
}

type Dtype = "f32" | "i32";

/** Micro-operations whose results are exact: their operands' dtypes, their result's, and what they compute. */
const EXACT: readonly [MicroOp, string, readonly Dtype[], Dtype, (...x: number[]) => number][] = (
  [
    [MicroOp.Copy, "Copy", ["f32"], "f32", (x) => x],
    [MicroOp.Neg, "Neg", ["f32"], "f32", (x) => -x],
    [MicroOp.Abs, "Abs", ["f32"], "f32", Math.abs],
    [MicroOp.Sqrt, "Sqrt", ["f32"], "f32", (x) => f32(Math.sqrt(x))],
    [MicroOp.Reciprocal, "Reciprocal", ["f32"], "f32", (x) => f32(1 / x)],
    [MicroOp.Floor, "Floor", ["f32"], "f32", Math.floor],
    [MicroOp.Ceil, "Ceil", ["f32"], "f32", Math.ceil],
    [MicroOp.Trunc, "Trunc", ["f32"], "f32", Math.trunc],
    [MicroOp.Round, "Round", ["f32"], "f32", roundHalfEven],
    [MicroOp.Sign, "Sign", ["f32"], "f32", (x) => (x === 0 ? 0 : Math.sign(x))],
    [MicroOp.Add, "Add", ["f32", "f32"], "f32", (x, y) => f32(x + y)],
    [MicroOp.Sub, "Sub", ["f32", "f32"], "f32", (x, y) => f32(x - y)],
    [MicroOp.Mul, "Mul", ["f32", "f32"], "f32", (x, y) => f32(x * y)],
    [MicroOp.Div, "Div", ["f32", "f32"], "f32", (x, y) => f32(x / y)],
    [MicroOp.Max, "Max", ["f32", "f32"], "f32", Math.max],
    [MicroOp.Min, "Min", ["f32", "f32"], "f32", Math.min],
    [MicroOp.Fmod, "Fmod", ["f32", "f32"], "f32", (x, y) => x % y],
    [MicroOp.Less, "Less", ["f32", "f32"], "i32", (x, y) => bool(x < y)],
    [MicroOp.LessEqual, "LessEqual", ["f32", "f32"], "i32", (x, y) => bool(x <= y)],
    [MicroOp.Equal, "Equal", ["f32", "f32"], "i32", (x, y) => bool(x === y)],
    [MicroOp.NotEqual, "NotEqual", ["f32", "f32"], "i32", (x, y) => bool(x !== y)],
    [MicroOp.NegI, "NegI", ["i32"], "i32", (x) => -x | 0],
    [MicroOp.AbsI, "AbsI", ["i32"], "i32", (x) => Math.abs(x) | 0],
    [MicroOp.SignI, "SignI", ["i32"], "i32", (x) => Math.sign(x)],
    [MicroOp.Not, "Not", ["i32"], "i32", (x) => bool(x === 0)],
    [MicroOp.BitNot, "BitNot", ["i32"], "i32", (x) => ~x],
    [MicroOp.AddI, "AddI", ["i32", "i32"], "i32", (x, y) => (x + y) | 0],
    [MicroOp.SubI, "SubI", ["i32", "i32"], "i32", (x, y) => (x - y) | 0],
    [MicroOp.MulI, "MulI", ["i32", "i32"], "i32", Math.imul],
    [MicroOp.DivI, "DivI", ["i32", "i32"], "i32", (x, y) => (y === 0 ? 0 : (x / y) | 0)],
    [MicroOp.RemI, "RemI", ["i32", "i32"], "i32", (x, y) => (y === 0 ? 0 : (x % y) | 0)],
    [MicroOp.MaxI, "MaxI", ["i32", "i32"], "i32", Math.max],
    [MicroOp.MinI, "MinI", ["i32", "i32"], "i32", Math.min],
    [MicroOp.And, "And", ["i32", "i32"], "i32", (x, y) => x & y],
    [MicroOp.Or, "Or", ["i32", "i32"], "i32", (x, y) => x | y],
    [MicroOp.Xor, "Xor", ["i32", "i32"], "i32", (x, y) => x ^ y],
    [MicroOp.LessI, "LessI", ["i32", "i32"], "i32", (x, y) => bool(x < y)],
    [MicroOp.LessEqualI, "LessEqualI", ["i32", "i32"], "i32", (x, y) => bool(x <= y)],
    [MicroOp.EqualI, "EqualI", ["i32", "i32"], "i32", (x, y) => bool(x === y)],
    [MicroOp.NotEqualI, "NotEqualI", ["i32", "i32"], "i32", (x, y) => bool(x !== y)],
    [MicroOp.F32ToI32, "F32ToI32", ["f32"], "i32", saturate],
    [MicroOp.I32ToF32, "I32ToF32", ["i32"], "f32", f32],
    [MicroOp.F32ToBool, "F32ToBool", ["f32"], "i32", (x) => bool(x !== 0)],
    [MicroOp.I32ToBool, "I32ToBool", ["i32"], "i32", (x) => bool(x !== 0)],
    [MicroOp.Select, "Select", ["i32", "f32", "f32"], "f32", (x, y, z) => (x !== 0 ? y : z)],
  ] as [MicroOp, string, Dtype[], Dtype, (...x: number[]) => number][]
).map(([op, name, operands, result, f]) => [op, name, operands, result, f] as const);

function place(machine: Machine, dtype: Dtype, values: number | number[]): Placed<Float32Array | Int32Array> {
  return dtype === "f32" ? machine.floats(values) : machine.ints(values);
}

const contiguous = ({ address }: { address: number }): ElementwiseInput => ({ kind: InputKind.Contiguous, address });
const scalar = ({ address }: { address: number }): ElementwiseInput => ({ kind: InputKind.Scalar, address });

const ramp = (length: number, start = 0): number[] => Array.from({ length }, (_, i) => start + i);

/** Philox4x32-10 of one counter, after Salmon et al. (SC'11), in exact integers. */
function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter.map((word) => BigInt(word >>> 0)) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map((word) => BigInt(word >>> 0)) as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c0;
    const p1 = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, p1 & 0xffffffffn, (p0 >> 32n) ^ c3 ^ k1, p0 & 0xffffffffn];
    k0 = (k0 + 0x9e3779b9n) & 0xffffffffn;
    k1 = (k1 + 0xbb67ae85n) & 0xffffffffn;
  }
  return [c0, c1, c2, c3].map((word) => Number(BigInt.asIntN(32, word)));
}

/** What `MicroOp.RandomBits` gives: word i mod 4 of the counter that is i / 4 after the record's offset. */
function philoxStream([k0 = 0, k1 = 0, low = 0, high = 0]: readonly number[], count: number): number[] {
  const offset = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  return Array.from({ length: Math.ceil(count / 4) }, (_, group) => {
    const at = BigInt.asUintN(64, offset + BigInt(group));
    return philox([Number(at & 0xffffffffn), Number(at >> 32n), 0, 0], [k0, k1]);
  })
    .flat()
    .slice(0, count);
}

test("the Philox reference gives the known answers of Random123", () => {
  const ones = [-1, -1, -1, -1];
  const pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
  const answers = [
    [philox([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [philox(ones, [-1, -1]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]],
    [philox(pi, [0xa4093822, 0x299f31d0]), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]],
  ] as const;
  for (const [words, answer] of answers) expect(words.map((word) => word >>> 0)).toEqual(answer);
});

describe.each(BUILDS)("elementwise on the %s build", (build) => {
  test.each(EXACT)("micro-op %d, %s, is exact on special values", (op, _name, operands, result, f) => {
    for (const count of SIZES) {
      const machine = instantiate(build);
      // Every operand runs through its list once while the one before it repeats: all pairs, in the largest size.
      const values = operands.map((dtype, k) => {
        const list = dtype === "f32" ? FLOATS.map(f32) : INTS;
        return cycle(list, count, k === 0 ? 1 : list.length);
      });
      const inputs = values.map((list, k) => place(machine, operands[k] as Dtype, list));
      const out = place(machine, result, count);
      const operations: Operation[] = [[op, inputs.length, 0, 1, 2]];
      machine.run([elementwise({ count, inputs: inputs.map(contiguous), outputs: [out.address], operations })]);
      const expected = Array.from({ length: count }, (_, i) => f(...values.map((list) => list[i] as number)));
      expect(Array.from(out.view)).toEqual(expected);
    }
  });

  test("a ReLU of zeros of either sign is 0, and of NaN is NaN", () => {
    for (const count of SIZES) {
      const machine = instantiate(build);
      const x = machine.floats(cycle(FLOATS.map(f32), count, 1));
      const inputs = [contiguous(x), scalar(machine.floats([0]))];
      const out = machine.floats(count);
      machine.run([elementwise({ count, inputs, outputs: [out.address], operations: [[MicroOp.Relu, 2, 0, 1]] })]);
      expect(Array.from(out.view)).toEqual(Array.from(x.view, (value) => Math.max(value, 0)));
    }
  });

  test("multiply-add rounds twice on the strict build, once or twice on the relaxed one", () => {
    const machine = instantiate(build);
    const [x, y, z] = [f32(1 + 2 ** -12), f32(1 + 2 ** -12), -1];
    const inputs = [machine.floats(Array(9).fill(x)), machine.floats([y]), machine.floats([z])] as const;
    const out = machine.floats(9);
    machine.run([
      elementwise({
        count: 9,
        inputs: [contiguous(inputs[0]), scalar(inputs[1]), scalar(inputs[2])],
        outputs: [out.address],
        operations: [[MicroOp.MulAdd, 3, 0, 1, 2]],
      }),
    ]);
    const twice = f32(f32(x * y) + z);
    const once = f32(x * y + z);
    for (const value of out.view) expect(build === "strict" ? [twice] : [once, twice]).toContain(value);
  });

  /** Micro-operations that are several: what they compute, each step rounded. */
  const COMPOUND: readonly [MicroOp, string, number, (...x: number[]) => number][] = (
    [
      [MicroOp.SubMulAdd, "SubMulAdd", 4, (a, b, c, d) => f32(f32(f32(a - b) * c) + d)],
      [MicroOp.MulAddMul, "MulAddMul", 4, (a, b, c, d) => f32(f32(a * b) + f32(c * d))],
      [MicroOp.MulAddMulMul, "MulAddMulMul", 5, (a, b, c, d, e) => f32(f32(a * b) + f32(f32(c * d) * e))],
      [MicroOp.RootMulAdd, "RootMulAdd", 3, (a, b, c) => f32(f32(f32(Math.sqrt(a)) * b) + c)],
      [MicroOp.DivRoot, "DivRoot", 4, (a, b, c, d) => f32(a / f32(f32(f32(Math.sqrt(b)) * c) + d))],
      [
        MicroOp.DivRootMulAdd,
        "DivRootMulAdd",
        6,
        (a, b, c, d, e, f) => f32(f32(f32(a / f32(f32(f32(Math.sqrt(b)) * c) + d)) * e) + f),
      ],
    ] as [MicroOp, string, number, (...x: number[]) => number][]
  ).map(([op, name, arity, f]) => [op, name, arity, f] as const);

  test.each(COMPOUND)("micro-op %d, %s, rounds like the operations that it stands for", (op, _name, arity, f) => {
    for (const count of SIZES) {
      // Every operand is a block once and a scalar once.
      for (const scalars of [0b010101, 0b101010]) {
        const machine = instantiate(build);
        const lists = Array.from({ length: arity }, (_, k) => {
          const isScalar = ((scalars >> k) & 1) === 1;
          return Array.from({ length: isScalar ? 1 : count }, (_, i) => f32(0.3 + ((i * (k + 3)) % 17) / 7));
        });
        const inputs = lists.map((list, k) => {
          const placed = machine.floats(list);
          return ((scalars >> k) & 1) === 1 ? scalar(placed) : contiguous(placed);
        });
        const out = machine.floats(count);
        const [a = 0, b = 0, c = 0, d = 0, e = 0, g = 0] = inputs.map((_, k) => k);
        const operations: Operation[] = [[op, arity, a, b, c | (d << 8) | (e << 16) | (g << 24)]];
        machine.run([elementwise({ count, inputs, outputs: [out.address], operations })]);
        for (let i = 0; i < count; i++) {
          const expected = f(...lists.map((list) => list[i % list.length] as number));
          if (build === "strict") expect(out.view[i]).toBe(expected);
          else expect(Math.abs((out.view[i] as number) - expected)).toBeLessThan(1e-6 * (1 + Math.abs(expected)));
        }
      }
    }
  });

  test("a step of Adam in one loop gives the bits of its three micro-operations", () => {
    for (const count of SIZES) {
      for (const blocks of [false, true]) {
        const [together, apart] = [MicroOp.AdamStep, MicroOp.SubMulAdd].map((first) => {
          const machine = instantiate(build);
          const block = (from: number): Placed<Float32Array> =>
            machine.floats(ramp(count).map((i) => ((i + from) % 19) / 7));
          const [g, m, v, p] = [block(3), block(5), block(11), block(2)] as const;
          const numbers = [0.1, 0.999, 0.001, 1.5, 1e-8, -0.01].map((x, k) =>
            // Where the rate is no scalar the loop does not apply, and the three run one by one.
            blocks && k === 5 ? contiguous(machine.floats(Array(count).fill(x))) : scalar(machine.floats([x])),
          );
          machine.run([
            elementwise({
              count,
              inputs: [...[g, m, v, p].map(contiguous), ...numbers],
              outputs: [m.address, v.address, p.address],
              operations: [
                [first, 10, 0, 1, 4 | (1 << 8)],
                [MicroOp.MulAddMulMul, 11, 2, 5, 0 | (0 << 8) | (6 << 16)],
                [MicroOp.DivRootMulAdd, 12, 10, 11, 7 | (8 << 8) | (9 << 16) | (3 << 24)],
              ],
            }),
          ]);
          return [m, v, p].map(({ view }) => Array.from(view));
        });
        expect(together).toEqual(apart);
      }
    }
  });

  test("a scalar operand stands for a whole block of itself, in every place", () => {
    for (const count of SIZES) {
      const machine = instantiate(build);
      const x = machine.floats(ramp(count));
      const half = machine.floats([0.5]);
      const condition = machine.ints([0]);
      const out = Array.from({ length: 3 }, () => machine.floats(count));
      machine.run([
        elementwise({
          count,
          inputs: [contiguous(x), scalar(half), scalar(condition)],
          outputs: out.map(({ address }) => address),
          operations: [
            [MicroOp.Sub, 3, 0, 1],
            [MicroOp.Sub, 4, 1, 0],
            [MicroOp.Select, 5, 2, 0, 1],
          ],
        }),
      ]);
      expect(Array.from(out[0]?.view ?? [])).toEqual(ramp(count, -0.5));
      expect(Array.from(out[1]?.view ?? [])).toEqual(ramp(count).map((i) => 0.5 - i));
      expect(Array.from(out[2]?.view ?? [])).toEqual(Array(count).fill(0.5));
    }
  });

  test("a chain uses registers, reads back its outputs and writes several of them", () => {
    for (const count of SIZES) {
      const machine = instantiate(build);
      const x = machine.floats(ramp(count, 1));
      const y = machine.floats(ramp(count).map((i) => i % 7));
      const out = [machine.floats(count), machine.floats(count)] as const;
      machine.run([
        elementwise({
          count,
          inputs: [contiguous(x), contiguous(y)],
          outputs: [out[0].address, out[1].address],
          registers: 2,
          operations: [
            [MicroOp.Mul, 4, 0, 1],
            [MicroOp.Add, 2, 4, 0],
            [MicroOp.Neg, 5, 2],
            [MicroOp.Sub, 3, 5, 4],
          ],
        }),
      ]);
      const first = ramp(count).map((i) => f32((i + 1) * (i % 7) + i + 1));
      expect(Array.from(out[0].view)).toEqual(first);
      expect(Array.from(out[1].view)).toEqual(first.map((v, i) => f32(-v - (i + 1) * (i % 7))));
    }
  });

  test("operands and results may be slices that start at any element of their buffers", () => {
    for (const count of SIZES) {
      for (const [from, to] of [
        [1, 0],
        [0, 3],
        [2, 1],
      ] as const) {
        const machine = instantiate(build);
        // Buffers end with their slices: a vector past the end would meet a guard, or the elements after the slice.
        const x = machine.ints(ramp(from + count));
        const y = machine.ints(Array(to + count + 2).fill(-7));
        machine.run([
          elementwise({
            count,
            inputs: [contiguous({ address: x.address + from * Layout.ElementBytes })],
            outputs: [y.address + to * Layout.ElementBytes],
            operations: [[MicroOp.NegI, 1, 0]],
          }),
        ]);
        expect(Array.from(y.view)).toEqual([...Array(to).fill(-7), ...ramp(count, from).map((i) => -i | 0), -7, -7]);
      }
    }
  });

  test("an output may overwrite the contiguous input it is made from", () => {
    for (const count of SIZES) {
      const machine = instantiate(build);
      const x = machine.floats(ramp(count));
      const y = machine.floats(ramp(count, 10));
      machine.run([
        elementwise({
          count,
          inputs: [contiguous(x), contiguous(y)],
          outputs: [x.address],
          registers: 1,
          operations: [
            [MicroOp.Mul, 3, 0, 1],
            [MicroOp.Sub, 2, 3, 0],
          ],
        }),
      ]);
      expect(Array.from(x.view)).toEqual(ramp(count).map((i) => i * (i + 10) - i));
    }
  });

  test("threads share the space without a gap or an overlap", () => {
    for (const count of [1, 511, 513, 1024, 5000]) {
      for (const threads of [1, 2, 3, 4]) {
        const machine = instantiate(build);
        // In place, so that an element computed twice would show.
        const x = machine.ints(ramp(count));
        const column = machine.ints(ramp(count));
        machine.run(
          [
            elementwise({
              count,
              sizes: [count],
              inputs: [contiguous(x), { kind: InputKind.Strided, address: column.address, strides: [1] }],
              outputs: [x.address],
              operations: [[MicroOp.AddI, 2, 0, 1]],
            }),
          ],
          threads,
        );
        expect(Array.from(x.view)).toEqual(ramp(count).map((i) => 2 * i));
      }
    }
  });

  // Gemm with K = 0 leaves zeros, and runs its epilogue on pieces of rows: ranges that start and end anywhere.
  test.each([
    [1, 3],
    [5, 1],
    [5, 7],
    [3, 10],
    [2, 61],
    [4, 515],
    [3, 1030],
    [600, 5],
  ])("a range touches its own elements only: epilogue of %d rows of %d", (rows, columns) => {
    const count = rows * columns;
    for (const threads of [1, 2, 3, 4]) {
      const machine = instantiate(build);
      const c = machine.ints(count);
      const x = machine.ints(ramp(count, 1));
      const bias = machine.ints(ramp(columns, 5));
      const one = machine.ints([1]);
      const stream = machine.ints([1, 2, 3, 4]);
      const [indices, words, sums] = [machine.ints(count), machine.ints(count), machine.ints(count)] as const;
      const none = machine.floats(1).address;
      const workspace = machine.allocate(1 << 20);
      machine.run(
        [
          instruction(
            Opcode.Gemm,
            [rows, columns, 0, none, 0, 0, none, 0, 0, c.address, columns, 0, workspace, 0],
            Flag.Epilogue,
          ),
          elementwise({
            count,
            sizes: [rows, columns],
            inputs: [
              contiguous(c),
              contiguous(x),
              { kind: InputKind.Strided, address: bias.address, strides: [0, 1] },
              scalar(one),
              { kind: InputKind.Record, address: stream.address },
            ],
            outputs: [c.address, indices.address, words.address, sums.address],
            registers: 1,
            operations: [
              [MicroOp.AddI, 5, 0, 3],
              [MicroOp.Iota, 6],
              [MicroOp.RandomBits, 7, 4],
              [MicroOp.AddI, 9, 1, 2],
              [MicroOp.AddI, 8, 9, 3],
            ],
          }),
        ],
        threads,
      );
      expect(Array.from(c.view)).toEqual(Array(count).fill(1));
      expect(Array.from(indices.view)).toEqual(ramp(count));
      expect(Array.from(words.view)).toEqual(philoxStream([1, 2, 3, 4], count));
      expect(Array.from(sums.view)).toEqual(ramp(count).map((i) => i + 1 + 5 + (i % columns) + 1));
    }
  });

  test("the index of an element is its own, in any thread", () => {
    for (const count of SIZES) {
      const machine = instantiate(build);
      const out = machine.ints(count);
      machine.run([elementwise({ count, inputs: [], outputs: [out.address], operations: [[MicroOp.Iota, 0]] })], 3);
      expect(Array.from(out.view)).toEqual(ramp(count));
    }
  });

  /** `count` random words from the stream that the four words of `record` name. */
  function randomWords(record: readonly number[], count: number, threads = 1): number[] {
    const machine = instantiate(build);
    const stream = machine.ints(record);
    const out = machine.ints(count);
    const chain: Chain = {
      count,
      inputs: [{ kind: InputKind.Record, address: stream.address }],
      outputs: [out.address],
      operations: [[MicroOp.RandomBits, 1, 0]],
    };
    machine.run([elementwise(chain)], threads);
    return Array.from(out.view);
  }

  test("random bits are Philox4x32-10, whatever the threads", () => {
    for (const record of [
      [0, 0, 0, 0],
      [0x12345678, -5, 7, 9],
      [-1, -1, -2, -1],
    ]) {
      for (const threads of [1, 4]) expect(randomWords(record, 2100, threads)).toEqual(philoxStream(record, 2100));
    }
  });

  test("random bits are evenly spread", () => {
    const words = randomWords([42, 0, 0, 0], 1 << 16);
    const mean = words.reduce((sum, word) => sum + (word >>> 0) / 2 ** 32, 0) / words.length;
    // The mean of n uniform numbers has a standard deviation of √(1/12n): 0.0011 here.
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.005);
    for (let bit = 0; bit < 32; bit++) {
      const set = words.filter((word) => (word >>> bit) & 1).length;
      expect(Math.abs(set / words.length - 0.5)).toBeLessThan(0.01);
    }
  });
});
