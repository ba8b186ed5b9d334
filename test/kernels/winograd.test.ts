/**
 * Winograd's convolutions against the definition: tiles of 2×2 to the bit for whole numbers, else within a measured error.
 */
import { describe, expect, test } from "vitest";
import { ConvField, ConvMode, Flag, InputKind, Opcode } from "../../src/isa.js";
import { MicroOp } from "../../src/micro-op.js";
import {
  type ConvProblem,
  type ConvTarget,
  convSizes,
  type WinogradTile,
  winogradBlocks,
} from "../../src/ops/convolution-lowering.js";
import { expectShares, lastFloats } from "./shares.js";
import { BUILDS, type Build, elementwise, instantiate, instruction, type Machine, type Placed } from "./support.js";

const MODES = [ConvMode.Output, ConvMode.Image, ConvMode.Weight] as const;

interface Sizes {
  readonly batch?: number;
  readonly channels?: readonly [image: number, output: number];
  /** Of the output, height and width. */
  readonly output: readonly [number, number];
  readonly padding?: readonly [number, number];
}

/** A problem that Winograd's algorithm takes: the image is as large as the output needs. */
function problem({ batch = 2, channels = [3, 5], output, padding = [1, 1] }: Sizes): ConvProblem {
  const image = output.map((n, d) => n + 2 - 2 * (padding[d] as number));
  return {
    ...{ batch, groups: 1, imageChannels: channels[0], outputChannels: channels[1] },
    ...{ image: [1, ...image], kernel: [1, 3, 3], output: [1, ...output] },
    ...{ stride: [1, 1, 1], padding: [0, ...padding], dilation: [1, 1, 1] },
  };
}

interface Tensors {
  readonly image: Float32Array;
  readonly weight: Float32Array;
  readonly output: Float32Array;
  readonly bias: Float32Array;
}

function lengths(p: ConvProblem): { image: number; weight: number; output: number } {
  const area = ([, h, w]: readonly number[]): number => (h as number) * (w as number);
  return {
    image: p.batch * p.imageChannels * area(p.image),
    weight: p.outputChannels * p.imageChannels * 9,
    output: p.batch * p.outputChannels * area(p.output),
  };
}

/** The same sequence in [-1, 1) on every run (the minimal standard generator of Park and Miller). */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (state * 48271) % 2147483647;
    yield (state / 2147483647) * 2 - 1;
  }
}

function draw(length: number, seed: number, of: (x: number) => number): Float32Array {
  const source = numbers(seed);
  return Float32Array.from({ length }, () => of(source.next().value));
}

/** Fractions, or whole numbers of which all sums are exact: multiples of 4 where tiles of 2×2 quarter them. */
function operands(p: ConvProblem, target: ConvTarget, whole: boolean): Tensors {
  const n = lengths(p);
  const of = (step: number) => (x: number) => (whole ? step * Math.round(4 * x) : x);
  const quartered = target === ConvMode.Weight ? { weight: 1, output: 4 } : { weight: 4, output: 1 };
  return {
    image: draw(n.image, 11, of(1)),
    weight: draw(n.weight, 12, of(quartered.weight)),
    output: draw(n.output, 13, of(quartered.output)),
    bias: draw(Math.max(p.imageChannels, p.outputChannels), 14, of(1)),
  };
}

/** The definition in float64. */
function reference(p: ConvProblem, target: ConvTarget, x: Tensors): Float64Array {
  const n = lengths(p);
  const result = new Float64Array([n.output, n.image, n.weight][target] as number);
  const [, height, width] = p.image as [number, number, number];
  const [, rows, columns] = p.output as [number, number, number];
  const [, top, left] = p.padding as [number, number, number];
  if (target !== ConvMode.Weight) {
    const plane = target === ConvMode.Output ? rows * columns : height * width;
    const channels = target === ConvMode.Output ? p.outputChannels : p.imageChannels;
    for (let i = 0; i < result.length; i++) result[i] = x.bias[Math.floor(i / plane) % channels] as number;
  }
  for (let b = 0; b < p.batch; b++) {
    for (let m = 0; m < p.outputChannels; m++) {
      for (let c = 0; c < p.imageChannels; c++) {
        for (let o = 0; o < rows * columns; o++) {
          for (let t = 0; t < 9; t++) {
            const i = Math.floor(o / columns) - top + Math.floor(t / 3);
            const j = (o % columns) - left + (t % 3);
            if (i < 0 || j < 0 || i >= height || j >= width) continue;
            const at = [
              (b * p.outputChannels + m) * rows * columns + o,
              ((b * p.imageChannels + c) * height + i) * width + j,
              (m * p.imageChannels + c) * 9 + t,
            ] as const;
            const [y, image, w] = [x.output[at[0]], x.image[at[1]], x.weight[at[2]]] as [number, number, number];
            const product = [image * w, y * w, image * y][target] as number;
            result[at[target]] = (result[at[target]] as number) + product;
          }
        }
      }
    }
  }
  return result;
}

const WINOGRAD = [ConvMode.WinogradOutput, ConvMode.WinogradImage, ConvMode.WinogradWeight] as const;

interface Run {
  readonly tile: WinogradTile;
  readonly threads?: number;
  /** Tile lines of a block, if fewer than the planner takes. */
  readonly lines?: number;
  readonly whole?: boolean;
  /** Follow with an epilogue that doubles in place: an element it misses, or visits twice, is wrong. */
  readonly doubled?: boolean;
  readonly tensors?: Tensors;
}

/** Places a problem, with NaN in the workspace: its instructions, and what they compute. */
function place(machine: Machine, p: ConvProblem, target: ConvTarget, x: Tensors, run: Run) {
  const { tile, threads = 1, doubled = false } = run;
  const planned = winogradBlocks(p, target, tile);
  if (planned === null) throw new Error(`not for Winograd's algorithm: ${JSON.stringify(p)}`);
  // A block of fewer lines needs no more room.
  const lines = Math.min(run.lines ?? planned.lines, planned.lines);
  const [image, weight, output] = [x.image, x.weight, x.output].map((values, i) =>
    machine.floats([ConvMode.Image, ConvMode.Weight, ConvMode.Output][i] === target ? values.length : values),
  ) as [Placed<Float32Array>, Placed<Float32Array>, Placed<Float32Array>];
  const bias = target === ConvMode.Weight ? 0 : machine.floats(x.bias).address;
  const nans = (bytes: number): number => machine.floats(new Float32Array(bytes / 4).fill(Number.NaN)).address;
  const workspace = nans(planned.bytes * threads);
  const transformed = nans(4 * planned.weight);
  const sizes = convSizes(p);
  const words = (mode: ConvMode, factor: number, space: number, bytes: number): number[] =>
    instruction(
      Opcode.Convolution,
      [mode, image.address, factor, output.address, bias, space, bytes, ...sizes, lines, tile],
      doubled && mode === WINOGRAD[target] ? Flag.Epilogue : Flag.None,
    );
  const isWeight = target === ConvMode.Weight;
  const first = target === ConvMode.Image ? ConvMode.WinogradImageWeight : ConvMode.WinogradOutputWeight;
  return {
    weights: isWeight ? [] : words(first, weight.address, transformed, 0),
    main: words(WINOGRAD[target], isWeight ? weight.address : transformed, workspace, planned.bytes),
    computed: [output, image, weight][target] as Placed<Float32Array>,
  };
}

function solve(build: Build, p: ConvProblem, target: ConvTarget, run: Run): Float32Array {
  const machine = instantiate(build);
  const x = run.tensors ?? operands(p, target, run.whole ?? false);
  const { weights, main, computed } = place(machine, p, target, x, run);
  if (weights.length > 0) machine.run([weights], run.threads);
  const program = [main];
  if (run.doubled) {
    const inputs = [{ kind: InputKind.Contiguous, address: computed.address }];
    const operations = [[MicroOp.Add, 1, 0, 0]] as const;
    program.push(elementwise({ count: computed.view.length, inputs, outputs: [computed.address], operations }));
  }
  machine.run(program, run.threads);
  return computed.view;
}

/** How far a whole number may be off: tiles of 4×4 divide by numbers that are no powers of two. */
const OFF: Readonly<Record<WinogradTile, number>> = { 2: 0, 4: 1 / 64 };

/** Whole numbers come out as by the definition in all modes that the algorithm takes: of tiles of 2×2 to the bit. */
function expectRight(build: Build, p: ConvProblem, run: Run, modes: readonly ConvTarget[] = MODES): void {
  for (const target of modes.filter((mode) => winogradBlocks(p, mode, run.tile) !== null)) {
    const computed = solve(build, p, target, { ...run, whole: true });
    const scale = run.doubled ? 2 : 1;
    const wanted = reference(p, target, operands(p, target, true));
    const isRight = (value: number, i: number) => Math.abs((computed[i] as number) - scale * value) <= OFF[run.tile];
    const wrong = wanted.findIndex((value, i) => !isRight(value, i));
    if (wrong >= 0) {
      expect.fail(
        `element ${wrong} of mode ${target} is ${computed[wrong]}, not ${scale * (wanted[wrong] as number)}: ${JSON.stringify(p)}`,
      );
    }
  }
}

/** Largest and root of the mean square error against float64, both in units of the root of the mean square result. */
function errors(computed: Float32Array, wanted: Float64Array): { largest: number; typical: number } {
  let [largest, squares, size] = [0, 0, 0];
  wanted.forEach((value, i) => {
    const error = Math.abs((computed[i] as number) - value);
    largest = Math.max(largest, error);
    squares += error * error;
    size += value * value;
  });
  return { largest: largest / Math.sqrt(size / wanted.length), typical: Math.sqrt(squares / size) };
}

/** Widths around whole numbers of vectors of tiles. */
const EDGES: Readonly<Record<WinogradTile, readonly number[]>> = {
  2: [7, 8, 9, 10, 14, 15, 16, 17, 23],
  4: [13, 14, 15, 16, 17, 18, 19, 20, 21, 28, 31, 32, 33, 35],
};
const CASES = BUILDS.flatMap((build) => ([2, 4] as const).map((tile) => ({ build, tile })));

describe.each(CASES)("Winograd's convolution by tiles of $tile × $tile ($build)", ({ build, tile }) => {
  /** As many tiles as an output of so many elements has of 2×2. */
  const scaled = (height: number, width: number) => [(height * tile) / 2, (width * tile) / 2] as const;

  test.each(EDGES[tile])("is right at every edge of a tile, with lines of %i", (width) => {
    for (const height of [1, 2, 3, 4, 5, 8]) {
      for (const padding of [0, 1, 2]) {
        expectRight(build, problem({ output: [height, width], padding: [1, padding] }), { tile });
      }
    }
  });

  test("is right for any padding above and below", () => {
    for (const padding of [0, 1, 2]) expectRight(build, problem({ output: [5, 18], padding: [padding, 1] }), { tile });
  });

  test.each([1, 2, 3, 4, 5, 7, 8, 17, 33, 65])("is right at every edge of a matrix, with %i channels", (n) => {
    for (const m of [1, 2, 3, 4, 33]) {
      expectRight(build, problem({ batch: 1, channels: [n, m], output: scaled(3, 7) }), { tile });
      expectRight(build, problem({ batch: 1, channels: [m, n], output: scaled(2, 8) }), { tile });
    }
  });

  test("is right for more channels than are summed up at once", () => {
    const output = scaled(2, 8);
    expectRight(build, problem({ batch: 1, channels: [300, 2], output }), { tile }, [ConvMode.Output]);
    expectRight(build, problem({ batch: 1, channels: [2, 300], output }), { tile }, [ConvMode.Image]);
  });

  test("is right however images are cut into blocks", () => {
    for (const output of [scaled(9, 11), scaled(8, 14)]) {
      const p = problem({ batch: 5, output });
      for (const lines of [1, 2, 3, 5, 10, 15]) expectRight(build, p, { tile, lines });
    }
    expectRight(build, problem({ batch: 1, channels: [33, 20], output: [40, 30] }), { tile });
  });

  test("runs its epilogue once on every element", () => {
    const modes = [ConvMode.Output, ConvMode.Image] as const;
    for (const lines of [1, 3, 10]) {
      for (const channels of [
        [3, 5],
        [40, 35],
      ] as const) {
        const p = problem({ batch: 3, channels, output: scaled(9, 7) });
        expectRight(build, p, { tile, lines, doubled: true, threads: 2 }, modes);
      }
    }
  });

  test("of an empty batch gives a weight of zeros", () => {
    const computed = solve(build, problem({ batch: 0, output: [16, 16] }), ConvMode.Weight, { tile });
    expect(computed).toEqual(new Float32Array(computed.length));
  });

  test("gives the same bits on any number of threads", () => {
    const p = problem({ batch: 3, channels: [5, 7], output: scaled(9, 11) });
    for (const target of MODES) {
      const once = Array.from(solve(build, p, target, { tile }));
      for (const threads of [2, 3]) expect(Array.from(solve(build, p, target, { tile, threads }))).toEqual(once);
    }
  });

  test("writes each element on one thread only, and exactly", () => {
    for (const width of EDGES[tile].slice(0, 4)) {
      const p = problem({ batch: 3, channels: [5, 7], output: [9, width] });
      for (const target of MODES) {
        const machine = instantiate(build);
        const { weights, main, computed } = place(machine, p, target, operands(p, target, true), { tile, threads: 3 });
        if (weights.length > 0) machine.run([weights]);
        expectShares(machine, main, computed, 3);
      }
    }
  });

  test("reads nothing behind the image, nor behind the output", () => {
    for (const width of EDGES[tile].slice(0, 4)) {
      const p = problem({ batch: 1, channels: [2, 1], output: [5, width] });
      for (const target of MODES) {
        const machine = instantiate(build);
        const read = target === ConvMode.Image ? "output" : "image";
        const last = lastFloats(machine, lengths(p)[target === ConvMode.Weight ? "output" : read]);
        const { weights, main, computed } = place(machine, p, target, operands(p, target, true), { tile });
        main[target === ConvMode.Output ? ConvField.Image : ConvField.Output] = last.address;
        if (weights.length > 0) machine.run([weights]);
        machine.run([main]);
        expect(computed.view.every(Number.isFinite)).toBe(true);
      }
    }
  });

  test("keeps what is not finite to the elements that depend on it, or to their tiles of 4×4", () => {
    const width = tile === 2 ? 9 : 18;
    const p = problem({ batch: 1, channels: [2, 3], output: [8, width] });
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      for (const target of [ConvMode.Output, ConvMode.Image] as const) {
        const tensors = operands(p, target, false);
        const source = target === ConvMode.Output ? tensors.image : tensors.output;
        source[3 * width + 4] = value;
        const computed = solve(build, p, target, { tile, tensors });
        for (const [i, x] of computed.entries()) {
          const [row, column] = [Math.floor((i % (8 * width)) / width), i % width];
          const depends = Math.abs(row - 3) <= 1 && Math.abs(column - 4) <= 1;
          const near = tile === 2 ? depends : row < 8 && column < 8;
          if (depends) expect(x).not.toSatisfy(Number.isFinite);
          else if (!near) expect(x).toSatisfy(Number.isFinite);
        }
      }
    }
  });

  // A sum in order, as the definition has it, is off by 2.2e-7 and at most 1.9e-6 for 144 products, 4.3e-7 and 3.0e-6 for
  // 576. The sums here are nine times shorter, which for 2×2 makes up for the transforms.
  test.each([
    {
      channels: [16, 32],
      output: [14, 14],
      batch: 4,
      typical: { 2: 2.5e-7, 4: 7e-7 },
      largest: { 2: 1.5e-6, 4: 5e-6 },
    },
    {
      channels: [64, 64],
      output: [16, 16],
      batch: 2,
      typical: { 2: 3.5e-7, 4: 9e-7 },
      largest: { 2: 2.5e-6, 4: 8e-6 },
    },
  ] as const)("is off by a few rounding errors, for channels $channels", ({ typical, largest, ...sizes }) => {
    const p = problem(sizes);
    for (const target of MODES) {
      const x = operands(p, target, false);
      const found = errors(solve(build, p, target, { tile, tensors: x }), reference(p, target, x));
      expect(found.typical).toBeLessThan(typical[tile]);
      expect(found.largest).toBeLessThan(largest[tile]);
    }
  });
});
