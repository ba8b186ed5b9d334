/** Runs folders of recorded calls: operator by operator, on a build's kernels or on the float64 reference. */
import { evaluateReference } from "../../src/graph/reference.js";
import { nodeOf, type Tensor } from "../../src/graph/tensor.js";
import { realize } from "../../src/tensor/realize.js";
import { start } from "../support/builds.js";
import { operatorFor } from "./binding.js";
import { listOperators, readCases } from "./cases.js";
import { type Evaluate, runCase } from "./run.js";

/** What computes: the kernels of a build, or the float64 reference. */
export type Backend = "strict" | "relaxed" | "reference";

/** A case that failed. */
export interface Failure {
  /** `#3`, or `#3 (rejection)` for a call that must be rejected. */
  readonly sample: string;
  readonly difference: string;
}

/** What came of the cases of one operator. */
export interface OperatorResult {
  readonly cases: number;
  readonly failures: readonly Failure[];
  /** Cases of an operator that does not exist. */
  readonly unsupported: number;
}

/** Prepares a backend. */
export async function prepare(backend: Backend): Promise<Evaluate> {
  if (backend === "reference") return (tensors) => evaluateReference(tensors.map(nodeOf));
  await start(backend);
  return (tensors: readonly Tensor[]) => {
    const nodes = tensors.map(nodeOf);
    realize(nodes);
    return nodes.map((node) => node.value as ArrayLike<number>);
  };
}

/** The operators in a folder that exist here, or all of them. */
export function operatorsIn(directory: string, only: "all" | "supported"): string[] {
  const names = [...listOperators(directory).keys()];
  return only === "all" ? names : names.filter((name) => operatorFor(name) !== undefined);
}

/** Runs all cases of one operator. */
export function runOperator(directory: string, name: string, evaluate: Evaluate): OperatorResult {
  const cases = readCases(listOperators(directory).get(name) as string);
  const operator = operatorFor(name);
  if (operator === undefined) return { cases: cases.length, failures: [], unsupported: cases.length };
  const failures = cases.flatMap((recorded): Failure[] => {
    const difference = runCase(recorded, operator, evaluate);
    const sample = `#${recorded.i}${recorded.error ? " (rejection)" : ""}`;
    return difference === null ? [] : [{ sample, difference: difference.replaceAll("\n", " ") }];
  });
  return { cases: cases.length, failures, unsupported: 0 };
}
