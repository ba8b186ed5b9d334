/**
 * Turns a recorded call into a call of the operator: names to camelCase, positional arguments and keywords to the
 * parameters and options of the operator's record, recorded values to tensors and numbers.
 */
import { ArgumentError, DTypeError } from "../../src/graph/errors.js";
import { Tensor } from "../../src/graph/tensor.js";
import type { Operator } from "../../src/ops/define.js";
import { type MaxPoolOptions, maxPool2d, sum } from "../../src/ops/index.js";
import type { PerDimension } from "../../src/ops/spatial.js";
import { operators } from "../../src/ops/table.js";
import { tensor } from "../../src/tensor/creation.js";
import { grad } from "../../src/transforms/reverse.js";
import { type Case, dtypeFor, isTensor, numberFrom, type RecordedTensor, type RecordedValue } from "./cases.js";

/** How a recorded call differs from that of the operator of the same name. */
interface Difference {
  /** The operator's name here. */
  readonly name?: string;
  /** Names of the positional arguments, in the recorded order. */
  readonly positional?: readonly string[];
  /** The positional arguments are the elements of the first parameter, a list. */
  readonly packed?: true;
}

const DIFFERENCES: Readonly<Record<string, Difference>> = {
  H: { name: "t" },
  T: { name: "t" },
  mH: { name: "adjoint" },
  mT: { name: "adjoint" },
  block_diag: { packed: true },
  cartesian_prod: { packed: true },
  constant_pad_nd: { name: "pad", positional: ["input", "pad", "value"] },
  einsum: { positional: ["operands", "equation"] },
  "F.embedding": { positional: ["weight", "input"] },
  "F.embedding_bag": { positional: ["weight", "input"] },
  "F.unfold": { name: "im2col" },
  "meshgrid.variadic_tensors": { packed: true },
  split_with_sizes: { name: "split" },
  "std.unbiased": { positional: ["input", "unbiased"] },
  "std_mean.unbiased": { positional: ["input", "unbiased"] },
  transpose_copy: { name: "transpose" },
  trapz: { name: "trapezoid" },
  true_divide: { name: "div" },
  unfold_copy: { name: "unfold" },
  "var.unbiased": { positional: ["input", "unbiased"] },
  "var_mean.unbiased": { positional: ["input", "unbiased"] },
  where: { positional: ["input", "condition", "other"] },
};

function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, next: string) => next.toUpperCase());
}

/** `F.smooth_l1_loss` and `div.floor_rounding` are called `smoothL1Loss` and `div` here. */
function nameOf(recorded: string): string {
  return DIFFERENCES[recorded]?.name ?? camelCase(recorded.replace(/^F\./, "").replace(/\..*$/, ""));
}

/** Recorded operators that are no functions of their own here, but what others do. */
const COMPOSED: Readonly<Record<string, Operator>> = {
  max_pool2d_with_indices_backward: {
    ...(operators.maxPool2d as Operator),
    fn: (input: Tensor, kernelSize: PerDimension, options: MaxPoolOptions) =>
      grad((x: Tensor) => sum(maxPool2d(x, kernelSize, { ...options, returnIndices: false })))(input),
  },
};

/** The operator that a recorded name stands for, or undefined where there is none. */
export function operatorFor(recorded: string): Operator | undefined {
  return COMPOSED[recorded] ?? operators[nameOf(recorded)];
}

const ARRAYS = { f32: Float32Array, i32: Int32Array, bool: Uint8Array };

/** A tensor that holds a recorded one. */
export function tensorFrom({ t, shape, data }: RecordedTensor): Tensor {
  const dtype = dtypeFor(t);
  return tensor(ARRAYS[dtype].from(data.map(numberFrom)), { shape, dtype });
}

/** A call that is ready to be made. */
export interface BoundCall {
  /** The tensors whose gradients were recorded, in the recorded order. */
  readonly variables: readonly Tensor[];
  /** Makes the call with other tensors in the place of the variables; gives what it returns, flattened. */
  call(variables: readonly Tensor[]): Tensor[];
}

/** An argument whose tensors are to be filled in. */
type Argument = (variables: readonly Tensor[]) => unknown;

/** Reads arguments in order, numbering the tensors that gradients are wanted of. */
class ArgumentReader {
  readonly variables: Tensor[] = [];
  private readonly dtypes = new Set<string>();

  constructor(private readonly op: string) {}

  read(value: RecordedValue): Argument {
    if (isTensor(value)) {
      // Such a call asks for 64-bit results or for a rejection; computing in 32 bits would be neither.
      this.dtypes.add(value.t);
      if (this.dtypes.has("f32") && this.dtypes.has("f64")) {
        throw new DTypeError(`${this.op}: mixes f32 and f64 tensors, and there are no f64 tensors`);
      }
      const tensor = tensorFrom(value);
      if (!value.grad) return () => tensor;
      const i = this.variables.push(tensor) - 1;
      return (variables) => variables[i];
    }
    if (typeof value !== "object" || value === null) return () => value;
    if ("list" in value) {
      const elements = value.list.map((element) => this.read(element));
      return (variables) => elements.map((element) => element(variables));
    }
    if ("float" in value) return () => numberFrom(value.float);
    if ("dtype" in value) return () => dtypeFor(value.dtype);
    throw new Error(`no argument stands for ${JSON.stringify(value)}`);
  }
}

/** Spreads named arguments over the parameter list of an operator, its options object last. */
function argumentList(recorded: string, operator: Operator, named: ReadonlyMap<string, unknown>): unknown[] {
  const options: Record<string, unknown> = {};
  const list: unknown[] = [];
  const names = operator.params.map((param) => param.replace("...", ""));
  for (const [name, value] of named) {
    if (operator.options?.includes(name)) options[name] = value;
    else if (!names.includes(name)) throw new ArgumentError(`${recorded}: there is no argument named ${name}`);
  }
  operator.params.forEach((param, i) => {
    const value = named.get(names[i] as string);
    if (param.startsWith("...")) list.push(...(Array.isArray(value) ? value : value === undefined ? [] : [value]));
    else list[i] = value;
  });
  if (Object.keys(options).length > 0) list.push(options);
  else while (list.length > 0 && list.at(-1) === undefined) list.pop();
  return list;
}

function nameArguments(recorded: Case, operator: Operator, reader: ArgumentReader): Map<string, Argument> {
  const difference = DIFFERENCES[recorded.op];
  const given = [recorded.input, ...recorded.args].map((value) => reader.read(value));
  const named = new Map<string, Argument>();
  const order = difference?.positional ?? [...operator.params, ...(operator.options ?? [])];
  if (difference?.packed) {
    named.set(order[0] as string, (variables) => given.map((argument) => argument(variables)));
  } else {
    order.forEach((param, i) => {
      if (i >= given.length) return;
      if (param.startsWith("...")) {
        const rest = given.slice(i);
        named.set(param.slice(3), (variables) => rest.map((argument) => argument(variables)));
      } else named.set(param, given[i] as Argument);
    });
    const takesRest = operator.params.some((param) => param.startsWith("..."));
    if (given.length > order.length && !takesRest) {
      throw new ArgumentError(`${recorded.op}: takes at most ${order.length} arguments, not ${given.length}`);
    }
  }
  for (const [name, value] of Object.entries(recorded.kwargs)) named.set(camelCase(name), reader.read(value));
  return named;
}

function flatten(result: unknown): Tensor[] {
  if (result instanceof Tensor) return [result];
  return Object.values(result as object).flatMap(flatten);
}

/**
 * Prepares a recorded call.
 * @throws ArgumentError where the operator has no such argument
 */
export function bindCall(recorded: Case, operator: Operator): BoundCall {
  const reader = new ArgumentReader(recorded.op);
  const named = nameArguments(recorded, operator, reader);
  const call = (variables: readonly Tensor[]): Tensor[] => {
    const values = new Map([...named].map(([name, argument]) => [name, argument(variables)]));
    return flatten(operator.fn(...(argumentList(recorded.op, operator, values) as never[])));
  };
  // Unknown arguments are rejected when the call is bound, whether or not it is made.
  argumentList(recorded.op, operator, new Map([...named.keys()].map((name) => [name, undefined])));
  return { variables: reader.variables, call };
}
