/** The package as users get it: its declarations under the strictest checks, and its entry points in Node. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const consumer = fileURLToPath(new URL("consumer.ts", import.meta.url));

const strictest: ts.CompilerOptions = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: false,
  noEmit: true,
  target: ts.ScriptTarget.ES2022,
  lib: ["lib.es2023.d.ts", "lib.dom.d.ts"],
  types: [],
};

describe("the package", () => {
  it.each([
    ["Node's resolution", { module: ts.ModuleKind.NodeNext }],
    ["a bundler's", { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler }],
  ])("has sound types under %s", (_, resolution) => {
    const program = ts.createProgram([consumer], { ...strictest, ...resolution });
    const messages = ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => {
      return `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`;
    });
    expect(messages).toEqual([]);
  });

  it.each(["index", "nn/index", "optim/index", "data/index", "io/index"])(
    "gives Node what it gives pages: %s",
    async (entry) => {
      const kinds = async (bundle: string): Promise<Record<string, string>> => {
        const exported: object = await import(new URL(`../../build/${bundle}/${entry}.js`, import.meta.url).href);
        return Object.fromEntries(Object.entries(exported).map(([name, value]) => [name, typeof value]));
      };
      expect(await kinds("node")).toEqual(await kinds("js"));
    },
  );

  it("runs from its entry points", async () => {
    const { outputText } = ts.transpileModule(ts.sys.readFile(consumer) as string, { compilerOptions: strictest });
    // Beside the source, so that the package's own name resolves.
    const folder = await mkdtemp(fileURLToPath(new URL("run-", import.meta.url)));
    try {
      const program = join(folder, "consumer.mjs");
      await writeFile(program, outputText);
      const { stdout } = await promisify(execFile)(process.execPath, [program]);
      expect(stdout).toMatch(/^\d+ tensor f32\[2\] \[3, 12\]\n$/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
