/** `lanegrad plan`: shows what memory a training step takes, and what it computes again to fit a budget. */

import {
  type Compiled,
  compile,
  init,
  type MeasuredMemory,
  type MemoryReport,
  type Returned,
  type Tree,
} from "../index.js";
import { explainMemory } from "../plan/report.js";
import { writeText } from "./files.js";
import { planPage } from "./plan-page.js";
import { stepOf } from "./profile.js";

/** What the command line says about a plan. */
export interface PlanCommandOptions {
  readonly model: string;
  /** A size such as `64MB`. */
  readonly budget?: string;
  /** Whether to run the step too. */
  readonly measure?: boolean;
  /** Where to write the map of the temporaries. */
  readonly svg?: string;
  /** Where to write the report and the map as a page. */
  readonly html?: string;
  /** Whether standard output gets the report as one line of JSON instead. */
  readonly json?: boolean;
}

/** What running the step has shown. */
interface Measured extends MeasuredMemory {
  /** The time of a step: the median of some. */
  readonly milliseconds: number;
  /** That of one without a budget, run in turns with the other; null where nothing is computed again. */
  readonly millisecondsWithoutBudget: number | null;
}

const RUNS = 9;

function median(values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[values.length >> 1] as number;
}

type Step = Compiled<readonly [], Returned>;

/**
 * Runs the step some times, after a first run.
 * @param whole the step without a budget, if there is anything to compare
 */
function measure(step: Step, whole: Step | null): Measured {
  const memory = step.measureMemory();
  whole?.();
  const timed = (run: Step): number => {
    const started = performance.now();
    run();
    return performance.now() - started;
  };
  const times = Array.from({ length: RUNS }, () => [timed(step), whole && timed(whole)] as const);
  return {
    ...memory,
    milliseconds: median(times.map(([ms]) => ms)),
    millisecondsWithoutBudget: whole && median(times.map(([, ms]) => ms as number)),
  };
}

/** What measuring has shown, a line each. */
function linesOf(report: MemoryReport, measured: Measured): string[] {
  const { arenaBytes, milliseconds, millisecondsWithoutBudget: before } = measured;
  const percent = (share: number): string => `${share < 1 ? "" : "+"}${(100 * (share - 1)).toFixed(1)} %`;
  const again = report.flops / (report.flops - report.recomputedFlops);
  const compared =
    before === null
      ? "nothing is computed again"
      : `${percent(milliseconds / before)} against one without a budget; planned: ${percent(again)} arithmetic`;
  return [
    `arena foretold ${report.arenaBytes} bytes, measured ${arenaBytes} bytes`,
    `a step takes ${milliseconds.toFixed(2)} ms, ${compared}`,
  ];
}

/** Plans a model's training step, and prints the plan's memory. Nothing runs unless it is to be measured. */
export async function plan({ model, budget, svg, html, json, ...options }: PlanCommandOptions): Promise<void> {
  await init({ build: "strict" });
  const train = (await stepOf("plan", model)) as () => Tree;
  // Within another compiled function the step is its graph, which is planned within the budget.
  const step: Step = compile(() => train(), budget === undefined ? {} : { memoryBudget: budget });
  const report = step.memory();
  // Where nothing is computed again, what the times differ by is the machine's.
  const whole = report.recomputedFlops === 0 ? null : compile(() => train());
  const measured = options.measure ? measure(step, whole) : null;
  const lines = measured === null ? [] : linesOf(report, measured);
  const text = [explainMemory(report), ...(measured === null ? [] : ["", ...lines])].join("\n");
  const line = JSON.stringify({ model, ...report, ...(measured && { measured }) });
  process.stdout.write(`${json ? line : text}\n`);
  if (svg !== undefined) await writeText(svg, step.memoryMap());
  const title = `${model}${budget === undefined ? "" : ` within ${budget}`}`;
  if (html !== undefined) await writeText(html, planPage(title, report, lines, step.memoryMap()));
}
