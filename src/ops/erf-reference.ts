/** The error function in float64, apart from the operators because users are not to meet it. */

/**
 * erf of any number: by the series of positive terms 2/√π e^(-x²) Σ 2ⁿ x^(2n+1) / (2n+1)!! near 0 (Abramowitz & Stegun
 * 7.1.6), and from 3 on by the continued fraction of erfc (7.1.14).
 */
export function erfReference(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(a) || a > 6) return Number.isNaN(a) ? a : Math.sign(x);
  if (a < 3) {
    let term = x;
    let total = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) {
      term *= (2 * x * x) / (2 * n + 1);
      total += term;
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * total;
  }
  let fraction = a;
  for (let n = 60; n > 0; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * fraction));
}
