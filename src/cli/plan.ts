/** `lanegrad plan`: shows what memory a training step takes, and what it computes again to fit a budget. */

import { writeFile } from "node:fs/promises";
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
  /** The time of a step, and of one without a budget: the median of some, run in turns. */
  readonly milliseconds: number;
  readonly millisecondsWithoutBudget: number;
}

const RUNS = 9;

function median(values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[values.length >> 1] as number;
}

type Step = Compiled<readonly [], Returned>;

/** Runs the step with and without the budget in turns, after a first run of each. */
function measure(step: Step, whole: Step): Measured {
  const memory = step.measureMemory();
  whole();
  const timed = (run: Step): number => {
    const started = performance.now();
    run();
    return performance.now() - started;
  };
  const times = Array.from({ length: RUNS }, () => [timed(step), timed(whole)] as const);
  return {
    ...memory,
    milliseconds: median(times.map(([ms]) => ms)),
    millisecondsWithoutBudget: median(times.map(([, ms]) => ms)),
  };
}

/** What measuring has shown, a line each. */
function linesOf(report: MemoryReport, measured: Measured): string[] {
  const { arenaBytes, milliseconds, millisecondsWithoutBudget } = measured;
  const percent = (share: number): string => `${share < 1 ? "" : "+"}${(100 * (share - 1)).toFixed(1)} %`;
  const again = report.flops / (report.flops - report.recomputedFlops);
  return [
    `arena foretold ${report.arenaBytes} bytes, measured ${arenaBytes} bytes`,
    `a step takes ${milliseconds.toFixed(2)} ms, ${percent(milliseconds / millisecondsWithoutBudget)} against one without a budget; planned: ${percent(again)} arithmetic`,
  ];
}

/** Plans a model's training step, and prints the plan's memory. Nothing runs unless it is to be measured. */
export async function plan({ model, budget, svg, html, json, ...options }: PlanCommandOptions): Promise<void> {
  await init({ build: "strict" });
  const train = (await stepOf("plan", model)) as () => Tree;
  // Within another compiled function the step is its graph, which is planned within the budget.
  const step: Step = compile(() => train(), budget === undefined ? {} : { memoryBudget: budget });
  const report = step.memory();
  const measured = options.measure
    ? measure(
        step,
        compile(() => train()),
      )
    : null;
  const lines = measured === null ? [] : linesOf(report, measured);
  const text = [explainMemory(report), ...(measured === null ? [] : ["", ...lines])].join("\n");
  const line = JSON.stringify({ model, ...report, ...(measured && { measured }) });
  process.stdout.write(`${json ? line : text}\n`);
  if (svg !== undefined) await writeFile(svg, step.memoryMap());
  const title = `${model}${budget === undefined ? "" : ` within ${budget}`}`;
  if (html !== undefined) await writeFile(html, planPage(title, report, lines, step.memoryMap()));
}
