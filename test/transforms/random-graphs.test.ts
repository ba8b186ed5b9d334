/**
 * Random graphs of five to forty operators, drawn from the operator records: value, gradient and Hessian-vector product
 * by the kernels of both builds, against the same in float64. Operators meet here in combinations that nobody thought
 * of, and so do fusion, simplification and placement.
 *
 * LANEGRAD_SEED=n draws other graphs, LANEGRAD_RUNS=n as many of them. A failure prints the seed and the shortest graph that fails.
 */
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { evaluateReference } from "../../src/graph/reference.js";
import { type Shape, sizeOf } from "../../src/graph/shape.js";
import { type Node, nodeOf } from "../../src/graph/tensor.js";
import { hvp, type Tensor, tensor, valueAndGrad } from "../../src/index.js";
import type { Operator } from "../../src/ops/define.js";
import { add, expand, mul, narrow, reshape, tanh } from "../../src/ops/index.js";
import { realize } from "../../src/tensor/realize.js";
import {
  draw,
  type Placement,
  place,
  SampleCall,
  type TensorSample,
  tensorsIn,
  uniform,
} from "../operators/samples.js";
import { BUILDS, start } from "../support/builds.js";
import { floats, inner, normalLike, OPERATORS } from "./support.js";

type Tensors = readonly Tensor[];

/** A sample call of an operator, and the range of the numbers that each of its tensors takes. */
interface Choice {
  readonly name: string;
  readonly call: SampleCall;
  readonly ranges: readonly (readonly [number, number])[];
  readonly fn: Operator["fn"];
}

function rangeOf(sample: TensorSample): [number, number] {
  const random = uniform(1);
  const numbers = Array.from({ length: 200 }, () => sample.draw(random));
  return [Math.min(...numbers), Math.max(...numbers)];
}

const CHOICES: readonly Choice[] = OPERATORS.flatMap(([name, { fn, samples, discrete }]) =>
  discrete
    ? []
    : samples.map((sample) => {
        const call = new SampleCall(sample);
        return { name: `${name}(${sample})`, call, ranges: call.tensors.map(rangeOf), fn };
      }),
).filter(({ call }) => call.tensors.some(({ dtype, shape }) => dtype === "f32" && sizeOf(shape) > 0));

/** One operator of a graph: which, and what decides its operands. */
interface Step {
  readonly choice: number;
  readonly seed: number;
}

const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.record({ choice: fc.nat(CHOICES.length - 1), seed: fc.nat(2 ** 20) }),
  { minLength: 5, maxLength: 40, size: "max" },
);

/** Zeros that are added to every operand, one tensor for each, so that it can be seen what small errors there come to. */
class Errors {
  private readonly zeros = new Map<string, Tensor>();

  /** Those of the operand that `key` names. */
  of(key: string, shape: Shape): Tensor {
    const known = this.zeros.get(key) ?? tensor(new Float32Array(sizeOf(shape)), shape);
    this.zeros.set(key, known);
    return known;
  }

  /** Errors of a few units of f32 in place of the zeros. */
  draw(random: () => number): (readonly [Node, Float64Array])[] {
    return [...this.zeros.values()].map((zero) => {
      const errors = Float64Array.from({ length: zero.numel }, () => 1e-6 * (2 * random() - 1));
      return [nodeOf(zero), errors] as const;
    });
  }
}

/**
 * The elements of `x`, repeated or cut to fill the shape of `error`, moved into a range that they cover smoothly. Each
 * is shifted by a number of its own: where all are equal, many operators have no derivative.
 */
function fitted(x: Tensor, error: Tensor, [low, high]: readonly [number, number], seed: number): Tensor {
  const flat = reshape(x, -1);
  const repeated = reshape(expand(flat, Math.ceil(error.numel / x.numel), x.numel), -1);
  const cut = reshape(narrow(repeated, 0, 0, error.numel), error.shape);
  const [shift] = normalLike([cut], seed) as [Tensor];
  const unit = add(tanh(mul(add(cut, shift), 0.5)), error);
  return add(mul(unit, (high - low) / 2), (low + high) / 2);
}

/** Where all elements of a row are equal, as in an expanded operand, many operators have no derivative. */
const PLACEMENTS: readonly Placement[] = ["plain", "transposed", "sliced"];

/** Large results make everything after them large, and slow to evaluate. */
const MAX_ELEMENTS = 64;

/** Applies the steps one after another, each to results of earlier ones. */
function build(graph: readonly Step[], leaves: Tensors, errors: Errors): Tensor {
  const pool = [...leaves];
  for (const [at, { choice, seed }] of graph.entries()) {
    const { call, ranges, fn } = CHOICES[choice] as Choice;
    const random = uniform(seed);
    const operands = call.tensors.map((sample, i) => {
      if (sample.dtype !== "f32" || sizeOf(sample.shape) === 0) return draw(sample, sample.shape, random);
      // Late results more often than early ones: deep graphs rather than wide ones.
      const from = pool[pool.length - 1 - Math.floor(pool.length * random() ** 3)] as Tensor;
      const { shape, view } = place(sample.shape, PLACEMENTS[Math.floor(3 * random())] as Placement);
      return view(fitted(from, errors.of(`${at}.${i}`, shape), ranges[i] as [number, number], seed + i));
    });
    const results = floats(tensorsIn(fn(...(call.arguments(operands) as never[]))));
    pool.push(...results.filter(({ numel }) => numel > 0 && numel <= MAX_ELEMENTS));
  }
  return inner(pool, normalLike(pool, 1));
}

/** What the kernels may be off by: more where float64 itself moves with small errors of all operands. */
function tolerances(nodes: readonly Node[], errors: Errors, expected: readonly Float64Array[]): Float64Array[] {
  const moved = [1, 2, 3].map((seed) => evaluateReference(nodes, new Map(errors.draw(uniform(seed)))));
  return expected.map((values, i) => {
    const scale = Math.max(1, ...Array.from(values, Math.abs).filter(Number.isFinite));
    return values.map((x, j) => {
      const movement = Math.max(...moved.map((m) => Math.abs((m[i]?.[j] as number) - x)));
      return 1e-4 * scale + 10 * movement;
    });
  });
}

const { LANEGRAD_SEED = "1", LANEGRAD_RUNS = "40" } = process.env;
const [SEED, RUNS] = [Number(LANEGRAD_SEED), Number(LANEGRAD_RUNS)];
/** For each build. A loaded machine checks fewer graphs. */
const TIME_LIMIT_MS = LANEGRAD_RUNS === "40" ? 9_000 : 600_000;

const LEAVES: Tensors = normalLike(
  [[3, 4], [5], [2, 3]].map((shape) => tensor(new Float32Array(sizeOf(shape)), shape)),
  11,
);

/** What is wrong with a graph's value, gradient and Hessian-vector product; null if nothing is. */
function check(graph: readonly Step[]): string | null {
  const errors = new Errors();
  const loss = (leaves: Tensors): Tensor => build(graph, leaves, errors);
  const [value, gradients] = valueAndGrad(loss)(LEAVES);
  const [products] = hvp(loss, [LEAVES], [normalLike(LEAVES, 2) as Tensors]);
  const nodes = [value, ...(gradients as Tensors), ...products].map(nodeOf);
  const expected = evaluateReference(nodes);
  const allowed = tolerances(nodes, errors, expected);
  realize(nodes);
  for (const [i, node] of nodes.entries()) {
    const found = node.value as ArrayLike<number>;
    for (const [j, x] of (expected[i] as Float64Array).entries()) {
      const y = found[j] as number;
      const limit = allowed[i]?.[j] as number;
      if (Object.is(x, y) || Math.abs(x - y) <= limit || Number.isNaN(limit)) continue;
      const what =
        i === 0 ? "the value" : i <= LEAVES.length ? `gradient ${i - 1}` : `product ${i - 1 - LEAVES.length}`;
      return `element ${j} of ${what} is ${y}, and in float64 ${x} (allowed: ${limit})`;
    }
  }
  return null;
}

describe.each(BUILDS)("on the %s build", (build) => {
  beforeAll(() => start(build));

  it("random graphs come out as in float64", () => {
    const property = fc.property(steps, (graph) => {
      const found = check(graph);
      if (found === null) return;
      expect.fail(`${found}\n${graph.map(({ choice, seed }) => `  ${CHOICES[choice]?.name} #${seed}`).join("\n")}`);
    });
    fc.assert(property, { seed: SEED, numRuns: RUNS, interruptAfterTimeLimit: TIME_LIMIT_MS });
  });
});
