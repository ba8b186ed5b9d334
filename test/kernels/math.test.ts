import { describe, expect, test } from "vitest";
import { InputKind } from "../../src/isa.js";
import { MicroOp } from "../../src/micro-op.js";
import { BINARY, erf, UNARY, ulpError } from "./math-reference.js";
import { BUILDS, type Build, elementwise, instantiate } from "./support.js";

/** A prime, so that a sweep of bit patterns meets every exponent with ever different mantissas. */
const STRIDE = 4099;
/** Floats on either side of a special point that are tested one by one. */
const NEIGHBOURS = 40;

/** Where functions change their formula or meet a limit; each is swept with its neighbours of either sign. */
const SPECIAL_POINTS = [
  0,
  Infinity,
  2 ** -149,
  2 ** -126,
  2 ** -24,
  0.25,
  Math.SQRT1_2,
  Math.SQRT2,
  0.5,
  0.625,
  1,
  2,
  4,
  5.5,
  5.6,
  10,
  20,
  Math.SQRT1_2 - 1,
  Math.SQRT2 - 1,
  Math.LN2 / 2,
  (3 * Math.LN2) / 2,
  17.328679,
  87,
  87.33654,
  88.02969,
  88.72284,
  103.27893,
  103.97208,
  ...Array.from({ length: 16 }, (_, k) => ((k + 1) * Math.PI) / 4),
  1647099,
  2 ** 24,
  2 ** 25,
  2 ** 126,
  3.4028234663852886e38,
];

function bitPattern(x: number): number {
  const float = new Float32Array([x]);
  return new Uint32Array(float.buffer)[0] as number;
}

function fromPatterns(patterns: readonly number[]): Float32Array {
  return new Float32Array(Uint32Array.from(patterns).buffer);
}

const SWEEP = fromPatterns([
  ...Array.from({ length: Math.ceil(2 ** 32 / STRIDE) }, (_, i) => i * STRIDE),
  ...SPECIAL_POINTS.flatMap((point) => {
    const near = Array.from({ length: 2 * NEIGHBOURS + 1 }, (_, i) => bitPattern(point) + i - NEIGHBOURS);
    return near.filter((pattern) => pattern >= 0).flatMap((pattern) => [pattern, pattern + 2 ** 31]);
  }),
]);

/** Runs `op` on the given columns of arguments. */
function apply(build: Build, op: MicroOp, columns: readonly ArrayLike<number>[]): Float32Array {
  const machine = instantiate(build);
  const count = (columns[0] as ArrayLike<number>).length;
  const inputs = columns.map((column) => ({ kind: InputKind.Contiguous, address: machine.floats(column).address }));
  const out = machine.floats(count);
  const operations = [[op, inputs.length, 0, 1]] as const;
  machine.run([elementwise({ count, inputs, outputs: [out.address], operations })]);
  return out.view;
}

/** The greatest error over all rows, and a message that shows where it is. */
function worst(
  results: ArrayLike<number>,
  columns: readonly ArrayLike<number>[],
  reference: (x: number, y: number) => number,
): { error: number; message: string } {
  const [first, second = first] = columns as [ArrayLike<number>, ArrayLike<number>?];
  let error = 0;
  let at = 0;
  for (let i = 0; i < results.length; i++) {
    const e = ulpError(results[i] as number, reference(first[i] as number, second[i] as number));
    if (e > error) [error, at] = [e, i];
  }
  const values = columns.map((column) => column[at] as number);
  const [x, y] = values as [number, number];
  return { error, message: `f(${values.join(", ")}) is ${results[at]}, want ${reference(x, y)}: ${error} ulp` };
}

/** A xorshift32 stream of bit patterns (Marsaglia, 2003). */
function randomPatterns(count: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  });
}

/** Patterns of floats of ordinary size instead: from 2⁻⁸ to 2⁸, of either sign. */
const ordinary = (patterns: readonly number[]): number[] => patterns.map((p) => ((p & 0x87ffffff) + 0x3bc00000) >>> 0);

const EDGES = [0, 0.5, 1, 1.5, 2, 3, 7, 2 ** -149, 1e-40, 2 ** -126, 1 - 2 ** -24, 1 + 2 ** -23, 2 ** 24 - 1, 2 ** 24]
  .concat([2 ** 25, 2 ** 126, 3.4028234663852886e38, Infinity])
  .flatMap((x) => [x, -x])
  .concat([NaN]);
const EDGE_PAIRS = [EDGES.flatMap((x) => EDGES.map(() => x)), EDGES.flatMap(() => EDGES)] as const;

describe.each(BUILDS)("vector math on the %s build", (build) => {
  test.each(UNARY)("$name stays within $bound ulp, special values included", ({ op, bound, reference }) => {
    const { error, message } = worst(apply(build, op, [SWEEP]), [SWEEP], reference);
    expect(error, message).toBeLessThanOrEqual(bound);
  });

  test.each(BINARY)("$name stays within $bound ulp, special values included", ({ op, bound, reference }) => {
    const [x, y] = [randomPatterns(200_000, 1), randomPatterns(200_000, 2)];
    const cases = [EDGE_PAIRS, [x, y].map(fromPatterns), [x, y].map((list) => fromPatterns(ordinary(list)))];
    for (const columns of cases) {
      const { error, message } = worst(
        apply(build, op, columns),
        columns.map((column) => Float32Array.from(column)),
        reference,
      );
      expect(error, message).toBeLessThanOrEqual(bound);
    }
  });

  /** The largest errors of an activation relative to x and, from -1 up, in ulp; and of its derivative. */
  function activationErrors(
    [op, gradient]: readonly [MicroOp, MicroOp],
    value: (x: number) => number,
    derivative: (x: number) => number,
  ): { relative: number; ulps: number; absolute: number } {
    const x = SWEEP.filter((x) => Math.abs(x) < 1e30 && Math.abs(x) > 1e-30);
    const values = apply(build, op, [x]).slice();
    const derivatives = apply(build, gradient, [new Float32Array(x.length).fill(1), x]).slice();
    let [relative, ulps, absolute] = [0, 0, 0];
    for (const [i, at] of x.entries()) {
      relative = Math.max(relative, Math.abs((values[i] as number) - value(at)) / Math.abs(at));
      if (at >= -1) ulps = Math.max(ulps, ulpError(values[i] as number, value(at)));
      absolute = Math.max(absolute, Math.abs((derivatives[i] as number) - derivative(at)));
    }
    return { relative, ulps, absolute };
  }

  test("GELU by its definition and its gradient are right to the last bits of x and of 1", () => {
    const normal = (x: number): number => (1 + erf(x * Math.SQRT1_2)) / 2;
    const density = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
    const { relative, ulps, absolute } = activationErrors(
      [MicroOp.Gelu, MicroOp.GeluGradient],
      (x) => x * normal(x),
      (x) => normal(x) + (Math.abs(x) < 40 ? x * density(x) : 0),
    );
    expect(relative).toBeLessThan(2.5e-7);
    expect(ulps).toBeLessThan(5);
    expect(absolute).toBeLessThan(4.5e-7);
    const edges = [0, -0, NaN, 1e-40, -1e-40, -6, -3e38];
    const tiny = Math.fround(1e-40 / 2);
    expect([...apply(build, MicroOp.Gelu, [edges])]).toEqual([0, -0, NaN, tiny, -tiny, -0, -0]);
    const flat = new Float32Array(edges.length).fill(1);
    const slopes = [...apply(build, MicroOp.GeluGradient, [flat, edges])];
    expect(slopes).toEqual([0.5, 0.5, NaN, 0.5, 0.5, 0, 0]);
    expect([...apply(build, MicroOp.Gelu, [[Infinity, -Infinity]])]).toEqual([Infinity, NaN]);
  });

  test("SiLU and its gradient are right to the last bits of x and of 1", () => {
    const logistic = (x: number): number => 1 / (1 + Math.exp(-x));
    const { relative, ulps, absolute } = activationErrors(
      [MicroOp.Silu, MicroOp.SiluGradient],
      (x) => x * logistic(x),
      (x) => logistic(x) * (1 + Math.max(-700, x) * logistic(-x)),
    );
    expect(relative).toBeLessThan(1.2e-7);
    expect(ulps).toBeLessThan(2.5);
    expect(absolute).toBeLessThan(2.5e-7);
    const edges = [0, -0, Infinity, NaN, 3e38, -3e38];
    expect([...apply(build, MicroOp.Silu, [edges])]).toEqual([0, -0, Infinity, NaN, Math.fround(3e38), -0]);
    const flat = new Float32Array(edges.length).fill(1);
    const slopes = [...apply(build, MicroOp.SiluGradient, [flat, edges])];
    expect(slopes).toEqual([0.5, 0.5, 1, NaN, 1, expect.closeTo(0, 30)]);
  });

  test("softplus is right to the last bits down to where its exponential is a normal float", () => {
    const x = SWEEP.filter((x) => x > -86);
    const values = apply(build, MicroOp.Softplus, [x]).slice();
    let ulps = 0;
    for (const [i, at] of x.entries()) {
      const truth = Math.max(at, 0) + Math.log1p(Math.exp(-Math.abs(at)));
      ulps = Math.max(ulps, ulpError(values[i] as number, truth));
    }
    expect(ulps).toBeLessThan(3);
    const edges = [0, Infinity, -Infinity, NaN, 100, -100, 3e38];
    expect([...apply(build, MicroOp.Softplus, [edges])]).toEqual([
      Math.fround(Math.LN2),
      Infinity,
      0,
      NaN,
      100,
      0,
      Math.fround(3e38),
    ]);
  });

  test("GELU with a hyperbolic tangent and its gradient are right to the last bits of x and of 1", () => {
    const sigma = (x: number): number => 1 / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    const slope = (x: number): number => 2 * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
    const value = (x: number): number => x * sigma(x);
    const derivative = (x: number): number => {
      const b = Math.max(-40, Math.min(40, x));
      return sigma(b) + b * slope(b) * sigma(b) * (1 - sigma(b));
    };
    const ops = [MicroOp.GeluTanh, MicroOp.GeluTanhGradient] as const;
    const { relative, ulps, absolute } = activationErrors(ops, value, derivative);
    expect(relative).toBeLessThan(1.2e-7);
    expect(ulps).toBeLessThan(2.5);
    expect(absolute).toBeLessThan(2.5e-7);
    const edges = [0, -0, Infinity, NaN, 1e-40, -1e-40, 3e38, -3e38];
    const flat = new Float32Array(edges.length).fill(1);
    const [tiny, half] = [Math.fround(1e-40 / 2), 0.5];
    expect([...apply(build, MicroOp.GeluTanh, [edges])]).toEqual([
      0,
      -0,
      Infinity,
      NaN,
      tiny,
      -tiny,
      Math.fround(3e38),
      -0,
    ]);
    expect([...apply(build, MicroOp.GeluTanhGradient, [flat, edges])].map((x) => x + 0)).toEqual([
      half,
      half,
      1,
      NaN,
      half,
      half,
      1,
      expect.closeTo(0, 30),
    ]);
  });

  test("results do not depend on how many are computed together", () => {
    const x = Float32Array.from({ length: 100 }, (_, i) => (i % 23 === 22 ? 1e30 : (i + 1) / 8));
    for (const { op, name } of UNARY) {
      const all = apply(build, op, [x]).slice();
      for (const count of [1, 3, 4, 5, 15, 16, 17, 31, 32, 33, 64])
        expect(apply(build, op, [x.subarray(0, count)]), name).toEqual(all.subarray(0, count));
    }
  });

  test("a result may take the place of its argument, of whatever size that is", () => {
    const x = Float32Array.from({ length: 2100 }, (_, i) => (i + 1) / 64);
    for (const [i, rare] of [1e30, NaN, -200, Infinity, 60, -0].entries()) x[i * 397] = rare;
    for (const { op, name } of UNARY) {
      const expected = apply(build, op, [x]).slice();
      const machine = instantiate(build);
      const { address, view } = machine.floats(x);
      const inputs = [{ kind: InputKind.Contiguous, address }];
      machine.run([elementwise({ count: x.length, inputs, outputs: [address], operations: [[op, 1, 0, 0]] })]);
      expect(view, name).toEqual(expected);
    }
  });

  test("a lane does not depend on its neighbours", () => {
    // Functions with a path for rare lanes take it for the whole vector.
    const rare = [1e30, -0, NaN, 1e-40, -200, Infinity];
    const plain = Float32Array.from({ length: 64 }, (_, i) => (i + 1) / 8);
    for (const { op, name } of UNARY) {
      const expected = apply(build, op, [plain]).slice();
      const mixed = Array.from(plain, (x, i) => (i % 4 === 3 ? (rare[(i >> 2) % rare.length] as number) : x));
      const results = apply(build, op, [mixed]);
      for (let i = 0; i < plain.length; i++) if (i % 4 !== 3) expect(results[i], name).toBe(expected[i]);
    }
  });
});

test("the strict build gives these bits on every engine and processor", () => {
  const x = Float32Array.from({ length: 1000 }, (_, i) => (i - 500) / 37);
  const y = Float32Array.from({ length: 1000 }, (_, i) => ((i * 7) % 100) / 9 - 5);
  const hash = (op: MicroOp): number => {
    const bits = new Uint32Array(apply("strict", op, [x, y]).slice().buffer);
    // NaN has many patterns, and which one comes out is the processor's choice.
    return bits.reduce(
      (h, b) => Math.imul(h ^ ((b & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : b), 16777619),
      -2128831035,
    );
  };
  const hashes = Object.fromEntries([...UNARY, ...BINARY].map(({ name, op }) => [name, hash(op) >>> 0]));
  expect(hashes).toMatchInlineSnapshot(`
    {
      "acos": 1447111072,
      "asin": 3997052309,
      "atan": 983389010,
      "atan2": 1467983606,
      "cos": 2530679169,
      "erf": 71274877,
      "exp": 856938007,
      "expm1": 2051990587,
      "fmod": 724702283,
      "log": 1191797939,
      "log1p": 1940751681,
      "pow": 2444829525,
      "sigmoid": 3840298438,
      "sin": 816776034,
      "tan": 3460769904,
      "tanh": 1030214405,
    }
  `);
});
