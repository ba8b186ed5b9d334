import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeSafetensors } from "../../src/io/index.js";
import { idx, lanegrad, writeDigits } from "./support.js";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "lanegrad-cli-"));
  await writeDigits(directory, 600);
});
afterAll(() => rm(directory, { recursive: true }));

const run = (...args: string[]) => lanegrad(directory, args);
const small = ["--count", "600", "--held-out", "100", "--hidden", "32", "--epochs", "2", "--batch", "32"];
const lastLine = (text: string) => JSON.parse(text.trimEnd().split("\n").at(-1) as string);

describe("lanegrad train digits", () => {
  it("trains on drawn digits, saves the weights, and ends standard output with one line of JSON", async () => {
    const { status, stdout, stderr } = await run("train", "digits", ...small, "--out", "drawn", "--json");
    expect(stderr).toContain("epoch 2/2");
    expect(status).toBe(0);
    expect(stdout.trimEnd().split("\n")).toHaveLength(1);
    const report = lastLine(stdout);
    expect(report).toMatchObject({
      steps: 36,
      threads: expect.any(Number),
      build: expect.stringMatching(/^(strict|relaxed)$/),
      weights: join("drawn", "weights.safetensors"),
      interrupted: false,
    });
    // A guess would be right in one of ten.
    expect(report.testAccuracy).toBeGreaterThan(0.3);
    expect(report.testLoss).toBeLessThan(Math.log(10));
    for (const field of ["seconds", "stepsPerSecond", "gflops", "arenaBytes"])
      expect(report[field], field).toBeGreaterThan(0);
    const { tensors } = decodeSafetensors(await readFile(join(directory, report.weights)));
    expect(Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]))).toEqual({
      "0.weight": [32, 784],
      "0.bias": [32],
      "2.weight": [10, 32],
      "2.bias": [10],
    });
  });

  it("writes plain lines where there is no terminal: one for each epoch, the confusion table and a summary", async () => {
    const { stdout, stderr } = await run("train", "digits", ...small, "--out", "plain");
    expect(stderr).toBe("");
    // No control characters but line feeds: a bar would redraw itself with carriage returns and escapes.
    const controls = [...stdout].filter((character) => character < " " && character !== "\n");
    expect(controls).toEqual([]);
    expect(stdout.match(/^epoch \d\/2 {2}loss \d/gm)).toHaveLength(2);
    expect(stdout).toContain("true ╲ taken for");
    expect(stdout).toMatch(/^held out {2}\d+\.\d\d % right \(\d+ of 100\), loss \d/m);
    expect(stdout).toMatch(/^memory {4}\d.* planned for a step/m);
  });

  it("gives the same weights for the same seed, and others for another", async () => {
    const weights = async (seed: string, out: string) => {
      await run("train", "digits", ...small, "--seed", seed, "--build", "strict", "--out", out);
      return readFile(join(directory, out, "weights.safetensors"));
    };
    const [first, again, other] = [await weights("3", "a"), await weights("3", "b"), await weights("4", "c")];
    expect(again.equals(first)).toBe(true);
    expect(other.equals(first)).toBe(false);
  });

  it("saves what it has when Ctrl-C ends it, and says so", async () => {
    const args = ["train", "digits", "--count", "600", "--epochs", "100000", "--out", "stopped", "--json"];
    const { status, stdout, stderr } = await lanegrad(directory, args, (child, output) => {
      if (output.includes("epoch") && !child.killed) child.kill("SIGINT");
    });
    expect(status).toBe(130);
    const report = lastLine(stdout);
    expect(report.interrupted).toBe(true);
    expect(stderr).toContain(
      `stopped after step ${report.steps} of 900000; the weights so far are in ${report.weights}`,
    );
    expect((await stat(join(directory, report.weights))).size).toBeGreaterThan(4 * 784 * 256);
  });
});

describe("lanegrad predict", () => {
  it("finds the accuracy on held-out files again that training reported", async () => {
    const trained = await run(
      "train",
      "digits",
      "--data",
      ".",
      "--hidden",
      "",
      "--epochs",
      "3",
      "--out",
      "files",
      "--json",
    );
    const report = lastLine(trained.stdout);
    const predicted = await run("predict", report.weights, "--data", ".", "--json");
    expect(lastLine(predicted.stdout)).toEqual({
      testAccuracy: report.testAccuracy,
      testLoss: report.testLoss,
      images: 120,
      weights: report.weights,
    });
  });

  it("draws digits of another seed when no files are given", async () => {
    await run("train", "digits", ...small, "--seed", "8", "--out", "other");
    const { stdout, status } = await run("predict", join("other", "weights.safetensors"), "--held-out", "50");
    expect(status).toBe(0);
    expect(stdout).toContain("50 held-out images: digits drawn here, with seed 9");
    expect(stdout).toMatch(/^first images {2}\d \(\d+ %\)/m);
  });

  it("refuses weights that are truncated, of something else, or for other images", async () => {
    await run("train", "digits", ...small, "--out", "whole");
    const whole = await readFile(join(directory, "whole", "weights.safetensors"));
    await writeFile(join(directory, "cut.safetensors"), whole.subarray(0, 5000));
    const cut = await run("predict", "cut.safetensors");
    expect(cut).toMatchObject({ status: 1, stdout: "" });
    expect(cut.stderr).toMatch(/^error: cut\.safetensors: the file is truncated: .* and there are \d+\n$/);

    await writeFile(join(directory, "foreign.safetensors"), Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d));
    const foreign = await run("predict", "foreign.safetensors");
    expect(foreign.stderr).toBe(
      'error: foreign.safetensors: these weights are not from "lanegrad train digits": metadata lanegrad.digits is missing\n',
    );

    await mkdir(join(directory, "tiny"));
    await writeFile(join(directory, "tiny", "t10k-images-idx3-ubyte"), idx([5, 2, 2], new Uint8Array(20)));
    await writeFile(join(directory, "tiny", "t10k-labels-idx1-ubyte"), idx([5], new Uint8Array(5)));
    const tiny = await run("predict", join("whole", "weights.safetensors"), "--data", "tiny");
    expect(tiny.stderr).toBe(
      "error: the images are 2 × 2 pixels, but the weights in whole/weights.safetensors read 28 × 28\n",
    );
  });
});

describe("mistakes on the command line", () => {
  it.each([
    [["predict", "nowhere.safetensors"], "error: cannot read nowhere.safetensors: no such file or directory"],
    [["train", "digits", "--data", "nowhere"], "error: cannot read nowhere: no such file or directory"],
    [
      ["train", "digits", "--count", "20", "--batch", "30"],
      "error: a batch of 30 is more than the 20 images to train on",
    ],
    [["train", "cats"], "Allowed choices are digits."],
    [["train", "digits", "--epochs", "0"], "argument '0' is invalid. It must be a whole number from 1 up."],
    [["train", "digits", "--lr", "fast"], "argument 'fast' is invalid. It must be a number above 0."],
    [["train", "digits", "--hidden", "64,x"], "It must be sizes from 1 to 65536, such as 256,128."],
    [["train", "digits", "--build", "best"], "Allowed choices are auto, strict, relaxed."],
    [["tran"], "error: unknown command 'tran'"],
  ])("are named, without a stack trace: %j", async (args, message) => {
    const { status, stderr } = await run(...args);
    expect(status).toBe(1);
    expect(stderr).toContain(message);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  it("can be prevented by reading the help", async () => {
    const { status, stdout } = await run("train", "--help");
    expect(status).toBe(0);
    for (const option of [
      "--data",
      "--epochs",
      "--batch",
      "--lr",
      "--hidden",
      "--seed",
      "--out",
      "--build",
      "--json",
    ]) {
      expect(stdout).toContain(option);
    }
  });
});
