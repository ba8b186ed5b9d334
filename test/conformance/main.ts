/**
 * Holds operators against recorded calls:
 *
 *   npm run conformance -- [--dir DIR] [--build strict|relaxed|both|reference] [--only NAME]
 *
 * DIR holds `<operator>.jsonl` or `.jsonl.gz` files; the project's own fixtures if not given. Prints a line for each
 * case that fails, and the counts; exits with 1 if there is one.
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Backend, operatorsIn, prepare, runOperator } from "./suite.js";

const FIXTURES = fileURLToPath(new URL("../fixtures/conformance", import.meta.url));

const { values } = parseArgs({
  options: {
    dir: { type: "string", default: FIXTURES },
    build: { type: "string", default: "both" },
    only: { type: "string" },
  },
});
const backends: readonly Backend[] = values.build === "both" ? ["strict", "relaxed"] : [values.build as Backend];

let passed = 0;
let failed = 0;
let unsupported = 0;
for (const backend of backends) {
  const evaluate = await prepare(backend);
  const names = operatorsIn(values.dir, "all").filter((name) => values.only === undefined || name === values.only);
  if (names.length === 0) throw new Error(`no recorded calls of ${values.only ?? "any operator"} in ${values.dir}`);
  for (const name of names) {
    const result = runOperator(values.dir, name, evaluate);
    for (const line of result.failures) console.log(backends.length > 1 ? `[${backend}] ${line}` : line);
    passed += result.passed;
    failed += result.failures.length;
    unsupported += result.unsupported;
  }
}
console.log(`${passed} passed, ${failed} failed, ${unsupported} unsupported`);
process.exitCode = failed > 0 ? 1 : 0;
