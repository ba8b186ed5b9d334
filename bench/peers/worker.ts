/**
 * A process that runs workloads on one system of this engine: `worker.ts lanegrad-strict | lanegrad-relaxed | tfjs | jax`.
 * It answers every line on its standard input with one on its standard output, as `torch_worker.py` does:
 *
 *     {"task": Task}   →  {"values": [six numbers]}   the first losses, or elements of the result
 *     {"steps": n}     →  {"milliseconds": n steps' time}
 *
 * and with {"error": message} where it cannot.
 */
import { createInterface } from "node:readline";
import type { Task } from "./workloads.js";

/** A prepared workload. */
export interface Runner {
  /** One step; the loss, where there is one, is read in every step. A promise is waited for. */
  step(): unknown;
  /** Elements of the result, where steps give no losses. */
  values?(): number[];
}

interface System {
  start(option: string): Promise<void>;
  prepare(task: Task): Runner;
}

interface Request {
  readonly task?: Task;
  readonly steps?: number;
}

/** Losses to compare: Adam amplifies rounding, so that later ones need not agree. */
const COMPARED = 6;

const MODULES: Readonly<Record<string, string>> = { lanegrad: "./lanegrad.js", tfjs: "./tfjs.js", jax: "./jax.js" };

let runner: Runner;

async function answer(system: System, { task, steps = 0 }: Request): Promise<object> {
  if (task !== undefined) {
    runner = system.prepare(task);
    const losses: unknown[] = [];
    for (let i = 0; i < COMPARED; i++) losses.push(await runner.step());
    return { values: runner.values?.() ?? losses };
  }
  const start = performance.now();
  for (let i = 0; i < steps; i++) {
    const step = runner.step();
    // Waiting for what is no promise would cost a microtask in every step.
    if (step instanceof Promise) await step;
  }
  return { milliseconds: performance.now() - start };
}

const [name = "", option = ""] = (process.argv[2] ?? "").split("-");
const system = (await import(MODULES[name] as string)) as System;
await system.start(option);
for await (const line of createInterface({ input: process.stdin })) {
  const reply = await answer(system, JSON.parse(line) as Request).catch((error: unknown) => ({ error: String(error) }));
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
