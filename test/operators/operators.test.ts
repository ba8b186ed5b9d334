/**
 * Tests generated from the operator records: every operator's kernels against its float64 reference, and its
 * derivatives against finite differences.
 */
import { beforeAll, describe, expect, it } from "vitest";
import * as errors from "../../src/graph/errors.js";
import type { Shape } from "../../src/graph/shape.js";
import type { Operator } from "../../src/ops/define.js";
import * as exported from "../../src/ops/index.js";
import { operators as records } from "../../src/ops/table.js";
import { BUILDS, start } from "../support/builds.js";
import { checkFirstOrder, checkKernels, checkSecondOrder } from "./checks.js";
import { VIEWS } from "./samples.js";

const operators = Object.entries(records);

/** What a check finds on the samples of an operator, one line each. */
function findings(operator: Operator, check: (sample: string) => string | null): string[] {
  return operator.samples.flatMap((sample) => {
    const found = check(sample);
    return found === null ? [] : [`(${sample}): ${found}`];
  });
}

function expectNone(lines: readonly string[]): void {
  if (lines.length > 0) expect.fail(lines.join("\n"));
}

/** Exports that are no operators: they make random tensors, or the state that those are made from. */
const SOURCES = new Set(["Generator", "manualSeed", "rand", "randint", "randLike", "randn", "randnLike"]);

describe("the operator table", () => {
  it("has every operator that is exported, under its own name", () => {
    const functions = Object.entries(exported).filter(([name, x]) => typeof x === "function" && !SOURCES.has(name));
    const missing = functions.filter(([name, fn]) => records[name]?.fn !== fn).map(([name]) => name);
    expect(missing).toEqual([]);
  });

  it("names the parameters of every function, and has samples", () => {
    const wrong = operators.filter(([, { fn, params, samples }]) => {
      // A function's length counts the parameters before the first with a default or the rest.
      return fn.length > params.length || samples.length === 0;
    });
    expect(wrong.map(([name]) => name)).toEqual([]);
  });
});

describe("in float64", () => {
  it.each(operators)("the gradient of %s is what finite differences give", (_, operator) => {
    expectNone(findings(operator, (sample) => checkFirstOrder(operator, sample)));
  });

  it.each(operators)("the second derivative of %s is what finite differences give", (_, operator) => {
    expectNone(findings(operator, (sample) => checkSecondOrder(operator, sample)));
  });
});

/** Sizes that samples seldom have. An operator computes on them rightly, or rejects them with an error of its own. */
const SIZES: Readonly<Record<string, (shape: Shape) => Shape>> = {
  "size 0": (shape) => shape.map((n, i) => (i === 0 ? 0 : n)),
  "size 1": (shape) => shape.map(() => 1),
};

function isOurs(error: unknown): boolean {
  return Object.values(errors).some((kind) => error instanceof kind);
}

describe.each(BUILDS)("on the %s build", (build) => {
  beforeAll(() => start(build));

  it.each(operators)("%s agrees with its reference", (_, operator) => {
    expectNone(findings(operator, (sample) => checkKernels(operator, sample)));
  });

  it.each(operators)("%s agrees with its reference on views", (_, operator) => {
    expectNone(VIEWS.flatMap((view) => findings(operator, (sample) => checkKernels(operator, sample, view))));
  });

  it.each(operators)("%s computes on sizes 0 and 1, or says why not", (_, operator) => {
    const found = Object.entries(SIZES).flatMap(([name, reshaped]) =>
      findings(operator, (sample) => {
        try {
          const wrong = checkKernels(operator, sample, "plain", reshaped);
          return wrong === null ? null : `${name}: ${wrong}`;
        } catch (error) {
          return isOurs(error) ? null : `${name}: ${error}`;
        }
      }),
    );
    expectNone(found);
  });
});
