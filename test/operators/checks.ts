/** What must hold of every operator, checked on a sample call. Each check tells what is wrong, or gives null. */
import { evaluateReference } from "../../src/graph/reference.js";
import { formatShape, type Shape } from "../../src/graph/shape.js";
import { constant } from "../../src/graph/sources.js";
import { nodeOf, type Tensor } from "../../src/graph/tensor.js";
import type { Operator } from "../../src/ops/define.js";
import { add, mul, sum } from "../../src/ops/index.js";
import { tensor } from "../../src/tensor/creation.js";
import { realize } from "../../src/tensor/realize.js";
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

/** Values and gradients by the kernels of the running build against those in float64. */
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
  const grads = differentiable(operator, application) ? gradients(loss, variables) : [];
  const all = [...outputs, ...grads];
  const expected = evaluate(all);
  const nodes = all.map(nodeOf);
  realize(nodes);
  const wrongSize = all.find((x, i) => x.numel !== expected[i]?.length);
  if (wrongSize !== undefined) return `the reference has another size than ${formatShape(wrongSize.shape)}`;
  const values = nodes.map((node) => node.value as ArrayLike<number>);
  return (
    firstDifference("output", values, expected.slice(0, outputs.length), KERNEL_TOLERANCE) ??
    firstDifference("gradient", values.slice(outputs.length), expected.slice(outputs.length), KERNEL_TOLERANCE)
  );
}
