/** Pooling against plain loops over windows: the largest, where it is, averages, and both gradients. */
import { describe, expect, test } from "vitest";
import { Opcode, PoolMode } from "../../src/isa.js";
import { expectShares, lastFloats } from "./shares.js";
import { BUILDS, type Build, instantiate, instruction, type Machine, type Placed } from "./support.js";

type Three = readonly [number, number, number];

interface Problem {
  readonly planes: number;
  readonly image: Three;
  /** Null: adaptive windows. */
  readonly kernel: Three | null;
  readonly stride: Three;
  readonly padding: Three;
  readonly dilation: Three;
  readonly output: Three;
  readonly divisor: number;
  readonly countsPadding: boolean;
}

interface Options {
  readonly planes?: number;
  readonly stride?: readonly number[];
  readonly padding?: readonly number[];
  readonly dilation?: readonly number[];
  /** One more window in each dimension that has room for its start, which reaches over the end. */
  readonly over?: boolean;
  readonly divisor?: number;
  readonly countsPadding?: boolean;
}

function three(list: readonly number[], fill: number): Three {
  return [...new Array(3 - list.length).fill(fill), ...list] as unknown as Three;
}

/** Fixed windows, side by side if no stride is given. */
function fixed(image: readonly number[], kernel: readonly number[], options: Options = {}): Problem {
  const { planes = 2, stride = kernel, over = false, divisor = 0, countsPadding = false } = options;
  const padding = options.padding ?? image.map(() => 0);
  const dilation = options.dilation ?? image.map(() => 1);
  const output = image.map((n, d) => {
    const reach = ((kernel[d] as number) - 1) * (dilation[d] as number) + 1;
    const [step, before] = [stride[d] as number, padding[d] as number];
    const count = Math.floor((n + 2 * before - reach) / step) + 1;
    return over && count * step < n + before ? count + 1 : count;
  });
  return {
    ...{ planes, image: three(image, 1), kernel: three(kernel, 1), stride: three(stride, 1) },
    ...{ padding: three(padding, 0), dilation: three(dilation, 1), output: three(output, 1), divisor, countsPadding },
  };
}

function adaptive(image: readonly number[], output: readonly number[]): Problem {
  const p = fixed(
    image,
    image.map(() => 1),
  );
  return { ...p, kernel: null, output: three(output, 1) };
}

function product(list: readonly number[]): number {
  return list.reduce((a, b) => a * b, 1);
}

/** Windows of a plane in order: the numbers of their elements, and how many an average counts. */
function windows(p: Problem): { elements: number[]; count: number }[] {
  let all = [{ elements: [0], count: 1 }];
  p.image.forEach((n, d) => {
    const along = Array.from({ length: p.output[d] as number }, (_, o) => {
      const outputs = p.output[d] as number;
      if (p.kernel === null) {
        const [start, end] = [Math.floor((o * n) / outputs), Math.ceil(((o + 1) * n) / outputs)];
        return { elements: Array.from({ length: end - start }, (_, i) => start + i), count: end - start };
      }
      const [k, q] = [p.kernel[d] as number, p.padding[d] as number];
      const start = o * (p.stride[d] as number) - q;
      const covered = Array.from({ length: k }, (_, t) => start + t * (p.dilation[d] as number));
      const elements = covered.filter((i) => i >= 0 && i < n);
      return { elements, count: p.countsPadding ? Math.min(start + k, n + q) - start : elements.length };
    });
    all = all.flatMap((outer) =>
      along.map(({ elements, count }) => ({
        elements: outer.elements.flatMap((i) => elements.map((j) => i * n + j)),
        count: outer.count * count,
      })),
    );
  });
  return all;
}

/** The first of the largest elements, or the first NaN. */
function largest(image: Float32Array, elements: readonly number[], plane: number): number {
  return elements.reduce((best, i) => {
    const [x, y] = [image[plane + i] as number, image[plane + best] as number];
    return x > y || (Number.isNaN(x) && !Number.isNaN(y)) ? i : best;
  });
}

/** What `mode` gives, in f32 steps as the contract orders them. */
function expected(p: Problem, mode: PoolMode, image: Float32Array, output: Float32Array): number[] {
  const all = windows(p);
  const size = product(p.image);
  const gradient = new Float32Array(p.planes * size);
  const results: number[] = [];
  for (let plane = 0; plane < p.planes; plane++) {
    all.forEach(({ elements, count }, o) => {
      const divisor = p.divisor === 0 ? count : p.divisor;
      const g = output[plane * all.length + o] as number;
      const add = (i: number, value: number): void => {
        gradient[plane * size + i] = (gradient[plane * size + i] as number) + value;
      };
      const values = elements.map((i) => image[plane * size + i] as number);
      const at = largest(image, elements, plane * size);
      switch (mode) {
        case PoolMode.Max:
          results.push(image[plane * size + at] as number);
          break;
        case PoolMode.MaxIndex:
          results.push(at);
          break;
        case PoolMode.MaxGradient:
          add(at, g);
          break;
        case PoolMode.Average:
          results.push(Math.fround(values.reduce((sum, x) => Math.fround(sum + x), 0) / divisor));
          break;
        default:
          for (const i of elements) add(i, Math.fround(g / divisor));
      }
    });
  }
  return mode === PoolMode.MaxGradient || mode === PoolMode.AverageGradient ? Array.from(gradient) : results;
}

/** Small whole numbers, so that many are equal, both zeros, and `special` ones in between. */
function numbers(count: number, special: readonly number[] = []): Float32Array {
  let state = 17;
  const values = Float32Array.from({ length: count }, () => {
    state = (state * 48271) % 2147483647;
    return (state % 9) - 4 || (state & 16 ? -0 : 0);
  });
  special.forEach((value, i) => {
    values[(5 * i + 3) % count] = value;
  });
  return values;
}

function fieldsOf(p: Problem, mode: PoolMode, addresses: readonly number[]): number[] {
  const kernel = p.kernel ?? [0, 0, 0];
  const sizes = [...p.image, ...kernel, ...p.output, ...p.stride, ...p.padding, ...p.dilation];
  return [mode, ...addresses, p.planes, ...sizes, p.divisor, p.countsPadding ? 1 : 0];
}

/** Places the buffers that `mode` needs and returns its instruction, the computed buffer, and what is read. */
function placed(machine: Machine, p: Problem, mode: PoolMode, special: readonly number[]) {
  const outputs = p.planes * product(p.output);
  const elements = p.planes * product(p.image);
  const toImage = mode === PoolMode.MaxGradient || mode === PoolMode.AverageGradient;
  // Other numbers than those of the image.
  const output = numbers(outputs + 1).subarray(1);
  const image = numbers(elements, special);
  const from = machine.floats(image);
  const out = toImage
    ? machine.floats(output)
    : mode === PoolMode.MaxIndex
      ? machine.ints(outputs)
      : machine.floats(outputs);
  const gradient = toImage ? machine.floats(elements) : null;
  const target: Placed<Float32Array | Int32Array> = gradient ?? out;
  const words = instruction(Opcode.Pool, fieldsOf(p, mode, [out.address, from.address, gradient?.address ?? 0]));
  return { words, target, image, output };
}

const MODES = {
  Max: PoolMode.Max,
  MaxIndex: PoolMode.MaxIndex,
  MaxGradient: PoolMode.MaxGradient,
  Average: PoolMode.Average,
  AverageGradient: PoolMode.AverageGradient,
};

/** Every mode (no averages with dilation) on 1 and on 3 threads: exactly the bits of the contract. */
function expectRight(build: Build, p: Problem, special: readonly number[] = []): void {
  const dilated = product(p.dilation) > 1;
  for (const [name, mode] of Object.entries(MODES)) {
    if (dilated && mode >= PoolMode.Average) continue;
    for (const threads of [1, 3]) {
      const machine = instantiate(build);
      const { words, target, image, output } = placed(machine, p, mode, special);
      machine.run([words], threads);
      const wanted = expected(p, mode, image, output);
      expect(target.view.length).toBe(wanted.length);
      const wrong = wanted.findIndex((x, i) => !Object.is(target.view[i], x));
      if (wrong >= 0) {
        expect.fail(
          `${name}: element ${wrong} is ${target.view[wrong]}, not ${wanted[wrong]}: ${JSON.stringify(p)} on ${threads} threads`,
        );
      }
    }
  }
}

const SIZES = [2, 3, 4, 7, 8, 9, 10, 14, 17, 24, 33];

describe.each(BUILDS)("pool (%s)", (build) => {
  test.each(SIZES)("is right on 2×2 windows over lines of %i", (width) => {
    for (const height of [2, 3, 6]) {
      expectRight(build, fixed([height, width], [2, 2]));
      expectRight(build, fixed([2, height, width], [1, 2, 2]));
      expectRight(build, fixed([2, height, width], [2, 2, 2]));
    }
  });

  test.each([1, 2, 3, 4])("takes stride %i, paddings and dilations", (stride) => {
    for (const [padding, dilation] of [
      [0, 1],
      [1, 1],
      [1, 2],
      [0, 3],
    ] as const) {
      for (const over of [false, true]) {
        const options = { stride: [stride], padding: [padding], dilation: [dilation], countsPadding: stride % 2 === 0 };
        expectRight(build, fixed([23], [3], { ...options, over }));
        const two = { stride: [1, stride], padding: [1, padding], dilation: [dilation, 1] };
        expectRight(build, fixed([6, 21], [2, 4], { ...two, over }));
      }
    }
  });

  test("pools over three dimensions", () => {
    expectRight(build, fixed([4, 5, 11], [2, 3, 2], { stride: [1, 2, 2], padding: [1, 1, 0], countsPadding: true }));
  });

  test("adapts windows to any output, larger ones too", () => {
    for (const [image, output] of [
      [[7], [3]],
      [[3], [7]],
      [
        [6, 13],
        [4, 5],
      ],
      [
        [2, 5, 9],
        [2, 1, 4],
      ],
    ] as const) {
      expectRight(build, adaptive(image, output));
    }
  });

  test("divides averages by a number that is given", () => {
    for (const divisor of [3, -2]) expectRight(build, fixed([5, 14], [2, 3], { stride: [2, 2], divisor }));
  });

  test("of an output without elements gives gradients of zeros", () => {
    expectRight(build, adaptive([3, 5], [0, 2]));
  });

  test("sees NaN as the largest, and the first of them as its place", () => {
    const special = [Number.NaN, Number.POSITIVE_INFINITY, Number.NaN, Number.NEGATIVE_INFINITY, -0, 0, Number.NaN];
    for (const p of [fixed([4, 18], [2, 2]), fixed([3, 13], [3, 3], { stride: [1, 1] }), adaptive([4, 9], [2, 4])]) {
      expectRight(build, p, special);
    }
  });

  test("finds the largest where all are negative infinity", () => {
    const image = new Array<number>(48).fill(Number.NEGATIVE_INFINITY);
    expectRight(build, fixed([4, 6], [2, 2]), image);
    expectRight(build, fixed([4, 6], [3, 3], { stride: [1, 1], padding: [1, 1] }), image);
  });

  test("writes each element on one thread only, and exactly", () => {
    for (const p of [fixed([5, 9], [2, 2], { planes: 5 }), fixed([4, 11], [3, 3], { planes: 4, stride: [1, 2] })]) {
      for (const mode of Object.values(MODES)) {
        const machine = instantiate(build);
        const { words, target } = placed(machine, p, mode, []);
        expectShares(machine, words, target, 3);
      }
    }
  });

  test("reads nothing behind the image", () => {
    for (const p of [
      fixed([2, 8], [2, 2], { planes: 1 }),
      fixed([3, 11], [3, 3], { planes: 1, stride: [1, 2] }),
      fixed([13], [1], { planes: 1, stride: [3] }),
    ]) {
      for (const mode of [PoolMode.Max, PoolMode.Average]) {
        const machine = instantiate(build);
        const image = lastFloats(machine, product(p.image));
        const out = machine.floats(product(p.output));
        machine.run([instruction(Opcode.Pool, fieldsOf(p, mode, [out.address, image.address, 0]))]);
        expect(out.view).toEqual(new Float32Array(out.view.length).fill(1));
      }
    }
  });
});
