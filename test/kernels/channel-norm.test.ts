/** Batch and group norm kernels against float64: planes around a vector, sets of one plane and of many, threads. */
import { describe, expect, it } from "vitest";
import { ChannelNormMode, Opcode } from "../../src/isa.js";
import { expectShares, lastFloats } from "./shares.js";
import { BUILDS, instantiate, instruction, type Machine } from "./support.js";
import { random } from "./views.js";

interface Shape {
  readonly batch: number;
  readonly channels: number;
  readonly area: number;
  /** 0: over the batch. */
  readonly groups: number;
}

const AREAS = [1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 100, 1030];
const SHAPES: readonly Shape[] = AREAS.flatMap((area) => [
  { batch: 3, channels: 4, area, groups: 0 },
  { batch: 2, channels: 6, area, groups: 3 },
  { batch: 2, channels: 3, area, groups: 1 },
  { batch: 2, channels: 3, area, groups: 3 },
  { batch: 1, channels: 1, area, groups: 0 },
]);
const EPSILON = Math.fround(0.01);
const EPSILON_BITS = new Int32Array(Float32Array.of(EPSILON).buffer)[0] as number;

const setsOf = ({ batch, channels, groups }: Shape): number => (groups === 0 ? channels : batch * groups);

/** The set and the channel of a plane. */
function of({ channels, groups }: Shape, plane: number): { set: number; channel: number } {
  const channel = plane % channels;
  return { set: groups === 0 ? channel : Math.floor(plane / (channels / groups)), channel };
}

interface Numbers {
  readonly x: number[];
  readonly moments: number[];
  readonly g: number[];
  readonly weight: number[];
  readonly bias: number[];
}

/** Numbers far from mean 0, and their moments as the kernel rounds them. */
function draw(shape: Shape): Numbers {
  const { batch, channels, area } = shape;
  const next = random(area * 31 + channels);
  const floats = (count: number, shift: number) =>
    Array.from({ length: count }, () => Math.fround(4 * next() - 2 + shift));
  const x = floats(batch * channels * area, 3);
  return {
    x,
    moments: momentsOf(shape, x).map(Math.fround),
    g: floats(x.length, 0.5),
    weight: floats(channels, 0),
    bias: floats(channels, 0),
  };
}

function momentsOf(shape: Shape, x: readonly number[]): number[] {
  const members: number[][] = Array.from({ length: setsOf(shape) }, () => []);
  x.forEach((value, i) => {
    members[of(shape, Math.floor(i / shape.area)).set]?.push(value);
  });
  const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  return [...members.map(mean), ...members.map((values) => mean(values.map((v) => (v - mean(values)) ** 2)))];
}

function expected(shape: Shape, mode: ChannelNormMode, { x, moments, g, weight, bias }: Numbers): number[] {
  if (mode === ChannelNormMode.Moments) return momentsOf(shape, x);
  const sets = setsOf(shape);
  const place = (i: number) => of(shape, Math.floor(i / shape.area));
  const scale = (set: number): number => 1 / Math.sqrt((moments[sets + set] as number) + EPSILON);
  const unit = x.map((value, i) => (value - (moments[place(i).set] as number)) * scale(place(i).set));
  if (mode === ChannelNormMode.Normalize || mode === ChannelNormMode.GroupNorm) {
    return unit.map((u, i) => u * (weight[place(i).channel] as number) + (bias[place(i).channel] as number));
  }
  if (mode === ChannelNormMode.WeightGradient) {
    const sums = new Array<number>(shape.channels).fill(0);
    for (const [i, u] of unit.entries())
      sums[place(i).channel] = (sums[place(i).channel] as number) + u * (g[i] as number);
    return sums;
  }
  const size = x.length / sets;
  const a = g.map((value, i) => value * (weight[place(i).channel] as number));
  const [level, slope] = [new Array<number>(sets).fill(0), new Array<number>(sets).fill(0)];
  for (const [i, u] of unit.entries()) {
    const { set } = place(i);
    level[set] = (level[set] as number) + (a[i] as number) / size;
    slope[set] = (slope[set] as number) + ((a[i] as number) * u) / size;
  }
  return unit.map((u, i) => {
    const { set } = place(i);
    return scale(set) * ((a[i] as number) - (level[set] as number) - u * (slope[set] as number));
  });
}

const MODES = [
  { name: "moments", mode: ChannelNormMode.Moments },
  { name: "normalized channels", mode: ChannelNormMode.Normalize },
  { name: "groups normalized by moments of their own", mode: ChannelNormMode.GroupNorm },
  { name: "the gradient of the input", mode: ChannelNormMode.Gradient },
  { name: "the gradient of the weight", mode: ChannelNormMode.WeightGradient },
] as const;

function outLength(shape: Shape, mode: ChannelNormMode): number {
  if (mode === ChannelNormMode.Moments) return 2 * setsOf(shape);
  return mode === ChannelNormMode.WeightGradient ? shape.channels : shape.batch * shape.channels * shape.area;
}

function place(machine: Machine, shape: Shape, mode: ChannelNormMode, numbers: Numbers, x = machine.floats(numbers.x)) {
  const out = machine.floats(outLength(shape, mode));
  const { moments, g, weight, bias } = numbers;
  const parts = [moments, g, weight, bias].map((values) => machine.floats(values).address);
  const { batch, channels, area, groups } = shape;
  const fields = [mode, out.address, x.address, ...parts, batch, channels, area, groups, EPSILON_BITS];
  return { words: instruction(Opcode.ChannelNorm, fields), out };
}

describe.each(BUILDS)("channel norms on the %s build", (build) => {
  it.each(MODES)("give $name as float64 does", ({ mode }) => {
    for (const shape of SHAPES) {
      const machine = instantiate(build);
      const numbers = draw(shape);
      const { words, out } = place(machine, shape, mode, numbers);
      machine.run([words]);
      const truth = expected(shape, mode, numbers);
      // Of what an element is a sum of, whose terms are larger than itself where they cancel.
      const terms = mode === ChannelNormMode.WeightGradient ? numbers.x.length / shape.channels : 8;
      const scale = Math.max(1, ...truth.map(Math.abs)) * (mode === ChannelNormMode.Gradient ? 8 : 1) + terms;
      out.view.forEach((y, i) => {
        expect(Math.abs(y - (truth[i] as number)), `${JSON.stringify(shape)} at ${i}`).toBeLessThan(scale * 2 ** -20);
      });
    }
  });

  it.each(MODES)("give the same bits of $name on any number of threads, each element on one of them", ({ mode }) => {
    for (const shape of SHAPES) {
      const numbers = draw(shape);
      const results = [1, 2, 3].map((threads) => {
        const machine = instantiate(build);
        const { words, out } = place(machine, shape, mode, numbers);
        machine.run([words], threads);
        return [...out.view];
      });
      expect(results[1]).toEqual(results[0]);
      expect(results[2]).toEqual(results[0]);
      const machine = instantiate(build);
      const x = lastFloats(machine, numbers.x.length);
      const { words, out } = place(machine, shape, mode, numbers, x);
      expectShares(machine, words, out, 3);
    }
  });
});
