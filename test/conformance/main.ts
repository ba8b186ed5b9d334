/**
 * Holds operators against recorded calls:
 *
 *   npm run conformance -- [--dir DIR] [--build strict|relaxed|both|reference] [--only NAME]
 *
 * DIR holds `<operator>.jsonl` or `.jsonl.gz` files; the project's own fixtures if not given. Prints a line for each
 * case that fails, and the counts; exits with 1 if there is one. A case passes if it does on every build that was run.
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

const failed = new Set<string>();
let total = 0;
let unsupported = 0;
for (const [i, backend] of backends.entries()) {
  const evaluate = await prepare(backend);
  const names = operatorsIn(values.dir, "all").filter((name) => values.only === undefined || name === values.only);
  if (names.length === 0) throw new Error(`no recorded calls of ${values.only ?? "any operator"} in ${values.dir}`);
  for (const name of names) {
    const result = runOperator(values.dir, name, evaluate);
    for (const { sample, difference } of result.failures) {
      console.log(`${backends.length > 1 ? `[${backend}] ` : ""}${name} ${sample}: ${difference}`);
      failed.add(`${name} ${sample}`);
    }
    if (i > 0) continue;
    total += result.cases;
    unsupported += result.unsupported;
  }
}
console.log(`${total - unsupported - failed.size} passed, ${failed.size} failed, ${unsupported} unsupported`);
process.exitCode = failed.size > 0 ? 1 : 0;
