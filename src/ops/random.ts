/**
 * Random numbers, counter-based: element `i` of a draw is a function of the seed, the draw's place in the sequence and
 * `i` alone. A dropout mask that is recomputed comes out the same, on any number of threads.
 */
import { ArgumentError } from "../graph/errors.js";
import type { Primitive } from "../graph/primitive.js";
import { checkShape, type Shape, sizeOf } from "../graph/shape.js";
import { cell, constant } from "../graph/sources.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { MicroOp } from "../micro-op.js";
import { add, ge, mul, where } from "./arithmetic.js";
import { to } from "./conversion.js";
import { elementwise, type OperatorTable } from "./define.js";
import { narrow, reshape, select } from "./movement.js";
import { cos, log, sqrt } from "./unary.js";

/** High and low words of a 32 × 32 bit product. */
function multiply(a: number, b: number): [number, number] {
  const product = BigInt(a >>> 0) * BigInt(b >>> 0);
  return [Number(product >> 32n), Number(product & 0xffffffffn)];
}

/**
 * Philox4x32-10: ten rounds that turn a counter of four words into four random words (Salmon, Moraes, Dror and Shaw,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 */
export function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter as [number, number, number, number];
  let [k0, k1] = key as [number, number];
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(0xd2511f53, c0);
    const [high1, low1] = multiply(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** Random words; the input is the key: two words of the seed, two of the place in the sequence. */
const randomBitsPrimitive: Primitive<Tensor, { shape: Shape }> = {
  name: "randomBits",
  infer: (_, { shape }) => ({ shape, dtype: "i32" }),
  reference([key], out) {
    const [low, high, offsetLow, offsetHigh] = (key as { data: Float64Array }).data as unknown as [
      number,
      number,
      number,
      number,
    ];
    const result = new Float64Array(sizeOf(out.shape));
    for (let group = 0; 4 * group < result.length; group++) {
      const first = (offsetLow >>> 0) + group;
      const counter = [first >>> 0, ((offsetHigh >>> 0) + Math.floor(first / 2 ** 32)) >>> 0, 0, 0];
      philox(counter, [low >>> 0, high >>> 0]).forEach((word, i) => {
        if (4 * group + i < result.length) result[4 * group + i] = word | 0;
      });
    }
    return result;
  },
  vjp: null,
  // Every example's key is read from the sequence right behind the one before it, so one longer draw from the first key
  // gives every example the numbers that it would draw by itself.
  batch({ inputs: [keys], attrs: { shape }, size }) {
    const count = sizeOf(shape);
    const stride = 4 * Math.ceil(count / 4);
    const bits = apply(randomBitsPrimitive, [select(keys as Tensor, 0, 0)], { shape: [size * stride] });
    return reshape(narrow(reshape(bits, size, stride), 1, 0, count), size, shape);
  },
  lowering: { kind: "elementwise", micro: { i32: MicroOp.RandomBits } },
  flops: () => 0,
};

const bitAndPrimitive = elementwise({ name: "bitAnd", micro: { i32: MicroOp.And }, reference: (a, b) => a & b });

/** A place in a sequence of random numbers. */
export class Generator {
  private offset = 0;

  /** @param seed any safe integer; its lowest 64 bits count */
  constructor(private seed = 0) {
    this.manualSeed(seed);
  }

  /** Starts the sequence of `seed` from its beginning. */
  manualSeed(seed: number): this {
    if (!Number.isSafeInteger(seed))
      throw new ArgumentError(`manualSeed: the seed must be a whole number, not ${seed}`);
    this.seed = seed;
    this.offset = 0;
    return this;
  }

  /** What the sequence continues from: seed and offset. */
  getState(): { seed: number; offset: number } {
    return { seed: this.seed, offset: this.offset };
  }

  /** Continues the sequence from a state that `getState` gave. */
  setState({ seed, offset }: { seed: number; offset: number }): this {
    this.manualSeed(seed);
    this.offset = offset;
    return this;
  }

  /** @internal The key of a draw of `count` numbers; the sequence moves past them. */
  draw(count: number): number[] {
    const { seed, offset } = this;
    this.offset += Math.ceil(count / 4);
    return [seed | 0, Math.floor(seed / 2 ** 32) | 0, offset | 0, Math.floor(offset / 2 ** 32) | 0];
  }

  /** @internal Takes back a draw of `count` numbers. */
  undraw(count: number): void {
    this.offset -= Math.ceil(count / 4);
  }
}

/** The generator that is used where none is given. */
export const defaultGenerator: Generator = new Generator(0);

/** Starts the default generator's sequence of `seed`. */
export function manualSeed(seed: number): Generator {
  return defaultGenerator.manualSeed(seed);
}

/** Random tensors' common option. */
export interface RandomOptions {
  /** The default generator if not given. */
  readonly generator?: Generator;
}

/** Uniform numbers in [0, 1): 24 random bits each, as PyTorch's. In a compiled function every run draws new ones. */
export function rand(shape: Shape, options: RandomOptions = {}): Tensor {
  const { generator = defaultGenerator } = options;
  checkShape("rand", shape);
  const count = sizeOf(shape);
  const key = cell(
    () => generator.draw(count),
    [4],
    "i32",
    () => generator.undraw(count),
  );
  const bits = apply(randomBitsPrimitive, [key], { shape });
  const low = apply(bitAndPrimitive, [bits, constant(0xffffff, [], "i32")], null);
  return mul(to(low, "f32"), constant(2 ** -24));
}

/** Numbers from the standard normal distribution (Box and Muller's transform). */
export function randn(shape: Shape, options: RandomOptions = {}): Tensor {
  const radius = sqrt(mul(log(add(mul(rand(shape, options), -1), 1)), -2));
  return mul(radius, cos(mul(rand(shape, options), constant(2 * Math.PI))));
}

/** Uniform numbers in [0, 1), of the shape of `input`. */
export function randLike(input: Tensor, options: RandomOptions = {}): Tensor {
  return rand(input.shape, options);
}

/** Numbers from the standard normal distribution, of the shape of `input`. */
export function randnLike(input: Tensor, options: RandomOptions = {}): Tensor {
  return randn(input.shape, options);
}

/**
 * Whole numbers from `low` to `high - 1`, as i32.
 * @throws ArgumentError where there are none, or more than the 2²⁴ that a draw tells apart
 */
export function randint(low: number, high: number, shape: Shape, options: RandomOptions = {}): Tensor {
  const count = high - low;
  if (!Number.isInteger(low) || !Number.isInteger(high) || count < 1 || count > 2 ** 24) {
    throw new ArgumentError(`randint: from ${low} to below ${high} must be 1 to 2^24 whole numbers`);
  }
  return add(to(mul(rand(shape, options), count), "i32"), low);
}

/**
 * Zeroes each element with probability `p` and scales the others by 1 / (1 - p); the identity where not `training`.
 */
export function dropout(input: Tensor, p = 0.5, training = true, options: RandomOptions = {}): Tensor {
  if (!(p >= 0 && p <= 1)) throw new ArgumentError(`dropout: p must be between 0 and 1, not ${p}`);
  if (!training || p === 0) return input;
  if (p === 1) return mul(input, 0);
  return where(ge(rand(input.shape, options), p), mul(input, 1 / (1 - p)), 0);
}

/** The operators of this file. */
export default {
  dropout: {
    fn: dropout,
    params: ["input", "p", "training"],
    options: ["generator"],
    samples: ["f32[3,4]; 0.5; false"],
  },
} satisfies OperatorTable;
