/** `lanegrad plan`, on a module of the user's. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { MemoryReport } from "../../src/plan/memory.js";
import { lanegrad } from "./support.js";

const library = new URL("../../build/node/index.js", import.meta.url).href;

/** A training step as a user writes it, with a line of its own for what takes most. */
const MODEL = `
import { compile, manualSeed, nn, optim, randn } from ${JSON.stringify(library)};

manualSeed(0);
class Net extends nn.Module {
  layers = Array.from({ length: 6 }, () => new nn.Linear(64, 64));
  forward(x) {
    for (const layer of this.layers) {
      x = layer.forward(x).tanh();
    }
    return x;
  }
}
const net = new Net();
const adam = new optim.Adam(net.parameters());
const x = randn([512, 64]);
export const step = compile(() => {
  const loss = net.forward(x).square().mean();
  loss.backward();
  adam.step();
  adam.zeroGrad();
  return loss;
});
`;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "lanegrad-plan-"));
  await writeFile(join(directory, "train.mjs"), MODEL);
});
afterAll(() => rm(directory, { recursive: true }));

const run = (...args: string[]) => lanegrad(directory, ["plan", "--model", "train.mjs", ...args]);

describe("lanegrad plan", () => {
  it("says what a step's memory goes to, by operator, module and line", async () => {
    const { status, stdout, stderr } = await run();
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^arena +[\d.]+ MiB +\d+ bytes$/m);
    expect(stdout).toMatch(/^ {2}parameters +[\d.]+ KiB +12 tensors$/m);
    expect(stdout).toMatch(/parameter +layers\.\*\.weight +\[64,64\]/);
    expect(stdout).toMatch(/other +layers\.\*\.weight\.expAvg +\[64,64\]/);
    // The line of the module from which the layers are called; the last of the six is kept by nothing.
    expect(stdout).toMatch(/5 +tanh +\(the model\) +\S+train\.mjs:9$/m);
    expect(stdout).not.toContain("computed again");
  });

  it("ends in one line of JSON, with what was foretold and what was measured", async () => {
    const whole = JSON.parse((await run("--json")).stdout) as MemoryReport;
    const budget = Math.floor(whole.arenaBytes - 0.3 * whole.temporaryBytes);
    const { stdout } = await run("--json", "--measure", "--budget", String(budget));
    expect(stdout.trimEnd().split("\n")).toHaveLength(1);
    const report = JSON.parse(stdout) as MemoryReport & { measured: Record<string, number>; model: string };
    expect(report.model).toBe("train.mjs");
    expect(report.arenaBytes).toBeLessThanOrEqual(budget);
    expect(report.recomputedFlops).toBeGreaterThan(0);
    expect(report.measured.arenaBytes).toBe(report.arenaBytes);
    expect(report.measured.milliseconds).toBeGreaterThan(0);
    expect(report.measured.millisecondsWithoutBudget).toBeGreaterThan(0);
    expect(report.recomputed[0]).toMatchObject({ operator: "tanh", module: "", shape: [512, 64] });
    expect(new Set(report.states.map(({ name }) => name))).toContain("layers.5.bias");
  });

  it("writes a page that needs nothing else, and a map of it", async () => {
    const { stdout } = await run("--budget", "1.2MB", "--measure", "--html", "plan.html", "--svg", "plan.svg");
    expect(stdout).toMatch(/^arena foretold (\d+) bytes, measured \1 bytes$/m);
    const page = await readFile(join(directory, "plan.html"), "utf8");
    const map = await readFile(join(directory, "plan.svg"), "utf8");
    expect(page).toContain("<h1>Memory of train.mjs within 1.2MB: ");
    expect(page).toContain(map.trim());
    for (const text of ["arena foretold", "layers.*.weight", "train.mjs:9", "computed again instead of being kept"])
      expect(page, text).toContain(text);
    expect(page).not.toMatch(/<script|href=|src=|url\(/);
    expect(map).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    expect(map).toMatch(/most alive: [\d.]+ KiB at step \d+, in [\d.]+ KiB/);
    for (const label of ["steps of the program", "address within the temporaries", ">0 B<", ">600.0 KiB<"])
      expect(map, label).toContain(label);
    expect(map).toContain("kept for the backward pass");
  });

  it("compares no times where nothing is computed again", async () => {
    const { stdout } = await run("--measure", "--budget", "1GB");
    expect(stdout).toMatch(/^a step takes [\d.]+ ms, nothing is computed again$/m);
    const { measured } = JSON.parse((await run("--measure", "--json")).stdout);
    expect(measured.milliseconds).toBeGreaterThan(0);
    expect(measured.millisecondsWithoutBudget).toBeNull();
  });

  it("makes the folders that a page and a map are to be in", async () => {
    const { status } = await run("--html", "reports/today/plan.html", "--svg", "reports/plan.svg");
    expect(status).toBe(0);
    await expect(readFile(join(directory, "reports/today/plan.html"), "utf8")).resolves.toContain(
      "Memory of train.mjs",
    );
    await expect(readFile(join(directory, "reports/plan.svg"), "utf8")).resolves.toMatch(/^<svg/);
  });

  it("shows a model that is built in, with the names of its layers", async () => {
    const { stdout } = await lanegrad(directory, ["plan", "--model", "gpt", "--budget", "24MB"]);
    expect(stdout).toMatch(/blocks\.\*\.attention\.1/);
    expect(stdout).toMatch(/computed again instead of being kept, for [\d.]+ % more arithmetic/);
  });

  it.each([
    [
      ["--budget", "48 bananas"],
      /^error: .*a size is a number of bytes above 0, or a text such as "48MB".*"48 bananas"/,
    ],
    [
      ["--budget", "100KB"],
      /^error: .*a memory budget of 100000 bytes is too small: the least found .* is \d+ \(by a search/,
    ],
    [["--html", "train.mjs/plan.html"], /^error: .*cannot write train\.mjs\/plan\.html: /],
    [["--html", "."], /^error: .*cannot write \.: illegal operation on a directory/],
    [["--model", "nowhere.mjs"], /^error: plan: nowhere\.mjs is neither built in \(mlp, cnn, gpt\) nor a module/],
  ])("says what is wrong with %j, without a stack trace", async (args, message) => {
    const { status, stderr } = await run(...args);
    expect(status).toBe(1);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^\s+at /m);
  });
});
