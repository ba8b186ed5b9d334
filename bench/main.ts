/**
 * Runs benchmarks and prints their tables.
 *
 *   npm run bench                        the kernels, against what this machine can do at most
 *   npm run bench -- --help              what other suites there are
 *   npm run bench -- matmul              some of them
 *   npm run bench -- matmul --json FILE  and writes the numbers to a file
 */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { Argument, Command } from "commander";
import { chains } from "./chains.js";
import { conv } from "./conv.js";
import { fits } from "./fits.js";
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

interface Suite {
  /** What it is for, for the help. */
  readonly about: string;
  run(): Report | Promise<Report>;
}

/** Every suite, by the name that selects it. */
const SUITES: Readonly<Record<string, Suite>> = {
  matmul: { about: "products of matrices, against the arithmetic ceiling", run: matmul },
  conv: { about: "convolutions in their three directions, against the arithmetic ceiling", run: conv },
  kernels: {
    about: "operators on 1024×1024 elements, forward and with gradient, against both ceilings",
    run: operators,
  },
  chains: { about: "fused chains by length and layout of an operand, against both ceilings", run: chains },
  fused: { about: "fused kernels against the compositions that they replace", run: fused },
  mlp: { about: "a tiny training step, compiled and eager: what Wasm takes of it, and what JavaScript", run: mlp },
  placement: { about: "memory of planned training steps, beside the bound; nothing runs", run: placement },
  recompute: { about: "training steps planned within memory budgets; nothing runs", run: recompute },
  fits: { about: "a GPT whose activations need 6 GiB trains in 1 GiB: a few minutes", run: fits },
  transforms: { about: "gradients, Jacobians and vmap, beside the function itself", run: transforms },
  startup: { about: "from the start of a process to its first gradient (after npm run build)", run: startup },
  size: { about: "what a page loads, gzipped, against its budgets (after npm run build)", run: size },
};
/** What runs when no suite is named: what the kernels do. */
const DEFAULT = ["matmul", "conv", "kernels"];

const program = new Command("npm run bench --")
  .description("Runs benchmarks and prints their tables.")
  .addArgument(new Argument("[suites...]").choices([...Object.keys(SUITES), "all"]).default(DEFAULT))
  .option("--json <file>", "writes all numbers to a file")
  .showHelpAfterError("(add --help for the suites)")
  .addHelpText(
    "after",
    `
Suites:
${Object.entries(SUITES)
  .map(([name, { about }]) => `  ${name.padEnd(12)}${about}`)
  .join("\n")}

Rates are medians over rounds. Candidates run in turns with what they are compared with: the ceilings are what this machine
does at most with multiply-adds in registers alone, and streaming through memory, on the same build. Builds: strict, and
relaxed where the engine has it. bench:peers compares with other systems.`,
  )
  .parse();
const asked = program.processedArgs[0] as readonly string[];
const names = asked.includes("all") ? Object.keys(SUITES) : asked;
const { json } = program.opts<{ json?: string }>();

const machine = { node: process.version, v8: process.versions.v8, cpu: cpus()[0]?.model ?? "unknown" };
console.log(`Node ${machine.node}, V8 ${machine.v8}, ${machine.cpu}\n`);
const reports: Record<string, Report> = {};
for (const name of names) {
  const report = await (SUITES[name] as Suite).run();
  reports[name] = report;
  console.log(formatReport(report));
  for (const failure of report.failures ?? []) {
    console.error(failure);
    process.exitCode = 1;
  }
}
if (json !== undefined) writeFileSync(json, `${JSON.stringify({ machine, reports }, null, 2)}\n`);
