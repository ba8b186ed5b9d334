/** Recording: how long each instruction of a program takes, while the program runs as it always does. */
import { ArgumentError } from "../graph/errors.js";
import { Flag } from "../isa.js";
import type { Step } from "../plan/buffer.js";
import type { Plan } from "../plan/plan.js";
import type { Observer, Runtime } from "../runtime/runtime.js";

/** A part of a program that is timed by itself: an instruction, with the epilogue that runs inside of it. */
export interface Part {
  readonly steps: readonly Step[];
  /** The mean over the undisturbed cut runs, without the time of measuring. */
  readonly milliseconds: number;
}

/**
 * What the runs of one program took. Of the whole runs and of the cut ones the faster half counts, by means: whatever else
 * the machine does falls into the other half, and unlike medians the means of the parts add up to that of their sum.
 */
export interface Recording {
  readonly plan: Plan;
  readonly parts: readonly Part[];
  /** Of whole runs, without any cut. */
  readonly milliseconds: number;
  /** Runs that were measured of either kind. */
  readonly runs: number;
}

/** Parts of no instruction at the start of a run: the time of the latter half of them is that of measuring. */
const EMPTY_PARTS = 8;
const MIN_RUNS = 15;
const MAX_RUNS = 2000;

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}

/** The half of the runs that took least time. Each run is a list of times. */
function fasterHalf(runs: readonly (readonly number[])[]): (readonly number[])[] {
  return [...runs].sort((x, y) => sum(x) - sum(y)).slice(0, (runs.length + 1) >> 1);
}

/** The steps of each part. */
function partsOf({ steps }: Plan): Step[][] {
  const parts: Step[][] = [];
  steps.forEach((step, i) => {
    const before = steps[i - 1];
    if (before !== undefined && before.flags & Flag.Epilogue) parts.at(-1)?.push(step);
    else parts.push([step]);
  });
  return parts;
}

/** Whole runs and cut ones in turns, so that what disturbs the machine disturbs both. */
class Recorder implements Observer {
  /** For each program, times of whole runs and of each part in cut runs. */
  readonly times = new Map<Plan, { whole: number[]; parts: number[][] }>();
  whole = true;

  cuts(plan: Plan): readonly number[] {
    if (this.whole) return [0];
    const starts = new Map(plan.steps.map((step, i) => [step, plan.code.starts[i] as number]));
    return [
      ...Array.from({ length: EMPTY_PARTS }, () => 0),
      ...partsOf(plan).map(([first]) => starts.get(first as Step) as number),
    ];
  }

  ran(plan: Plan, milliseconds: readonly number[]): void {
    const known = this.times.get(plan) ?? { whole: [], parts: [] };
    this.times.set(plan, known);
    if (this.whole) known.whole.push(milliseconds[0] as number);
    else known.parts.push([...milliseconds]);
  }
}

function recordingOf(plan: Plan, { whole, parts }: { whole: number[]; parts: number[][] }): Recording {
  const calm = fasterHalf(parts);
  const mean = (i: number): number => sum(calm.map((run) => run[i] as number)) / calm.length;
  const empty = Array.from({ length: EMPTY_PARTS / 2 }, (_, i) => mean(EMPTY_PARTS / 2 + i));
  const overhead = sum(empty) / empty.length;
  const calmWhole = fasterHalf(whole.map((ms) => [ms])).flat();
  return {
    plan,
    parts: partsOf(plan).map((steps, i) => ({ steps, milliseconds: Math.max(0, mean(EMPTY_PARTS + i) - overhead) })),
    milliseconds: sum(calmWhole) / calmWhole.length,
    runs: parts.length,
  };
}

/**
 * Runs `step` for about `seconds` and records the program that takes most of the time. The step is run as it is: what
 * it trains is trained on.
 * @throws ArgumentError where no program ran on `runtime`
 */
export function record(runtime: Runtime, step: () => unknown, seconds: number): Recording {
  for (let i = 0; i < 3; i++) step();
  const recorder = new Recorder();
  runtime.observer = recorder;
  try {
    const started = performance.now();
    for (let run = 0; run < 2 * MAX_RUNS; run++) {
      if (run >= 2 * MIN_RUNS && performance.now() - started > 1000 * seconds) break;
      recorder.whole = run % 2 === 0;
      step();
    }
  } finally {
    runtime.observer = null;
  }
  const [main] = [...recorder.times].sort(([, x], [, y]) => sum(y.whole) - sum(x.whole));
  if (main === undefined)
    throw new ArgumentError("profile: the step ran no program; it must call a compiled function, of this lanegrad");
  return recordingOf(...main);
}
