/** `lanegrad profile`: measures where the time of a training step goes. */

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ArgumentError, type Build, backendInfo, init } from "../index.js";
import { analyse } from "../profile/analyse.js";
import { measureCeilings } from "../profile/ceilings.js";
import { MODELS, type StepFunction } from "../profile/models.js";
import { printProfile } from "../profile/print.js";
import { record } from "../profile/record.js";
import { runtime } from "../tensor/session.js";

/** What the command line says about a profile. */
export interface ProfileCommandOptions {
  /** How long to measure. */
  readonly seconds: number;
  /** Rows of each table. */
  readonly rows: number;
  readonly build: Build | "auto";
  /** Whether standard output gets one line of JSON, and everything else goes to standard error. */
  readonly json?: boolean;
}

/**
 * The step of a model that is built in, or the `step` that the module at a path exports.
 * @param command names the command in errors
 */
export async function stepOf(command: string, model: string): Promise<StepFunction> {
  const make = MODELS[model];
  if (make !== undefined) return make();
  const builtIn = Object.keys(MODELS).join(", ");
  let module: { readonly step?: unknown };
  try {
    module = await import(pathToFileURL(resolve(model)).href);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new ArgumentError(`${command}: ${model} is neither built in (${builtIn}) nor a module: ${message}`);
  }
  const { step } = module;
  if (typeof step !== "function")
    throw new ArgumentError(`${command}: ${model} must export step, a function that trains once, not ${typeof step}`);
  return step as StepFunction;
}

/** Runs the step of a user's module: what is wrong with it shows in its first call. */
function check(model: string, step: StepFunction): void {
  let result: unknown;
  try {
    result = step();
  } catch (error) {
    throw new ArgumentError(
      `profile: step() of ${model} failed: ${(error as Error).message}; it is called without arguments, so it must bring its data, as in export const step = () => train(x, y)`,
      { cause: error },
    );
  }
  if (result instanceof Promise)
    throw new ArgumentError(`profile: step() of ${model} returned a promise; it must train before it returns`);
}

/** Profiles a model's training step and prints what takes how long. */
export async function profile(model: string, options: ProfileCommandOptions): Promise<void> {
  await init({ build: options.build });
  const step = await stepOf("profile", model);
  if (!(model in MODELS)) check(model, step);
  const ceilings = await measureCeilings(backendInfo().build);
  const result = analyse(record(runtime(), step, options.seconds), ceilings);
  const stream = options.json ? process.stderr : process.stdout;
  stream.write(`${printProfile(result, options.rows)}\n`);
  if (options.json) process.stdout.write(`${JSON.stringify({ model, ...backendInfo(), ...result })}\n`);
}
