/** Softmax, its logarithm and the cross entropy with it over the last dimension, as primitives: see rows.ts. */
import type { Aval, Primitive, RefArray, Vjp } from "../graph/primitive.js";
import { sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { RowOp } from "../isa.js";
import { mul, neg, sub } from "./arithmetic.js";
import { batchAsItems } from "./batching.js";
import { perInput } from "./define.js";
import { unsqueeze } from "./movement.js";
import { sum } from "./reduction.js";
import { dot, eachRow, emitRows } from "./rows.js";
import { exp } from "./unary.js";

// ── Softmax ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** e^(x - max) and their sum. */
function exponentials(x: Float64Array): { powers: Float64Array; total: number; largest: number } {
  const largest = x.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const powers = x.map((xi) => Math.exp(xi - largest));
  return { powers, total: powers.reduce((a, b) => a + b, 0), largest };
}

/** Of the first input's shape; the float64 reference computes a row of the output from rows of the inputs. */
function rowwise(
  name: string,
  op: RowOp,
  reference: (inputs: readonly Float64Array[]) => Float64Array,
  vjp: Vjp<Tensor, null>,
): Primitive<Tensor, null> {
  const primitive: Primitive<Tensor, null> = {
    name,
    infer: ([x]) => ({ shape: (x as Tensor).shape, dtype: "f32" }),
    reference(inputs, out) {
      const result = new Float64Array(sizeOf(out.shape));
      eachRow(out.shape.at(-1) as number, [result, ...inputs.map((x) => x.data)], ([to, ...rows]) => {
        (to as Float64Array).set(reference(rows));
      });
      return result;
    },
    vjp,
    batch: ({ inputs, spread }) =>
      apply(
        primitive,
        inputs.map((_, i) => spread(i)),
        null,
      ),
    lowering: {
      kind: "kernel",
      lower(context) {
        const operands = { out: context.output(), a: context.contiguous(0) };
        emitRows(context, op, context.inputCount > 1 ? { ...operands, b: context.contiguous(1) } : operands);
      },
    },
    flops: (_, out) => 5 * sizeOf(out.shape),
  };
  return primitive;
}

/** Gradient of a softmax `y` from that of its result. */
const softmaxGradientPrimitive: Primitive<Tensor, null> = rowwise(
  "softmaxGradient",
  RowOp.SoftmaxGradient,
  ([y, g]) => {
    const total = dot(y as Float64Array, g as Float64Array);
    return (y as Float64Array).map((yi, i) => yi * (((g as Float64Array)[i] as number) - total));
  },
  perInput(
    ({ g: h, inputs }) => {
      const [y, g] = inputs as [Tensor, Tensor];
      return sub(mul(h, sub(g, sum(mul(y, g), -1, true))), mul(g, sum(mul(h, y), -1, true)));
    },
    ({ g: h, inputs: [y] }) => softmaxGradient(y as Tensor, h),
  ),
);

function softmaxGradient(y: Tensor, g: Tensor): Tensor {
  return apply(softmaxGradientPrimitive, [y, g], null);
}

const logSoftmaxGradientPrimitive: Primitive<Tensor, null> = rowwise(
  "logSoftmaxGradient",
  RowOp.LogSoftmaxGradient,
  ([y, g]) => {
    const total = (g as Float64Array).reduce((a, b) => a + b, 0);
    return (g as Float64Array).map((gi, i) => gi - Math.exp((y as Float64Array)[i] as number) * total);
  },
  perInput(
    ({ g: h, inputs }) => {
      const [y, g] = inputs as [Tensor, Tensor];
      return neg(mul(mul(h, exp(y)), sum(g, -1, true)));
    },
    ({ g: h, inputs: [y] }) => sub(h, sum(mul(h, exp(y as Tensor)), -1, true)),
  ),
);

const softmaxPrimitive = rowwise(
  "softmax",
  RowOp.Softmax,
  ([x]) => {
    const { powers, total } = exponentials(x as Float64Array);
    return powers.map((p) => p / total);
  },
  perInput(({ g, out }) => softmaxGradient(out, g)),
);

const logSoftmaxPrimitive = rowwise(
  "logSoftmax",
  RowOp.LogSoftmax,
  ([x]) => {
    const { total, largest } = exponentials(x as Float64Array);
    return (x as Float64Array).map((xi) => xi - largest - Math.log(total));
  },
  perInput(({ g, out }) => apply(logSoftmaxGradientPrimitive, [out, g], null)),
);

/** The softmax of the last dimension, which must not be empty. */
export function rowSoftmax(x: Tensor): Tensor {
  return apply(softmaxPrimitive, [x], null);
}

/** The logarithm of the softmax of the last dimension, which must not be empty. */
export function rowLogSoftmax(x: Tensor): Tensor {
  return apply(logSoftmaxPrimitive, [x], null);
}

// ── Cross entropy ───────────────────────────────────────────────────────────────────────────────────────────────────

interface CrossEntropyAttrs {
  /** How much of each target is spread evenly over all classes. */
  readonly smoothing: number;
  /** For messages: whose index it is, and into which dimension. */
  readonly op: string;
  readonly dim: 1;
}

/** What a class's logit counts for in the target distribution. */
function targetShare(j: number, target: number, classes: number, smoothing: number): number {
  return (j === target ? 1 - smoothing : 0) + smoothing / classes;
}

/** The second input is a class of the first. */
const INDEX_CHECK = { input: 1, size: ([x]: readonly Aval[]) => x?.shape[1] as number };

const crossEntropyGradientPrimitive: Primitive<Tensor, CrossEntropyAttrs> = {
  name: "crossEntropyGradient",
  infer: ([x]) => ({ shape: (x as Tensor).shape, dtype: "f32" }),
  reference([x, index, g], out, { smoothing }) {
    const result = new Float64Array(sizeOf(out.shape));
    const classes = out.shape[1] as number;
    eachRow(classes, [result, (x as RefArray).data], ([to, from], row) => {
      const { powers, total } = exponentials(from as Float64Array);
      const target = (index as RefArray).data[row] as number;
      const weight = (g as RefArray).data[row] as number;
      (to as Float64Array).set(powers.map((p, j) => weight * (p / total - targetShare(j, target, classes, smoothing))));
    });
    return result;
  },
  vjp: perInput(
    ({ g: h, inputs: [x, , g] }) => mul(softmaxGradient(rowSoftmax(x as Tensor), h), unsqueeze(g as Tensor, 1)),
    null,
    ({ g: h, inputs: [x, index, g], attrs }) => {
      const ones = constant(1, (g as Tensor).shape);
      return sum(mul(h, apply(crossEntropyGradientPrimitive, [x as Tensor, index as Tensor, ones], attrs)), 1);
    },
  ),
  batch: (context) => batchAsItems(crossEntropyGradientPrimitive, [0, 1, 2], context),
  lowering: {
    kind: "kernel",
    checks: INDEX_CHECK,
    lower(context) {
      emitRows(context, RowOp.CrossEntropyGradient, {
        out: context.output(),
        a: context.contiguous(0),
        index: context.contiguous(1),
        b: context.contiguous(2),
        parameter: context.attrs.smoothing,
      });
    },
  },
  flops: (_, out) => 5 * sizeOf(out.shape),
};

const crossEntropyPrimitive: Primitive<Tensor, CrossEntropyAttrs> = {
  name: "crossEntropy",
  infer: ([x]) => ({ shape: [(x as Tensor).shape[0] as number], dtype: "f32" }),
  reference([x, index], out, { smoothing }) {
    const result = new Float64Array(sizeOf(out.shape));
    const classes = (x as RefArray).shape[1] as number;
    eachRow(classes, [(x as RefArray).data], ([from], row) => {
      const { total, largest } = exponentials(from as Float64Array);
      const target = (index as RefArray).data[row] as number;
      result[row] = (from as Float64Array).reduce(
        (loss, xj, j) => loss - targetShare(j, target, classes, smoothing) * (xj - largest - Math.log(total)),
        0,
      );
    });
    return result;
  },
  vjp: perInput(
    ({ g, inputs: [x, index], attrs }) =>
      apply(crossEntropyGradientPrimitive, [x as Tensor, index as Tensor, g], attrs),
    null,
  ),
  batch: (context) => batchAsItems(crossEntropyPrimitive, [0, 1], context),
  lowering: {
    kind: "kernel",
    checks: INDEX_CHECK,
    lower(context) {
      emitRows(context, RowOp.CrossEntropy, {
        out: context.output(),
        a: context.contiguous(0),
        index: context.contiguous(1),
        parameter: context.attrs.smoothing,
      });
    },
  },
  flops: ([x]) => 5 * sizeOf((x as Tensor).shape),
};

/**
 * The cross entropy of each row of logits `[N, C]`, C above 0, with its class `[N]`.
 * @param op whose index it is, for messages
 * @param smoothing how much of each target is spread evenly over all classes
 * @throws IndexError when it runs, where an index is not a class
 */
export function rowCrossEntropy(op: string, x: Tensor, index: Tensor, smoothing: number): Tensor {
  return apply(crossEntropyPrimitive, [x, index], { smoothing, op, dim: 1 });
}
