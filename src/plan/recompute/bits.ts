/** Sets of small numbers as bits, to be gone through in order, both ways. */
export class Bits {
  private readonly words: Int32Array;

  /** @param count numbers in the set are below it */
  constructor(count: number) {
    this.words = new Int32Array((count + 31) >> 5);
  }

  /** Whether a number is in the set. */
  has(v: number): boolean {
    return (((this.words[v >> 5] as number) >> (v & 31)) & 1) === 1;
  }

  /** Puts a number in. */
  add(v: number): void {
    (this.words[v >> 5] as number) |= 1 << (v & 31);
  }

  /** Takes a number out. */
  delete(v: number): void {
    (this.words[v >> 5] as number) &= ~(1 << (v & 31));
  }

  /** The least number from `from` on; -1 if there is none. */
  from(from: number): number {
    const { words } = this;
    let at = from >> 5;
    if (at >= words.length) return -1;
    let word = (words[at] as number) & (-1 << (from & 31));
    while (word === 0) {
      if (++at === words.length) return -1;
      word = words[at] as number;
    }
    return (at << 5) + 31 - Math.clz32(word & -word);
  }

  /** The greatest number up to `to`; -1 if there is none. */
  upTo(to: number): number {
    if (to < 0) return -1;
    const { words } = this;
    let at = to >> 5;
    let word = (words[at] as number) & (-1 >>> (31 - (to & 31)));
    while (word === 0) {
      if (--at < 0) return -1;
      word = words[at] as number;
    }
    return (at << 5) + 31 - Math.clz32(word);
  }
}
