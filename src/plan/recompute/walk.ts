/**
 * Recomputation: gives up values between their uses and computes them again, so that a program fits its memory.
 *
 * The schedule is walked with a limit on the bytes alive. Where it is exceeded, the value with the best score is
 * given up: as in dynamic tensor rematerialization (Kirisame et al., ICLR 2021), but with the future known. A chain
 * that only another chain waits for is computed within that one and never reaches memory; and of the values that a
 * chain leaves for later, those that memory has no room for are computed when they are needed.
 */
import { type Effort, unbounded } from "./effort.js";
import { Largest, MOST_SOURCES } from "./largest.js";
import type { Host, Model, Work } from "./model.js";
import { Residency } from "./residency.js";
import { type Choices, type DeadEnd, gapOf, isBetter, isRoute, type Route } from "./route.js";

/** A route that computes more than this many times the program's own cost again is given up. */
const MOST_COST = 3;

/** Where values are more, they are not all looked at whenever one goes. */
const MANY = 1000;

/** More than any two scores differ by. */
const FIRST = 1e100;
/** For what would be computed again from a state that has been overwritten by then: it goes when nothing else is left. */
const LAST = 1 / FIRST;

/**
 * What a walk's parts take, as {@link Effort} counts it: an action, looking at a value, one at what a host reads, and
 * trying whether chains fit one instruction, for each of them.
 */
const [ACTION_WORK, LOOK_WORK, READ_WORK, FIT_WORK] = [60, 1, 5, 20];

/** So many chains that could be computed within another are looked for at first. */
const MANY_JOINED = 64;
/** Where not all of them fit one instruction, so many are tried one by one. */
const MAX_TRIES = 8;
/** How often a schedule is walked again with what was given up known from the start. */
export const AGAIN = 2;

const NONE: readonly number[] = [];

/** What is known of a value while it is worked out what hosts need. */
const [READ, JOINED] = [1, 2];

/** What is needed to run a host: values in memory, and chains computed within it, inputs first. */
interface Need {
  readonly reads: readonly number[];
  readonly joined: readonly number[];
}

/** Values of one unit that are computed again together, and what that needs. */
interface Again extends Need {
  readonly group: readonly number[];
}

class Walk extends Residency {
  private readonly largest: Largest;
  /** By value, while it is worked out what hosts need: whether it is read or joined; 0 for what has not been met. */
  private readonly seen: Uint8Array;
  /** The unit that ran when values were looked at last. */
  private lookedAt = -1;
  /** How many values go after each look at all of them, and those that go next, the last first. */
  private readonly batch: number;
  private following: number[] = [];
  /** The values that have not been computed so far all come at this one or behind. */
  private end = 0;
  private cost = 0;
  /** Work done so far, and the most that may be. */
  private spent = 0;
  private readonly most: number;
  /** The most that it may cost. */
  private readonly dearest: number;

  constructor(
    model: Model,
    private readonly limit: number,
    choices: Choices,
    private readonly effort: Effort,
  ) {
    super(model, choices);
    this.most = effort.forOne();
    this.dearest = Math.min(MOST_COST * model.cost, choices.dearest ?? Number.POSITIVE_INFINITY);
    const count = model.values.length;
    this.largest = new Largest(this.columns, this.resident);
    this.seen = new Uint8Array(count);
    this.batch = Math.ceil(count / MANY);
  }

  run(): Route | DeadEnd {
    const { actions, given, model } = this;
    let failed: DeadEnd | null = null;
    for (; this.time < model.work.length && failed === null; this.time++) {
      failed = this.execute(this.time) ?? this.tooMuch();
    }
    this.effort.spend(this.spent);
    if (failed !== null) return failed;
    const { action, bytes } = this.alive.peak();
    // What is read after it has passed was there all along.
    if (bytes > this.limit) return { unit: this.before.findIndex((n) => n >= action), bytes, given };
    return { actions, cost: this.cost, peakBytes: bytes, given };
  }

  /** The end of a walk that computes too much again, or takes too long; null for others. */
  private tooMuch(): DeadEnd | null {
    if (this.cost <= this.dearest && this.spent <= this.most) return null;
    return { unit: this.time, bytes: this.live, given: this.given };
  }

  // ── What is done ──────────────────────────────────────────────────────────────────────────────────────────────────

  private execute(unit: number): DeadEnd | null {
    const work = this.model.work[unit] as Work;
    const { inputs, outputs } = work;
    this.spent += ACTION_WORK;
    const { reads, joined } = this.need([work], []);
    this.lock(reads);
    const failed = this.fetch(reads);
    if (failed !== null) return failed;
    for (const v of inputs) this.advance(v);
    // An output may be written over an input that dies here.
    const takenOver: number[] = [];
    const placed: number[] = [];
    let bytes = work.workspace;
    for (const v of outputs) {
      const over = this.dying(v, reads, takenOver);
      if (over === -1) {
        placed.push(v);
        bytes += this.value(v).bytes;
      } else takenOver.push(over);
    }
    this.stay(joined);
    const isFull = this.live + bytes > this.limit;
    const deferred = this.makeRoom(bytes, isFull ? this.deferrable(work, placed, joined) : NONE);
    if ("given" in deferred) return deferred;
    for (const v of outputs) {
      this.pass(v);
      this.end = Math.max(this.end, v + 1);
      if (deferred.includes(v)) this.refresh(v);
      else this.hold(v);
    }
    for (const v of takenOver) this.giveUp(v);
    this.charge(joined);
    this.before[unit] = this.actions.length;
    this.actions.push({ unit, joined, deferred });
    this.live -= this.freed[unit] as number;
    this.unlock(reads);
    if (this.drops === null) return null;
    for (const v of [...inputs, ...outputs]) {
      if (this.drops[v] === unit && this.resident[v] === 1) this.giveUp(v);
    }
    return null;
  }

  /** A value among `reads` that nothing wants any more, for an output to be written over it; -1 if there is none. */
  private dying(output: number, reads: readonly number[], taken: readonly number[]): number {
    for (const x of this.value(output).reuses) {
      if (reads.includes(x) && !this.isWanted(x) && !taken.includes(x)) return x;
    }
    return -1;
  }

  /** Of a unit's outputs, all but one at most, those that can be left for later. */
  private deferrable(work: Work, outputs: readonly number[], joined: readonly number[]): readonly number[] {
    const chains = outputs.filter((v) => this.value(v).elementwise && !this.value(v).kept);
    if (chains.length === 0) return NONE;
    const some = chains.length === work.outputs.length ? chains.slice(1) : chains;
    return some.length > 0 && this.model.fits([work], joined, some) ? some : [];
  }

  /** What hosts read, if `own` are computed with them. */
  private need(hosts: readonly Host[], own: readonly number[]): Need {
    const [host] = hosts as [Host];
    if (hosts.length === 1 && !this.canJoin(host)) return { reads: host.inputs, joined: NONE };
    let most = MANY_JOINED;
    let all = this.gather(hosts, own, most);
    if (all.joined.length === 0) return all;
    let some: Need | null = null;
    for (; this.fits(hosts, all.joined); all = this.gather(hosts, own, most)) {
      if (all.joined.length < most) return all;
      some = all;
      most *= 2;
    }
    // Some of them do.
    some ??= this.gather(hosts, own, 0);
    for (let high = all.joined.length; high - some.joined.length > 1; ) {
      const middle = (some.joined.length + high) >> 1;
      const found = this.gather(hosts, own, middle);
      if (this.fits(hosts, found.joined)) some = found;
      else high = middle;
    }
    // What comes behind the first that does not fit may.
    return this.gather(hosts, own, some.joined.length, MAX_TRIES);
  }

  private fits(hosts: readonly Host[], joined: readonly number[]): boolean {
    this.spent += FIT_WORK * joined.length;
    return this.model.fits(hosts, joined, NONE);
  }

  /**
   * What hosts read if so many chains are computed within them, and those behind them that fit as well. What is within them
   * may be as deep as the graph.
   * @param tries how many of those behind them are tried
   */
  private gather(hosts: readonly Host[], own: readonly number[], count: number, tries = 0): Need {
    const { seen } = this;
    const reads: number[] = [];
    const joined: number[] = [];
    let left = tries;
    for (const outermost of hosts) {
      const stack = [{ host: outermost, next: 0 }];
      // Those on the way down come after what they read, and must find room as well.
      const behind: number[] = [];
      for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
        const { host } = top;
        const x = host.inputs[top.next++];
        if (x === undefined) {
          stack.pop();
          const v = behind.pop();
          if (v === undefined) continue;
          joined.push(v);
          seen[v] = JOINED;
        } else if (seen[x] !== JOINED && !own.includes(x)) {
          this.spent += READ_WORK;
          const joins = seen[x] !== READ && this.resident[x] === 0 && host.joins.includes(x) && this.mayJoin(x);
          const isIn =
            joins &&
            (joined.length + behind.length < count ||
              (left-- > 0 && this.fits(hosts, [...joined, x, ...behind.slice().reverse()])));
          if (isIn) {
            stack.push({ host: this.value(x), next: 0 });
            behind.push(x);
          } else if (seen[x] !== READ) {
            reads.push(x);
            seen[x] = READ;
          }
        }
      }
    }
    for (const x of reads) seen[x] = 0;
    for (const x of joined) seen[x] = 0;
    return { reads, joined };
  }

  /** Whether a host lacks something that can be computed within it. */
  private canJoin({ joins }: Host): boolean {
    for (const x of joins) if (this.resident[x] === 0 && this.mayJoin(x)) return true;
    return false;
  }

  private mayJoin(v: number): boolean {
    return this.choices.joinOften === true || (this.value(v).uses.at(-1) as number) <= this.time;
  }

  /** Makes values resident that are locked. What has to be computed again for that may be as deep as the graph. */
  private fetch(values: readonly number[]): DeadEnd | null {
    const stack: Again[] = [];
    for (;;) {
      const top = stack.at(-1);
      const reads = top?.reads ?? values;
      const missing = this.missingOf(reads);
      const [first] = missing;
      if (first !== undefined) {
        const isFirst = missing.length === 1 || this.choices.asListed === true;
        if (!isFirst) this.spent += MOST_SOURCES;
        const next = isFirst ? first : this.largest.of(missing);
        stack.push(this.prepare(next, reads));
        continue;
      }
      if (top === undefined) return null;
      stack.pop();
      const failed = this.compute(top) ?? this.tooMuch();
      if (failed !== null) return failed;
    }
  }

  private missingOf(values: readonly number[]): readonly number[] {
    let missing: number[] | null = null;
    for (const v of values) {
      if (this.resident[v] === 1) continue;
      missing ??= [];
      missing.push(v);
    }
    return missing ?? NONE;
  }

  /** Locks what computing a value again reads, together with others of its unit among `values`. */
  private prepare(v: number, values: readonly number[]): Again {
    const { unit } = this.value(v);
    const { outputs } = this.model.work[unit] as Work;
    this.spent += ACTION_WORK;
    if (outputs.length === 1) return this.lockFor(outputs);
    const members = [v];
    for (const x of outputs) {
      if (x === v || this.resident[x] === 1 || !(values.includes(x) || this.sharesProduct(v, x))) continue;
      if (this.areTogether([...members, x])) members.push(x);
    }
    return this.lockFor(members.length === 1 ? members : outputs.filter((x) => members.includes(x)));
  }

  /** Whether a value waits for the same product as another one. Without a limit nothing speaks against computing it, too. */
  private sharesProduct(v: number, x: number): boolean {
    if (this.limit < Number.POSITIVE_INFINITY || !this.isWanted(x)) return false;
    const { clone } = this.value(v);
    return this.value(x).clone.some((node) => node.primitive.lowering.kind === "kernel" && clone.includes(node));
  }

  private lockFor(group: readonly number[]): Again {
    const { reads, joined } = this.need(
      group.map((x) => this.value(x)),
      group,
    );
    this.lock(reads);
    return { group, reads, joined };
  }

  /** Whether no value of the unit that is computed before some of `group` needs others of them before that. */
  private areTogether(group: readonly number[]): boolean {
    const { unit } = this.value(group[0] as number);
    // What is missing from their unit, and leads to more.
    const before: number[] = [];
    for (const v of group) {
      for (const x of this.value(v).inputs) {
        if (this.resident[x] === 0 && this.value(x).unit === unit && !group.includes(x)) before.push(x);
      }
    }
    for (const v of before) {
      for (const x of this.value(v).inputs) {
        if (this.resident[x] === 1 || before.includes(x)) continue;
        if (group.includes(x)) return false;
        if (this.value(x).unit === unit) before.push(x);
      }
    }
    return true;
  }

  /** Computes values of one unit again, of inputs that are in memory. */
  private compute({ group, reads, joined }: Again): DeadEnd | null {
    const over = group.length === 1 ? this.dyingWith(group[0] as number, reads) : -1;
    let bytes = 0;
    for (const v of group) {
      if (over === -1) bytes += this.value(v).bytes;
      bytes += this.value(v).workspace;
    }
    this.stay(group);
    this.stay(joined);
    const room = this.makeRoom(bytes, NONE);
    if ("given" in room) return room;
    this.charge(joined);
    for (const v of group) this.cost += this.costOf(v, this.value(v).cost);
    for (const v of group) this.hold(v);
    if (over !== -1) this.giveUp(over);
    this.actions.push({ again: group, joined, gaps: group.map((v) => gapOf(v, this.nextUse[v] as number)) });
    this.unlock(reads);
    return null;
  }

  /** A value among `reads` that nothing but computing `v` again wants any more, for `v` to be written over it; -1 if there is none. */
  private dyingWith(v: number, reads: readonly number[]): number {
    for (const x of this.value(v).reuses) {
      const { length } = this.value(x).uses;
      const isLast = this.locked[x] === 1 && this.claimed[x] === 1 && (this.nextUse[x] as number) >= length;
      if (isLast && reads.includes(x)) return x;
    }
    return -1;
  }

  /** Adds up what computing chains within others costs: their values are neither written nor read. */
  private charge(joined: readonly number[]): void {
    for (const v of joined) {
      const { cost, bytes, flops } = this.value(v);
      this.cost += this.costOf(v, Math.max(flops, cost - 2 * bytes));
      this.known[v] = 1;
    }
  }

  /** What is computed for the first time costs nothing but what other values have to compute anew for it. */
  private costOf(v: number, cost: number): number {
    return this.known[v] === 1 ? cost : Math.max(0, cost - this.value(v).ownCost);
  }

  // ── Making room ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Of the values that could be given up or left for later, the one with the best score; -1 if there is none. */
  private victim(deferrable: readonly number[], deferred: readonly number[]): number {
    const { batch, following, locked, loose, outlook } = this;
    const { again, worth } = outlook;
    for (let v = following.pop(); v !== undefined; v = following.pop()) if (this.canGo(v)) return v;
    for (const v of deferrable) outlook.add(v);
    outlook.update();
    if (this.time !== this.lookedAt) {
      worth.fill(Number.NaN);
      this.lookedAt = this.time;
    }
    this.spent += LOOK_WORK * Math.max(this.end, ...deferrable.map((v) => v + 1));
    let [best, most] = [-1, 0];
    // The best, by falling score.
    const first: number[] = [];
    for (let v = loose.from(0); v !== -1; v = loose.from(v + 1)) {
      if (locked[v] !== 0) continue;
      let score = worth[v] as number;
      if (Number.isNaN(score)) {
        score = this.scoreOf(v, again[v] as number);
        worth[v] = score;
      }
      if (score > most) [best, most] = [v, score];
      if (batch === 1 || score <= 0) continue;
      if (first.length === batch && score <= (worth[first[batch - 1] as number] as number)) continue;
      let at = first.length === batch ? batch - 1 : first.length;
      for (; at > 0 && score > (worth[first[at - 1] as number] as number); at--) first[at] = first[at - 1] as number;
      first[at] = v;
    }
    for (const v of deferrable) {
      if (deferred.includes(v)) continue;
      const score = this.scoreOf(v, (again[v] as number) - this.value(v).ownCost);
      if (score > most || (score === most && v < best)) [best, most] = [v, score];
    }
    if (batch > 1) this.following = first.reverse();
    return best;
  }

  /** What giving a value up is worth; nothing for one that is pinned. */
  private scoreOf(v: number, cost: number): number {
    const { choices, time } = this;
    const gap = gapOf(v, this.nextUse[v] as number);
    if (choices.pinned?.has(gap)) return 0;
    const needed = this.outlook.needed[v] as number;
    const distance = Math.min(needed - time, this.values.length);
    const score = choices.score(this.columns.bytes[v] as number, Math.max(1, cost), distance);
    // What goes later in any case may as well be gone from here on, and other values stay for that.
    const first = choices.sunk?.has(gap) || choices.spare?.(v, time, needed) ? FIRST : 1;
    // What is needed at once stays.
    const last = needed > (this.columns.until[v] as number) ? LAST : 1;
    return score * first * last;
  }

  private canGo(v: number): boolean {
    return this.resident[v] === 1 && this.locked[v] === 0 && this.columns.kept[v] === 0;
  }

  /**
   * Gives values up until so many bytes more may be alive.
   * @param deferrable values among these bytes that may be left for later
   * @returns of these, the ones that are
   */
  private makeRoom(bytes: number, deferrable: readonly number[]): readonly number[] | DeadEnd {
    if (this.live + bytes <= this.limit) {
      this.alive.note(this.actions.length, this.live + bytes);
      return NONE;
    }
    const deferred: number[] = [];
    let more = bytes;
    while (this.live + more > this.limit) {
      const best = this.victim(deferrable, deferred);
      if (best === -1) return { unit: this.time, bytes: this.live + more, given: this.given };
      if (this.resident[best] === 1) this.giveUp(best);
      else {
        deferred.push(best);
        more -= this.value(best).bytes;
      }
    }
    this.alive.note(this.actions.length, this.live + more);
    return deferred;
  }
}

/**
 * Walks a schedule within a limit.
 * @param limit bytes that may be alive at once
 * @param effort where too little is left, the walk ends before it is through
 */
export function route(model: Model, limit: number, choices: Choices, effort = unbounded()): Route | DeadEnd {
  return new Walk(model, limit, choices, effort).run();
}

/**
 * Walks a schedule again and again. What was given up is known the next time, so that what it is computed from stays for it
 * and is not given up before it.
 * @param first what {@link route} found for the same limit and choices
 * @param wanted where any way will do, the first one
 * @returns the best of all
 */
export function again(
  model: Model,
  limit: number,
  choices: Choices,
  first: Route | DeadEnd,
  wanted: "cheapest" | "any",
  effort = unbounded(),
): Route | DeadEnd {
  let [best, last] = [first, first];
  for (let i = 0; i < AGAIN; i++) {
    if (isRoute(best) && (wanted === "any" || best.cost === 0)) break;
    const sunk = isRoute(last) ? { sunk: last.given.gaps } : {};
    last = route(model, limit, { ...choices, expected: last.given, ...sunk }, effort);
    if (isBetter(last, best)) best = last;
  }
  return best;
}
