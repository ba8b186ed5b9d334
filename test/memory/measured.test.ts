/** The memory that a step is foretold to take is the memory that it takes, to the byte; and audits find what strays. */
import { describe, expect, it } from "vitest";
import { gpt } from "../../bench/training-graphs.js";
import type { Tensor } from "../../src/graph/tensor.js";
import { Opcode } from "../../src/isa.js";
import { randn } from "../../src/ops/random.js";
import type { Program } from "../../src/runtime/runtime.js";
import { type CompileOptions, compile } from "../../src/tensor/compile.js";
import { tensor } from "../../src/tensor/creation.js";
import { runtime } from "../../src/tensor/session.js";
import { BUILDS, start } from "../support/builds.js";

const SMALL = { batch: 3, heads: 2, vocabulary: 19, p: 0.1 };

describe.each(BUILDS)("on the %s build", (build) => {
  it.each([
    ["as it is", {}],
    ["with cheap values computed again", { recompute: "cheap" }],
    ["with all but products computed again", { recompute: "all but products" }],
    ["within a budget", { memoryBudget: 0.7 }],
  ] as [string, CompileOptions][])("a GPT's step, %s, takes what was foretold", async (_, options) => {
    const audit = await start(build);
    const graph = gpt(2, 12, 10, SMALL);
    const whole = graph.step().memory(...graph.args);
    const memoryBudget = Math.floor(whole.arenaBytes - 0.3 * whole.temporaryBytes);
    const step = graph.step(options.memoryBudget === undefined ? options : { memoryBudget });
    const { arenaBytes, stateBytes, temporaryBytes, programBytes, sharedBytes } = step.memory(...graph.args);
    step(...graph.args);
    const foretold = { arenaBytes, stateBytes, temporaryBytes, programBytes, sharedBytes };
    expect(audit.measured).toEqual(foretold);
    if (options.memoryBudget !== undefined) expect(arenaBytes).toBeLessThanOrEqual(memoryBudget);
    // What a user asks for finds the same, and leaves no trace.
    const { guard } = runtime();
    expect(step.measureMemory(...graph.args)).toEqual(foretold);
    expect(runtime().guard).toBe(guard);
  });

  it("eager programs take theirs", async () => {
    const audit = await start(build);
    const x = randn([7, 5]);
    x.requiresGrad = true;
    x.matmul(x.t()).softmax(1).sum().backward();
    (x.grad as Tensor).toArray();
    expect(audit.measured?.temporaryBytes).toBeGreaterThan(4 * 7 * 7);
  });

  it("an audit finds a program that reads what it never wrote, and one that writes elsewhere, however large it is", async () => {
    const run = async (damage: (program: Program) => void, rows = 6): Promise<number | undefined> => {
      const audit = await start(build);
      const x = new Float32Array(5 * rows).fill(0.5);
      const step = compile((x: Tensor) => x.exp().sum(0).mul(2).add(x).sum());
      runtime().guard = {
        around(program, states, execute) {
          damage(program);
          return audit.around(program, states, execute);
        },
      };
      step(tensor(x, [rows, 5]));
      return audit.measured?.temporaryBytes;
    };
    const offsetOf = (program: Program, opcode: Opcode, written: boolean): number => {
      const { code, steps } = program.plan;
      const at = steps.findIndex((step) => step.opcode === opcode);
      const from = code.starts[at] as number;
      const words = code.relocations.word;
      const places = words.map((word, i) => (word >= from && word < from + code.words.length ? i + 1 : 0));
      const own = [...places].filter((i) => i > 0).map((i) => i - 1);
      // A Reduce names its output first, then what it reads.
      return own[written ? 0 : 1] as number;
    };
    const shift = (written: boolean) => (program: Program) => {
      const i = offsetOf(program, Opcode.Reduce, written);
      const { offset } = program.plan.code.relocations;
      offset[i] = program.plan.temporaryBytes - 4 * (written ? 4 : 5);
    };
    await expect(run(() => {})).resolves.toBeGreaterThan(0);
    await expect(run(shift(false))).rejects.toThrow(/depends on memory that was never written|never written|touched/);
    await expect(run(shift(true))).rejects.toThrow(/audit/);
    const large = 5e6;
    await expect(run(() => {}, large)).resolves.toBeGreaterThan(200e6);
    await expect(run(shift(true), large)).rejects.toThrow(/audit/);
  });
});
