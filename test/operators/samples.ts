/** Reads the sample calls of operator records: text to arguments, with tensors of repeatable random numbers. */
import type { DType } from "../../src/graph/dtype.js";
import type { Shape } from "../../src/graph/shape.js";
import { sizeOf } from "../../src/graph/shape.js";
import { Tensor } from "../../src/graph/tensor.js";
import { tensor } from "../../src/tensor/creation.js";

/** Uniform numbers in [0, 1), the same for the same seed (mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Normal numbers by Box and Muller's transform. */
export function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** A tensor that a sample asks for. */
export interface TensorSample {
  readonly dtype: DType;
  readonly shape: Shape;
  /** One element. */
  draw(random: () => number): number;
}

const TENSOR = /^(f32|i32|bool)\[([\d,]*)\](?:(>0)|in\(([-.\d]+),([-.\d]+)\)|<(\d+))?$/;

function readTensor(text: string): TensorSample | null {
  const match = TENSOR.exec(text);
  if (match === null) return null;
  const [, dtype, sizes, positive, low, high, below] = match;
  const shape = sizes === "" ? [] : (sizes as string).split(",").map(Number);
  const draw = (random: () => number): number => {
    if (dtype === "bool") return random() < 0.5 ? 0 : 1;
    if (dtype === "i32") return Math.floor(random() * Number(below ?? 10));
    if (positive) return 0.3 + 2 * random();
    return low === undefined ? normal(random) : Number(low) + random() * (Number(high) - Number(low));
  };
  return { dtype: dtype as DType, shape, draw };
}

/** A call with its tensors yet to be made. */
export class SampleCall {
  readonly tensors: TensorSample[] = [];
  private readonly build: (tensors: readonly Tensor[]) => unknown[];

  constructor(readonly text: string) {
    const parts = text.split("; ").map((part) => this.read(readTensor(part) === null ? JSON.parse(part) : part));
    this.build = (tensors) => parts.map((part) => part(tensors));
  }

  private read(value: unknown): (tensors: readonly Tensor[]) => unknown {
    const sample = typeof value === "string" ? readTensor(value) : null;
    if (sample !== null) {
      const i = this.tensors.push(sample) - 1;
      return (tensors) => tensors[i];
    }
    if (Array.isArray(value)) {
      const elements = value.map((element) => this.read(element));
      return (tensors) => elements.map((element) => element(tensors));
    }
    if (typeof value === "object" && value !== null) {
      const entries = Object.entries(value).map(([key, element]) => [key, this.read(element)] as const);
      return (tensors) => Object.fromEntries(entries.map(([key, element]) => [key, element(tensors)]));
    }
    return () => value;
  }

  /** The arguments of the call with these tensors. */
  arguments(tensors: readonly Tensor[]): unknown[] {
    return this.build(tensors);
  }
}

/** A way in which a value lies in memory. */
export type Placement = "plain" | "transposed" | "sliced" | "expanded";

/** Every placement that is a view. */
export const VIEWS: readonly Placement[] = ["transposed", "sliced", "expanded"];

/** A leaf of another shape, and how a tensor of the wanted shape is seen in it: reordered, in steps, or broadcast. */
export function place(shape: Shape, placement: Placement): { shape: Shape; view(leaf: Tensor): Tensor } {
  const last = shape.length - 1;
  if (placement === "transposed" && last > 0) {
    return { shape: [...shape].reverse(), view: (leaf) => leaf.permute(shape.map((_, i) => last - i)) };
  }
  if (placement === "sliced" && last >= 0) {
    const wide = [...shape.slice(0, -1), 2 * (shape[last] as number) + 1];
    return { shape: wide, view: (leaf) => leaf.slice(last, 1, undefined, 2).flip(0) };
  }
  if (placement === "expanded" && last >= 0) {
    return { shape: [1, ...shape.slice(1)], view: (leaf) => leaf.expand(shape) };
  }
  return { shape, view: (leaf) => leaf };
}

const ARRAYS = { f32: Float32Array, i32: Int32Array, bool: Uint8Array };

/** A tensor of a sample's numbers, in some shape. */
export function draw(sample: TensorSample, shape: Shape, random: () => number): Tensor {
  const values = Array.from({ length: sizeOf(shape) }, () => sample.draw(random));
  return tensor(ARRAYS[sample.dtype].from(values), { shape, dtype: sample.dtype });
}

/** The tensors in whatever an operator returned. */
export function tensorsIn(result: unknown): Tensor[] {
  if (result instanceof Tensor) return [result];
  return Object.values(result as object).flatMap(tensorsIn);
}
