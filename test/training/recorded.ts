/** Training runs recorded from PyTorch 2.13, and the formulas that their initial values and data come from. */
import { readFileSync } from "node:fs";
import { expect } from "vitest";
import { type Shape, sizeOf } from "../../src/graph/shape.js";
import type { Tensor } from "../../src/graph/tensor.js";
import type { Module } from "../../src/nn/module.js";
import { tensor } from "../../src/tensor/creation.js";

interface FinalParameter {
  readonly name: string;
  readonly sum: number;
  readonly sumsq: number;
  readonly first: readonly number[];
}

/** One run: what it started from, the loss before each update, and the parameters after the last. */
export interface Recorded {
  readonly name: string;
  readonly about: string;
  readonly params: readonly { readonly name: string; readonly shape: Shape; readonly init: string }[];
  readonly losses: readonly number[];
  readonly final: readonly FinalParameter[];
  /** Of runs that clip: the norm of all gradients before each update. */
  readonly gradNorms?: readonly number[];
}

const runs = JSON.parse(readFileSync(new URL("../fixtures/training.json", import.meta.url), "utf8")) as Recorded[];

/** The run of that name. */
export function recorded(name: string): Recorded {
  const run = runs.find((candidate) => candidate.name === name);
  if (run === undefined) throw new Error(`no run is called ${name}`);
  return run;
}

function hash(x: number): number {
  const z = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  const y = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return (y ^ (y >>> 15)) >>> 0;
}

/** `u(seed)` of the record: numbers in [-1, 1), times `scale` before they are rounded. */
export function uniform(seed: number, shape: Shape, scale = 1): Tensor {
  const start = Math.imul(seed, 0x9e3779b9);
  return tensor(
    Float32Array.from({ length: sizeOf(shape) }, (_, i) => ((hash((i + start) | 0) / 2 ** 32) * 2 - 1) * scale),
    shape,
  );
}

/** `L(seed, classes)` of the record: labels. */
export function labels(seed: number, classes: number, shape: Shape): Tensor {
  const start = Math.imul(seed, 0x9e3779b9);
  return tensor(
    Int32Array.from({ length: sizeOf(shape) }, (_, i) => hash((i + start) | 0) % classes),
    shape,
  );
}

/** The initial value that a formula such as `u(3)/sqrt(10)` or `0.1*u(4)` stands for. */
function initial(formula: string, shape: Shape): Tensor {
  const [, factor = "1", seed, root] = /^(?:([\d.]+)\*)?u\((\d+)\)(?:\/sqrt\((\d+)\))?$/.exec(formula) ?? [];
  if (seed === undefined) throw new Error(`no such formula: ${formula}`);
  return uniform(Number(seed), shape, Number(factor) / Math.sqrt(Number(root ?? 1)));
}

/** Gives a model the initial values of a run. */
export function initialize(model: Module, { params }: Recorded): void {
  model.loadStateDict(Object.fromEntries(params.map(({ name, shape, init }) => [name, initial(init, shape)])));
}

/** Expects two numbers to be within a part in ten thousand. */
export function expectClose(actual: number, expected: number, what: string): void {
  const error = Math.abs(actual - expected) / Math.max(Math.abs(expected), 1e-2);
  expect(error, `${what}: ${actual} where ${expected} was recorded`).toBeLessThan(1e-4);
}

/** Expects the parameters to be those that the run ended with. */
export function expectFinal(model: Module, { final }: Recorded): void {
  const state = model.stateDict();
  for (const { name, sum, sumsq, first } of final) {
    const values = Array.from((state[name] as Tensor).data());
    expectClose(
      values.reduce((total, x) => total + x, 0),
      sum,
      `the sum of ${name}`,
    );
    expectClose(
      values.reduce((total, x) => total + x * x, 0),
      sumsq,
      `the sum of squares of ${name}`,
    );
    first.forEach((x, i) => {
      expectClose(values[i] as number, x, `${name}[${i}]`);
    });
  }
}
