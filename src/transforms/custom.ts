/** Functions with a gradient of the user's making. */
import { GradError } from "../graph/errors.js";
import type { Aval, JvpContext, Primitive, RefArray, VjpContext } from "../graph/primitive.js";
import { formatShape, sameShape } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { type AnyPrimitive, apply, mode, type Tensor } from "../graph/tensor.js";
import { leavesOf, type Tree } from "../graph/tree.js";
import { cat } from "../ops/join.js";
import { narrow, reshape } from "../ops/movement.js";
import { vmap } from "./batch.js";
import { transposedJvp } from "./forward.js";
import { treeOf } from "./record.js";

/** The cotangents of a function's arguments, from that of its output; null where none flows. */
export type Pull = (saved: readonly Tensor[], cotangent: Tensor) => readonly (Tensor | null)[];

/** Attributes of {@link customVjpPrimitive}. */
export interface CustomAttrs {
  readonly pull: Pull;
  /** How many inputs, from the second on, are the function's arguments; those behind are what its `forward` saved. */
  readonly argumentCount: number;
}

/** `pull` is called once for all inputs: the reverse pass asks for each with the same context. */
const pulled = new WeakMap<VjpContext<Tensor, CustomAttrs>, readonly (Tensor | null)[]>();

/**
 * The first input, as a function of the next ones whose VJP is `pull`. Saved values are inputs too, so that the graph
 * sees what a backward pass reads, and derivatives of the backward pass reach them.
 */
export const customVjpPrimitive: Primitive<Tensor, CustomAttrs> = {
  name: "customVjp",
  infer: ([value]) => value as Aval,
  reference: ([value]) => (value as RefArray).data,
  vjp(context, i) {
    const { g, inputs, attrs } = context;
    if (i === 0 || i > attrs.argumentCount) return null;
    const cotangents = pulled.get(context) ?? attrs.pull(inputs.slice(1 + attrs.argumentCount), g);
    pulled.set(context, cotangents);
    return cotangents[i - 1] ?? null;
  },
  jvp: (context) => {
    const tangent = transposedJvp(customVjpPrimitive as AnyPrimitive, context as JvpContext<Tensor, unknown>);
    return tangent ?? constant(0, context.out.shape);
  },
  batch({ inputs, batched, attrs: { pull, argumentCount }, spread }) {
    const flags = batched.slice(1 + argumentCount);
    const pullAll: Pull = (saved, cotangent) => {
      // A tree has no nulls: which cotangents there are is noted on the way.
      let present: boolean[] = [];
      const all = vmap(
        (g: Tensor, ...savedOfOne: Tensor[]): readonly Tensor[] => {
          const cotangents = pull(savedOfOne, g);
          present = cotangents.map((x) => x !== null);
          return cotangents.filter((x) => x !== null);
        },
        [0, ...flags.map((differs) => (differs ? 0 : null))],
      )(cotangent, ...saved);
      let next = 0;
      return present.map((given) => (given ? (all[next++] as Tensor) : null));
    };
    return apply(customVjpPrimitive, [spread(0), ...inputs.slice(1)], { pull: pullAll, argumentCount });
  },
  lowering: { kind: "view", view: (input) => input },
  forwards: () => 0,
  flops: () => 0,
};

/** A function and its VJP; see {@link customVjp}. */
export interface CustomRule<Args extends readonly Tree[], Out extends Tree, Saved extends Tree> {
  /** Computes the output, and whatever the backward pass will read. */
  forward(...args: Args): readonly [Out, Saved];
  /**
   * The cotangents of the arguments, trees like them, or null for an argument that none flows to.
   * @param cotangent that of the output, a tree like it
   */
  backward(saved: Saved, cotangent: Out): readonly (Tree | null)[];
}

/** The cotangents that a user's backward pass returned, in order of the arguments' tensors, checked. */
function checkedCotangents(args: readonly Tree[], cotangents: readonly (Tree | null)[]): (Tensor | null)[] {
  if (!Array.isArray(cotangents as unknown) || cotangents.length !== args.length) {
    const returned = Array.isArray(cotangents as unknown) ? `${cotangents.length}` : "no list";
    throw new GradError(
      `customVjp: backward must return a list with one cotangent for each of the ${args.length} arguments, and returned ${returned}`,
    );
  }
  return args.flatMap((arg, i) => {
    const primals = leavesOf("customVjp", arg);
    const cotangent = cotangents[i];
    if (cotangent == null) return primals.map(() => null);
    const leaves = leavesOf("customVjp (what backward returned)", cotangent);
    primals.forEach(({ shape }, j) => {
      const leaf = leaves[j];
      if (leaves.length === primals.length && leaf !== undefined && sameShape(leaf.shape, shape)) return;
      throw new GradError(
        `customVjp: backward returned ${leaves.map((x) => formatShape(x.shape)).join(", ")} for argument ${i}, and must return ${primals.map((x) => formatShape(x.shape)).join(", ")} like it`,
      );
    });
    return leaves;
  });
}

/**
 * A function whose gradient is not that of its operators but the given one, as with `jax.custom_vjp` or
 * `torch.autograd.Function`: to let gradients through where there are none, to change them, or to compute them better.
 *
 * `forward` and `backward` are made of differentiable operators as any function is, so derivatives of higher order,
 * forward mode, `vmap` and `compile` apply. Saved values, too, depend on the arguments as they were computed.
 * @example
 * const roundThrough = customVjp({
 *   forward: (x) => [x.round(), []],
 *   backward: (_, g) => [g],
 * });
 */
export function customVjp<
  Args extends readonly Tree[] = Tensor[],
  Out extends Tree = Tensor,
  Saved extends Tree = readonly Tensor[],
>({ forward, backward }: CustomRule<Args, Out, Saved>): (...args: Args) => Out {
  return (...args) => {
    const [out, saved] = forward(...args);
    const outputs = leavesOf("customVjp (the first of what forward returned)", out);
    const savedLeaves = leavesOf("customVjp (the second of what forward returned)", saved);
    const primals = leavesOf("customVjp", args);
    const smooth = outputs.filter((x) => x.dtype === "f32");
    if (!mode.gradEnabled || smooth.length === 0) return out;
    // Several outputs travel as one vector, so that one call of `backward` sees the cotangents of all.
    const packed = smooth.length === 1 ? (smooth[0] as Tensor) : cat(smooth.map((x) => reshape(x, -1)));
    const unpack = (vector: Tensor, other: (x: Tensor) => Tensor): Out => {
      let at = 0;
      return treeOf(
        "customVjp",
        out,
        outputs.map((x) => {
          if (x.dtype !== "f32") return other(x);
          if (smooth.length === 1) return vector;
          at += x.numel;
          return reshape(narrow(vector, 0, at - x.numel, x.numel), x.shape);
        }),
      );
    };
    const pull: Pull = (values, g) => {
      const cotangent = unpack(g, (x) => constant(0, x.shape));
      return checkedCotangents(args, backward(treeOf("customVjp", saved, values), cotangent));
    };
    const attrs = { pull, argumentCount: primals.length };
    return unpack(apply(customVjpPrimitive, [packed, ...primals, ...savedLeaves], attrs), (x) => x);
  };
}
