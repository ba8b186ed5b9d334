/** Bounding gradients between `backward` and the optimizer's step. */
import { ArgumentError } from "../graph/errors.js";
import { constant } from "../graph/sources.js";
import { assign, noGrad, type Tensor } from "../graph/tensor.js";
import { abs, add, clamp, div, maximum, mul } from "../ops/arithmetic.js";
import { amax, squareSum, sum } from "../ops/reduction.js";
import { pow, sqrt } from "../ops/unary.js";

function gradientsOf(parameters: Tensor | Iterable<Tensor>): Tensor[] {
  const list = Symbol.iterator in parameters ? [...parameters] : [parameters];
  return list.map(({ grad }) => grad).filter((grad) => grad !== null);
}

/** The norm of all elements of `tensors` together. Each is read once where p is 2. */
function totalNorm(tensors: readonly Tensor[], p: number): Tensor {
  const combine = (part: (x: Tensor) => Tensor, join: (a: Tensor, b: Tensor) => Tensor): Tensor =>
    tensors.length === 0 ? constant(0) : tensors.map(part).reduce(join);
  if (p === Number.POSITIVE_INFINITY) return combine((x) => amax(abs(x)), maximum);
  if (p === 1) return combine((x) => sum(abs(x)), add);
  if (p === 2) return sqrt(combine((x) => squareSum(x), add));
  const total = combine((x) => sum(pow(abs(x), p)), add);
  return pow(total, 1 / p);
}

/**
 * Scales all gradients by the same factor so that their norm together is at most `maxNorm`. In place.
 *
 * A step that clears the gradients afterwards scales them within the optimizer's update, and does not write them again.
 * @param options.normType 2 if not given; Infinity for the largest absolute value
 * @param options.errorIfNonfinite reads the norm, which a compiled function cannot, before any gradient is scaled
 * @returns the norm before
 * @throws ArgumentError where maxNorm is negative, normType not positive, or the norm not finite and that is an error
 */
export function clipGradNorm_(
  parameters: Tensor | Iterable<Tensor>,
  maxNorm: number,
  { normType = 2, errorIfNonfinite = false }: { normType?: number; errorIfNonfinite?: boolean } = {},
): Tensor {
  if (!(maxNorm >= 0)) throw new ArgumentError(`clipGradNorm_: maxNorm must be 0 or more, not ${maxNorm}`);
  if (!(normType > 0)) throw new ArgumentError(`clipGradNorm_: normType must be above 0, not ${normType}`);
  return noGrad(() => {
    const gradients = gradientsOf(parameters);
    const norm = totalNorm(gradients, normType);
    if (errorIfNonfinite && !Number.isFinite(norm.item()))
      throw new ArgumentError(
        `clipGradNorm_: the ${normType}-norm of the gradients is ${norm.item()}, and cannot be scaled`,
      );
    // The term that keeps a norm of 0 from dividing is PyTorch's.
    const factor = clamp(div(maxNorm, add(norm, 1e-6)), null, 1);
    for (const gradient of gradients) assign("clipGradNorm_", gradient, mul(gradient, factor));
    return norm;
  });
}

/**
 * Moves every element of every gradient into [-clipValue, clipValue]. In place.
 * @throws ArgumentError where clipValue is negative
 */
export function clipGradValue_(parameters: Tensor | Iterable<Tensor>, clipValue: number): void {
  if (!(clipValue >= 0)) throw new ArgumentError(`clipGradValue_: clipValue must be 0 or more, not ${clipValue}`);
  noGrad(() => {
    for (const gradient of gradientsOf(parameters)) {
      assign("clipGradValue_", gradient, clamp(gradient, -clipValue, clipValue));
    }
  });
}
