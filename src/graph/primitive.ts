/**
 * What the system knows about an operator that the graph is made of. One record an operator, in `ops/`: shapes,
 * derivative, float64 reference, lowering and cost stand together, and a missing part does not compile.
 */
import type { MicroOp, ReduceOp } from "../isa.js";
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
  readonly lowering: Lowering<A>;
  /**
   * Which input the output always equals, bit for bit, given the inputs that are known numbers; null where none. The
   * input must have the output's shape to stand in for it.
   */
  forwards?(constants: readonly (number | undefined)[]): number | null;
  /** Whether float64 followed by one rounding gives the kernel's bits, so that constants may be folded. */
  readonly exact?: boolean;
  /** Floating-point operations. */
  flops(inputs: readonly Aval[], out: Aval, attrs: A): number;
}
