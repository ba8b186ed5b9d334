/** `lanegrad plan`: shows what memory a training step takes, and what it computes again to fit a budget. */

import { writeFile } from "node:fs/promises";
import { ArgumentError, compile, init, type Tensor } from "../index.js";
import { MODELS } from "../profile/models.js";

/** What the command line says about a plan. */
export interface PlanCommandOptions {
  readonly model: string;
  /** A size such as `64MB`. */
  readonly budget?: string;
  /** Where to write the map of the temporaries. */
  readonly svg?: string;
  /** Whether standard output gets the report as one line of JSON instead. */
  readonly json?: boolean;
}

/** Plans a model's training step, and prints the plan's memory. Nothing runs. */
export async function plan({ model, budget, svg, json }: PlanCommandOptions): Promise<void> {
  const make = MODELS[model];
  if (make === undefined)
    throw new ArgumentError(`plan: there is no model ${model}; there are: ${Object.keys(MODELS).join(", ")}`);
  await init({ build: "strict" });
  const train = make();
  // Within another compiled function the step is its graph, which is planned within the budget.
  const step = compile(() => train() as Tensor, budget === undefined ? {} : { memoryBudget: budget });
  const text = json ? JSON.stringify({ model, ...step.memory() }) : step.explainMemory();
  process.stdout.write(`${text}\n`);
  if (svg !== undefined) await writeFile(svg, step.memoryMap());
}
