/** How operators are defined: the record of a user-facing operator, and the common forms of primitives. */
import { describe } from "../graph/describe.js";
import type { DType } from "../graph/dtype.js";
import { DTypeError } from "../graph/errors.js";
import type { Primitive, RefArray, VjpContext } from "../graph/primitive.js";
import { broadcastShapes, type Shape, sizeOf } from "../graph/shape.js";
import { cell, constant } from "../graph/sources.js";
import { mode, Tensor } from "../graph/tensor.js";
import { expandView, readView, wholeView } from "../graph/view.js";
import type { MicroOp } from "../micro-op.js";

/** What an operator takes where it computes element by element: a tensor, or a number that broadcasts. */
export type TensorLike = Tensor | number | boolean;

/** How losses combine their elements. */
export type Reduction = "none" | "mean" | "sum";

/**
 * What is known of a user-facing operator besides its function: what the generated tests, the conformance runner and
 * the operator table in the docs read.
 */
export interface Operator {
  /** The function itself. Parameters of type `never` stand for any: a caller must say which arguments it has. */
  readonly fn: (...args: never[]) => unknown;
  /** Names of the positional parameters, PyTorch's in camelCase; `...name` takes the rest. */
  readonly params: readonly string[];
  /** Names within the trailing options object. */
  readonly options?: readonly string[];
  /**
   * Calls for the generated tests, as text: arguments separated by "; ". `f32[3,4]` is a tensor of normal numbers,
   * `f32[3]>0` of positive ones, `f32[3]in(-1,1)` of uniform ones, `i32[5]<4` of indices below 4, `bool[2,2]`;
   * anything else is JSON, in which strings of this form stand for tensors.
   */
  readonly samples: readonly string[];
  /** The values it does not vary smoothly with, or at all: no gradient is checked. */
  readonly discrete?: boolean;
}

/** The operators of a family by name. */
export type OperatorTable = Readonly<Record<string, Operator>>;

/** The tensor that stands for an argument. Numbers become constants of the dtype that the other operand suggests. */
export function asTensor(value: TensorLike, like?: DType, op?: string): Tensor {
  if (value instanceof Tensor) return value;
  if (typeof value === "boolean") return constant(value ? 1 : 0, [], "bool");
  if (typeof value !== "number") {
    throw new DTypeError(`${op === undefined ? "" : `${op}: `}expected a tensor or a number, not ${describe(value)}`);
  }
  const whole = Number.isInteger(value) && Math.abs(value) <= 2 ** 31;
  const dtype = whole && like !== undefined && like !== "f32" ? "i32" : "f32";
  // In eager use a number may differ at every call, and must then not be a part of the cached program.
  const lasting = mode.scope !== null || value === 0.5 || (whole && Math.abs(value) <= 4);
  return lasting ? constant(value, [], dtype) : cell(() => [value], [], dtype);
}

/**
 * Throws unless an argument is a tensor, where types cannot tell (in JavaScript).
 * @throws DTypeError
 */
export function expectTensor(op: string, argument: string, value: unknown): asserts value is Tensor {
  if (!(value instanceof Tensor)) throw new DTypeError(`${op}: ${argument} must be a tensor, not ${describe(value)}`);
}

/** The cotangent of one input, from the context of a VJP. Null: no gradient flows there. */
export type Rule<A = null> = ((context: VjpContext<Tensor, A>) => Tensor) | null;

/** The VJP that has one rule for each input. */
export function perInput<A>(
  ...rules: readonly Rule<A>[]
): (context: VjpContext<Tensor, A>, i: number) => Tensor | null {
  return (context, i) => rules[i]?.(context) ?? null;
}

/** What an elementwise primitive is made of; see {@link elementwise}. */
export interface ElementwiseSpec {
  readonly name: string;
  /** The micro-operation for each dtype that the last input may have. */
  readonly micro: Partial<Record<DType, MicroOp>>;
  /** Dtype of the output; that of the last input if not given. */
  readonly out?: DType;
  /** One element in float64. For integers the result is wrapped to 32 bits. */
  readonly reference: (a: number, b: number, c: number) => number;
  /** One rule for each input, or none where nothing is differentiable. */
  readonly vjp?: readonly Rule[];
  /** Floating-point operations an element. */
  readonly flops?: number;
  /** See {@link Primitive.forwards}. */
  readonly forwards?: (constants: readonly (number | undefined)[]) => number | null;
  /** See {@link Primitive.exact}. */
  readonly exact?: boolean;
}

/** A primitive that computes each element from the same element of its inputs, which broadcast. */
export function elementwise(spec: ElementwiseSpec): Primitive<Tensor, null> {
  const { name, micro, out, reference, vjp, flops = 1, forwards, exact = false } = spec;
  return {
    name,
    infer(inputs) {
      let shape = (inputs[0] as { shape: Shape }).shape;
      for (let i = 1; i < inputs.length; i++)
        shape = broadcastShapes(name, shape, (inputs[i] as { shape: Shape }).shape);
      const { dtype } = inputs[inputs.length - 1] as { dtype: DType };
      if (micro[dtype] === undefined) {
        throw new DTypeError(
          `${name}: does not take ${dtype} tensors; convert to ${Object.keys(micro).join(" or ")} first`,
        );
      }
      return { shape, dtype: out ?? dtype };
    },
    reference(inputs, aval) {
      const result = new Float64Array(sizeOf(aval.shape));
      const [a, b, c] = inputs.map((x) => broadcastReference(x, aval.shape));
      for (let i = 0; i < result.length; i++) {
        const value = reference(a?.[i] as number, b?.[i] as number, c?.[i] as number);
        result[i] = aval.dtype === "f32" ? value : value | 0;
      }
      return result;
    },
    vjp: vjp === undefined ? null : perInput(...vjp),
    lowering: { kind: "elementwise", micro },
    ...(forwards && { forwards }),
    exact,
    flops: (_, aval) => flops * sizeOf(aval.shape),
  };
}

function broadcastReference(x: RefArray, shape: Shape): Float64Array {
  if (sizeOf(x.shape) === sizeOf(shape)) return x.data;
  return readView(x.data, expandView(wholeView(x.shape), shape));
}
