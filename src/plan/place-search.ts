/**
 * The search behind placement: extents of memory are laid out by a greedy order; where that takes more than there is, they
 * are fitted into it with going back; and where that fails, a greedy order is changed where it hurts, time and again.
 *
 * The search is bounded by work and not by a clock, so a plan is the same on every machine.
 */

import type { Extents, Placement } from "./extents.js";
import { placeExactly } from "./place-exact.js";

/** Comparisons of two extents that climbing may cost: some tens of milliseconds. */
export const CLIMBING_WORK = 2e8;
/** Where extents are many, laying them all takes long, and so near to the bound no further order is tried. */
const [MANY, NEAR] = [2000, 1.002];
/** Where they are so many, a greedy order by size takes half a second, and those by start and by end are tried first. */
const HUGE = 10000;
/**
 * Where the fewest bytes are wanted: halvings of what is between the bound and the greedy orders', in each of which extents
 * are fitted.
 */
const HALVINGS = 2;
/** After so many turns the best order so far is gone back to, unless the last is as good. */
const TURNS_ASTRAY = 16;
/** How many of the greedy orders are climbed from. */
const CLIMBS = 2;
/** Turns of climbing on the largest graphs. */
const MIN_TURNS = 8;
/** Turns of climbing for each extent: more seldom find anything. */
const TURNS_PER_EXTENT = 8;
/** Lays extents out one after the other, each into the lowest gap that is free while it is alive. */
class Layer {
  private readonly offsets: Float64Array;
  /** Those laid so far, by rising offset. */
  private readonly laid: Int32Array;

  constructor(private readonly extents: Extents) {
    this.offsets = new Float64Array(extents.bytes.length);
    this.laid = new Int32Array(extents.bytes.length);
  }

  lay(order: Int32Array): Placement {
    const { offsets, laid } = this;
    const { bytes, first, last } = this.extents;
    let total = 0;
    for (let count = 0; count < order.length; count++) {
      const i = order[count] as number;
      const [size, from, to] = [bytes[i] as number, first[i] as number, last[i] as number];
      let offset = 0;
      let at = 0;
      for (; at < count; at++) {
        const other = laid[at] as number;
        if ((first[other] as number) > to || (last[other] as number) < from) continue;
        const start = offsets[other] as number;
        if (offset + size <= start) break;
        const end = start + (bytes[other] as number);
        if (end > offset) offset = end;
      }
      total = Math.max(total, offset + size);
      offsets[i] = offset;
      while (at > 0 && (offsets[laid[at - 1] as number] as number) > offset) at--;
      laid.copyWithin(at + 1, at, count);
      laid[at] = i;
    }
    return { offsets, total };
  }
}

/** Memory between extents. */
interface Gap {
  from: number;
  to: number;
}

/**
 * Lays extents out as they begin, each into the lowest gap that is free then: what {@link Layer} makes of that order, but
 * in a time that grows with the gaps there are at once, which are few where most of what is kept came first.
 */
function layByStart({ bytes, first, last }: Extents): Placement {
  const byStart = Int32Array.from(bytes.keys()).sort((a, b) => (first[a] as number) - (first[b] as number) || a - b);
  const byEnd = byStart.slice().sort((a, b) => (last[a] as number) - (last[b] as number) || a - b);
  const offsets = new Float64Array(bytes.length);
  /** By rising offset; the last one has no end. */
  const gaps: Gap[] = [{ from: 0, to: Number.POSITIVE_INFINITY }];
  let total = 0;
  let ended = 0;
  for (const i of byStart) {
    for (; (last[byEnd[ended] as number] as number) < (first[i] as number); ended++) {
      const other = byEnd[ended] as number;
      addGap(gaps, offsets[other] as number, (offsets[other] as number) + (bytes[other] as number));
    }
    const at = gaps.findIndex(({ from, to }) => to - from >= (bytes[i] as number));
    const gap = gaps[at] as Gap;
    offsets[i] = gap.from;
    gap.from += bytes[i] as number;
    total = Math.max(total, gap.from);
    if (gap.from === gap.to) gaps.splice(at, 1);
  }
  return { offsets, total };
}

/** The same extents where time runs the other way. */
function backwards({ bytes, first, last }: Extents): Extents {
  return { bytes, first: last.map((at) => -at), last: first.map((at) => -at) };
}

/** Adds a gap, and joins it to those that it touches. */
function addGap(gaps: Gap[], from: number, to: number): void {
  const at = gaps.findIndex((gap) => gap.from >= to);
  const next = gaps[at] as Gap;
  if (next.from === to) next.from = from;
  else gaps.splice(at, 0, { from, to });
  if (gaps[at - 1]?.to !== from) return;
  (gaps[at - 1] as Gap).to = (gaps[at] as Gap).to;
  gaps.splice(at, 1);
}

/**
 * The greedy orders: by size (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020), by
 * time alive, by the product of both, and by start. No single one is best on every graph; often the first one is enough.
 */
function* greedyOrders({ bytes, first, last }: Extents): Generator<Int32Array> {
  const end = last.reduce((most, at) => (Number.isFinite(at) ? Math.max(most, at) : most), 0) + 1;
  const life = (i: number): number => Math.min(last[i] as number, end) - (first[i] as number) + 1;
  const size = (i: number): number => bytes[i] as number;
  const start = (i: number): number => first[i] as number;
  const keys: ((i: number) => number)[] = [size, life, (i) => size(i) * life(i), (i) => -start(i), start];
  for (const key of keys) {
    yield Int32Array.from(bytes.keys()).sort(
      (a, b) => key(b) - key(a) || size(b) - size(a) || start(a) - start(b) || a - b,
    );
  }
}

/** A linear congruential generator (Numerical Recipes' constants): numbers from 0 up to 1. */
function generator(): () => number {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/**
 * Places extents.
 * @param bound bytes that no placement can go below
 * @param wanted bytes at which the search ends, and that are tried hard for; the bound, less hard, if not given. Where they
 *   are the bound, it may end near it, and where they are fewer, it tries greedy orders only
 * @param work comparisons of two extents that climbing may cost: with more, what is found is never worse
 */
export function search(extents: Extents, bound: number, wanted?: number, work = CLIMBING_WORK): Placement {
  const enough = wanted ?? bound;
  const { bytes } = extents;
  const layer = new Layer(extents);
  const isFewest = enough === bound;
  const content = isFewest && bytes.length > MANY ? bound * NEAR : Math.max(bound, enough);
  let best: Placement = { offsets: new Float64Array(0), total: Number.POSITIVE_INFINITY };
  if (bytes.length > HUGE) {
    for (const each of [extents, backwards(extents)]) {
      const placement = layByStart(each);
      if (placement.total < best.total) best = placement;
      if (best.total <= content) return best;
    }
    if (wanted !== undefined) return best;
  }
  const starts: { readonly order: Int32Array; readonly placement: Placement }[] = [];
  for (const order of greedyOrders(extents)) {
    const { offsets, total } = layer.lay(order);
    const placement = { offsets: offsets.slice(), total };
    const exact =
      total > content && enough >= bound && starts.length === 0
        ? placeExactly(extents, content, wanted !== undefined)
        : null;
    starts.push({ order, placement });
    if (total < best.total) best = placement;
    if (total <= content || (enough < bound && bytes.length > MANY)) return best;
    if (exact !== null) return exact;
  }
  if (enough < bound) return best;
  let low = content;
  for (let i = 0; i < HALVINGS && isFewest; i++) {
    const middle = (low + best.total) / 2;
    const exact = placeExactly(extents, middle, wanted !== undefined);
    if (exact === null) low = middle;
    else best = exact;
  }
  // What stands above the bound was laid too late: it moves forward in the order, by a random share of its way to the
  // front, now a long and now a short one, and all is laid again (squeaky wheel optimization: Joslin and Clements 1999).
  const position = new Float64Array(bytes.length);
  const turns = Math.min(
    TURNS_PER_EXTENT * bytes.length,
    Math.floor(MIN_TURNS * (work / CLIMBING_WORK) + work / bytes.length ** 2),
  );
  const climbs = starts.sort((a, b) => a.placement.total - b.placement.total).slice(0, CLIMBS);
  for (const { order, placement } of climbs) {
    const random = generator();
    let current = placement;
    let [least, leastOrder] = [placement.total, order.slice()];
    for (let turn = 1; turn <= turns / CLIMBS && best.total > content; turn++) {
      const share = 2 ** -(turn % 5);
      order.forEach((i, k) => {
        const above = (current.offsets[i] as number) + (bytes[i] as number) > bound;
        position[i] = above ? k * (1 - share * random()) : k;
      });
      order.sort((a, b) => (position[a] as number) - (position[b] as number));
      const { offsets, total } = layer.lay(order);
      current = { offsets, total };
      if (total <= least) [least, leastOrder] = [total, order.slice()];
      else if (turn % TURNS_ASTRAY === 0) order.set(leastOrder);
      if (total < best.total) best = { offsets: offsets.slice(), total };
    }
  }
  return best;
}
