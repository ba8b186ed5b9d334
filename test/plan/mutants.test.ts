/** The replay finds what is wrong with a plan: a plan is broken in every way of a kind, and each that matters is noticed. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import { topological } from "../../src/graph/walk.js";
import { Layout, Opcode } from "../../src/isa.js";
import { MicroOp } from "../../src/micro-op.js";
import { Parameter } from "../../src/nn/module.js";
import { gelu } from "../../src/ops/activation.js";
import { embedding } from "../../src/ops/indexing.js";
import { cat } from "../../src/ops/join.js";
import { crossEntropy } from "../../src/ops/loss.js";
import { linear } from "../../src/ops/matmul.js";
import { layerNorm } from "../../src/ops/norm.js";
import { dropout, manualSeed, randn } from "../../src/ops/random.js";
import { Adam } from "../../src/optim/adam.js";
import { chainOf } from "../../src/plan/access.js";
import type { Buffer, Step } from "../../src/plan/buffer.js";
import { paddedBytes } from "../../src/plan/buffer.js";
import { encode } from "../../src/plan/encode.js";
import type { Plan } from "../../src/plan/plan.js";
import { replay } from "../../src/plan/replay.js";
import { compile } from "../../src/tensor/compile.js";
import { tensor } from "../../src/tensor/creation.js";
import { checkpoint } from "../../src/transforms/checkpoint.js";
import { start } from "../support/builds.js";
import { isCaught, type Subject, subjectOf } from "./subject.js";

const WIDTH = 8;
const BATCH = 12;

/** Residual blocks with every kind of step: gathers, scatters, joins, copies, products with epilogues, updates in place. */
function makeStep(): () => Tensor {
  manualSeed(0);
  const weights = Array.from({ length: 3 }, () => new Parameter(randn([WIDTH, WIDTH]).mul(0.3)));
  const table = new Parameter(randn([BATCH, WIDTH]));
  const optimizer = new Adam([...weights, table], { lr: 0.01 });
  const index = tensor(Int32Array.from({ length: BATCH }, (_, i) => (5 * i) % BATCH));
  const labels = tensor(Int32Array.from({ length: BATCH }, (_, i) => i % WIDTH));
  const block = (x: Tensor, w: Tensor): Tensor => dropout(gelu(linear(layerNorm(x, [WIDTH]), w)), 0.2);
  return compile(() => {
    let x = embedding(index, table);
    for (const weight of weights) x = x.add(checkpoint(block, x, weight));
    const halves = cat([x.slice(1, WIDTH / 2, WIDTH), x.slice(1, 0, WIDTH / 2)], 1);
    const loss = crossEntropy(halves.add(x.t().reshape([BATCH, WIDTH])), labels);
    optimizer.zeroGrad();
    loss.backward();
    optimizer.step();
    return loss;
  });
}

describe("a broken plan", () => {
  let subject: Subject;
  let right: string;

  beforeAll(async () => {
    await start("strict");
    subject = subjectOf(makeStep());
    right = subject.run(subject.plan.steps);
  });

  const caught = (steps: readonly Step[], what: string): boolean => isCaught(subject, steps, right, what);

  it("is right before it is broken, and runs again to the same bits", () => {
    const { plan, run } = subject;
    expect(() => replay(plan)).not.toThrow();
    expect(run(plan.steps)).toBe(right);
    expect(topological(plan.roots).length).toBeGreaterThan(100);
    expect(plan.originals.size).toBeGreaterThan(0);
  });

  it("lacks an instruction: whichever", () => {
    const { steps } = subject.plan;
    steps.forEach((step, i) => {
      const rest = steps.filter((_, k) => k !== i);
      const name = step.nodes.map(({ primitive }) => primitive.name).join("+");
      expect(caught(rest, `without step ${i} (${name}) the plan`), `step ${i} (${name}) left out`).toBe(true);
    });
  });

  it("has two instructions in the other order: wherever that matters", () => {
    const { steps } = subject.plan;
    let found = 0;
    for (let i = 0; i + 1 < steps.length; i++) {
      const swapped = [...steps];
      [swapped[i], swapped[i + 1]] = [steps[i + 1] as Step, steps[i] as Step];
      if (caught(swapped, `exchanging steps ${i} and ${i + 1}`)) found++;
    }
    expect(found).toBeGreaterThan(steps.length / 4);
  });

  it("has a buffer at another place: wherever that matters", () => {
    const { steps, temporaries, temporaryBytes } = subject.plan;
    let found = 0;
    for (const buffer of temporaries) {
      const { offset } = buffer;
      for (const shift of [-Layout.Alignment, Layout.Alignment, -offset]) {
        const moved = offset + shift;
        if (shift === 0 || moved < 0 || moved + paddedBytes(buffer) > temporaryBytes) continue;
        buffer.offset = moved;
        if (caught(steps, `moving the buffer at ${offset} to ${moved}`)) found++;
        buffer.offset = offset;
      }
    }
    expect(found).toBeGreaterThan(temporaries.length);
  });

  it("has an address in its words that is not the one of its step: any", () => {
    const { plan } = subject;
    const { code } = plan;
    code.relocations.offset.forEach((_, i) => {
      const offset = code.relocations.offset.slice();
      offset[i] = (offset[i] as number) + Layout.Alignment;
      const relocations = { ...code.relocations, offset };
      expect(() => replay({ ...plan, code: { ...code, relocations } })).toThrow(/words/);
    });
  });

  it("reads another value that is there: whichever", () => {
    const { steps, temporaries } = subject.plan;
    let tried = 0;
    steps.forEach((step, i) => {
      const from = step.reads.find(({ region }) => region.kind === "temporary");
      const into = temporaries.find(
        (buffer) =>
          buffer !== from &&
          buffer.bytes === from?.bytes &&
          buffer.first < i &&
          buffer.last >= i &&
          !step.reads.includes(buffer),
      );
      if (from === undefined || into === undefined || step.writes.includes(from)) return;
      const instead = (buffer: Buffer): Buffer => (buffer === from ? into : buffer);
      const words = step.words.map((word) =>
        typeof word === "object" ? { ...word, buffer: instead(word.buffer) } : word,
      );
      const wrong = { ...step, words, reads: step.reads.map(instead) };
      caught(
        steps.map((each) => (each === step ? wrong : each)),
        `reading another value in step ${i}`,
      );
      tried++;
    });
    expect(tried).toBeGreaterThan(10);
  });

  it("has a step of Adam whose parts are not those that its loop takes: whichever", () => {
    const { plan } = subject;
    let found = 0;
    for (const step of plan.steps.filter(({ opcode }) => opcode === Opcode.Elementwise)) {
      const { operations } = chainOf(step);
      // They are the last words, two for each; the bytes of the first are the operation, where it writes, and two operands.
      const start = step.words.length - 2 * operations.length;
      const exchanged = ([word, more]: readonly number[]): readonly number[] => {
        const [w, rest] = [word as number, more as number];
        return [(w & 0xffff) | ((w & 0xff0000) << 8) | ((w >>> 8) & 0xff0000), rest];
      };
      operations.forEach(({ op }, i) => {
        if (op !== MicroOp.AdamStep) return;
        const at = start + 2 * i;
        const part = (k: number): readonly number[] => step.words.slice(at + 2 * k, at + 2 * k + 2) as number[];
        const [average, square, last] = [part(0), part(1), part(2)];
        const broken: Record<string, readonly (readonly number[])[]> = {
          "subtracts the gradient from its average": [exchanged(average), square, last],
          "divides the average's square by the average": [average, square, exchanged(last)],
          "divides before the square is known": [average, last, square],
          "averages the square first": [square, average, last],
          "lacks the square": [average, average, last],
        };
        for (const [what, parts] of Object.entries(broken)) {
          const words = step.words.toSpliced(at, 6, ...parts.flat());
          const steps = plan.steps.map((each) => (each === step ? { ...step, words } : each));
          expect(() => replay({ ...plan, steps, code: encode(steps) }), what).toThrow(
            /step of Adam|no node of it|still reads/,
          );
        }
        found++;
      });
    }
    // One of each parameter.
    expect(found).toBe(4);
  });

  it("computes something again from other values than the first time", () => {
    const { plan } = subject;
    const [[copy], [, other]] = [...plan.originals].filter(([x], i, all) => x !== all[i - 1]?.[1]) as [
      [Plan["roots"][number], Plan["roots"][number]],
      [Plan["roots"][number], Plan["roots"][number]],
    ];
    expect(() => replay({ ...plan, originals: new Map([[copy, other]]) })).toThrow(/computed again from other values/);
  });
});
