/**
 * The three products that convolution and its derivatives of any order are made of: an output from an image and a
 * weight, an image from an output and a weight (the transposed convolution), and a weight from an image and an output.
 * The sum of image × weight × output over all places where they meet is linear in each, so the derivatives of one
 * product are the other two.
 */
import type { BatchContext, Primitive, RefArray } from "../graph/primitive.js";
import { type Shape, sizeOf } from "../graph/shape.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { ConvMode } from "../isa.js";
import { batchAsItems } from "./batching.js";
import {
  type ConvAttrs,
  type ConvGeometry,
  type ConvShapes,
  convProblem,
  emitConvolution,
} from "./convolution-lowering.js";
import { perInput } from "./define.js";
import { reshape, transpose } from "./movement.js";
import { withSameSums } from "./pooling-primitives.js";
import { sum } from "./reduction.js";

/** Places where an element of an output's plane and a tap meet an element of the image's: one triple of indices each. */
function meetings(shapes: ConvShapes, attrs: ConvGeometry): { image: number; tap: number; output: number }[] {
  const { image, kernel, output, stride, padding, dilation } = convProblem(shapes, attrs);
  let found = [{ image: 0, tap: 0, output: 0 }];
  for (let d = 0; d < 3; d++) {
    const [size, taps, outputs] = [image[d] as number, kernel[d] as number, output[d] as number];
    found = found.flatMap((outer) => {
      const inner: typeof found = [];
      for (let o = 0; o < outputs; o++) {
        for (let t = 0; t < taps; t++) {
          const i = o * (stride[d] as number) - (padding[d] as number) + t * (dilation[d] as number);
          if (i < 0 || i >= size) continue;
          inner.push({ image: outer.image * size + i, tap: outer.tap * taps + t, output: outer.output * outputs + o });
        }
      }
      return inner;
    });
  }
  return found;
}

/** Calls `visit` with the indices of every three elements whose product is in the sum. */
function forEachProduct(
  shapes: ConvShapes,
  attrs: ConvGeometry,
  visit: (image: number, weight: number, output: number) => void,
): void {
  const { batch, groups, imageChannels, outputChannels } = convProblem(shapes, attrs);
  const places = meetings(shapes, attrs);
  const [imagePlane, taps, outputPlane] = [shapes.image, shapes.weight, shapes.output].map((s) => sizeOf(s.slice(2)));
  for (let n = 0; n < batch; n++) {
    for (let channel = 0; channel < groups * outputChannels; channel++) {
      const group = Math.floor(channel / outputChannels);
      for (let c = 0; c < imageChannels; c++) {
        const image = (n * groups * imageChannels + group * imageChannels + c) * (imagePlane as number);
        const weight = (channel * imageChannels + c) * (taps as number);
        const output = (n * groups * outputChannels + channel) * (outputPlane as number);
        for (const place of places) visit(image + place.image, weight + place.tap, output + place.output);
      }
    }
  }
}

/** Two for each product. */
function flopsOf(weight: Shape, output: Shape): number {
  return 2 * sizeOf(output) * sizeOf(weight.slice(1));
}

function spatialOf(x: Tensor | undefined): Shape {
  return (x as Tensor).shape.slice(2);
}

/** Sums a channel's cotangents: what a bias receives. */
function sumChannels(g: Tensor): Tensor {
  const x = withSameSums(g);
  return sum(
    x,
    x.shape.map((_, d) => d).filter((d) => d !== 1),
  );
}

/**
 * Every example as channel groups of its own, in one product of as many groups more: `[examples, n, channels, ...]` as
 * `[n, examples · channels, ...]`, and parameters `[examples, channels, ...]` as `[examples · channels, ...]`.
 * @param layers which inputs are images or outputs; the others are parameters, as the result is if `givesLayer` is false
 */
function batchAsGroups(
  primitive: Primitive<Tensor, ConvAttrs>,
  layers: readonly number[],
  givesLayer: boolean,
  { inputs, attrs, size, spread }: BatchContext<Tensor, ConvAttrs>,
): Tensor {
  const merged = inputs.map((_, i) => {
    const x = layers.includes(i) ? transpose(spread(i), 0, 1) : spread(i);
    const lead = layers.includes(i) ? 1 : 0;
    const channels = x.shape[lead + 1] as number;
    return reshape(x, x.shape.slice(0, lead), size * channels, x.shape.slice(lead + 2));
  });
  const out = apply(primitive, merged, { ...attrs, groups: size * attrs.groups });
  const lead = givesLayer ? 1 : 0;
  const channels = (out.shape[lead] as number) / size;
  const split = reshape(out, out.shape.slice(0, lead), size, channels, out.shape.slice(lead + 1));
  return givesLayer ? transpose(split, 0, 1) : split;
}

/** Adds the optional third input, one number a channel, to a result of the reference. */
function addBias(result: Float64Array, shape: Shape, bias: RefArray | undefined): Float64Array {
  if (bias === undefined) return result;
  const plane = sizeOf(shape.slice(2));
  const channels = shape[1] as number;
  return result.map((x, i) => x + (bias.data[Math.floor(i / plane) % channels] as number));
}

/** Image and weight, and perhaps a bias, to the output. */
const outputPrimitive: Primitive<Tensor, ConvAttrs> = {
  name: "convolution",
  infer([image, weight], { size }) {
    return { shape: [image?.shape[0] as number, weight?.shape[0] as number, ...size], dtype: "f32" };
  },
  reference([image, weight, bias], { shape }, attrs) {
    const [x, w] = [image as RefArray, weight as RefArray];
    const result = new Float64Array(sizeOf(shape));
    forEachProduct({ image: x.shape, weight: w.shape, output: shape }, attrs, (i, t, o) => {
      result[o] = (result[o] as number) + (x.data[i] as number) * (w.data[t] as number);
    });
    return addBias(result, shape, bias);
  },
  vjp: perInput(
    ({ g, inputs: [image, weight], attrs }) =>
      convolveTransposed(g, weight as Tensor, null, { ...attrs, size: spatialOf(image) }),
    ({ g, inputs: [image, weight], attrs }) => correlate(image as Tensor, g, { ...attrs, size: spatialOf(weight) }),
    ({ g }) => sumChannels(g),
  ),
  batch: (context) => batchAsItems(outputPrimitive, [0], context) ?? batchAsGroups(outputPrimitive, [0], true, context),
  lowering: {
    kind: "kernel",
    epilogue: "chain",
    lower(context) {
      const [image, weight] = [context.contiguous(0), context.contiguous(1)];
      const bias = context.inputCount > 2 ? context.contiguous(2) : null;
      emitConvolution(context, ConvMode.Output, { image, weight, output: context.output(), bias });
    },
  },
  flops: ([, weight], { shape }) => flopsOf((weight as Tensor).shape, shape),
};

/** Output and weight, and perhaps a bias, to the image. */
const imagePrimitive: Primitive<Tensor, ConvAttrs> = {
  name: "convolutionTransposed",
  infer([output, weight], { size, groups }) {
    const channels = groups * (weight?.shape[1] as number);
    return { shape: [output?.shape[0] as number, channels, ...size], dtype: "f32" };
  },
  reference([output, weight, bias], { shape }, attrs) {
    const [y, w] = [output as RefArray, weight as RefArray];
    const result = new Float64Array(sizeOf(shape));
    forEachProduct({ image: shape, weight: w.shape, output: y.shape }, attrs, (i, t, o) => {
      result[i] = (result[i] as number) + (y.data[o] as number) * (w.data[t] as number);
    });
    return addBias(result, shape, bias);
  },
  vjp: perInput(
    ({ g, inputs: [output, weight], attrs }) =>
      convolve(g, weight as Tensor, null, { ...attrs, size: spatialOf(output) }),
    ({ g, inputs: [output, weight], attrs }) => correlate(g, output as Tensor, { ...attrs, size: spatialOf(weight) }),
    ({ g }) => sumChannels(g),
  ),
  batch: (context) => batchAsItems(imagePrimitive, [0], context) ?? batchAsGroups(imagePrimitive, [0], true, context),
  lowering: {
    kind: "kernel",
    epilogue: "chain",
    lower(context) {
      const [output, weight] = [context.contiguous(0), context.contiguous(1)];
      const bias = context.inputCount > 2 ? context.contiguous(2) : null;
      emitConvolution(context, ConvMode.Image, { image: context.output(), weight, output, bias });
    },
  },
  flops: ([output, weight]) => flopsOf((weight as Tensor).shape, (output as Tensor).shape),
};

/** Image and output to the weight. */
const weightPrimitive: Primitive<Tensor, ConvAttrs> = {
  name: "convolutionWeight",
  infer([image, output], { size, groups }) {
    return { shape: [output?.shape[1] as number, (image?.shape[1] as number) / groups, ...size], dtype: "f32" };
  },
  reference([image, output], { shape }, attrs) {
    const [x, y] = [image as RefArray, output as RefArray];
    const result = new Float64Array(sizeOf(shape));
    forEachProduct({ image: x.shape, weight: shape, output: y.shape }, attrs, (i, t, o) => {
      result[t] = (result[t] as number) + (x.data[i] as number) * (y.data[o] as number);
    });
    return result;
  },
  vjp: perInput(
    ({ g, inputs: [image, output], attrs }) =>
      convolveTransposed(output as Tensor, g, null, { ...attrs, size: spatialOf(image) }),
    ({ g, inputs: [image, output], attrs }) =>
      convolve(image as Tensor, g, null, { ...attrs, size: spatialOf(output) }),
  ),
  batch: (context) => batchAsGroups(weightPrimitive, [0, 1], false, context),
  lowering: {
    kind: "kernel",
    lower(context) {
      const [image, output] = [context.contiguous(0), context.contiguous(1)];
      emitConvolution(context, ConvMode.Weight, { image, weight: context.output(), output, bias: null });
    },
  },
  flops: ([, output], { shape }) => flopsOf(shape, (output as Tensor).shape),
};

/** The output of a convolution: `image [n, g·c, ...]`, `weight [g·m, c, ...]`, `bias [g·m]`; all sizes fit. */
export function convolve(image: Tensor, weight: Tensor, bias: Tensor | null, attrs: ConvAttrs): Tensor {
  const inputs = bias === null ? [image, weight] : [image, weight, bias];
  return apply(outputPrimitive, inputs, attrs);
}

/** The image of a transposed convolution: `output [n, g·m, ...]`, `weight [g·m, c, ...]`, `bias [g·c]`; all sizes fit. */
export function convolveTransposed(output: Tensor, weight: Tensor, bias: Tensor | null, attrs: ConvAttrs): Tensor {
  const inputs = bias === null ? [output, weight] : [output, weight, bias];
  return apply(imagePrimitive, inputs, attrs);
}

/** What a weight receives: the products of image and output, summed over the batch and all places where they meet. */
function correlate(image: Tensor, output: Tensor, attrs: ConvAttrs): Tensor {
  return apply(weightPrimitive, [image, output], attrs);
}
