/**
 * What the system knows about an operator that the graph is made of. One record an operator, in `ops/`: shapes,
 * derivative, float64 reference, lowering and cost stand together, and a missing part does not compile.
 */
import type { ReduceOp } from "../isa.js";
import type { MicroOp } from "../micro-op.js";
import type { DType } from "./dtype.js";
import type { Shape } from "./shape.js";
import type { Layout } from "./view.js";

/** Shape and dtype: what is known of a value before it is computed. */
export interface Aval {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** A float64 array with a shape: what references compute on. Integers and booleans are exact in it. */
export interface RefArray extends Aval {
  readonly data: Float64Array;
}

/** What a vector-Jacobian product is computed from; `T` is a tensor. */
export interface VjpContext<T, A> {
  /** The cotangent of the output. */
  readonly g: T;
  /** The output of the primal computation. */
  readonly out: T;
  /** The inputs of the primal computation. */
  readonly inputs: readonly T[];
  readonly attrs: A;
}

/**
 * The cotangent of input `i`. It may have the shape that the input was broadcast to: the reverse pass sums it back.
 * Null where the input has no influence that a derivative sees (an index, a condition).
 */
export type Vjp<T, A> = (context: VjpContext<T, A>, i: number) => T | null;

/** What a Jacobian-vector product is computed from; `T` is a tensor. */
export interface JvpContext<T, A> {
  /** The tangents of the inputs; null where an input does not vary. At least one is given. */
  readonly tangents: readonly (T | null)[];
  /** The output of the primal computation. */
  readonly out: T;
  /** The inputs of the primal computation. */
  readonly inputs: readonly T[];
  readonly attrs: A;
}

/** The tangent of the output. It may have a shape that broadcasts to the output's. */
export type Jvp<T, A> = (context: JvpContext<T, A>) => T;

/** What an operator is applied to for many examples at once; `T` is a tensor. */
export interface BatchContext<T, A> {
  /** The number of examples. */
  readonly size: number;
  /** The inputs. Those that differ between examples have the examples as their first dimension. */
  readonly inputs: readonly T[];
  /** Which inputs differ between examples; at least one does. */
  readonly batched: readonly boolean[];
  /** The attributes for one example. */
  readonly attrs: A;
  /** Input `i` with the examples as its first dimension, whether or not it differs between them. */
  spread(i: number): T;
  /** The inputs, with size-1 dimensions behind the examples, so that all broadcast as they do for one example. */
  aligned(): T[];
}

/** The outputs of all examples, stacked as the first dimension; null where one after another is the best way. */
export type Batch<T, A> = (context: BatchContext<T, A>) => T | null;

/** Where an operand is in memory: a buffer of the plan and a layout within it. */
export interface Operand extends Layout {
  readonly buffer: object;
  readonly dtype: DType;
}

/** What follows a matrix product in the same pass over its output. */
export interface Epilogue {
  /** Added to every row. */
  readonly bias: Operand | null;
  /** Whether an elementwise chain over the output follows as the next instruction. */
  readonly chain: boolean;
}

/** What a kernel's lowering may ask of the planner. */
export interface KernelContext<A> {
  readonly attrs: A;
  readonly inputCount: number;
  /** What the planner fused behind a primitive that takes an epilogue. */
  readonly epilogue: Epilogue;
  /** Input `i` as it lies in memory, with whatever strides. */
  input(i: number): Operand;
  /** Input `i` laid out row-major: as it is where it already is so, else copied. */
  contiguous(i: number): Operand;
  /** The output: a new row-major buffer. */
  output(): Operand;
  /** Appends a copy of all of `source` into `target`, which has its shape. */
  copy(target: Operand, source: Operand): void;
  /** Sets every element of the contiguous `target` to a 32-bit word. */
  fill(target: Operand, word: number): void;
  /** Bytes that the instruction may use while it runs. */
  workspace(bytes: number): Operand;
  /**
   * Appends an instruction. `reads` and `writes` name every operand it touches.
   * @param words what follows the header: numbers, and operands for their addresses
   */
  emit(
    opcode: number,
    flags: number,
    words: readonly (number | Operand)[],
    access: { readonly reads: readonly Operand[]; readonly writes: readonly Operand[] },
  ): void;
}

/** How an operator becomes instructions. */
export type Lowering<A> =
  /** Element by element after broadcasting; fused into chains. One micro-operation for each input dtype it takes. */
  | { readonly kind: "elementwise"; readonly micro: Partial<Record<DType, MicroOp>> }
  /** No instruction: the same elements seen otherwise. Null where strides cannot say it: then the input is copied. */
  | { readonly kind: "view"; view(input: Layout, shape: Shape, attrs: A): Layout | null }
  /** Over `attrs.dims`. */
  | { readonly kind: "reduce"; readonly op: Partial<Record<DType, ReduceOp>> }
  /** Instructions of its own. */
  | {
      readonly kind: "kernel";
      /** What of `context.epilogue` its `lower` honours: the chain alone, or a bias too. None if not given. */
      readonly epilogue?: "chain" | "bias and chain";
      /** The input whose elements stop the program unless they are indices below `size`. */
      readonly checks?: { readonly input: number; size(inputs: readonly Aval[], attrs: A): number };
      lower(context: KernelContext<A>): void;
    }
  /** A leaf, whose value comes from outside of the program. */
  | { readonly kind: "source" };

/** One operator of the graph. `T` is the tensor type, `A` its attributes. */
export interface Primitive<T, A> {
  readonly name: string;
  /** Shape and dtype of the output. Throws where the inputs do not fit; the message names the operator. */
  infer(inputs: readonly Aval[], attrs: A): Aval;
  /** The operator in float64, the truth that kernels are held against. */
  reference(inputs: readonly RefArray[], out: Aval, attrs: A): Float64Array;
  /** Null for operators whose output does not vary smoothly with any input. */
  readonly vjp: Vjp<T, A> | null;
  /**
   * The tangent of the output. Without it, views and elementwise operators go by their kind, and others transpose
   * their VJP, which takes about two of it.
   */
  readonly jvp?: Jvp<T, A>;
  /**
   * The operator on many examples. Without it, elementwise operators and reductions go by their kind, and others are
   * applied to one example after another.
   */
  readonly batch?: Batch<T, A>;
  readonly lowering: Lowering<A>;
  /**
   * Which input the output always equals, bit for bit, given the inputs that are known numbers; null where none. The
   * input must have the output's shape to stand in for it.
   */
  forwards?(constants: readonly (number | undefined)[]): number | null;
  /**
   * Where the output's elements already are, if all inputs are views of one value: the output's layout in it, given
   * theirs. Null where they do not lie as the output's would.
   */
  joined?(views: readonly Layout[], shape: Shape, attrs: A): Layout | null;
  /**
   * The output with zeros where `x`, of its shape, is 0 or below, where that takes less than a pass over the whole output;
   * else null.
   */
  positive?(x: T, inputs: readonly T[], attrs: A): T | null;
  /** Whether float64 followed by one rounding gives the kernel's bits, so that constants may be folded. */
  readonly exact?: boolean;
  /** Floating-point operations. */
  flops(inputs: readonly Aval[], out: Aval, attrs: A): number;
}
