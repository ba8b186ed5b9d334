/**
 * Special functions, composed of elementary ones. Their derivatives are those of the compositions, so they hold to any
 * order.
 */
import type { Tensor } from "../graph/tensor.js";
import { abs, add, div, floor, lt, mul, neg, sub, where } from "./arithmetic.js";
import { toFloat } from "./conversion.js";
import type { OperatorTable } from "./define.js";
import { exp, log, log1p, reciprocal, sin, sqrt, square, tan } from "./unary.js";

/** How far arguments are raised before an asymptotic series is summed: its error falls as a high power of that. */
const RAISE = 6;

/** `x (x+1) … (x+RAISE-1)`. */
function risingProduct(x: Tensor): Tensor {
  let product = x;
  for (let k = 1; k < RAISE; k++) product = mul(product, add(x, k));
  return product;
}

/** `Σ cₖ · wᵏ` from k = 0. */
function polynomial(w: Tensor, ...coefficients: readonly [number, number, ...number[]]): Tensor {
  const [last, ...rest] = [...coefficients].reverse() as [number, ...number[]];
  return rest.reduce<Tensor>((total, c, i) => add(i === 0 ? mul(w, last) : mul(total, w), c), w);
}

/** `log Γ(z)` for z from `RAISE` up, by Stirling's series (Abramowitz & Stegun 6.1.41). */
function stirling(z: Tensor): Tensor {
  const series = polynomial(reciprocal(square(z)), 1 / 12, -1 / 360, 1 / 1260, -1 / 1680);
  const main = sub(mul(sub(z, 0.5), log(z)), z);
  return add(add(main, 0.5 * Math.log(2 * Math.PI)), div(series, z));
}

/** `log |Γ(x)|`. Infinite at 0 and at negative whole numbers. */
export function lgamma(input: Tensor): Tensor {
  const x = toFloat(input);
  const left = lt(x, 0.5);
  // Γ(x) Γ(1-x) = π / sin(πx)
  const y = where(left, sub(1, x), x);
  const right = sub(stirling(add(y, RAISE)), log(risingProduct(y)));
  // The sine of the fraction: that of πx loses its digits where x is large.
  const fraction = sub(x, floor(x));
  const reflected = sub(neg(log(div(sin(mul(where(left, fraction, 0.5), Math.PI)), Math.PI))), right);
  return where(left, reflected, right);
}

/** The derivative of {@link lgamma}, `Γ'(x) / Γ(x)`. NaN at negative whole numbers, and -∞ at 0. */
export function digamma(input: Tensor): Tensor {
  const x = toFloat(input);
  const left = lt(x, 0.5);
  const y = where(left, sub(1, x), x);
  let sumOfInverses = reciprocal(y);
  for (let k = 1; k < RAISE; k++) sumOfInverses = add(sumOfInverses, reciprocal(add(y, k)));
  const z = add(y, RAISE);
  // Abramowitz & Stegun 6.3.18.
  const w = reciprocal(square(z));
  const series = mul(w, polynomial(w, 1 / 12, -1 / 120, 1 / 252, -1 / 240));
  const right = sub(sub(sub(log(z), div(0.5, z)), series), sumOfInverses);
  // ψ(x) = ψ(1-x) - π / tan(πx)
  const fraction = sub(x, floor(x));
  const reflected = sub(right, div(Math.PI, tan(mul(where(left, fraction, 0.25), Math.PI))));
  return where(left, reflected, right);
}

/**
 * The inverse of the error function; ±∞ at ±1 and NaN beyond. By two polynomials in `-log(1 - x²)` and its square root,
 * good to single precision (Giles, "Approximating the erfinv function", GPU Computing Gems 2, 2011).
 */
export function erfinv(input: Tensor): Tensor {
  const x = toFloat(input);
  // log(1 - x²) without cancellation near ±1.
  const w = neg(add(log1p(neg(abs(x))), log1p(abs(x))));
  const central = lt(w, 5);
  const near = polynomial(
    sub(where(central, w, 2.5), 2.5),
    ...([1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087] as const),
    ...[-4.39150654e-6, -3.5233877e-6, 3.43273939e-7, 2.81022636e-8],
  );
  const far = polynomial(
    sub(sqrt(where(central, 9, w)), 3),
    ...([2.83297682, 1.00167406, 0.00943887047, -0.0076224613, 0.00573950773] as const),
    ...[-0.00367342844, 0.00134934322, 0.000100950558, -0.000200214257],
  );
  // The last coefficient is negative: at ±1, where the root is infinite, the polynomial would be too, with its sign.
  const limit = where(lt(w, Number.POSITIVE_INFINITY), far, w);
  return mul(x, where(central, near, limit));
}

/**
 * The modified Bessel function of the first kind of order 0, by two polynomials good to 2·10⁻⁷ (Abramowitz & Stegun 9.8.1
 * and 9.8.2).
 */
export function i0(input: Tensor): Tensor {
  const x = abs(toFloat(input));
  const small = lt(x, 3.75);
  const w = square(div(where(small, x, 0), 3.75));
  const near = polynomial(w, 1, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813);
  const large = where(small, 3.75, x);
  const far = polynomial(
    div(3.75, large),
    ...([0.39894228, 0.01328592, 0.00225319, -0.00157565, 0.00916281] as const),
    ...[-0.02057706, 0.02635537, -0.01647633, 0.00392377],
  );
  return where(small, near, mul(div(exp(large), sqrt(large)), far));
}

/** The operators of this file. */
export default {
  lgamma: { fn: lgamma, params: ["input"], samples: ["f32[3,4]>0", "f32[5]in(-2.9,-2.1)"] },
  digamma: { fn: digamma, params: ["input"], samples: ["f32[3,4]>0", "f32[5]in(-2.9,-2.1)"] },
  i0: { fn: i0, params: ["input"], samples: ["f32[3,4]", "f32[4]in(3.8,9)"] },
  erfinv: { fn: erfinv, params: ["input"], samples: ["f32[3,4]in(-0.9,0.9)"] },
} satisfies OperatorTable;
