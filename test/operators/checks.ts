/** What must hold of every operator, checked on a sample call. Each check tells what is wrong, or gives null. */
import { evaluateReference } from "../../src/graph/reference.js";
import { formatShape, type Shape } from "../../src/graph/shape.js";
import { constant } from "../../src/graph/sources.js";
import { nodeOf, type Tensor } from "../../src/graph/tensor.js";
import type { Operator } from "../../src/ops/define.js";
import { add, cat, mul, reshape, sum } from "../../src/ops/index.js";
import { tensor } from "../../src/tensor/creation.js";
import { realize } from "../../src/tensor/realize.js";
import { jvp } from "../../src/transforms/forward.js";
import { grad } from "../../src/transforms/reverse.js";
import { draw, normal, type Placement, place, SampleCall, tensorsIn, uniform } from "./samples.js";

/** An operator applied to the tensors of a sample call. */
interface Application {
  /** The leaves that gradients are taken of. */
  readonly variables: readonly Tensor[];
  /** The tensors that the operator returns for other values of the variables. */
  outputs(variables: readonly Tensor[]): Tensor[];
}

/** Reproduces every tensor and projection. */
const SEED = 7;

function floats(xs: readonly Tensor[]): Tensor[] {
  return xs.filter((x) => x.dtype === "f32");
}

/** Applies an operator to a sample call whose tensors have other shapes and places in memory. */
function applied(
  operator: Operator,
  sample: string,
  placement: Placement = "plain",
  reshaped: (shape: Shape) => Shape = (shape) => shape,
): Application {
  const call = new SampleCall(sample);
  const random = uniform(SEED);
  const places = call.tensors.map(({ shape }) => place(reshaped(shape), placement));
  const leaves = call.tensors.map((tensorSample, i) =>
    draw(tensorSample, (places[i] as { shape: Shape }).shape, random),
  );
  return {
    variables: floats(leaves),
    outputs(variables) {
      const rest = [...variables];
      const given = leaves.map((leaf) => (leaf.dtype === "f32" ? (rest.shift() as Tensor) : leaf));
      const args = call.arguments(places.map(({ view }, i) => view(given[i] as Tensor)));
      return tensorsIn(operator.fn(...(args as never[])));
    },
  };
}

/** Σ of all elements, each times a random number: one number that depends on every one of them. */
function project(xs: readonly Tensor[], seed: number): Tensor {
  const random = uniform(seed);
  const terms = xs.map((x) => {
    const weights = Float32Array.from({ length: x.numel }, () => normal(random));
    return sum(mul(x, tensor(weights, { shape: x.shape })));
  });
  return terms.reduce((a, b) => add(a, b), constant(0));
}

type Loss = (variables: readonly Tensor[]) => Tensor;

/** The gradients of a loss, one for each variable. */
function gradients(loss: Loss, variables: readonly Tensor[]): readonly Tensor[] {
  return grad(loss)(variables);
}

function evaluate(xs: readonly Tensor[]): Float64Array[] {
  return evaluateReference(xs.map(nodeOf));
}

/** The first place where two lists of arrays differ by more than `tolerance`, relative to the largest number around. */
function firstDifference(
  what: string,
  actual: readonly ArrayLike<number>[],
  expected: readonly ArrayLike<number>[],
  tolerance: number,
): string | null {
  for (const [i, values] of expected.entries()) {
    const numbers = Array.from(values);
    const scale = Math.max(1, ...numbers.map(Math.abs).filter(Number.isFinite));
    const at = numbers.findIndex((x, j) => {
      const y = (actual[i] as ArrayLike<number>)[j] as number;
      return !(Object.is(x, y) || Math.abs(x - y) <= tolerance * scale);
    });
    if (at >= 0) return `${what} ${i}[${at}] is ${actual[i]?.[at]}, expected ${numbers[at]}`;
  }
  return null;
}

/** Central differences of a loss with respect to every element of every variable, in float64. */
function centralDifferences(loss: Loss, variables: readonly Tensor[]): Float64Array[] {
  const root = nodeOf(loss(variables));
  const step = 1e-5;
  return variables.map((variable) => {
    const leaf = nodeOf(variable);
    const point = Float64Array.from(leaf.value as Float32Array);
    const at = (x: number, j: number): number => {
      const moved = point.slice();
      moved[j] = x;
      return (evaluateReference([root], new Map([[leaf, moved]]))[0] as Float64Array)[0] as number;
    };
    return point.map((x, j) => (at(x + step, j) - at(x - step, j)) / (2 * step));
  });
}

/** Float64 gradients against central differences of `loss`. */
function checkGradients(what: string, loss: Loss, variables: readonly Tensor[]): string | null {
  return firstDifference(what, evaluate(gradients(loss, variables)), centralDifferences(loss, variables), 1e-6);
}

function differentiable(operator: Operator, { outputs, variables }: Application): boolean {
  return operator.discrete !== true && variables.length > 0 && floats(outputs(variables)).length > 0;
}

/** The operator's gradients in float64 against central differences. */
export function checkFirstOrder(operator: Operator, sample: string): string | null {
  const application = applied(operator, sample);
  if (!differentiable(operator, application)) return null;
  const loss: Loss = (xs) => project(floats(application.outputs(xs)), SEED + 1);
  return checkGradients("gradient", loss, application.variables);
}

/** The gradients of a random projection of the operator's gradients, in float64, against central differences. */
export function checkSecondOrder(operator: Operator, sample: string): string | null {
  const application = applied(operator, sample);
  if (!differentiable(operator, application)) return null;
  const loss: Loss = (xs) => project(floats(application.outputs(xs)), SEED + 1);
  const projected: Loss = (xs) => project(gradients(loss, xs), SEED + 2);
  return checkGradients("second derivative", projected, application.variables);
}

/** What two f32 computations of a few operations each may differ by, relative to the largest number around. */
const KERNEL_TOLERANCE = 2e-5;

/**
 * What the kernels of the running build give against float64: values, gradients, the gradients of a projection of those,
 * and how the loss and its gradients move in forward mode.
 */
export function checkKernels(
  operator: Operator,
  sample: string,
  placement: Placement = "plain",
  reshaped?: (shape: Shape) => Shape,
): string | null {
  const application = applied(operator, sample, placement, reshaped);
  const { variables } = application;
  const outputs = application.outputs(variables);
  const loss: Loss = (xs) => project(floats(application.outputs(xs)), SEED + 1);
  const derivatives = differentiable(operator, application) ? derivativesOf(loss, variables) : {};
  const groups = Object.entries({ output: outputs, ...derivatives });
  const all = groups.flatMap(([, xs]) => xs);
  const expected = evaluate(all);
  const nodes = all.map(nodeOf);
  realize(nodes);
  const wrongSize = all.find((x, i) => x.numel !== expected[i]?.length);
  if (wrongSize !== undefined) return `the reference has another size than ${formatShape(wrongSize.shape)}`;
  const values = nodes.map((node) => node.value as ArrayLike<number>);
  let start = 0;
  for (const [what, { length }] of groups) {
    const [from, to] = [start, start + length];
    const wrong = firstDifference(what, values.slice(from, to), expected.slice(from, to), KERNEL_TOLERANCE);
    if (wrong !== null) return wrong;
    start = to;
  }
  return null;
}

/**
 * Derivatives of a loss in both modes, to second order. A derivative in forward mode is the sum of those in reverse mode,
 * along tangents of 1, so each stands with its summands: it can be no more exact than the largest of them.
 */
function derivativesOf(loss: Loss, variables: readonly Tensor[]): Record<string, readonly Tensor[]> {
  const projected: Loss = (xs) => project(gradients(loss, xs), SEED + 2);
  const tangents = variables.map((x) => constant(1, x.shape));
  const forward = (f: Loss, summands: readonly Tensor[]): Tensor[] => {
    const moved = jvp((...xs: Tensor[]) => f(xs), [...variables], tangents)[1];
    return [cat([moved, ...summands].map((x) => reshape(x, [-1])))];
  };
  const first = gradients(loss, variables);
  const second = gradients(projected, variables);
  return {
    gradient: first,
    "second derivative": second,
    "forward derivative": forward(loss, first),
    "forward over reverse": forward(projected, second),
  };
}
