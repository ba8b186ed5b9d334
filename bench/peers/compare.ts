/** One workload on every system in turns: do they compute the same, and how long do they take? */
import { median } from "../measure.js";
import type { System } from "./system.js";
import { type Spec, taskOf, WORKLOADS } from "./workloads.js";

/** What one system took. */
export interface Timing {
  readonly system: string;
  /** Milliseconds of a step: the median over the rounds. */
  readonly milliseconds: number;
  /** The fastest round's: what a machine that does other things too disturbs least. */
  readonly fastest: number;
  /** Half of the rounds are within this share of the median of each other (interquartile range over median). */
  readonly spread: number;
  /** How many times as long as lanegrad it took: the median over the rounds. */
  readonly ratio: number;
  readonly samples: readonly number[];
}

/** What a workload took on every system that can run it. */
export interface Comparison {
  readonly workload: string;
  readonly timings: readonly Timing[];
  /** Systems that cannot run it, with their reason. */
  readonly failures: readonly string[];
  /** Systems whose first losses differ from lanegrad's. */
  readonly disagreements: readonly string[];
}

/** Relative to the larger of 1 and the loss itself. */
const TOLERANCE = 1e-4;
const WARM_UP_MS = 700;
const SAMPLE_MS = 60;

function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((x, y) => x - y);
  return sorted[Math.round(q * (sorted.length - 1))] ?? Number.NaN;
}

/**
 * The same work for timing, with steps that hardly learn: the one batch would soon be learnt by heart, and then
 * gradients become denormal numbers, which processors compute a hundred times more slowly.
 */
function timed(spec: Spec): Spec {
  return "optimizer" in spec ? { ...spec, optimizer: { ...spec.optimizer, lr: spec.optimizer.lr / 1000 } } : spec;
}

/** Warms a system up; gives the steps that make a sample. */
async function stepsOf(system: System): Promise<number> {
  let steps = 1;
  let last = 0;
  for (let spent = 0; spent < WARM_UP_MS || last < SAMPLE_MS; spent += last) {
    if (last > 0 && last < SAMPLE_MS) steps = Math.ceil(steps * Math.min(8, (1.2 * SAMPLE_MS) / last));
    last = await system.run(steps);
  }
  return steps;
}

/** Runs a workload on every system, `rounds` samples each. */
export async function compare(workload: string, systems: readonly System[], rounds: number): Promise<Comparison> {
  const spec = WORKLOADS[workload];
  if (spec === undefined) throw new Error(`no workload is called ${workload}`);
  const failures: string[] = [];
  const disagreements: string[] = [];
  const ready: { system: System; steps: number; samples: number[] }[] = [];
  let truth: readonly number[] | null = null;
  for (const system of systems) {
    try {
      const values = await system.prepare(taskOf(spec));
      truth ??= values;
      const apart = Math.max(
        ...values.map((x, i) => Math.abs(x - (truth?.[i] ?? Number.NaN)) / Math.max(1, Math.abs(x))),
      );
      if (!(apart <= TOLERANCE)) disagreements.push(`${system.name}: ${values} against ${truth}`);
      await system.prepare(taskOf(timed(spec)));
      ready.push({ system, steps: await stepsOf(system), samples: [] });
    } catch (error) {
      failures.push(String(error instanceof Error ? error.message : error).split("\n")[0] as string);
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const { system, steps, samples } of ready) samples.push((await system.run(steps)) / steps);
  }
  const own = ready.find(({ system }) => system.name === "lanegrad")?.samples ?? [];
  const timings = ready.map(({ system, samples }) => ({
    system: system.name,
    milliseconds: median(samples),
    fastest: Math.min(...samples),
    spread: (quantile(samples, 0.75) - quantile(samples, 0.25)) / median(samples),
    ratio: median(samples.map((ms, round) => ms / (own[round] ?? Number.NaN))),
    samples,
  }));
  return { workload, timings, failures, disagreements };
}

/** Three digits that count, or all those before the point. */
function digits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** A time in the unit that suits it. */
function textOf(milliseconds: number): string {
  return milliseconds < 1 ? `${digits(1000 * milliseconds)} µs` : `${digits(milliseconds)} ms`;
}

/** A comparison in a few lines. */
export function summary({ workload, timings, failures, disagreements }: Comparison): string {
  const times = timings.map(
    ({ system, milliseconds, fastest, spread, ratio }) =>
      `  ${system.padEnd(14)} ${textOf(milliseconds).padStart(9)}  ±${(50 * spread).toFixed(0).padStart(2)} %  fastest ${textOf(fastest).padStart(9)}  ${ratio.toFixed(2).padStart(8)}×`,
  );
  return [
    workload,
    ...times,
    ...failures.map((x) => `  cannot: ${x}`),
    ...disagreements.map((x) => `  differs: ${x}`),
  ].join("\n");
}

/** All comparisons as a table for a README: times of a step, and how many times as long as lanegrad each peer takes. */
export function markdown(comparisons: readonly Comparison[]): string {
  const systems = [...new Set(comparisons.flatMap(({ timings }) => timings.map(({ system }) => system)))];
  const cell = ({ timings }: Comparison, name: string): string => {
    const timing = timings.find(({ system }) => system === name);
    if (timing === undefined) return "–";
    return name === "lanegrad"
      ? textOf(timing.milliseconds)
      : `${textOf(timing.milliseconds)} (${digits(timing.ratio)}×)`;
  };
  return [
    `| | ${systems.join(" | ")} |`,
    `| --- |${" ---: |".repeat(systems.length)}`,
    ...comparisons.map((x) => `| ${x.workload} | ${systems.map((name) => cell(x, name)).join(" | ")} |`),
  ].join("\n");
}
