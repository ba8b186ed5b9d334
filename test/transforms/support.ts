/** What the tests of transforms share: operators on sample calls, and comparison in float64. */
import { expect } from "vitest";
import { evaluateReference } from "../../src/graph/reference.js";
import { nodeOf, type Tensor } from "../../src/graph/tensor.js";
import type { Operator } from "../../src/ops/define.js";
import { add, mul, sum } from "../../src/ops/index.js";
import { operators } from "../../src/ops/table.js";
import { tensor, zeros } from "../../src/tensor/creation.js";
import { draw, normal, SampleCall, tensorsIn, uniform } from "../operators/samples.js";

/** Every operator, by name. */
export const OPERATORS: readonly (readonly [string, Operator])[] = Object.entries(operators);

/** An operator as a function of the tensors of a sample call. */
export interface SampledCall {
  readonly sample: string;
  /** The tensors of the call, others for each seed. */
  tensors(seed: number): Tensor[];
  /** The tensors that the operator returns for such. */
  apply(tensors: readonly Tensor[]): Tensor[];
}

/** The sample calls of an operator that take tensors. */
export function callsOf({ fn, samples }: Operator): SampledCall[] {
  return samples.flatMap((sample) => {
    const call = new SampleCall(sample);
    if (call.tensors.length === 0) return [];
    return [
      {
        sample,
        tensors: (seed) => {
          const random = uniform(seed);
          return call.tensors.map((x) => draw(x, x.shape, random));
        },
        apply: (tensors) => tensorsIn(fn(...(call.arguments(tensors) as never[]))),
      },
    ];
  });
}

/** A call as a function of its f32 tensors alone, the others as they are; and those tensors. */
export function smoothPart({ tensors, apply }: SampledCall, seed: number) {
  const all = tensors(seed);
  return {
    inputs: floats(all),
    fn: (...given: Tensor[]): Tensor[] => {
      const rest = [...given];
      return floats(apply(all.map((x) => (x.dtype === "f32" ? (rest.shift() as Tensor) : x))));
    },
  };
}

export function floats(xs: readonly Tensor[]): Tensor[] {
  return xs.filter((x) => x.dtype === "f32");
}

/** Tensors of normal numbers in the shapes of others. */
export function normalLike(xs: readonly Tensor[], seed: number): Tensor[] {
  const random = uniform(seed);
  return xs.map((x) =>
    tensor(
      Float32Array.from({ length: x.numel }, () => normal(random)),
      { shape: x.shape },
    ),
  );
}

/** Σ over all tensors of Σ x·y. */
export function inner(xs: readonly Tensor[], ys: readonly Tensor[]): Tensor {
  return xs.map((x, i) => sum(mul(x, ys[i] as Tensor))).reduce((a, b) => add(a, b), zeros([]));
}

/** Values in float64. */
export function evaluate(xs: readonly Tensor[]): Float64Array[] {
  return evaluateReference(xs.map(nodeOf));
}

/** Where two lists of numbers differ by more than `tolerance`, relative to the largest around; null if nowhere. */
export function difference(
  actual: readonly ArrayLike<number>[],
  expected: readonly ArrayLike<number>[],
  tolerance: number,
): string | null {
  if (actual.length !== expected.length) return `${actual.length} results, and ${expected.length} are expected`;
  for (const [i, values] of expected.entries()) {
    const numbers = Array.from(values);
    const found = Array.from(actual[i] as ArrayLike<number>);
    if (found.length !== numbers.length) return `result ${i} has ${found.length} elements, not ${numbers.length}`;
    const scale = Math.max(1, ...numbers.map(Math.abs).filter(Number.isFinite));
    const at = numbers.findIndex((x, j) => {
      const y = found[j] as number;
      return !(Object.is(x, y) || Math.abs(x - y) <= tolerance * scale);
    });
    if (at >= 0) return `result ${i}[${at}] is ${found[at]}, expected ${numbers[at]}`;
  }
  return null;
}

/** Fails with all that a check finds on the sample calls of an operator, one line each. */
export function expectOnCalls(operator: Operator, check: (call: SampledCall) => string | null): void {
  const lines = callsOf(operator).flatMap((call) => {
    const found = check(call);
    return found === null ? [] : [`(${call.sample}): ${found}`];
  });
  if (lines.length > 0) expect.fail(lines.join("\n"));
}
