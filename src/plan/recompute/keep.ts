/**
 * What to keep in memory at a moment, so that the least has to be computed again after it.
 *
 * What comes later reads some values. Each of them must be in memory at the moment, or be computed later, from values of
 * which the same is true. With a price of bytes the best choice is a minimum cut (as in Jain et al., "Checkmate", MLSys
 * 2020; the minimum-cut partitioner of PyTorch's AOTAutograd keeps values so). At any price, that cut less the price of the
 * room there is bounds what must be computed again from below (Lagrangian duality). Where values are few and large, the
 * best choice that fits is far above that bound: then some are settled one way and the other, the most promising first
 * (branch and bound).
 */
import { Network } from "./min-cut.js";

/** A value that there is at the moment, or could be. */
export interface Keepable {
  /** The numbers of the values that it is computed from, all of them lower than its own. */
  readonly inputs: readonly number[];
  readonly bytes: number;
  /** What computing it later costs: infinite where it must stay if anything needs it. */
  readonly cost: number;
  /** Whether what comes later reads it, besides what computes other values. */
  readonly needed: boolean;
}

/** A choice. */
export interface Keeping {
  readonly kept: ReadonlySet<number>;
  readonly bytes: number;
  /** What is computed again. */
  readonly cost: number;
}

/** The best choice that was found, and what no choice costs less than. */
export interface Best {
  /** Null where nothing fits. */
  readonly keeping: Keeping | null;
  readonly bound: number;
}

/** Values that are kept, or are not, whatever the price. */
type Settled = ReadonlyMap<number, boolean>;

/** The choices that agree with what is settled, and a value to settle next; null if there is none. */
interface Branch extends Best {
  readonly settled: Settled;
  readonly open: number | null;
  /** The choices that cost least, and that take the fewest bytes, whether they fit or not. */
  readonly cheapest: Cut;
  readonly smallest: Cut;
}

/** The best choice at a price, and the capacity of the cut. */
interface Cut extends Keeping {
  readonly least: number;
}

/** The edges of a value in the network of {@link Choice}. */
interface Edges {
  readonly value: number;
  /** From the source: that it is needed. To the sink: what it takes where it must stay. */
  readonly needed: number;
  readonly stays: number;
  /** To its being computed later: what keeping it takes. From there to the sink, what computing it does. */
  readonly kept: number;
  readonly computed: number;
  /** From there to what it is computed from. */
  readonly inputs: readonly number[];
}

/** More than anything costs. */
const NEVER = 2 ** 50;
/** A price at which bytes only tell apart what costs the same. */
const LOWEST_PRICE = 1e-6;
/** Prices that are tried one after the other. */
const MAX_PRICES = 20;
/** So near to the bound the best choice is good enough. */
const CLOSE = 0.995;

/** The choices of one moment. */
export class Choice {
  /** Values that only one other is computed from, which takes no more room: that would be kept instead. */
  private readonly settled = new Map<number, boolean>();
  /** What is paid if a value is not kept, with those that would not be kept either. */
  private readonly weights: Float64Array;
  /** The network of {@link cut}, and by value the edges whose capacities differ from cut to cut. */
  private readonly network: Network;
  private readonly edges: readonly Edges[];

  constructor(private readonly values: readonly Keepable[]) {
    const readers = values.map((): number[] => []);
    for (const [v, { inputs }] of values.entries()) for (const x of inputs) (readers[x] as number[]).push(v);
    this.weights = Float64Array.from(values, ({ cost }) => (cost === Number.POSITIVE_INFINITY ? 0 : cost));
    values.forEach(({ inputs, bytes, cost, needed }, v) => {
      for (const x of inputs) if (this.settled.has(x)) (this.weights[v] as number) += this.weights[x] as number;
      const [reader, ...others] = readers[v] as number[];
      if (needed || cost === Number.POSITIVE_INFINITY || reader === undefined || others.length > 0) return;
      if ((values[reader] as Keepable).bytes <= bytes) this.settled.set(v, false);
    });
    const count = values.length;
    const [source, sink] = [2 * count, 2 * count + 1];
    this.network = new Network(2 * count + 2);
    const { network } = this;
    // What nothing needs is in no cut.
    const wanted = new Set([...values.keys()].filter((v) => (values[v] as Keepable).needed));
    for (const v of wanted) for (const x of (values[v] as Keepable).inputs) wanted.add(x);
    this.edges = [...wanted].map((v) => ({
      value: v,
      needed: network.add(source, v),
      stays: network.add(v, sink),
      kept: network.add(v, count + v),
      computed: network.add(count + v, sink),
      inputs: (values[v] as Keepable).inputs.map((x) => network.add(count + v, x)),
    }));
  }

  /** The least bytes of any choice. */
  fewestBytes(): number {
    return this.cut(this.settled, 0, 1).bytes;
  }

  /**
   * The best choice within so many bytes.
   * @param branches how often a value is settled to come nearer to it
   * @param enough a choice that costs no more than this need not be bettered
   */
  within(room: number, branches: number, enough = 0): Best {
    const open = [this.branch(this.settled, room)];
    let keeping: Keeping | null = null;
    for (let i = 0; ; i++) {
      open.sort((a, b) => b.bound - a.bound);
      const best = open.pop() as Branch;
      if (best.keeping !== null && best.keeping.cost < (keeping?.cost ?? NEVER)) keeping = best.keeping;
      for (const other of open) {
        if (other.keeping !== null && other.keeping.cost < (keeping?.cost ?? NEVER)) keeping = other.keeping;
      }
      const cost = keeping?.cost ?? Number.POSITIVE_INFINITY;
      if (i === branches || best.open === null || best.bound >= CLOSE * cost || cost <= enough) {
        return { keeping, bound: Math.min(best.bound, cost) };
      }
      for (const keeps of [true, false]) {
        const next = this.branch(new Map([...best.settled, [best.open, keeps]]), room, best);
        open.push({ ...next, bound: Math.max(next.bound, best.bound) });
      }
    }
  }

  private value(v: number): Keepable {
    return this.values[v] as Keepable;
  }

  /** The best choices at prices that come nearer to the one at which they fit just so. */
  private branch(settled: Settled, room: number, parent: Branch | null = null): Branch {
    // A best choice stays the best if what is settled now only agrees with it.
    const agrees = ({ kept }: Keeping): boolean =>
      parent !== null && parent.open !== null && kept.has(parent.open) === settled.get(parent.open);
    const cheapest = parent !== null && agrees(parent.cheapest) ? parent.cheapest : this.cut(settled, 1, LOWEST_PRICE);
    let most = cheapest;
    const smallest = parent !== null && agrees(parent.smallest) ? parent.smallest : this.cut(settled, 0, 1);
    if (most.bytes <= room) {
      const bound = Math.max(0, most.least - LOWEST_PRICE * room);
      return { settled, keeping: most, bound, open: null, cheapest, smallest };
    }
    let fewest = smallest;
    if (fewest.bytes > room) {
      return { settled, keeping: null, bound: Number.POSITIVE_INFINITY, open: null, cheapest, smallest };
    }
    let bound = 0;
    for (let i = 0; i < MAX_PRICES; i++) {
      const price = (fewest.cost - most.cost) / (most.bytes - fewest.bytes);
      const next = this.cut(settled, 1, price);
      bound = Math.max(bound, next.least - price * room);
      if (next.cost + price * next.bytes >= (1 - 1e-9) * (most.cost + price * most.bytes)) break;
      if (next.bytes > room) most = next;
      else fewest = next;
    }
    const weightOf = (v: number): number => this.weights[v] as number;
    const differing = [...most.kept, ...fewest.kept].filter((v) => most.kept.has(v) !== fewest.kept.has(v));
    const open = differing.filter((v) => !settled.has(v)).sort((a, b) => weightOf(b) - weightOf(a) || a - b);
    return { settled, keeping: fewest, bound, open: open[0] ?? null, cheapest, smallest };
  }

  /**
   * The best choice at a price. The network has one node for a value's being needed and one for its being computed later:
   * what is needed and not computed costs its bytes, what is computed costs that and needs its inputs.
   * @returns with the capacity of the cut, in which costs and prices are rounded down
   */
  private cut(settled: Settled, costPrice: number, bytePrice: number): Cut {
    const { network } = this;
    const count = this.values.length;
    const stays = (v: number): boolean => this.value(v).cost === Number.POSITIVE_INFINITY || settled.get(v) === true;
    for (const edges of this.edges) {
      const v = edges.value;
      const { bytes, cost, needed } = this.value(v);
      const price = Math.floor(bytePrice * bytes);
      const isComputed = !stays(v);
      network.set(edges.needed, needed || settled.get(v) === true ? NEVER : 0);
      network.set(edges.stays, isComputed ? 0 : price);
      network.set(edges.kept, !isComputed ? 0 : settled.has(v) ? NEVER : price);
      network.set(edges.computed, isComputed ? Math.floor(costPrice * cost) : 0);
      for (const edge of edges.inputs) network.set(edge, isComputed ? NEVER : 0);
    }
    const least = network.flow(2 * count, 2 * count + 1);
    const kept = new Set<number>();
    let [bytes, cost] = [0, 0];
    for (const { value: v } of this.edges) {
      if (!network.isReached(v)) continue;
      if (stays(v) || !network.isReached(count + v)) {
        kept.add(v);
        bytes += this.value(v).bytes;
      } else cost += this.value(v).cost;
    }
    return { kept, bytes, cost, least };
  }
}
