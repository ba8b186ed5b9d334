/** Layer norm and RMS norm over the last dimension, as primitives: see rows.ts. */
import { expectDType } from "../graph/dtype.js";
import type { Aval, KernelContext, Operand, Primitive, RefArray } from "../graph/primitive.js";
import { sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { isContiguous } from "../graph/view.js";
import { Flag, Opcode, ReduceOp, RowBlock, RowOp } from "../isa.js";
import { add, mul, neg, sub } from "./arithmetic.js";
import { perInput } from "./define.js";
import { reshape } from "./movement.js";
import { mean, sum } from "./reduction.js";
import { dot, eachRow, emitRows } from "./rows.js";
import { reciprocal, sqrt, square } from "./unary.js";

/** Input `i`, of which one element may stand for all. */
function parameterOperand(context: KernelContext<unknown>, i: number): Operand {
  const operand = context.input(i);
  return isContiguous(operand) || operand.strides.every((s) => s === 0) ? operand : context.contiguous(i);
}

/** A row's statistics and x̂ in float64. */
function normalized(x: Float64Array, centered: boolean, eps: number): { normal: Float64Array; scale: number } {
  const average = centered ? x.reduce((a, b) => a + b, 0) / x.length : 0;
  const deviation = x.map((xi) => xi - average);
  const scale = 1 / Math.sqrt(dot(deviation, deviation) / x.length + eps);
  return { normal: deviation.map((d) => d * scale), scale };
}

interface NormAttrs {
  readonly eps: number;
}

/**
 * A norm of every row `[..., length]`, then `· weight + bias`, of shape `[length]` or null.
 * @throws DTypeError unless all are f32
 */
export type RowNorm = (x: Tensor, weight: Tensor | null, bias: Tensor | null, eps: number) => Tensor;

/** The primitives of a norm: with the mean subtracted (layer norm) or not (RMS norm). */
function norms(name: string, centered: boolean, ops: { norm: RowOp; gradient: RowOp; weight: RowOp }): RowNorm {
  const normalize = (x: Tensor, weight: Tensor, bias: Tensor, attrs: NormAttrs): Tensor =>
    apply(normPrimitive, [x, weight, bias], attrs);
  const gradient = (x: Tensor, weight: Tensor, g: Tensor, attrs: NormAttrs): Tensor =>
    apply(gradientPrimitive, [x, weight, g], attrs);
  const ones = (x: Tensor): Tensor => constant(1, [x.shape.at(-1) as number]);
  const zeros = (x: Tensor): Tensor => constant(0, [x.shape.at(-1) as number]);
  const rowMean = (x: Tensor): Tensor => mean(x, -1, true);

  const normPrimitive: Primitive<Tensor, NormAttrs> = {
    name,
    infer(inputs) {
      const [x, weight, bias] = inputs as [Aval, Aval, Aval];
      for (const [argument, { dtype }] of Object.entries({ input: x, weight, bias })) {
        expectDType(name, argument, dtype, "f32");
      }
      return x;
    },
    reference([x, weight, bias], out, { eps }) {
      const result = new Float64Array(sizeOf(out.shape));
      eachRow(out.shape.at(-1) as number, [result, (x as RefArray).data], ([to, from]) => {
        const { normal } = normalized(from as Float64Array, centered, eps);
        const [w, b] = [(weight as RefArray).data, (bias as RefArray).data];
        (to as Float64Array).set(normal.map((n, j) => n * (w[j] as number) + (b[j] as number)));
      });
      return result;
    },
    vjp: perInput(
      ({ g, inputs: [x, weight], attrs }) => gradient(x as Tensor, weight as Tensor, g, attrs),
      ({ g, inputs: [x], attrs }) => apply(weightPrimitive, [x as Tensor, g], attrs),
      ({ g }) => g,
    ),
    batch({ batched, attrs, inputs, spread, aligned }) {
      const x = spread(0);
      if (!batched[1] && !batched[2]) return normalize(x, inputs[1] as Tensor, inputs[2] as Tensor, attrs);
      const [, weight, bias] = aligned() as [Tensor, Tensor, Tensor];
      return add(mul(normalize(x, ones(x), zeros(x), attrs), weight), bias);
    },
    lowering: {
      kind: "kernel",
      lower(context) {
        emitRows(context, ops.norm, {
          out: context.output(),
          a: context.contiguous(0),
          weight: parameterOperand(context, 1),
          bias: parameterOperand(context, 2),
          parameter: context.attrs.eps,
        });
      },
    },
    flops: (_, out) => 8 * sizeOf(out.shape),
  };

  /** scale·(a - mean(a) - x̂·mean(a·x̂)) with a = g·weight. */
  const gradientPrimitive: Primitive<Tensor, NormAttrs> = {
    name: `${name}Gradient`,
    infer: ([x]) => ({ shape: (x as Tensor).shape, dtype: "f32" }),
    reference([x, weight, g], out, { eps }) {
      const result = new Float64Array(sizeOf(out.shape));
      const length = out.shape.at(-1) as number;
      eachRow(length, [result, (x as RefArray).data, (g as RefArray).data], ([to, from, pull]) => {
        const { normal, scale } = normalized(from as Float64Array, centered, eps);
        const a = (pull as Float64Array).map((gj, j) => gj * ((weight as RefArray).data[j] as number));
        const level = centered ? a.reduce((s, aj) => s + aj, 0) / length : 0;
        const slope = dot(a, normal) / length;
        (to as Float64Array).set(a.map((aj, j) => scale * (aj - level - (normal[j] as number) * slope)));
      });
      return result;
    },
    vjp: perInput(
      // With Q = ⟨h, gradient⟩/(scale·N) = mean(h·a) - mean(h)·mean(a) - mean(h·x̂)·mean(a·x̂): x moves the scale, by
      // -scale²·x̂/N each, and x̂, whose part is pulled back as any gradient of x̂ is.
      ({ g: h, inputs, attrs }) => {
        const [x, weight, g] = inputs as [Tensor, Tensor, Tensor];
        const normal = normalize(x, ones(x), zeros(x), attrs);
        const deviation = centered ? sub(x, rowMean(x)) : x;
        const inverse = reciprocal(add(rowMean(square(deviation)), attrs.eps));
        const a = mul(g, weight);
        const [slopeA, slopeH] = [rowMean(mul(a, normal)), rowMean(mul(h, normal))];
        const crossed = sub(rowMean(mul(h, a)), mul(slopeH, slopeA));
        const q = centered ? sub(crossed, mul(rowMean(h), rowMean(a))) : crossed;
        const scale = sqrt(inverse);
        const ofNormal = neg(mul(scale, add(mul(h, slopeA), mul(a, slopeH))));
        return sub(gradient(x, ones(x), ofNormal, attrs), mul(mul(inverse, normal), q));
      },
      ({ g: h, inputs: [x, , g], attrs }) => mul(g as Tensor, gradient(x as Tensor, ones(x as Tensor), h, attrs)),
      ({ g: h, inputs: [x, weight], attrs }) =>
        mul(weight as Tensor, gradient(x as Tensor, ones(x as Tensor), h, attrs)),
    ),
    batch({ batched, attrs, inputs, spread, aligned }) {
      const [x, g] = [spread(0), spread(2)];
      if (!batched[1]) return gradient(x, inputs[1] as Tensor, g, attrs);
      const [, weight] = aligned() as [Tensor, Tensor];
      return gradient(x, ones(x), mul(g, weight), attrs);
    },
    lowering: {
      kind: "kernel",
      lower(context) {
        emitRows(context, ops.gradient, {
          out: context.output(),
          a: context.contiguous(0),
          weight: parameterOperand(context, 1),
          b: context.contiguous(2),
          parameter: context.attrs.eps,
        });
      },
    },
    flops: (_, out) => 14 * sizeOf(out.shape),
  };

  /** Σ g·x̂ over all rows. */
  const weightPrimitive: Primitive<Tensor, NormAttrs> = {
    name: `${name}Weight`,
    infer: ([x]) => ({ shape: (x as Tensor).shape.slice(-1), dtype: "f32" }),
    reference([x, g], out, { eps }) {
      const result = new Float64Array(sizeOf(out.shape));
      eachRow(result.length, [(x as RefArray).data, (g as RefArray).data], ([from, pull]) => {
        const { normal } = normalized(from as Float64Array, centered, eps);
        normal.forEach((n, j) => {
          result[j] = (result[j] as number) + n * ((pull as Float64Array)[j] as number);
        });
      });
      return result;
    },
    vjp: perInput(
      ({ g: h, inputs: [x, g], attrs }) => gradient(x as Tensor, h, g as Tensor, attrs),
      ({ g: h, inputs: [x], attrs }) => normalize(x as Tensor, h, zeros(x as Tensor), attrs),
    ),
    batch({ attrs, size, spread }) {
      const x = spread(0);
      const terms = mul(normalize(x, ones(x), zeros(x), attrs), spread(1));
      return sum(reshape(terms, size, -1, x.shape.at(-1) as number), 1);
    },
    lowering: {
      kind: "kernel",
      lower(context) {
        const [x, g] = [context.contiguous(0), context.contiguous(1)];
        const out = context.output();
        const length = sizeOf(out.shape);
        const blocks = Math.ceil(sizeOf(x.shape) / length / RowBlock.Rows);
        const parts = blocks > 1 ? context.workspace(4 * blocks * length) : out;
        emitRows(context, ops.weight, { out: parts, a: x, b: g, parameter: context.attrs.eps });
        if (blocks > 1) {
          const words = [ReduceOp.SumF32, out, parts, 1, 1, length, blocks, length, 1, blocks, length];
          context.emit(Opcode.Reduce, Flag.None, words, { reads: [parts], writes: [out] });
        }
      },
    },
    flops: ([x]) => 8 * sizeOf((x as Tensor).shape),
  };
  return (x, weight, bias, eps) => normalize(x, weight ?? ones(x), bias ?? zeros(x), { eps: Math.fround(eps) });
}

/** x̂·weight + bias for each row of the last dimension, moved to mean 0 and variance 1. */
export const rowLayerNorm = norms("layerNorm", true, {
  norm: RowOp.LayerNorm,
  gradient: RowOp.LayerNormGradient,
  weight: RowOp.LayerNormWeight,
});
/** x̂·weight + bias for each row of the last dimension, scaled to mean square 1. */
export const rowRmsNorm = norms("rmsNorm", false, {
  norm: RowOp.RmsNorm,
  gradient: RowOp.RmsNormGradient,
  weight: RowOp.RmsNormWeight,
});
