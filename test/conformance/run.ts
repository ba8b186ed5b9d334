/** Runs a recorded call and tells what differs from the record. */
import * as errors from "../../src/graph/errors.js";
import { formatShape, sameShape } from "../../src/graph/shape.js";
import { type Node, nodeOf, type Tensor } from "../../src/graph/tensor.js";
import type { Operator } from "../../src/ops/define.js";
import { vjp } from "../../src/transforms/reverse.js";
import { bindCall, tensorFrom } from "./binding.js";
import { type Case, dtypeFor, numberFrom, type RecordedTensor } from "./cases.js";

/** Computes values of tensors: with the kernels of a build, or with the float64 reference. */
export type Evaluate = (tensors: readonly Tensor[]) => ArrayLike<number>[];

interface Tolerance {
  readonly absolute: number;
  readonly relative: number;
}

/** What two float32 implementations of an elementwise or movement operator may differ by. */
const PLAIN: Tolerance = { absolute: 1e-5, relative: 1.3e-5 };
/** What they may differ by where sums run long and each adds up in its own order. */
const SUMMED: Tolerance = { absolute: 1e-4, relative: 1e-4 };

/** Samples that are ill-conditioned: how far f32 results may be from PyTorch's, and why. */
const ILL_CONDITIONED: Readonly<Record<string, Tolerance>> = {
  // Divides by 1.1256 - 2 · 0.5586 = 0.008, and adds up gradients of 2·10⁴ to one of 32. In float64 that is 32.457.
  "cov #37": { absolute: 0, relative: 2e-3 },
  // Close to a pole: PyTorch's trigamma is 2·10⁻⁵ from the value in float64, which ours meets.
  "digamma #0": { absolute: 1e-5, relative: 3e-5 },
};

/** Whether a value is computed by reductions, products of matrices, or scattered sums. */
function sums(root: Node): boolean {
  const seen = new Set<Node>();
  const stack = [root];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    const { lowering, flops } = node.primitive;
    if (lowering.kind === "reduce") return true;
    if (lowering.kind === "kernel" && flops(node.inputs, node, node.attrs) > 0) return true;
    stack.push(...node.inputs);
  }
  return false;
}

function close(actual: number, expected: number, { absolute, relative }: Tolerance): boolean {
  if (Number.isNaN(expected)) return Number.isNaN(actual);
  if (actual === expected) return true;
  return Math.abs(actual - expected) <= absolute + relative * Math.abs(expected) && Number.isFinite(expected);
}

/** How `actual` differs from the recorded tensor, or null. */
function difference(
  what: string,
  actual: Tensor,
  values: ArrayLike<number>,
  recorded: RecordedTensor,
  tolerance: Tolerance,
) {
  if (!sameShape(actual.shape, recorded.shape)) {
    return `${what} has shape ${formatShape(actual.shape)}, expected ${formatShape(recorded.shape)}`;
  }
  if (actual.dtype !== dtypeFor(recorded.t)) return `${what} is ${actual.dtype}, expected ${recorded.t}`;
  const at = recorded.data.findIndex((x, i) => !close(values[i] as number, numberFrom(x), tolerance));
  return at < 0 ? null : `${what}[${at}] is ${values[at]}, expected ${recorded.data[at]}`;
}

/** The VJPs of the call, one for each variable. */
function pullBack(
  recorded: Case,
  call: (variables: readonly Tensor[]) => Tensor[],
  variables: readonly Tensor[],
): Tensor[] {
  const differentiable = (...args: Tensor[]): Tensor[] => {
    const outputs = call(args);
    return recorded.diff_outputs.map((i) => outputs[i] as Tensor);
  };
  const [, pull] = vjp(differentiable, ...variables);
  return pull(recorded.cotangents.map(tensorFrom));
}

function checkResults(recorded: Case, operator: Operator, evaluate: Evaluate): string | null {
  const { variables, call } = bindCall(recorded, operator);
  const outputs = call(variables);
  if (outputs.length !== recorded.outputs.length) {
    return `returns ${outputs.length} tensors, expected ${recorded.outputs.length}`;
  }
  const grads = recorded.diff_outputs.length > 0 && variables.length > 0 ? pullBack(recorded, call, variables) : [];
  const all = [...outputs, ...grads];
  const stated = ILL_CONDITIONED[`${recorded.op} #${recorded.i}`];
  const tolerances = all.map((x) => stated ?? (sums(nodeOf(x)) ? SUMMED : PLAIN));
  const values = evaluate(all);
  for (const [i, x] of all.entries()) {
    const isOutput = i < outputs.length;
    const what = isOutput ? `output ${i}` : `gradient ${i - outputs.length}`;
    // Where no gradient was recorded, ours is zeros.
    const expected = isOutput ? recorded.outputs[i] : (recorded.grads[i - outputs.length] ?? zerosLike(x));
    const found = difference(
      what,
      x,
      values[i] as ArrayLike<number>,
      expected as RecordedTensor,
      tolerances[i] as Tolerance,
    );
    if (found !== null) return found;
  }
  return null;
}

function zerosLike(x: Tensor): RecordedTensor {
  return { t: "f32", shape: x.shape, data: new Array<number>(x.numel).fill(0), grad: false };
}

function isOurs(error: unknown): boolean {
  return Object.values(errors).some((kind) => error instanceof kind);
}

function checkRejection(recorded: Case, operator: Operator, evaluate: Evaluate): string | null {
  try {
    const { variables, call } = bindCall(recorded, operator);
    const outputs = call(variables);
    evaluate(outputs);
    return `must be rejected, and returned ${outputs.map((x) => x.dtype + formatShape(x.shape)).join(", ")}`;
  } catch (error) {
    return isOurs(error) ? null : `must be rejected with a message, and threw ${error}`;
  }
}

/** Runs one case; gives null where all agrees, else what differs. */
export function runCase(recorded: Case, operator: Operator, evaluate: Evaluate): string | null {
  if (recorded.error) return checkRejection(recorded, operator, evaluate);
  try {
    return checkResults(recorded, operator, evaluate);
  } catch (error) {
    return isOurs(error) ? `threw ${error}` : `threw ${(error as Error).stack?.split("\n").slice(0, 4).join(" | ")}`;
  }
}
