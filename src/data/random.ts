/** Random numbers of the data room: a small integer generator, so that every engine draws the same data. */

import { ArgumentError } from "../graph/errors.js";

/** How many values 32 bits have. */
const range = 0x1_0000_0000;

/**
 * A seeded stream of random numbers: sfc32, the 32-bit "small fast counting" generator of Chris Doty-Humphrey's
 * PractRand, seeded as he does it. It uses 32-bit integers alone, and none of the `Math` functions whose last bit
 * differs between engines.
 */
export class Random {
  #a: number;
  #b: number;
  #c = 0;
  #counter = 1;

  /**
   * @param seed any integer from 0 to 2⁵³ - 1
   * @param stream an integer from 0 to 2³² - 1: streams of one seed are independent of each other
   * @throws ArgumentError for any other seed.
   */
  constructor(seed: number, stream = 0) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new ArgumentError(`the seed must be an integer from 0 to ${Number.MAX_SAFE_INTEGER}, not ${seed}`);
    }
    this.#a = seed | 0;
    this.#b = Math.floor(seed / range);
    this.#c = stream | 0;
    for (let round = 0; round < 15; round++) this.bits();
  }

  /** The next 32 random bits, as an integer from 0 to 2³² - 1. */
  bits(): number {
    const result = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0;
    return result >>> 0;
  }

  /** A number from `low` up to, not including, `high`, every one of 2³² steps equally likely. */
  uniform(low = 0, high = 1): number {
    return low + (this.bits() / range) * (high - low);
  }

  /** An integer from 0 to `count` - 1, each equally likely; `count` is from 1 to 2³². */
  below(count: number): number {
    // Bits beyond the last whole multiple of `count` would favour small results: draw again.
    const limit = range - (range % count);
    let bits = this.bits();
    while (bits >= limit) bits = this.bits();
    return bits % count;
  }

  /** A bell-shaped number of mean 0 and deviation 1: a sum of four uniforms (Irwin and Hall), within ±3.5. */
  bell(): number {
    const sum = this.uniform() + this.uniform() + this.uniform() + this.uniform();
    return (sum - 2) * Math.sqrt(3);
  }

  /** Puts `items` in random order, in place (Fisher and Yates), and returns them. */
  shuffle<T extends { length: number; [index: number]: number }>(items: T): T {
    for (let last = items.length - 1; last > 0; last--) {
      const other = this.below(last + 1);
      const kept = items[last] as number;
      items[last] = items[other] as number;
      items[other] = kept;
    }
    return items;
  }
}
