/**
 * Measures the error of the vector math functions, in units in the last place, over all 2³² floats or every Nth of
 * them, on both builds.
 *
 *   npx tsx bench/ulp.ts [--stride N] [--build strict|relaxed] [function ...]
 *
 * Functions of two arguments are measured on 2³²/N pseudo-random pairs: bit patterns, or numbers of ordinary size.
 */
import { parseArgs } from "node:util";
import { InputKind, type MicroOp } from "../src/isa.js";
import { BINARY, UNARY, ulpError } from "../test/kernels/math-reference.js";
import { BUILDS, type Build, elementwise, instantiate } from "../test/kernels/support.js";

const BLOCK = 1 << 16;

/** Writes the arguments of block number `block` into one column of bit patterns for each. */
type Fill = (block: number, columns: readonly Uint32Array[]) => void;

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

/** Runs `op` on `blocks` blocks of arguments and prints its worst error. */
function measure(
  name: string,
  build: Build,
  op: MicroOp,
  bound: number,
  arity: number,
  reference: (x: number, y: number) => number,
  blocks: number,
  fill: Fill,
): void {
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
  const [first, second = first] = inputs.map(({ view }) => view) as [Float32Array, Float32Array?];
  let worst = 0;
  let at = "";
  for (let block = 0; block < blocks; block++) {
    fill(block, columns);
    machine.execute(code);
    for (let i = 0; i < BLOCK; i++) {
      const x = first[i] as number;
      const y = second[i] as number;
      const error = ulpError(out.view[i] as number, reference(x, y));
      if (error > worst) {
        worst = error;
        at = ` at ${arity === 1 ? x : [x, y]}: ${out.view[i]}, not ${reference(x, y)}`;
      }
    }
  }
  console.log(`${worst <= bound ? "ok  " : "OVER"} ${name} ${build}: ${worst.toFixed(4)} of ${bound} ulp${at}`);
}

const { values: options, positionals } = parseArgs({
  options: { stride: { type: "string", default: "1" }, build: { type: "string" } },
  allowPositionals: true,
});
const stride = Number(options.stride);
if (!Number.isInteger(stride) || stride < 1)
  throw new RangeError(`--stride ${options.stride}: want an integer above 0`);
const blocks = Math.ceil(2 ** 32 / stride / BLOCK);
const fillSwept: Fill = (block, [column]) => {
  for (let i = 0; i < BLOCK; i++) (column as Uint32Array)[i] = (block * BLOCK + i) * stride;
};

const wanted = (name: string): boolean => positionals.length === 0 || positionals.includes(name);
for (const build of BUILDS.filter((name) => options.build === undefined || options.build === name)) {
  for (const { name, op, bound, reference } of UNARY.filter(({ name }) => wanted(name))) {
    measure(name, build, op, bound, 1, reference, blocks, fillSwept);
  }
  for (const { name, op, bound, reference } of BINARY.filter(({ name }) => wanted(name))) {
    measure(name, build, op, bound, 2, reference, blocks, fillRandom);
  }
}
