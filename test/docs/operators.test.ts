/** The table of operators in the docs, against what the sources give. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { operatorPage, PAGE, statedErrors } from "../../scripts/operator-table.js";
import { BINARY, UNARY } from "../kernels/math-reference.js";

it("docs/operators.md is what its generator makes", () => {
  const page = readFileSync(PAGE, "utf8").split("\n");
  const made = operatorPage().split("\n");
  const line = Array.from({ length: Math.max(page.length, made.length) }, (_, i) => i).find((i) => page[i] !== made[i]);
  if (line === undefined) return;
  const [is, wanted] = [page, made].map((lines) => lines[line] ?? "missing");
  expect.fail(`docs/operators.md is stale: npm run docs:operators\nline ${line + 1}: ${is}\nwould be: ${wanted}`);
});

it("the errors that the page states of vector functions are within the bounds that are tested", () => {
  const errors = statedErrors();
  const wrong = [...UNARY, ...BINARY].filter(({ name, bound }) => !((errors.get(name) ?? Number.NaN) <= bound));
  expect(wrong.map(({ name, bound }) => `${name}: ${errors.get(name)} stated, ${bound} tested`)).toEqual([]);
});
