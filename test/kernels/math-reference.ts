/**
 * What the vector math functions should give: float64 references, the error each function promises, and how errors are
 * counted in units in the last place (ulp).
 */
import { MicroOp } from "../../src/micro-op.js";

/** A function of one or two floats, its float64 reference and its promised error in ulp. */
export interface MathFunction<F> {
  readonly name: string;
  readonly op: MicroOp;
  readonly bound: number;
  readonly reference: F;
}

/** √π / 2 */
const HALF_SQRT_PI = 0.886226925452758;

/** The error function in float64, to about 1e-13. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(x)) return x;
  if (a > 6) return Math.sign(x);
  // erf(x) = 2/√π · e^(-x²) · Σ 2ⁿ x^(2n+1) / (1·3·5···(2n+1)): all terms of one sign (Abramowitz and Stegun, 7.1.6).
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > Math.abs(sum) * 1e-17; n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (sum * Math.exp(-x * x)) / HALF_SQRT_PI;
}

/** C99's pow; JavaScript's differs in giving NaN for 1^NaN and (±1)^±∞. */
function pow(x: number, y: number): number {
  if (x === 1) return 1;
  if (x === -1 && Math.abs(y) === Infinity) return 1;
  return x ** y;
}

export const UNARY: readonly MathFunction<(x: number) => number>[] = [
  { name: "exp", op: MicroOp.Exp, bound: 1, reference: Math.exp },
  { name: "log", op: MicroOp.Log, bound: 1, reference: Math.log },
  { name: "expm1", op: MicroOp.Expm1, bound: 2, reference: Math.expm1 },
  { name: "log1p", op: MicroOp.Log1p, bound: 2, reference: Math.log1p },
  { name: "sin", op: MicroOp.Sin, bound: 2, reference: Math.sin },
  { name: "cos", op: MicroOp.Cos, bound: 2, reference: Math.cos },
  { name: "tan", op: MicroOp.Tan, bound: 3, reference: Math.tan },
  { name: "tanh", op: MicroOp.Tanh, bound: 1.5, reference: Math.tanh },
  { name: "sigmoid", op: MicroOp.Sigmoid, bound: 2.5, reference: (x) => 1 / (1 + Math.exp(-x)) },
  { name: "erf", op: MicroOp.Erf, bound: 2, reference: erf },
  { name: "asin", op: MicroOp.Asin, bound: 3, reference: Math.asin },
  { name: "acos", op: MicroOp.Acos, bound: 3, reference: Math.acos },
  { name: "atan", op: MicroOp.Atan, bound: 3, reference: Math.atan },
];

export const BINARY: readonly MathFunction<(x: number, y: number) => number>[] = [
  { name: "pow", op: MicroOp.Pow, bound: 2, reference: pow },
  { name: "atan2", op: MicroOp.Atan2, bound: 3, reference: Math.atan2 },
  { name: "fmod", op: MicroOp.Fmod, bound: 0, reference: (x, y) => x % y },
];

const float = new Float64Array(1);
const words = new Int32Array(float.buffer);
const ULP = Float64Array.from({ length: 2048 }, (_, exponent) => 2 ** (Math.max(exponent - 1023, -126) - 23));
const OVERFLOW = 2 ** 128;

/**
 * How far the float `result` is from the exact `truth`, in units in the last place of a float near `truth`. Infinity
 * counts as 2¹²⁸. Infinite where one of them is NaN and the other is not, or a zero has the wrong sign.
 */
export function ulpError(result: number, truth: number): number {
  if (result === truth) return truth === 0 && !Object.is(result, truth) ? Infinity : 0;
  if (Number.isNaN(truth) || Number.isNaN(result)) return Number.isNaN(truth) && Number.isNaN(result) ? 0 : Infinity;
  float[0] = truth;
  const ulp = ULP[((words[1] as number) >>> 20) & 2047] as number;
  const got = Math.max(-OVERFLOW, Math.min(OVERFLOW, result));
  const want = Math.max(-OVERFLOW, Math.min(OVERFLOW, truth));
  return Math.abs(got - want) / Math.min(ulp, 2 ** 104);
}
