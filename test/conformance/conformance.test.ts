/** PyTorch's own samples of every operator that exists here: values, gradients and rejected calls, on both builds. */
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { BUILDS } from "../support/builds.js";
import type { Evaluate } from "./run.js";
import { operatorsIn, prepare, runOperator } from "./suite.js";

const FIXTURES = fileURLToPath(new URL("../fixtures/conformance", import.meta.url));

describe.each(BUILDS)("on the %s build", (build) => {
  let evaluate: Evaluate;
  beforeAll(async () => {
    evaluate = await prepare(build);
  });

  it.each(operatorsIn(FIXTURES, "supported"))("%s agrees with PyTorch", (name) => {
    const { failures } = runOperator(FIXTURES, name, evaluate);
    if (failures.length > 0)
      expect.fail(failures.map(({ sample, difference }) => `${sample}: ${difference}`).join("\n"));
  });
});
