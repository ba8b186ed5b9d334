/**
 * The methods of `Tensor`: reading, gradients, in-place operators, and the everyday operators, each of which is the
 * free function of the same name with the tensor as its first argument.
 */
import type { DType, TypedArray } from "../graph/dtype.js";
import { ShapeError } from "../graph/errors.js";
import { formatShape, type Shape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { assign, Tensor, detach as withoutHistory } from "../graph/tensor.js";
import { relu } from "../ops/activation.js";
import {
  abs,
  add,
  ceil,
  clamp,
  clone,
  div,
  eq,
  floor,
  ge,
  gt,
  le,
  logicalAnd,
  logicalNot,
  logicalOr,
  lt,
  maskedFill,
  maximum,
  minimum,
  mul,
  ne,
  neg,
  round,
  sign,
  sub,
  trunc,
} from "../ops/arithmetic.js";
import { contiguous, movedim, repeat, roll, unflatten } from "../ops/arrange.js";
import { to } from "../ops/conversion.js";
import { cumsum } from "../ops/cumulative.js";
import type { TensorLike } from "../ops/define.js";
import { diagonal, tril, triu } from "../ops/diagonal.js";
import { gather, indexSelect, max, min, type ValuesAndIndices } from "../ops/indexing.js";
import { chunk, split, unbind } from "../ops/join.js";
import { bmm, dot, matmul, mm, mv, outer } from "../ops/matmul.js";
import {
  broadcastTo,
  expand,
  expandAs,
  flatten,
  flip,
  narrow,
  permute,
  reshape,
  select,
  slice,
  squeeze,
  t,
  transpose,
  unsqueeze,
  view,
} from "../ops/movement.js";
import { all, amax, amin, any, argmax, argmin, mean, prod, sum } from "../ops/reduction.js";
import { indexAdd, scatterAdd } from "../ops/scatter.js";
import { logSoftmax, logsumexp, softmax } from "../ops/softmax.js";
import { norm, std, var as variance } from "../ops/statistics.js";
import {
  cos,
  erf,
  exp,
  expm1,
  log,
  log1p,
  log2,
  log10,
  pow,
  reciprocal,
  rsqrt,
  sigmoid,
  sin,
  sqrt,
  square,
  tan,
  tanh,
} from "../ops/unary.js";
import { backward } from "../transforms/reverse.js";
import type { NestedArray } from "./creation.js";
import { printTensor } from "./print.js";
import { readTensor } from "./realize.js";

/** Operators that are methods too: those that everyday code is full of. */
const operators = {
  abs,
  add,
  all,
  amax,
  amin,
  any,
  argmax,
  argmin,
  backward,
  bmm,
  broadcastTo,
  ceil,
  chunk,
  clamp,
  clone,
  contiguous,
  cos,
  cumsum,
  diagonal,
  div,
  dot,
  eq,
  erf,
  exp,
  expand,
  expandAs,
  expm1,
  flatten,
  flip,
  floor,
  gather,
  ge,
  gt,
  indexAdd,
  indexSelect,
  le,
  log,
  log10,
  log1p,
  log2,
  logicalAnd,
  logicalNot,
  logicalOr,
  logSoftmax,
  logsumexp,
  lt,
  maskedFill,
  matmul,
  maximum,
  mean,
  minimum,
  mm,
  movedim,
  mul,
  mv,
  narrow,
  ne,
  neg,
  norm,
  outer,
  permute,
  pow,
  prod,
  reciprocal,
  relu,
  repeat,
  reshape,
  roll,
  round,
  rsqrt,
  scatterAdd,
  select,
  sigmoid,
  sign,
  sin,
  slice,
  softmax,
  split,
  sqrt,
  square,
  squeeze,
  std,
  sub,
  sum,
  t,
  tan,
  tanh,
  to,
  transpose,
  tril,
  triu,
  trunc,
  unbind,
  unflatten,
  unsqueeze,
  var: variance,
  view,
};

/**
 * A function of a tensor as a method. The first parameter is matched as `never`, not as `Tensor`: comparing it with
 * `Tensor` while that is still being put together makes the result depend on the order of checking.
 */
type Method<F> = F extends (input: never, ...rest: infer Rest) => infer Out ? (...rest: Rest) => Out : never;

type OperatorMethods = { readonly [Name in keyof typeof operators]: Method<(typeof operators)[Name]> };

/** Methods that are not operators. */
interface OwnMethods {
  /** The value of a tensor with one element. Computes it if it has not been yet. */
  item(): number;
  /** The elements in row-major order, in an array of their own: Float32Array, Int32Array, or Uint8Array for bool. */
  data(): TypedArray;
  /** The elements as nested arrays of numbers, or of booleans. A scalar gives the number itself. */
  toArray(): NestedArray;
  /** A short text: dtype, shape, and the elements. */
  toString(): string;
  /** The same value outside of the gradient graph: no gradient flows through the result. */
  detach(): Tensor;
  /** The largest element of everything; see {@link max}. */
  max(): Tensor;
  max(other: Tensor): Tensor;
  max(dim: number, keepdim?: boolean): ValuesAndIndices;
  /** The smallest element of everything; see {@link max}. */
  min(): Tensor;
  min(other: Tensor): Tensor;
  min(dim: number, keepdim?: boolean): ValuesAndIndices;
  /** Adds in place: this tensor names the sum from here on; values computed from it before keep theirs. */
  add_(other: TensorLike, options?: { alpha?: number }): this;
  /** Subtracts in place; see {@link OwnMethods.add_}. */
  sub_(other: TensorLike, options?: { alpha?: number }): this;
  /** Multiplies in place; see {@link OwnMethods.add_}. */
  mul_(other: TensorLike): this;
  /** Divides in place; see {@link OwnMethods.add_}. */
  div_(other: TensorLike): this;
  /** Overwrites with the elements of `source`, which broadcasts. */
  copy_(source: Tensor): this;
  /** Overwrites every element with `value`. */
  fill_(value: number): this;
  /** Overwrites every element with 0. */
  zero_(): this;
  /** Tells the tensor to require gradients, or not to. */
  requiresGrad_(requiresGrad?: boolean): this;
}

declare module "../graph/tensor.js" {
  interface Tensor extends OperatorMethods, OwnMethods {}
}

function nest(elements: ArrayLike<number>, dtype: DType, shape: Shape): NestedArray {
  let at = 0;
  const build = (depth: number): NestedArray => {
    if (depth === shape.length) {
      const element = elements[at++] as number;
      return dtype === "bool" ? element !== 0 : element;
    }
    return Array.from({ length: shape[depth] as number }, () => build(depth + 1));
  };
  return build(0);
}

/** An in-place operator: the tensor becomes what `compute` gives, in its own shape and dtype. */
function inPlace<Rest extends readonly unknown[]>(name: string, compute: (input: Tensor, ...rest: Rest) => Tensor) {
  return function (this: Tensor, ...rest: Rest): Tensor {
    return assign(name, this, compute(this, ...rest));
  };
}

const own: { [Name in keyof OwnMethods]: (this: Tensor, ...args: never[]) => unknown } = {
  item() {
    if (this.numel !== 1) {
      throw new ShapeError(
        `item: only a tensor with one element has a single value, and this one is ${formatShape(this.shape)}; use data() or toArray()`,
      );
    }
    return readTensor(this, "item")[0];
  },
  data() {
    return readTensor(this, "data").slice();
  },
  toArray() {
    return nest(readTensor(this, "toArray"), this.dtype, this.shape);
  },
  toString() {
    return printTensor(this);
  },
  detach() {
    return withoutHistory(this);
  },
  max(...args: [(number | Tensor)?, boolean?]) {
    return max(this, ...(args as [number, boolean]));
  },
  min(...args: [(number | Tensor)?, boolean?]) {
    return min(this, ...(args as [number, boolean]));
  },
  add_: inPlace("add_", add),
  sub_: inPlace("sub_", sub),
  mul_: inPlace("mul_", mul),
  div_: inPlace("div_", (input: Tensor, other: TensorLike) => div(input, other)),
  copy_: inPlace("copy_", (input: Tensor, source: Tensor) => expand(to(source, input.dtype), input.shape)),
  fill_: inPlace("fill_", (input: Tensor, value: number) => constant(value, input.shape, input.dtype)),
  zero_: inPlace("zero_", (input: Tensor) => constant(0, input.shape, input.dtype)),
  requiresGrad_(requiresGrad = true) {
    this.requiresGrad = requiresGrad;
    return this;
  },
};

for (const [name, fn] of Object.entries(operators) as [string, (input: Tensor, ...rest: unknown[]) => unknown][]) {
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: unknown[]) {
      return fn(this, ...rest);
    },
    writable: true,
    configurable: true,
  });
}
for (const [name, value] of Object.entries(own)) {
  Object.defineProperty(Tensor.prototype, name, { value, writable: true, configurable: true });
}
// What `console.log` shows in Node. The symbol is Node's; elsewhere nothing asks for it.
Object.defineProperty(Tensor.prototype, Symbol.for("nodejs.util.inspect.custom"), {
  value(this: Tensor) {
    return printTensor(this);
  },
  configurable: true,
});
