/**
 * Exact placement of few extents: whether they fit into some bytes.
 *
 * Extents are laid by rising offset, each as low as those laid before let it lie: some such order gives every placement
 * in which nothing can be pushed down (Moffitt, "MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated
 * Machine Learning", ASPLOS 2023). What is passed over must come to rest on something that is laid later.
 */
import type { Extents, Placement } from "./extents.js";

/** Extents that are few. */
const MAX_EXTENTS = 48;
/**
 * Extents laid, after which the search gives up, at some microseconds each. Of 2,000 random programs of up to 12 values
 * the hardest that fits took 5,928.
 */
const MAX_TRIES = 10000;

class Exact {
  private readonly bytes: Float64Array;
  /** Of each extent, the first and the last of the sections of time in which it is alive. */
  private readonly from: Int32Array;
  private readonly to: Int32Array;
  /** By section: where the memory above what is laid begins, and the bytes of what is still to be laid. */
  private readonly height: Float64Array;
  private readonly rest: Float64Array;
  private readonly offsets: Float64Array;
  private readonly laid: Uint8Array;
  /** States that lead nowhere. */
  private readonly failed = new Set<string>();
  private tries = 0;

  constructor(
    { bytes, first, last }: Extents,
    private readonly most: number,
  ) {
    const starts = [...new Set(first)].sort((a, b) => a - b);
    const sections = new Map(starts.map((start, i) => [start, i]));
    this.bytes = bytes;
    this.from = Int32Array.from(first, (start) => sections.get(start) as number);
    this.to = Int32Array.from(last, (end) => starts.findLastIndex((start) => start <= end));
    this.height = new Float64Array(starts.length);
    this.rest = new Float64Array(starts.length);
    for (const i of bytes.keys()) this.count(i, bytes[i] as number);
    this.offsets = new Float64Array(bytes.length);
    this.laid = new Uint8Array(bytes.length);
  }

  run(): Placement | null {
    const { bytes, offsets } = this;
    if (!this.lay(0, new Float64Array(bytes.length))) return null;
    return { offsets, total: Math.max(...offsets.map((offset, i) => offset + (bytes[i] as number))) };
  }

  /** Adds to what is still to be laid while an extent is alive. */
  private count(i: number, bytes: number): void {
    for (let k = this.from[i] as number; k <= (this.to[i] as number); k++) (this.rest[k] as number) += bytes;
  }

  private overlap(i: number, j: number): boolean {
    return (this.from[i] as number) <= (this.to[j] as number) && (this.from[j] as number) <= (this.to[i] as number);
  }

  /**
   * Lays what is left.
   * @param least offsets that none of it can lie below
   */
  private lay(done: number, least: Float64Array): boolean {
    const { height, bytes, from, to, laid } = this;
    const count = bytes.length;
    if (done === count) return true;
    const lowest = least.slice();
    let ceiling = Number.POSITIVE_INFINITY;
    for (let i = 0; i < count; i++) {
      if (laid[i] === 1) continue;
      for (let k = from[i] as number; k <= (to[i] as number); k++) {
        if ((height[k] as number) > (lowest[i] as number)) lowest[i] = height[k] as number;
      }
      ceiling = Math.min(ceiling, (lowest[i] as number) + (bytes[i] as number));
    }
    if (!this.canFit(lowest)) return false;
    const key = lowest.map((offset, i) => (laid[i] === 1 ? -1 : offset)).join();
    if (this.failed.has(key)) return false;
    // What begins above the end of another that could lie below it would let that one sink.
    const next: number[] = [];
    for (let i = 0; i < count; i++) if (laid[i] === 0 && (lowest[i] as number) < ceiling) next.push(i);
    next.sort(
      (a, b) => (lowest[a] as number) - (lowest[b] as number) || (bytes[b] as number) - (bytes[a] as number) || a - b,
    );
    const passed = new Set<number>();
    for (const i of next) {
      if (++this.tries > MAX_TRIES) return false;
      const above = this.above(lowest, lowest[i] as number, passed);
      passed.add(i);
      const before = height.slice();
      this.offsets[i] = lowest[i] as number;
      height.fill((lowest[i] as number) + (bytes[i] as number), from[i], (to[i] as number) + 1);
      this.count(i, -(bytes[i] as number));
      laid[i] = 1;
      if (this.lay(done + 1, above)) return true;
      laid[i] = 0;
      this.count(i, bytes[i] as number);
      height.set(before);
    }
    this.failed.add(key);
    return false;
  }

  /** Whether in every section there is room for what is left of it. */
  private canFit(lowest: Float64Array): boolean {
    const { rest, from, to, laid } = this;
    const begin = new Float64Array(rest.length).fill(Number.POSITIVE_INFINITY);
    for (let i = 0; i < lowest.length; i++) {
      if (laid[i] === 1) continue;
      for (let k = from[i] as number; k <= (to[i] as number); k++) {
        if ((begin[k] as number) > (lowest[i] as number)) begin[k] = lowest[i] as number;
      }
    }
    return rest.every((bytes, k) => bytes === 0 || (begin[k] as number) + bytes <= this.most);
  }

  /** The least offsets of what is left once something is laid at `floor`, and some were passed over for it. */
  private above(lowest: Float64Array, floor: number, passed: ReadonlySet<number>): Float64Array {
    const { bytes, laid } = this;
    const least = lowest.map((offset) => Math.max(offset, floor));
    for (const i of passed) {
      let rests = Number.POSITIVE_INFINITY;
      for (let j = 0; j < least.length; j++) {
        if (j === i || laid[j] === 1 || !this.overlap(i, j)) continue;
        rests = Math.min(rests, Math.max(lowest[j] as number, floor) + (bytes[j] as number));
      }
      least[i] = Math.max(least[i] as number, rests);
    }
    return least;
  }
}

/**
 * Places extents in so many bytes.
 * @returns null where that cannot be done, where they are not few, or where it takes too long
 */
export function placeExactly(extents: Extents, most: number): Placement | null {
  return extents.bytes.length > MAX_EXTENTS ? null : new Exact(extents, most).run();
}
