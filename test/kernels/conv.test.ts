/** Convolution against its contract: every element one sum, in a fixed order, of all that meets it. */
import { describe, expect, test } from "vitest";
import { ConvMode, Flag, InputKind, Opcode } from "../../src/isa.js";
import { MicroOp } from "../../src/micro-op.js";
import { type ConvTarget, gatherWorkspaceBytes } from "../../src/ops/convolution-lowering.js";
import { readsWhereItLies } from "../../src/workspace/conv.js";
import { expectShares, lastFloats } from "./shares.js";
import { BUILDS, type Build, elementwise, instantiate, instruction, type Machine, type Placed } from "./support.js";

type Three = readonly [number, number, number];

interface Problem {
  readonly batch: number;
  readonly groups: number;
  /** Channels of the image and of the output in one group. */
  readonly channels: readonly [image: number, output: number];
  readonly image: Three;
  readonly kernel: Three;
  readonly stride: Three;
  readonly padding: Three;
  readonly dilation: Three;
  readonly output: Three;
}

interface Run {
  readonly threads?: number;
  readonly bias?: boolean;
  /** Follow with an epilogue that doubles in place: an element it misses, or visits twice, is wrong. */
  readonly doubled?: boolean;
  /** Put these into the operands. */
  readonly special?: readonly number[];
}

/** A problem over one to three dimensions whose output is as large as the image allows. */
function problem(
  image: readonly number[],
  kernel: readonly number[],
  rest: Partial<Pick<Problem, "batch" | "groups" | "channels">> & {
    stride?: readonly number[];
    padding?: readonly number[];
    dilation?: readonly number[];
  } = {},
): Problem {
  const three = (list: readonly number[] | undefined, fill: number): Three =>
    [...new Array(3 - image.length).fill(fill), ...(list ?? image.map(() => fill))] as unknown as Three;
  const sizes = {
    image: three(image, 1),
    kernel: three(kernel, 1),
    stride: three(rest.stride, 1),
    padding: three(rest.padding, 0),
    dilation: three(rest.dilation, 1),
  };
  const output = sizes.image.map((n, d) => {
    const reach = ((sizes.kernel[d] as number) - 1) * (sizes.dilation[d] as number) + 1;
    return Math.floor((n + 2 * (sizes.padding[d] as number) - reach) / (sizes.stride[d] as number)) + 1;
  }) as unknown as Three;
  return { batch: 2, groups: 1, channels: [3, 5], ...rest, ...sizes, output };
}

function product(list: readonly number[]): number {
  return list.reduce((a, b) => a * b, 1);
}

/** The same sequence of numbers in [-1, 1) on every run (the minimal standard generator of Park and Miller). */
function randomNumbers(count: number, seed: number, special: readonly number[] = []): Float32Array {
  const numbers = new Float32Array(count);
  let state = seed;
  for (let i = 0; i < count; i++) {
    state = (state * 48271) % 2147483647;
    numbers[i] = (state / 2147483647) * 2 - 1;
  }
  special.forEach((value, i) => {
    numbers[(7 * i + seed) % count] = value;
  });
  return numbers;
}

/** Every multi-index below `sizes`, in row-major order. */
function indices([a, b, c]: Three): Three[] {
  const found: Three[] = [];
  for (let i = 0; i < a; i++) for (let j = 0; j < b; j++) for (let k = 0; k < c; k++) found.push([i, j, k]);
  return found;
}

/** Row-major number of an index, or -1 outside. */
function numberOf(index: readonly number[], [a, b, c]: Three): number {
  const [i, j, k] = index as Three;
  return i < 0 || j < 0 || k < 0 || i >= a || j >= b || k >= c ? -1 : (i * b + j) * c + k;
}

/** For every position of the computed plane, what it meets: tap, and number in the source's plane (-1: a zero). */
function meetings(p: Problem, mode: ConvTarget): { tap: number; source: number }[][] {
  const taps = indices(p.kernel);
  const at = (list: Three, d: number): number => list[d] as number;
  if (mode === ConvMode.Image) {
    return indices(p.image).map((i) =>
      taps.flatMap((t, tap) => {
        const scaled = i.map((x, d) => x + at(p.padding, d) - at(t, d) * at(p.dilation, d));
        if (scaled.some((x, d) => x % at(p.stride, d) !== 0)) return [];
        const o = scaled.map((x, d) => x / at(p.stride, d));
        return [{ tap, source: numberOf(o, p.output) }];
      }),
    );
  }
  return indices(p.output).map((o) =>
    taps.map((t, tap) => {
      const i = o.map((x, d) => x * at(p.stride, d) - at(p.padding, d) + at(t, d) * at(p.dilation, d));
      return { tap, source: numberOf(i, p.image) };
    }),
  );
}

/** One element's sum: as f32 steps in as many parts as the contract says, and exactly. */
interface Sum {
  readonly parts: number[];
  exact: number;
  magnitude: number;
  steps: number;
}

function step(sum: Sum, a: number, b: number, part = 0): void {
  sum.parts[part] = Math.fround((sum.parts[part] as number) + Math.fround(a * b));
  sum.exact += a * b;
  sum.magnitude += Math.abs(a * b);
  sum.steps++;
}

/** The parts added up. */
function rounded({ parts: [a, b, c, d] }: Sum): number {
  if (b === undefined) return a as number;
  return Math.fround(Math.fround((a as number) + b) + Math.fround((c as number) + (d as number)));
}

/** Which part of a weight's sum position `o` goes to: in groups with few outputs or few steps there are four, the lanes of a vector. */
function partOf(p: Problem, o: number): number | null {
  const width = p.output[2];
  if (!readsWhereItLies(p.channels[1], p.channels[0] * product(p.kernel)) || p.stride[2] > 2 || width < 4) return null;
  const x = o % width;
  return x < width - (width % 4) ? x % 4 : x - (width - 4);
}

interface Tensors {
  readonly image: Float32Array;
  readonly weight: Float32Array;
  readonly output: Float32Array;
  readonly bias: Float32Array | null;
}

/** The sums that `mode` stands for, in the order of the computed tensor. */
function expectedSums(p: Problem, mode: ConvTarget, { image, weight, output, bias }: Tensors): Sum[] {
  const [c, m] = p.channels;
  const [imagePlane, taps, outputPlane] = [product(p.image), product(p.kernel), product(p.output)];
  const places = meetings(p, mode);
  const start = (seed = 0, parts = 1): Sum => ({
    ...{ parts: new Array<number>(parts).fill(seed), exact: seed, magnitude: Math.abs(seed), steps: 0 },
  });
  const sums: Sum[] = [];
  const read = (data: Float32Array, plane: number, at: number): number => (at < 0 ? 0 : (data[plane + at] as number));
  if (mode === ConvMode.Weight) {
    for (let row = 0; row < p.groups * m; row++) {
      const group = Math.floor(row / m);
      for (let k = 0; k < c * taps; k++) {
        const sum = start(0, partOf(p, 0) === null ? 1 : 4);
        for (let n = 0; n < p.batch; n++) {
          const x = (n * p.groups * c + group * c + Math.floor(k / taps)) * imagePlane;
          places.forEach((met, o) => {
            const source = (met[k % taps] as { source: number }).source;
            const y = output[(n * p.groups * m + row) * outputPlane + o] as number;
            step(sum, read(image, x, source), y, partOf(p, o) ?? 0);
          });
        }
        sums.push(sum);
      }
    }
    return sums;
  }
  const toImage = mode === ConvMode.Image;
  const [rows, channels] = toImage ? [c, m] : [m, c];
  for (let n = 0; n < p.batch; n++) {
    for (let row = 0; row < p.groups * rows; row++) {
      const group = Math.floor(row / rows);
      for (const met of places) {
        const sum = start(bias?.[row] ?? 0);
        for (let k = 0; k < channels; k++) {
          const channel = group * channels + k;
          for (const { tap, source } of met) {
            const w = toImage ? (channel * c + (row % rows)) * taps : (row * c + k) * taps;
            const plane = (n * p.groups * channels + channel) * (toImage ? outputPlane : imagePlane);
            step(sum, weight[w + tap] as number, read(toImage ? output : image, plane, source));
          }
        }
        sums.push(sum);
      }
    }
  }
  return sums;
}

/** Bytes of workspace for one thread. */
function workspaceBytes({ channels, ...p }: Problem, mode: ConvTarget): number {
  const [imageChannels, outputChannels] = channels;
  return gatherWorkspaceBytes({ ...p, imageChannels, outputChannels }, mode);
}

function fieldsOf(p: Problem, mode: ConvTarget, addresses: readonly number[], bytes: number): number[] {
  const sizes = [...p.image, ...p.kernel, ...p.output, ...p.stride, ...p.padding, ...p.dilation];
  return [mode, ...addresses, bytes, p.batch, p.groups, ...p.channels, ...sizes, 0];
}

/** Places the operands of a problem, with NaN in the workspace, and returns its instruction and the computed buffer. */
function placed(machine: Machine, p: Problem, mode: ConvTarget, run: Run) {
  const { threads = 1, bias = false, doubled = false, special = [] } = run;
  const [c, m] = p.channels;
  const channels = mode === ConvMode.Image ? c : m;
  const tensors = {
    image: randomNumbers(p.batch * p.groups * c * product(p.image), 11, special),
    weight: randomNumbers(p.groups * m * c * product(p.kernel), 12, special),
    output: randomNumbers(p.batch * p.groups * m * product(p.output), 13, special),
    bias: bias ? randomNumbers(p.groups * channels, 14) : null,
  };
  const target = ([tensors.output, tensors.image, tensors.weight] as const)[mode] as Float32Array;
  const [image, weight, output] = [tensors.image, tensors.weight, tensors.output].map((values) =>
    machine.floats(values === target ? values.length : values),
  ) as [Placed<Float32Array>, Placed<Float32Array>, Placed<Float32Array>];
  const biasAddress = tensors.bias === null ? 0 : machine.floats(tensors.bias).address;
  const bytes = workspaceBytes(p, mode);
  const workspace = machine.floats(new Float32Array((threads * bytes) / 4).fill(Number.NaN)).address;
  const addresses = [image.address, weight.address, output.address, biasAddress, workspace];
  const words = instruction(
    Opcode.Convolution,
    fieldsOf(p, mode, addresses, bytes),
    doubled ? Flag.Epilogue : Flag.None,
  );
  return { tensors, words, target: [output, image, weight][mode] as Placed<Float32Array> };
}

/** Runs `mode` of a problem and returns what it computed. */
function solve(build: Build, p: Problem, mode: ConvTarget, run: Run = {}) {
  const machine = instantiate(build);
  const { tensors, words, target } = placed(machine, p, mode, run);
  const program = [words];
  if (run.doubled) {
    // Slot 1, which is the result as an output, becomes slot 0 + slot 0, which is the result.
    const inputs = [{ kind: InputKind.Contiguous, address: target.address }];
    const operations = [[MicroOp.Add, 1, 0, 0]] as const;
    program.push(elementwise({ count: target.view.length, inputs, outputs: [target.address], operations }));
  }
  machine.run(program, run.threads);
  return { computed: target.view, tensors };
}

/** Strict: exactly the bits of the contract. Relaxed: within the bound that any f32 summation obeys. */
function expectRight(build: Build, p: Problem, mode: ConvTarget, run: Run = {}): void {
  const { computed, tensors } = solve(build, p, mode, run);
  const scale = run.doubled ? 2 : 1;
  const sums = expectedSums(p, mode, tensors);
  expect(computed.length).toBe(sums.length);
  const wrong = sums.findIndex((sum, i) => {
    const { exact, magnitude, steps } = sum;
    const value = (computed[i] as number) / scale;
    if (build === "strict") return !Object.is(value, rounded(sum));
    return !(Object.is(value, exact) || Math.abs(value - exact) <= (steps + 2) * 2 ** -24 * magnitude);
  });
  if (wrong >= 0) {
    const wanted = rounded(sums[wrong] as Sum);
    expect.fail(`element ${wrong} of mode ${mode} is ${computed[wrong]}, not ${wanted}: ${JSON.stringify(p)}`);
  }
}

function expectAllRight(build: Build, p: Problem, run: Run = {}): void {
  for (const mode of [ConvMode.Output, ConvMode.Image] as const) expectRight(build, p, mode, run);
  expectRight(build, p, ConvMode.Weight, { ...run, bias: false, doubled: false });
}

const MODES = [ConvMode.Output, ConvMode.Image, ConvMode.Weight] as const;

const EDGES = [1, 2, 3, 4, 5, 8, 9, 16, 17, 20, 33];

describe.each(BUILDS)("convolution (%s)", (build) => {
  test.each(EDGES)("is right at every tile edge with %i channels in and out", (n) => {
    for (const m of [1, 3, 4, 7, 33]) {
      expectAllRight(build, problem([3, 5], [2, 2], { batch: 1, channels: [n, m], padding: [1, 0] }), { bias: true });
      expectAllRight(build, problem([3, 5], [2, 2], { batch: 1, channels: [m, n], padding: [0, 1] }));
    }
  });

  test.each(EDGES)("is right at every tile edge with lines of %i", (width) => {
    for (const height of [1, 3]) {
      expectAllRight(build, problem([height, width], [1, 3], { padding: [0, 1] }), { bias: true });
      expectAllRight(build, problem([height, width], [1, 1]));
    }
  });

  test("is right over several blocks in every direction", () => {
    expectAllRight(build, problem([17, 19], [3, 3], { batch: 1, channels: [35, 37], padding: [1, 1] }), { bias: true });
    expectAllRight(build, problem([600], [2], { batch: 1, channels: [2, 3] }));
    expectRight(build, problem([2, 2], [2, 2], { batch: 1, channels: [2, 530], padding: [1, 1] }), ConvMode.Weight);
  });

  test("takes any stride, padding and dilation in one, two and three dimensions", () => {
    for (const stride of [1, 2, 3]) {
      for (const dilation of [1, 2]) {
        for (const padding of [0, 1, 4]) {
          const all = (n: number, rank: number) => new Array<number>(rank).fill(n);
          const rest = (rank: number) => ({
            stride: all(stride, rank),
            padding: all(padding, rank),
            dilation: all(dilation, rank),
          });
          expectAllRight(build, problem([11], [3], rest(1)), { bias: true });
          expectAllRight(build, problem([7, 14], [3, 2], rest(2)), { bias: true });
        }
      }
    }
    const mixed = { stride: [2, 1, 3], padding: [0, 2, 1], dilation: [1, 2, 1] };
    expectAllRight(build, problem([4, 5, 9], [2, 3, 2], mixed), { bias: true });
  });

  test("takes an output that leaves the image's end unread, or reaches further behind it", () => {
    const p = problem([6, 8], [2, 3], { stride: [2, 1], padding: [1, 1] });
    for (const grown of [-1, 1]) {
      expectAllRight(build, { ...p, output: [1, p.output[1] + grown, p.output[2] + 2 * grown] }, { bias: true });
    }
  });

  test("keeps groups apart, down to one channel each", () => {
    expectAllRight(build, problem([5, 6], [3, 3], { groups: 3, channels: [2, 5], padding: [1, 1] }), { bias: true });
    for (const stride of [1, 2]) {
      for (const width of [3, 4, 9, 22]) {
        const rest = { groups: 4, padding: [1, 1], stride: [stride, stride] };
        expectAllRight(build, problem([5, width], [3, 3], { ...rest, channels: [1, 1] }), { bias: true });
        expectAllRight(build, problem([5, width], [3, 3], { ...rest, channels: [2, 3] }));
      }
    }
  });

  test("takes the lines of a depthwise layer together, where there are enough", () => {
    const special = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1e-40];
    for (const height of [3, 4, 5, 8]) {
      for (const rest of [{ padding: [1, 1] }, { padding: [0, 0] }, { padding: [2, 0] }, { dilation: [1, 2] }]) {
        const p = problem([height, 11], [3, 3], { groups: 2, channels: [1, 1], ...rest });
        expectAllRight(build, p);
        expectAllRight(build, p, { special });
      }
    }
  });

  test("of an empty batch gives a weight of zeros", () => {
    const { computed } = solve(build, problem([4, 4], [3, 3], { batch: 0 }), ConvMode.Weight);
    expect(computed).toEqual(new Float32Array(computed.length));
  });

  test("lets NaN and infinities through, and makes none at the edges", () => {
    const special = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1e-40];
    for (const rest of [{}, { padding: [1, 1] }, { groups: 3, channels: [1, 1] as const, padding: [1, 1] }]) {
      expectAllRight(build, problem([4, 7], [2, 3], rest), { special });
    }
  });

  test("gives the same bits on any number of threads", () => {
    for (const rest of [
      { batch: 1, channels: [3, 33] as const },
      { batch: 3, channels: [9, 6] as const, stride: [2, 1] },
      { batch: 2, groups: 5, channels: [1, 1] as const },
    ]) {
      const p = problem([6, 9], [3, 3], { padding: [1, 1], ...rest });
      for (const mode of MODES) {
        const once = solve(build, p, mode);
        for (const threads of [2, 3]) {
          const again = solve(build, p, mode, { threads });
          expect(again.computed, `mode ${mode} on ${threads} threads`).toEqual(once.computed);
        }
      }
    }
  });

  test("writes each element on one thread only, and exactly", () => {
    const p = problem([5, 7], [3, 3], { channels: [5, 6], padding: [1, 1], stride: [1, 2] });
    for (const mode of MODES) {
      const machine = instantiate(build);
      const { words, target } = placed(machine, p, mode, { threads: 3 });
      expectShares(machine, words, target, 3);
    }
  });

  test("reads nothing behind the image", () => {
    for (const stride of [1, 2, 3]) {
      const p = problem([3, 10], [2, 3], { batch: 1, channels: [1, 2], stride: [1, stride] });
      const machine = instantiate(build);
      const image = lastFloats(machine, product(p.image));
      const [weight, output] = [machine.floats(new Float32Array(12).fill(1)), machine.floats(2 * product(p.output))];
      const bytes = workspaceBytes(p, ConvMode.Output);
      const addresses = [image.address, weight.address, output.address, 0, machine.allocate(bytes)];
      machine.run([instruction(Opcode.Convolution, fieldsOf(p, ConvMode.Output, addresses, bytes))]);
      expect(output.view).toEqual(new Float32Array(output.view.length).fill(6));
    }
  });

  test("runs its epilogue once on every element", () => {
    for (const threads of [1, 3]) {
      const rest = { channels: [5, 9] as const, padding: [1, 1], stride: [2, 1] };
      const p = problem([6, 9], [3, 3], rest);
      for (const mode of [ConvMode.Output, ConvMode.Image] as const) {
        expectRight(build, p, mode, { threads, bias: true, doubled: true });
      }
    }
  });
});
