/**
 * Exact placement: fits extents into some bytes, or finds that they cannot be, if that does not take too long.
 *
 * Extents are laid by rising offset, each as low as those laid before let it lie: some such order gives every placement
 * in which nothing can be pushed down (Moffitt, "MiniMalloc: A Lightweight Memory Allocator for Hardware-Accelerated
 * Machine Learning", ASPLOS 2023). Of those that could lie lowest the largest is tried first, and given back as soon as
 * what is left finds no room above it. What is passed over must come to rest on something that is laid later.
 */
import type { Extents, Placement } from "./extents.js";

/** More take too much memory. */
const MAX_EXTENTS = 2000;
/**
 * Looks at an extent, after which the search gives up: what fits is mostly found at the first try, with some tens of
 * extents given back, which took up to 1.2 looks for each pair of extents on the training graphs in `bench/`, and 6 on
 * small ones. Where extents are few, to try everything takes tens of milliseconds, so that is left to those that must fit.
 */
const workFor = (count: number, must: boolean): number =>
  must ? count ** 2 + 5e5 : Math.min(count ** 2 + 5e5, 8 * count ** 2 + 1e4);

/** What is left to be laid, at some point of the search. */
interface Level {
  /** By extent: where it could lie at the lowest. */
  readonly lowest: Float64Array;
  /** What is left, by that. */
  readonly order: Int32Array;
  /** What begins above this, above another that could lie below it, would let that one sink. */
  readonly ceiling: number;
  /** How many of the order have been tried. */
  tried: number;
  readonly name: number;
}

class Exact {
  private readonly count: number;
  /** The extents, those to be tried first in front. */
  private readonly extents: Int32Array;
  private readonly bytes: Float64Array;
  /** Of each extent, the first and the last of the sections of time in which it is alive. */
  private readonly from: Int32Array;
  private readonly to: Int32Array;
  /** By section, the bytes of what is still to be laid. */
  private readonly rest: Float64Array;
  private readonly laid: Uint8Array;
  /** What leads nowhere, by name. */
  private readonly failed = new Set<number>();
  /** While sections are gone through, the next one that has not been. */
  private readonly ahead: Int32Array;
  private readonly moved: Int32Array;

  constructor(
    { bytes, first, last }: Extents,
    private readonly most: number,
    private readonly must: boolean,
  ) {
    this.count = bytes.length;
    const starts = Float64Array.from(new Set(first)).sort();
    const sections = new Map([...starts].map((start, i) => [start, i]));
    const size = (i: number): number => bytes[i] as number;
    const life = (i: number): number => (last[i] as number) - (first[i] as number);
    this.extents = Int32Array.from(bytes.keys()).sort((a, b) => size(b) - size(a) || life(b) - life(a) || a - b);
    this.bytes = Float64Array.from(this.extents, size);
    this.from = Int32Array.from(this.extents, (i) => sections.get(first[i] as number) as number);
    this.to = Int32Array.from(this.extents, (i) => starts.findLastIndex((start) => start <= (last[i] as number)));
    this.rest = new Float64Array(starts.length);
    for (let i = 0; i < this.count; i++) this.remain(i, this.bytes[i] as number);
    this.laid = new Uint8Array(this.count);
    this.ahead = new Int32Array(starts.length + 1);
    this.moved = new Int32Array(this.count);
  }

  /** Adds to what is still to be laid while an extent is alive. */
  private remain(i: number, bytes: number): void {
    for (let k = this.from[i] as number; k <= (this.to[i] as number); k++) (this.rest[k] as number) += bytes;
  }

  run(): Placement | null {
    const { count, bytes, extents, laid } = this;
    const start = this.level(new Float64Array(count), Int32Array.from(extents.keys()));
    if (start === null) return null;
    const levels = [start];
    const chosen: number[] = [];
    let work = workFor(count, this.must);
    while (chosen.length < count) {
      const level = levels.at(-1) as Level;
      const i = level.order[level.tried];
      if (i === undefined || (level.lowest[i] as number) >= level.ceiling) {
        this.failed.add(level.name);
        levels.pop();
        const back = chosen.pop();
        if (back === undefined) return null;
        laid[back] = 0;
        this.remain(back, bytes[back] as number);
        continue;
      }
      work -= level.order.length * (1 + level.tried);
      if (work < 0) return null;
      laid[i] = 1;
      this.remain(i, -(bytes[i] as number));
      const next = this.above(level, i);
      level.tried++;
      if (next === null) {
        laid[i] = 0;
        this.remain(i, bytes[i] as number);
      } else {
        levels.push(next);
        chosen.push(i);
      }
    }
    const offsets = new Float64Array(count);
    let total = 0;
    chosen.forEach((i, n) => {
      const offset = (levels[n] as Level).lowest[i] as number;
      offsets[extents[i] as number] = offset;
      total = Math.max(total, offset + (bytes[i] as number));
    });
    return { offsets, total };
  }

  private overlap(i: number, j: number): boolean {
    return (this.from[i] as number) <= (this.to[j] as number) && (this.from[j] as number) <= (this.to[i] as number);
  }

  /** What is left above an extent that has been laid; null if that leads nowhere. */
  private above({ lowest, order, tried }: Level, i: number): Level | null {
    const { count, bytes, from, to, laid, moved } = this;
    const floor = lowest[i] as number;
    const top = floor + (bytes[i] as number);
    const [begin, end] = [from[i] as number, to[i] as number];
    const least = lowest.slice();
    let [low, high] = [0, 0];
    for (const j of order) {
      const before = lowest[j] as number;
      if (before >= top) break;
      if (j === i) continue;
      if ((from[j] as number) <= end && (to[j] as number) >= begin) least[j] = top;
      else if (before < floor) least[j] = floor;
    }
    for (let n = 0; n < tried; n++) {
      const passed = order[n] as number;
      let rests = this.overlap(passed, i) ? top : Number.POSITIVE_INFINITY;
      for (const j of order) {
        if (j === passed || j === i || !this.overlap(passed, j)) continue;
        rests = Math.min(rests, (least[j] as number) + (bytes[j] as number));
      }
      least[passed] = Math.max(least[passed] as number, rests);
    }
    // What stays where it was is in order, and what moves mostly is too.
    for (let j = 0; j < count; j++) if (laid[j] === 0 && least[j] !== lowest[j]) moved[high++] = j;
    moved.subarray(0, high).sort((a, b) => (least[a] as number) - (least[b] as number) || a - b);
    const left = new Int32Array(order.length - 1);
    let n = 0;
    for (const j of order) {
      if (j === i || least[j] !== lowest[j]) continue;
      for (; low < high; low++) {
        const other = moved[low] as number;
        const difference = (least[other] as number) - (least[j] as number);
        if (difference > 0 || (difference === 0 && other > j)) break;
        left[n++] = other;
      }
      left[n++] = j;
    }
    while (low < high) left[n++] = moved[low++] as number;
    return this.level(least, left);
  }

  /** Null if in some section there is no room for what is left of it, or that leads nowhere as is known. */
  private level(lowest: Float64Array, order: Int32Array): Level | null {
    const { bytes, from, to, rest, ahead, most } = this;
    for (let k = 0; k < ahead.length; k++) ahead[k] = k;
    let ceiling = Number.POSITIVE_INFINITY;
    let [one, other] = [0, 0];
    for (const i of order) {
      const offset = lowest[i] as number;
      ceiling = Math.min(ceiling, offset + (bytes[i] as number));
      one = Math.imul(one ^ i, 16777619) ^ offset;
      other = Math.imul(other ^ (offset / 16), 16777619) ^ i;
      // The first to come to a section is what could lie lowest there.
      for (let k = this.unseen(from[i] as number); k <= (to[i] as number); k = this.unseen(k)) {
        if (offset + (rest[k] as number) > most) return null;
        ahead[k] = k + 1;
      }
    }
    const name = (one >>> 0) * 2 ** 21 + (other >>> 11);
    return this.failed.has(name) ? null : { lowest, order, ceiling, tried: 0, name };
  }

  private unseen(section: number): number {
    const { ahead } = this;
    let k = section;
    while (ahead[k] !== k) {
      ahead[k] = ahead[ahead[k] as number] as number;
      k = ahead[k] as number;
    }
    return k;
  }
}

/**
 * Places extents in so many bytes.
 * @param must whether more bytes would not do; if they would, it gives up sooner
 * @returns null where that cannot be done, where they are many, or where it takes too long
 */
export function placeExactly(extents: Extents, most: number, must = true): Placement | null {
  return extents.bytes.length > MAX_EXTENTS ? null : new Exact(extents, most, must).run();
}
