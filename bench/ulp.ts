/**
 * Measures the error of the vector math functions, in units in the last place, over all 2³² floats or every Nth of
 * them, on both builds.
 *
 *   npm run bench:ulp -- [--stride N] [--build strict|relaxed] [function ...]
 *
 * Functions of two arguments are measured on 2³²/N pseudo-random pairs: bit patterns, or numbers of ordinary size. A full
 * sweep takes a minute or two for each function of one argument: every result is compared, but the float64 reference
 * is computed once for both builds, and from its first terms where those are exact or the function is flat.
 */
import { parseArgs } from "node:util";
import { InputKind } from "../src/isa.js";
import type { MicroOp } from "../src/micro-op.js";
import { BINARY, UNARY, ulpError } from "../test/kernels/math-reference.js";
import { BUILDS, type Build, elementwise, instantiate } from "../test/kernels/support.js";

const BLOCK = 1 << 16;

/** Writes the arguments of block number `block` into one column of bit patterns for each. */
type Fill = (block: number, columns: readonly Uint32Array[]) => void;

type Reference = (x: number, y: number) => number;

/** Marsaglia's xorshift32. */
let state = 2463534242;
function random(): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return state >>> 0;
}

/** Half of the blocks hold any bit patterns; the other half numbers from 2⁻⁸ to 2⁸ of either sign. */
const fillRandom: Fill = (block, columns) => {
  for (const column of columns) {
    for (let i = 0; i < BLOCK; i++) {
      const pattern = random();
      column[i] = block & 1 ? pattern : (pattern & 0x87ffffff) + 0x3bc00000;
    }
  }
};

/** Below this, x⁴ does not reach the last bits of a float64 beside 1. */
const SMALL = 2 ** -12;
/** Below this, x² does not reach the last bit of a float64 beside 1. */
const TINY = 2 ** -27;

/**
 * References that are cheaper where the function is flat, or its first terms are exact to float64. What is left out
 * where it is flat is far below half a unit in the last place of an f32: tanh(10) is 1 - 2⁻²⁷·⁸, erf(5) 1 - 2⁻³⁹, and
 * sigmoid(40) 1 - 2⁻⁵⁷; e^x is below half of the least float under -104, and above the greatest over 89.
 */
const CHEAPER: Readonly<Record<string, (reference: Reference) => Reference>> = {
  exp: (reference) => (x, y) => {
    if (x < TINY && x > -TINY) return 1 + x;
    if (x > 89) return Number.POSITIVE_INFINITY;
    return x < -104 ? 0 : reference(x, y);
  },
  tanh: (reference) => (x, y) => {
    if (x < SMALL && x > -SMALL) return x * (1 - (x * x) / 3);
    if (x > 10) return 1;
    return x < -10 ? -1 : reference(x, y);
  },
  erf: (reference) => (x, y) => {
    if (x < SMALL && x > -SMALL) return (2 / Math.sqrt(Math.PI)) * x * (1 - (x * x) / 3);
    if (x > 5) return 1;
    return x < -5 ? -1 : reference(x, y);
  },
  sigmoid: (reference) => (x, y) => {
    if (x < TINY && x > -TINY) return 0.5 + x / 4;
    if (x > 40) return 1;
    return x < -104 ? 0 : reference(x, y);
  },
};

/** One build and the memory of a function's arguments and results. */
interface Bench {
  readonly build: Build;
  readonly columns: readonly Uint32Array[];
  readonly results: Float32Array;
  run(): void;
}

function benchOf(build: Build, op: MicroOp, arity: number): Bench {
  const machine = instantiate(build);
  const inputs = Array.from({ length: arity }, () => machine.floats(BLOCK));
  const out = machine.floats(BLOCK);
  const code = machine.load([
    elementwise({
      count: BLOCK,
      inputs: inputs.map(({ address }) => ({ kind: InputKind.Contiguous, address })),
      outputs: [out.address],
      operations: [[op, arity, 0, 1]],
    }),
  ]);
  const columns = inputs.map(({ view }) => new Uint32Array(view.buffer, view.byteOffset, BLOCK));
  return { build, columns, results: out.view, run: () => machine.execute(code) };
}

/** The largest error so far, and where it is. */
interface Worst {
  error: number;
  at: string;
}

/** Compares a block of results with the truth. */
function compare(results: Float32Array, truth: Float64Array, columns: readonly Float32Array[], worst: Worst): void {
  for (let i = 0; i < BLOCK; i++) {
    const result = results[i] as number;
    const want = truth[i] as number;
    // The nearest float is wrong by half a unit at most, which every function reaches.
    if (result === Math.fround(want) && result !== 0) continue;
    const error = ulpError(result, want);
    if (error > worst.error) {
      worst.error = error;
      worst.at = ` at ${columns.map((column) => column[i])}: ${result}, not ${want}`;
    }
  }
}

/** Runs `op` on `blocks` blocks of arguments and prints its worst error on each build. */
function measure(
  name: string,
  op: MicroOp,
  bound: number,
  arity: number,
  reference: Reference,
  blocks: number,
  fill: Fill,
): void {
  const benches = builds.map((build) => benchOf(build, op, arity));
  const worst = builds.map((): Worst => ({ error: 0, at: "" }));
  const columns = Array.from({ length: arity }, () => new Uint32Array(BLOCK));
  const floats = columns.map(({ buffer }) => new Float32Array(buffer));
  const [first, second = first] = floats as [Float32Array, Float32Array?];
  const truth = new Float64Array(BLOCK);
  for (let block = 0; block < blocks; block++) {
    fill(block, columns);
    for (let i = 0; i < BLOCK; i++) truth[i] = reference(first[i] as number, second[i] as number);
    benches.forEach((bench, k) => {
      bench.columns.forEach((column, c) => {
        column.set(columns[c] as Uint32Array);
      });
      bench.run();
      compare(bench.results, truth, floats, worst[k] as Worst);
    });
  }
  builds.forEach((build, k) => {
    const { error, at } = worst[k] as Worst;
    console.log(`${error <= bound ? "ok  " : "OVER"} ${name} ${build}: ${error.toFixed(4)} of ${bound} ulp${at}`);
  });
}

const { values: options, positionals } = parseArgs({
  options: { stride: { type: "string", default: "1" }, build: { type: "string" } },
  allowPositionals: true,
});
const stride = Number(options.stride);
if (!Number.isInteger(stride) || stride < 1)
  throw new RangeError(`--stride ${options.stride}: want an integer above 0`);
const builds = BUILDS.filter((name) => options.build === undefined || options.build === name);
const blocks = Math.ceil(2 ** 32 / stride / BLOCK);
const fillSwept: Fill = (block, [column]) => {
  for (let i = 0; i < BLOCK; i++) (column as Uint32Array)[i] = (block * BLOCK + i) * stride;
};

const wanted = (name: string): boolean => positionals.length === 0 || positionals.includes(name);
for (const { name, op, bound, reference } of UNARY.filter(({ name }) => wanted(name))) {
  measure(name, op, bound, 1, CHEAPER[name]?.(reference) ?? reference, blocks, fillSwept);
}
for (const { name, op, bound, reference } of BINARY.filter(({ name }) => wanted(name))) {
  measure(name, op, bound, 2, reference, blocks, fillRandom);
}
