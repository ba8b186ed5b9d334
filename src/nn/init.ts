/** Initial values: each function overwrites a tensor in place, without recording gradients, and returns it. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape, sizeOf } from "../graph/shape.js";
import { constant } from "../graph/sources.js";
import { assign, noGrad, type Tensor } from "../graph/tensor.js";
import { add, mul } from "../ops/arithmetic.js";
import { type RandomOptions, rand, randn } from "../ops/random.js";

function overwrite<T extends Tensor>(name: string, target: T, value: () => Tensor): T {
  noGrad(() => assign(name, target, value()));
  return target;
}

/** Uniform numbers in [from, to). */
export function uniform_<T extends Tensor>(target: T, from = 0, to = 1, options: RandomOptions = {}): T {
  return overwrite("uniform_", target, () => add(mul(rand(target.shape, options), to - from), from));
}

/** Numbers of the normal distribution. */
export function normal_<T extends Tensor>(target: T, mean = 0, std = 1, options: RandomOptions = {}): T {
  return overwrite("normal_", target, () => add(mul(randn(target.shape, options), std), mean));
}

/** `value` everywhere. */
export function constant_<T extends Tensor>(target: T, value: number): T {
  return overwrite("constant_", target, () => constant(value, target.shape, target.dtype));
}

/** 0 everywhere. */
export function zeros_<T extends Tensor>(target: T): T {
  return constant_(target, 0);
}

/** 1 everywhere. */
export function ones_<T extends Tensor>(target: T): T {
  return constant_(target, 1);
}

/** How many inputs each output of a layer sees, and how many outputs each input reaches. */
function fans(name: string, { shape }: Tensor): { fanIn: number; fanOut: number } {
  if (shape.length < 2) {
    throw new ShapeError(
      `${name}: needs a weight [out, in, ...] of at least two dimensions, not ${formatShape(shape)}`,
    );
  }
  const [out, into, ...field] = shape as [number, number, ...number[]];
  return { fanIn: into * sizeOf(field), fanOut: out * sizeOf(field) };
}

/** What {@link calculateGain} knows. */
export type Nonlinearity = "linear" | "sigmoid" | "tanh" | "relu" | "leakyRelu" | "selu";

/**
 * The factor that keeps the scale of activations through a layer, for the nonlinearity behind it.
 * @param slope of a leaky ReLU below 0
 */
export function calculateGain(nonlinearity: Nonlinearity, slope = 0.01): number {
  switch (nonlinearity) {
    case "linear":
    case "sigmoid":
      return 1;
    case "tanh":
      return 5 / 3;
    case "relu":
      return Math.sqrt(2);
    case "leakyRelu":
      return Math.sqrt(2 / (1 + slope * slope));
    case "selu":
      return 3 / 4;
    default:
      throw new ArgumentError(`calculateGain: unknown nonlinearity ${JSON.stringify(nonlinearity)}`);
  }
}

/** Uniform, with the variance that keeps both activations and gradients in scale (Glorot and Bengio 2010). */
export function xavierUniform_<T extends Tensor>(target: T, gain = 1, options: RandomOptions = {}): T {
  const { fanIn, fanOut } = fans("xavierUniform_", target);
  const bound = gain * Math.sqrt(6 / (fanIn + fanOut));
  return uniform_(target, -bound, bound, options);
}

/** Normal, with the variance that keeps both activations and gradients in scale (Glorot and Bengio 2010). */
export function xavierNormal_<T extends Tensor>(target: T, gain = 1, options: RandomOptions = {}): T {
  const { fanIn, fanOut } = fans("xavierNormal_", target);
  return normal_(target, 0, gain * Math.sqrt(2 / (fanIn + fanOut)), options);
}

/** Options of Kaiming's initializations. */
export interface KaimingOptions extends RandomOptions {
  /** Slope below 0 of a leaky ReLU behind the layer. */
  readonly a?: number;
  /** Whether to keep the scale of activations (the default) or of gradients. */
  readonly mode?: "fanIn" | "fanOut";
  /** What follows the layer; a leaky ReLU if not given. */
  readonly nonlinearity?: Nonlinearity;
}

function kaimingStd(name: string, target: Tensor, options: KaimingOptions): number {
  const { a = 0, mode = "fanIn", nonlinearity = "leakyRelu" } = options;
  const { fanIn, fanOut } = fans(name, target);
  if (mode !== "fanIn" && mode !== "fanOut") {
    throw new ArgumentError(`${name}: mode must be "fanIn" or "fanOut", not ${JSON.stringify(mode)}`);
  }
  return calculateGain(nonlinearity, a) / Math.sqrt(mode === "fanIn" ? fanIn : fanOut);
}

/** Uniform, with the variance that keeps activations in scale through rectifiers (He et al. 2015). */
export function kaimingUniform_<T extends Tensor>(target: T, options: KaimingOptions = {}): T {
  const bound = Math.sqrt(3) * kaimingStd("kaimingUniform_", target, options);
  return uniform_(target, -bound, bound, options);
}

/** Normal, with the variance that keeps activations in scale through rectifiers (He et al. 2015). */
export function kaimingNormal_<T extends Tensor>(target: T, options: KaimingOptions = {}): T {
  return normal_(target, 0, kaimingStd("kaimingNormal_", target, options), options);
}
