/** Gradients held against finite differences, both in float64, as PyTorch's `gradcheck` does for functions of float64. */
import { ArgumentError, GradError } from "../graph/errors.js";
import { evaluateReference } from "../graph/reference.js";
import { contiguousStrides, formatShape, type Shape, sizeOf } from "../graph/shape.js";
import { inputPrimitive } from "../graph/sources.js";
import { type AnyPrimitive, mode, Node, nodeOf, Tensor } from "../graph/tensor.js";
import { mapTree, type Tree } from "../graph/tree.js";
import { Generator, randn } from "../ops/random.js";
import { type CustomAttrs, customVjpPrimitive } from "./custom.js";
import { between, type Differentiable, record } from "./record.js";
import { pullBack, vjp } from "./reverse.js";

/** Options of {@link gradcheck} and {@link gradgradcheck}, under PyTorch's names. */
export interface GradcheckOptions {
  /** The step of the central differences; 1e-6 if not given. */
  readonly eps?: number;
  /** The absolute error that is allowed; 1e-5 if not given. */
  readonly atol?: number;
  /** The error that is allowed relative to the finite difference; 1e-3 if not given. */
  readonly rtol?: number;
  /** Whether a wrong gradient is an error; otherwise the result is false. True if not given. */
  readonly raiseException?: boolean;
}

type Tolerances = Required<Omit<GradcheckOptions, "raiseException">>;

/** A derivative of one element with respect to another that finite differences do not confirm. */
interface Mismatch {
  /** Which output and which of its elements, and which variable and which of its elements. */
  readonly at: { readonly output: number; readonly row: number; readonly variable: number; readonly column: number };
  readonly analytic: number;
  readonly numeric: number;
  readonly allowed: number;
}

/** Values that stand in for those of nodes. */
type Point = ReadonlyMap<Node, Float64Array>;

/** The derivatives of every element of `outputs` (rows) by every element of each variable, by reverse mode. */
function analyticJacobians(outputs: readonly Node[], variables: readonly Node[], point: Point): Float64Array[][] {
  const seeds = outputs.map(({ shape }) => new Node(inputPrimitive as AnyPrimitive, [], null, shape, "f32", null));
  const cotangents = pullBack(
    outputs,
    seeds.map((seed) => new Tensor(seed)),
    variables,
  ).map(nodeOf);
  const zeros = new Map(seeds.map((seed) => [seed, new Float64Array(sizeOf(seed.shape))]));
  return seeds.flatMap((seed) =>
    Array.from({ length: sizeOf(seed.shape) }, (_, row) => {
      const unit = new Float64Array(sizeOf(seed.shape));
      unit[row] = 1;
      return evaluateReference(cotangents, new Map([...point, ...zeros, [seed, unit]]));
    }),
  );
}

/** The derivatives of all elements of `outputs` by element `column` of a variable, by central differences. */
function numericColumn(outputs: readonly Node[], point: Point, variable: Node, column: number, eps: number): number[] {
  const at = (step: number): number[] => {
    const moved = Float64Array.from(point.get(variable) as Float64Array);
    moved[column] = (moved[column] as number) + step;
    return evaluateReference(outputs, new Map([...point, [variable, moved]])).flatMap((x) => Array.from(x));
  };
  const [above, below] = [at(eps), at(-eps)];
  return above.map((x, i) => (x - (below[i] as number)) / (2 * eps));
}

/** Every derivative that finite differences do not confirm, the worst first. */
function mismatches(
  outputs: readonly Node[],
  variables: readonly Node[],
  point: Point,
  { eps, atol, rtol }: Tolerances,
): Mismatch[] {
  const places = outputs.flatMap(({ shape }, output) =>
    Array.from({ length: sizeOf(shape) }, (_, row) => ({ output, row })),
  );
  const rows = analyticJacobians(outputs, variables, point);
  const found: Mismatch[] = [];
  variables.forEach((node, variable) => {
    for (let column = 0; column < sizeOf(node.shape); column++) {
      numericColumn(outputs, point, node, column, eps).forEach((numeric, i) => {
        const analytic = rows[i]?.[variable]?.[column] as number;
        const allowed = atol + rtol * Math.abs(numeric);
        if (Math.abs(analytic - numeric) <= allowed) return;
        found.push({
          at: { ...(places[i] as (typeof places)[number]), variable, column },
          analytic,
          numeric,
          allowed,
        });
      });
    }
  });
  const excess = ({ analytic, numeric, allowed }: Mismatch): number => {
    const ratio = Math.abs(analytic - numeric) / allowed;
    return Number.isNaN(ratio) ? Number.POSITIVE_INFINITY : ratio;
  };
  return found.sort((a, b) => excess(b) - excess(a));
}

/** How an element is written: `[1,2]` for its place in a shape. */
function placeIn(shape: Shape, position: number): string {
  return formatShape(contiguousStrides(shape).map((stride, d) => Math.floor(position / stride) % (shape[d] as number)));
}

/** As many digits as finite differences have to say. */
function rounded(x: number): number {
  return Number(x.toPrecision(6));
}

/** `labels` are the variables' numbers for the reader. */
function describe(
  { at, analytic, numeric, allowed }: Mismatch,
  outputs: readonly Node[],
  variables: readonly Node[],
  labels: readonly number[] = variables.map((_, i) => i),
): string {
  const row = placeIn((outputs[at.output] as Node).shape, at.row);
  const column = placeIn((variables[at.variable] as Node).shape, at.column);
  const derivative = `∂output ${at.output} ${row} / ∂input ${labels[at.variable]} ${column}`;
  const [is, should, off, limit] = [analytic, numeric, Math.abs(analytic - numeric), allowed].map(rounded);
  return `${derivative} is ${is}, and finite differences give ${should} (off by ${off}, allowed ${limit})`;
}

/**
 * The inputs of `node` to which its rule gives cotangents, and all that stands still while they move. What a custom
 * function returned and saved was computed from its arguments, so it moves with them; other operators' inputs are
 * independent.
 */
function movingInputs(node: Node): { moving: Node[]; fixed: Node[] } {
  const custom = node.primitive === (customVjpPrimitive as AnyPrimitive);
  const given = custom ? node.inputs.slice(1, 1 + (node.attrs as CustomAttrs).argumentCount) : node.inputs;
  const distinct = [...new Set(given)];
  return { moving: distinct.filter((x) => x.requiresGrad), fixed: distinct.filter((x) => !x.requiresGrad) };
}

/** The first operator between variables and outputs whose own gradient is wrong, and how. */
function culprit(outputs: readonly Node[], variables: readonly Node[], point: Point, tolerances: Tolerances): string {
  const own = new Set(variables);
  for (const node of between(outputs, own).reverse()) {
    if (own.has(node)) continue;
    const { moving, fixed } = movingInputs(node);
    const given = [...moving, ...fixed];
    const values = evaluateReference(given, point);
    const here = new Map(given.map((x, i) => [x, values[i] as Float64Array]));
    const [worst] = mismatches([node], moving, here, tolerances);
    if (worst === undefined) continue;
    const signature = `${node.primitive.name}(${node.inputs.map((x) => `${x.dtype}${formatShape(x.shape)}`).join(", ")})`;
    const labels = moving.map((x) => node.inputs.indexOf(x));
    return `The first operator whose own gradient is wrong is ${signature}: ${describe(worst, [node], moving, labels)}.`;
  }
  return "No single operator is wrong: look for detach, noGrad, or a point where the function is not smooth.";
}

function checked(op: string, outputs: readonly Node[], variables: readonly Node[], options: GradcheckOptions): boolean {
  const { eps = 1e-6, atol = 1e-5, rtol = 1e-3, raiseException = true } = options;
  if (mode.scope !== null) throw new ArgumentError(`${op}: computes values, and cannot be compiled or vectorized`);
  const inputs = variables.filter((x) => x.requiresGrad);
  const results = outputs.filter((x) => x.dtype === "f32");
  if (inputs.length === 0)
    throw new ArgumentError(`${op}: none of the inputs is f32, so there is no gradient to check`);
  if (results.length === 0)
    throw new ArgumentError(`${op}: none of the outputs is f32, so there is no gradient to check`);
  const values = evaluateReference(inputs);
  const point = new Map(inputs.map((x, i) => [x, values[i] as Float64Array]));
  const tolerances = { eps, atol, rtol };
  const found = mismatches(results, inputs, point, tolerances);
  if (found.length === 0) return true;
  if (!raiseException) return false;
  const entries = results.reduce((n, x) => n + sizeOf(x.shape), 0) * inputs.reduce((n, x) => n + sizeOf(x.shape), 0);
  throw new GradError(
    `${op}: ${found.length} of ${entries} derivatives are wrong. The worst: ${describe(found[0] as Mismatch, results, inputs)}. ${culprit(results, inputs, point, tolerances)}`,
  );
}

/**
 * Checks the gradients of `fn` at `inputs` against central differences: every element of every f32 output by every
 * element of every f32 input. Both are computed in float64 from the operators' references, so the kernels play no part;
 * what is checked are the rules by which gradients are made.
 * @returns true; false where a gradient is wrong and `raiseException` is false
 * @throws GradError saying which derivative is off by how much, and which operator's rule is to blame
 * @example gradcheck((x, w) => x.matmul(w).tanh(), [randn([2, 3]), randn([3, 2])]);
 */
export function gradcheck<Args extends readonly Tree[] = Tensor[], Out extends Tree = Tensor>(
  fn: Differentiable<Args, Out>,
  inputs: Args,
  options: GradcheckOptions = {},
): boolean {
  const { outputs, variables } = record("gradcheck", fn, inputs);
  return checked("gradcheck", outputs, variables, options);
}

/**
 * Checks the second derivatives of `fn` at `inputs`: {@link gradcheck} of its gradients, as a function of the inputs and
 * of the output's cotangents.
 * @param gradOutputs cotangents like the output; normal numbers, the same in every call, if not given
 */
export function gradgradcheck<Args extends readonly Tree[] = Tensor[], Out extends Tree = Tensor>(
  fn: Differentiable<Args, Out>,
  inputs: Args,
  gradOutputs?: Out | null,
  options: GradcheckOptions = {},
): boolean {
  const generator = new Generator(0);
  const upstream = gradOutputs ?? mapTree("gradgradcheck", fn(...inputs), (x): Tensor => randn(x.shape, { generator }));
  const gradients = (...args: readonly Tree[]): Tree => {
    const [, pull] = vjp(fn, ...(args.slice(0, -1) as readonly Tree[] as Args));
    return pull(args.at(-1) as Out);
  };
  const { outputs, variables } = record("gradgradcheck", gradients, [...inputs, upstream]);
  return checked("gradgradcheck", outputs, variables, options);
}
