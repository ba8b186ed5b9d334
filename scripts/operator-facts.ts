/** What an operator's samples show of it: its graphs are built, differentiated and planned here, and nothing is run. */
import type { DType } from "../src/graph/dtype.js";
import { sizeOf } from "../src/graph/shape.js";
import { constantValue, simplify } from "../src/graph/simplify.js";
import { type Node, nodeOf, type Tensor } from "../src/graph/tensor.js";
import type { Layout } from "../src/graph/view.js";
import { wholeView } from "../src/graph/view.js";
import { isLeaf, topological } from "../src/graph/walk.js";
import { Flag, Opcode } from "../src/isa.js";
import type { Operator } from "../src/ops/define.js";
import type { Step } from "../src/plan/buffer.js";
import { compilePlan } from "../src/plan/plan.js";
import { opcodeName } from "../src/plan/print.js";
import { tensor } from "../src/tensor/creation.js";
import { vmap } from "../src/transforms/batch.js";
import { pullBack } from "../src/transforms/reverse.js";
import { draw, SampleCall, tensorsIn, uniform } from "../test/operators/samples.js";
import "../src/tensor/methods.js";

/** What an operator does. */
export interface Facts {
  readonly dtypes: readonly DType[];
  /** Whether a VJP leads from its result to an input, and whether that is always 0. */
  readonly reverse: "yes" | "zero" | "no";
  /** As `reverse`; `transposed` where a primitive in it has no JVP and its VJP is transposed. */
  readonly forward: "yes" | "transposed" | "zero" | "no";
  /** Whether `vmap` takes all examples at once, or has to repeat a primitive for each; or cannot be applied. */
  readonly batching: "yes" | "loop" | "no";
  /** How it runs, in words; one entry for each way that a sample takes. */
  readonly runs: readonly string[];
  /** The elementwise primitives of its samples of f32 tensors, where each of them consists of a single one. */
  readonly elementwise: readonly string[];
}

const DTYPES: readonly DType[] = ["f32", "i32", "bool"];
const SEED = 7;

/** The graph of one call. */
interface Call {
  /** The tensors of the data: those of dtype f32; in calls without any, those of i32 or else bool. */
  readonly data: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

/** The dtype of a sample's data: its other tensors are indices and conditions. */
function dataType(sample: string): DType | undefined {
  return DTYPES.find((dtype) => sample.includes(`${dtype}[`));
}

/** Calls `operator`; `around` may stand between the function of the data and the call of it. */
function call(
  operator: Operator,
  sample: string,
  around: (fn: (data: readonly Tensor[]) => Tensor[], data: readonly Tensor[]) => Tensor[] = (fn, data) => fn(data),
): Call {
  const random = uniform(SEED);
  const sampled = new SampleCall(sample);
  const tensors = sampled.tensors.map((x) => draw(x, x.shape, random));
  const kind = dataType(sample);
  const data = tensors.filter((x) => x.dtype === kind);
  for (const x of data) if (x.dtype === "f32") x.requiresGrad = true;
  const fn = (xs: readonly Tensor[]): Tensor[] => {
    const rest = [...xs];
    const args = sampled.arguments(tensors.map((x) => (x.dtype === kind ? (rest.shift() as Tensor) : x)));
    return tensorsIn(operator.fn(...(args as never[])));
  };
  return { data, outputs: around(fn, data) };
}

/** What `fn` gives, or null where it throws: an operator that does not take what it was given. */
function attempt<T>(fn: () => T): T | null {
  try {
    return fn();
  } catch {
    return null;
  }
}

function takes(operator: Operator, dtype: DType): boolean {
  return operator.samples.some((sample) => {
    const kind = dataType(sample);
    return kind !== undefined && attempt(() => call(operator, sample.replaceAll(`${kind}[`, `${dtype}[`))) !== null;
  });
}

/** The nodes that depend on the data, inputs before users. */
function dependents({ data, outputs }: Call): Node[] {
  const found = new Set(data.map(nodeOf));
  return topological(outputs.map(nodeOf)).filter((node) => {
    if (isLeaf(node) || !node.inputs.some((x) => found.has(x))) return false;
    found.add(node);
    return true;
  });
}

function hasOwnTangent({ primitive: { jvp, vjp, lowering } }: Node): boolean {
  return vjp === null || jvp !== undefined || lowering.kind === "view" || lowering.kind === "elementwise";
}

function hasOwnBatch({ primitive: { batch, lowering } }: Node): boolean {
  return batch !== undefined || lowering.kind === "elementwise" || lowering.kind === "reduce";
}

function isZero(node: Node): boolean {
  return constantValue(node) === 0;
}

function reverseOf({ data, outputs }: Call): Facts["reverse"] {
  const differentiable = outputs.filter((x) => x.requiresGrad);
  if (differentiable.length === 0) return "no";
  // Cotangents that are no constants: only a VJP that gives zeros comes out as one.
  const seeds = differentiable.map(({ shape }) => tensor(new Float32Array(sizeOf(shape)), { shape }));
  const gradients = pullBack(differentiable.map(nodeOf), seeds, data.map(nodeOf));
  return simplify(gradients.map(nodeOf)).every(isZero) ? "zero" : "yes";
}

function batches(operator: Operator, sample: string): boolean {
  const two = (x: Tensor): Tensor => {
    const { shape, dtype } = x;
    const data = nodeOf(x).value as Float32Array;
    return tensor([...data, ...data], { shape: [2, ...shape], dtype });
  };
  const many = attempt(() =>
    call(operator, sample, (fn, data) => [...vmap((xs: readonly Tensor[]) => fn(xs))(data.map(two))]),
  );
  return many !== null && many.data.length > 0;
}

// ── How it runs ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** Where a value lies as seen through views; null where one of them cannot be told by strides. */
function layoutOf(node: Node): Layout | null {
  const { lowering } = node.primitive;
  if (isLeaf(node) || lowering.kind !== "view") return wholeView(node.shape);
  const input = layoutOf(node.inputs[0] as Node);
  return input && lowering.view(input, node.shape, node.attrs);
}

/** Whether a step only hands a view to the reader of the result, row-major: within a program it would not be there. */
function delivers({ opcode, nodes: [node] }: Step, roots: readonly Node[]): boolean {
  if (opcode !== Opcode.Copy || node === undefined || !roots.includes(node)) return false;
  return (isLeaf(node) || node.primitive.lowering.kind === "view") && layoutOf(node) !== null;
}

function wayOf({ outputs }: Call): string | number {
  const { steps, roots } = compilePlan({
    results: outputs.map(nodeOf),
    states: [],
    stateLeaves: new Map(),
    updates: [],
  });
  const epilogue = (i: number): boolean => ((steps[i - 1]?.flags ?? 0) & Flag.Epilogue) !== 0;
  const own = steps.filter((step, i) => !epilogue(i) && !delivers(step, roots));
  const [only] = own;
  if (only === undefined) return roots.every((root) => constantValue(root) !== undefined) ? "constant" : "view";
  if (own.length > 1) return own.length;
  if (only.opcode === Opcode.Elementwise) return "one chain";
  return `kernel ${opcodeName(only.opcode)}`;
}

/** Each way once, the numbers of steps as a range. */
function waysOf(calls: readonly Call[]): string[] {
  const ways = calls.map(wayOf);
  const steps = ways.filter((way) => typeof way === "number");
  const [least, most] = [Math.min(...steps), Math.max(...steps)];
  const range = steps.length > 0 ? [`composed: ${least === most ? least : `${least} to ${most}`} steps`] : [];
  return [...new Set(ways.filter((way) => typeof way === "string"))].sort().concat(range);
}

/** The one elementwise primitive of a graph, or null. */
function onlyPrimitive({ outputs }: Call): string | null {
  const nodes = topological(simplify(outputs.map(nodeOf))).filter((node) => !isLeaf(node));
  return nodes.length === 1 && nodes[0]?.primitive.lowering.kind === "elementwise" ? nodes[0].primitive.name : null;
}

/** Finds out about an operator. */
export function factsOf(operator: Operator): Facts {
  // Nothing is left to see of a graph of empty tensors.
  const calls = operator.samples
    .map((sample) => call(operator, sample))
    .filter(({ data, outputs }) => [...data, ...outputs].every((x) => x.numel > 0));
  const nodes = calls.flatMap(dependents);
  const reverse = (["yes", "zero", "no"] as const).find((found) => calls.map(reverseOf).includes(found)) ?? "no";
  const primitives = calls.filter(({ data }) => data.some((x) => x.dtype === "f32")).map(onlyPrimitive);
  const differentiated = nodes.filter((node) => node.requiresGrad);
  return {
    dtypes: DTYPES.filter((dtype) => takes(operator, dtype)),
    reverse,
    forward: reverse === "yes" && !differentiated.every(hasOwnTangent) ? "transposed" : reverse,
    batching: !operator.samples.some((sample) => batches(operator, sample))
      ? "no"
      : nodes.every(hasOwnBatch)
        ? "yes"
        : "loop",
    runs: waysOf(calls),
    elementwise: primitives.every((name) => name !== null) ? [...new Set(primitives)] : [],
  };
}
