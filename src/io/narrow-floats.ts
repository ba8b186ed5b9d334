/** Widens 16-bit floats, which other frameworks store weights in, to 32 bits; every one of them is exact. */

/** IEEE binary16: 1 sign bit, 5 of exponent (bias 15), 10 of fraction. NaN payloads and signed zeros are kept. */
export function widenFloat16(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  const floats = new Float32Array(bits.buffer);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i] as number;
    const sign = (half & 0x8000) << 16;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 0) {
      // A subnormal counts steps of 2⁻²⁴, and 32 bits hold it as a normal number.
      floats[i] = fraction / 0x100_0000;
      bits[i] = (bits[i] as number) | sign;
    } else {
      bits[i] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13);
    }
  }
  return floats;
}

/** bfloat16: the upper half of a binary32. */
export function widenBfloat16(halves: Uint16Array): Float32Array {
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}
