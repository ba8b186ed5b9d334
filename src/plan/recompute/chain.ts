/**
 * Recomputation on chains, at the least cost: a dynamic program over segments and memory.
 *
 * A chain is a forward pass in stages, each of which starts from the result of the one before, and a backward pass
 * through the same stages in reverse, each of which needs the tape of its forward run. A segment is gone back through
 * in one of two ways: its first stage is taped at once, or a later stage's result is kept and the stages before it run
 * again (Beaumont et al., "Optimal checkpointing for heterogeneous chains", 2019). Where stages are all alike and
 * memory holds one tape, that is the binomial schedule of Revolve (Griewank and Walther, ACM TOMS 26, 2000).
 */

/** A stage of a chain. */
export interface Stage {
  /** What running it forward costs. */
  readonly cost: number;
  /** Bytes of its result, from which the next stage starts. */
  readonly result: number;
  /** Bytes of all that its backward pass reads, its result among them but not what it starts from. */
  readonly tape: number;
  /** Bytes that running it forward needs besides. */
  readonly forward: number;
  /** Bytes that running it backward needs besides. */
  readonly backward: number;
}

/** One thing that a chain's program does with a stage, by number. */
export interface ChainStep {
  /**
   * `pass`: run it forward, and forget its result when the next stage has run; `keep`: run it forward and keep its
   * result; `tape`: run it forward and keep what its backward pass needs; `back`: run it backward and forget its tape;
   * `drop`: forget the result that was kept.
   */
  readonly does: "pass" | "keep" | "tape" | "back" | "drop";
  readonly stage: number;
}

/** What going back through a chain's first stages takes, within some bytes of memory. */
export interface ChainTable {
  /** The least cost; Infinity where it cannot be done. */
  cost(length: number, bytes: number): number;
  /** The program that costs that; it must be possible. */
  program(length: number, bytes: number): ChainStep[];
}

/** What going back through a segment takes, by units of memory. */
interface Segment {
  readonly costs: Float64Array;
  /** The stage whose result is kept, if that is not the one before the segment's first: see {@link TAPE}. */
  readonly ways: Int16Array;
  /** The fewest units with which it can be done. */
  readonly least: number;
}

/** In place of a stage whose result is kept: the first stage of the segment is taped. */
const TAPE = -1;

/**
 * Solves every segment of a chain with every amount of memory, in time that grows with the third power of its length.
 * @param most bytes of memory
 * @param unit bytes that are not told apart: sizes are rounded up to multiples of it
 */
export function solveChain(given: readonly Stage[], most: number, unit: number): ChainTable {
  const round = (bytes: number): number => Math.ceil(bytes / unit);
  const stages = given.map((stage) => ({
    cost: stage.cost,
    result: round(stage.result),
    tape: round(stage.tape),
    during: round(stage.forward),
    back: round(Math.max(stage.forward, stage.backward)),
  }));
  const at = (stage: number): (typeof stages)[number] => stages[stage] as (typeof stages)[number];
  const units = Math.floor(most / unit);
  // By the first stage of a segment and the one behind it.
  const table: Segment[][] = stages.map(() => []);
  const segment = (from: number, to: number): Segment => table[from]?.[to] as Segment;

  const solve = (from: number, to: number): void => {
    const costs = new Float64Array(units + 1).fill(Number.POSITIVE_INFINITY);
    const ways = new Int16Array(units + 1);
    const { cost, tape, back } = at(from);
    const rest = to === from + 1 ? null : segment(from + 1, to);
    for (let memory = tape + back; memory <= units; memory++) {
      costs[memory] = cost + (rest === null ? 0 : (rest.costs[memory - tape] as number));
      ways[memory] = TAPE;
    }
    let least = tape + Math.max(back, rest?.least ?? 0);
    let forward = 0;
    let peak = 0;
    for (let kept = from + 1; kept < to; kept++) {
      const { cost, result, during } = at(kept - 1);
      forward += cost;
      peak = Math.max(peak, (kept - 1 > from ? at(kept - 2).result : 0) + result + during);
      const { costs: after, least: leastAfter } = segment(kept, to);
      const { costs: before, least: leastBefore } = segment(from, kept);
      const first = Math.max(peak, leastAfter + result, leastBefore);
      least = Math.min(least, first);
      // More memory never costs more: this is the least that it comes to with any.
      const fewest = forward + (after[units - result] ?? 0) + (before[units] as number);
      for (let memory = first; memory <= units && (costs[memory] as number) > fewest; memory++) {
        const sum = forward + (after[memory - result] as number) + (before[memory] as number);
        if (sum >= (costs[memory] as number)) continue;
        costs[memory] = sum;
        ways[memory] = kept;
      }
    }
    (table[from] as Segment[])[to] = { costs, ways, least };
  };
  for (let to = 1; to <= stages.length; to++) for (let from = to - 1; from >= 0; from--) solve(from, to);

  const program = (from: number, to: number, memory: number): ChainStep[] => {
    if (from === to) return [];
    const way = segment(from, to).ways[memory] as number;
    if (way === TAPE) {
      const rest = program(from + 1, to, memory - at(from).tape);
      return [{ does: "tape", stage: from }, ...rest, { does: "back", stage: from }];
    }
    const last = way - 1;
    return [
      ...stages.slice(from, last).map((_, i): ChainStep => ({ does: "pass", stage: from + i })),
      { does: "keep", stage: last },
      ...program(way, to, memory - at(last).result),
      { does: "drop", stage: last },
      ...program(from, way, memory),
    ];
  };
  return {
    cost: (length, bytes) => segment(0, length).costs[Math.floor(bytes / unit)] as number,
    program: (length, bytes) => program(0, length, Math.floor(bytes / unit)),
  };
}
