/**
 * Functions of float64 numbers whose every bit is the same on every engine. (ECMAScript leaves the last bits of
 * `Math.cos`, `Math.exp` and `**` to the engine, and a training run must not depend on them.)
 */

/** cos(πx) for |x| ≤ 1/4 by its Taylor series: the first term left out is below 2⁻⁵⁸. */
function cosNear(x: number): number {
  const square = Math.PI * Math.PI * x * x;
  let sum = 1;
  for (let n = 14; n > 0; n -= 2) sum = 1 - (square / (n * (n - 1))) * sum;
  return sum;
}

/** sin(πx) for |x| ≤ 1/4; as {@link cosNear}. */
function sinNear(x: number): number {
  const square = Math.PI * Math.PI * x * x;
  let sum = 1;
  for (let n = 15; n > 1; n -= 2) sum = 1 - (square / (n * (n - 1))) * sum;
  return Math.PI * x * sum;
}

/** cos(πx), within 2⁻⁵² of the exact value; exact at multiples of 1/2. */
export function cosPi(x: number): number {
  // Into [0, 1], where the remainder and the differences below are exact.
  const folded = Math.abs(x) % 2;
  const y = folded > 1 ? 2 - folded : folded;
  if (y > 0.75) return -cosNear(1 - y);
  return y < 0.25 ? cosNear(y) : sinNear(0.5 - y);
}

/** `base` to a whole power from 0 up, by squaring. */
export function wholePower(base: number, exponent: number): number {
  let power = 1;
  let square = base;
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) power *= square;
    square *= square;
  }
  return power;
}
