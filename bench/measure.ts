/** Timing: runs candidates in turns, so that what disturbs the machine disturbs all of them, and compares by medians. */

/** Something to time. */
export interface Candidate {
  readonly name: string;
  /** Floating-point operations, bytes or whatever else the rate counts, in one run. */
  readonly work: number;
  run(): void;
}

/** The rates of one candidate, in work per second, one for every round. */
export interface Measured {
  readonly name: string;
  readonly work: number;
  readonly rates: readonly number[];
}

/** V8 replaces baseline code by optimized code while it runs: time spent before anything is counted. */
const WARM_UP_MS = 150;
/** A sample shorter than this would measure the clock. */
const SAMPLE_MS = 2;
const GROUP_MS = 2500;
const MIN_ROUNDS = 9;
const MAX_ROUNDS = 41;

/** The middle of `values`, the lower one of two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((x, y) => x - y);
  return sorted[(sorted.length - 1) >> 1] ?? Number.NaN;
}

function millisecondsOf(candidate: Candidate, repeats: number): number {
  const start = performance.now();
  for (let i = 0; i < repeats; i++) candidate.run();
  return performance.now() - start;
}

/** Warms `candidate` up and returns how many runs make a sample. */
function repeatsOf(candidate: Candidate): number {
  let repeats = 1;
  const start = performance.now();
  while (performance.now() - start < WARM_UP_MS) {
    if (millisecondsOf(candidate, repeats) < SAMPLE_MS) repeats *= 2;
  }
  return repeats;
}

/** Times the candidates in turns, a few seconds in all. Ratios are to be taken round by round: see `medianRatio`. */
export function interleave(candidates: readonly Candidate[]): Measured[] {
  const repeats = candidates.map(repeatsOf);
  const rates = candidates.map((): number[] => []);
  const start = performance.now();
  for (let round = 0; round < MAX_ROUNDS; round++) {
    if (round >= MIN_ROUNDS && performance.now() - start > GROUP_MS) break;
    candidates.forEach((candidate, i) => {
      const runs = repeats[i] as number;
      rates[i]?.push((candidate.work * runs * 1000) / millisecondsOf(candidate, runs));
    });
  }
  return candidates.map(({ name, work }, i) => ({ name, work, rates: rates[i] as number[] }));
}

/** The median over the rounds of the rate of `of` divided by the best rate among `to` in the same round. */
export function medianRatio(of: Measured, to: readonly Measured[]): number {
  return median(of.rates.map((rate, round) => rate / Math.max(...to.map((m) => m.rates[round] as number))));
}
