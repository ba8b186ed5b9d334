import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lanegrad } from "../cli/support.js";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "lanegrad-profile-"));
});
afterAll(() => rm(directory, { recursive: true }));

const run = (...args: string[]) => lanegrad(directory, ["profile", ...args]);

describe("lanegrad profile", () => {
  it("prints phases, operators and instructions of a model that is built in, and with --json a line of all of it", async () => {
    const { status, stdout, stderr } = await run("mlp", "--seconds", "0.1", "--json");
    expect(status).toBe(0);
    expect(stderr).toMatch(/^A step takes \d[\d.]* (µs|ms) /);
    expect(stderr).toContain("By operator");
    expect(stdout.trimEnd().split("\n")).toHaveLength(1);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ model: "mlp", build: expect.stringMatching(/^(strict|relaxed)$/) });
    const gemms = report.instructions.filter(({ instruction }: { instruction: string }) => instruction === "gemm");
    expect(gemms.length).toBeGreaterThanOrEqual(8);
    for (const { milliseconds, flops, fraction } of gemms) {
      expect(milliseconds).toBeGreaterThan(0);
      expect(flops).toBeGreaterThan(0);
      expect(fraction).toBeGreaterThan(0);
    }
  });

  it("profiles the step that a module of the user's exports", async () => {
    const library = JSON.stringify(fileURLToPath(new URL("../../build/node/index.js", import.meta.url)));
    await writeFile(
      join(directory, "model.mjs"),
      `import { compile, rand } from ${library};
       const x = rand([64, 64]);
       export const step = compile(() => x.matmul(x).exp().sum());`,
    );
    const { status, stdout, stderr } = await run("model.mjs", "--seconds", "0.1");
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toContain("matmul+exp");
  });

  it("says what is wrong where there is no such model, or it exports no step", async () => {
    const missing = await run("nothing.js");
    expect(missing.status).toBe(1);
    expect(missing.stderr).toContain("nothing.js is neither built in (mlp, cnn, gpt) nor a module");
    await writeFile(join(directory, "empty.mjs"), "export const other = 1;");
    const empty = await run("empty.mjs");
    expect(empty.status).toBe(1);
    expect(empty.stderr).toContain("empty.mjs must export step, a function that trains once, not undefined");
  });

  it("says what a step must be where its first call fails or does not wait", async () => {
    await writeFile(join(directory, "needy.mjs"), "export const step = (batch) => batch.length;");
    const needy = await run("needy.mjs");
    expect(needy.status).toBe(1);
    expect(needy.stderr).toContain("step() of needy.mjs failed: Cannot read properties of undefined");
    expect(needy.stderr).toContain("it must bring its data");
    await writeFile(join(directory, "later.mjs"), "export const step = async () => 1;");
    const later = await run("later.mjs");
    expect(later.status).toBe(1);
    expect(later.stderr).toContain("step() of later.mjs returned a promise");
  });
});
