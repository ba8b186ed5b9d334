/**
 * Runs benchmarks and prints their tables.
 *
 *   npm run bench                        all suites
 *   npm run bench -- matmul              some
 *   npm run bench -- matmul --json FILE  and writes the numbers to a file
 */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { conv } from "./conv.js";
import { fused } from "./fused.js";
import { matmul } from "./matmul.js";
import { mlp } from "./mlp.js";
import { operators } from "./operators.js";
import { placement } from "./placement.js";
import { recompute } from "./recompute.js";
import { formatReport, type Report } from "./report.js";
import { size } from "./size.js";
import { startup } from "./startup.js";
import { transforms } from "./transforms.js";

/** Every suite, by the name that selects it. */
const SUITES: Readonly<Record<string, () => Report | Promise<Report>>> = {
  matmul,
  conv,
  kernels: operators,
  fused,
  mlp,
  placement,
  recompute,
  transforms,
  startup,
  size,
};

const { values, positionals } = parseArgs({ options: { json: { type: "string" } }, allowPositionals: true });
const names = positionals.length > 0 ? positionals : Object.keys(SUITES);
const unknown = names.filter((name) => !(name in SUITES));
if (unknown.length > 0) {
  console.error(`No benchmark is called ${unknown.join(", ")}; there are: ${Object.keys(SUITES).join(", ")}.`);
  process.exit(2);
}

const machine = { node: process.version, v8: process.versions.v8, cpu: cpus()[0]?.model ?? "unknown" };
console.log(`Node ${machine.node}, V8 ${machine.v8}, ${machine.cpu}\n`);
const reports: Record<string, Report> = {};
for (const name of names) {
  const report = await (SUITES[name] as (typeof SUITES)[string])();
  reports[name] = report;
  console.log(formatReport(report));
  for (const failure of report.failures ?? []) {
    console.error(failure);
    process.exitCode = 1;
  }
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ machine, reports }, null, 2)}\n`);
