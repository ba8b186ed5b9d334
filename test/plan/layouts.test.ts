/**
 * The replay checks each instruction element by element: programs that read through layouts of every kind are broken one
 * word at a time, in every word, and whatever changes a bit is noticed.
 */
import { beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import { Opcode } from "../../src/isa.js";
import { Parameter } from "../../src/nn/module.js";
import { scaledDotProductAttention } from "../../src/ops/attention.js";
import { conv2d } from "../../src/ops/convolution.js";
import { cumsum } from "../../src/ops/cumulative.js";
import { diagEmbed, diagonal } from "../../src/ops/diagonal.js";
import { gather } from "../../src/ops/indexing.js";
import { cat } from "../../src/ops/join.js";
import { batchNorm, layerNorm } from "../../src/ops/norm.js";
import { maxPool2d } from "../../src/ops/pooling.js";
import { manualSeed, randn } from "../../src/ops/random.js";
import { indexAdd } from "../../src/ops/scatter.js";
import { sort } from "../../src/ops/sort.js";
import { SGD } from "../../src/optim/sgd.js";
import type { Buffer, PlanOperand, Step } from "../../src/plan/buffer.js";
import { opcodeName } from "../../src/plan/print.js";
import { compile } from "../../src/tensor/compile.js";
import { tensor } from "../../src/tensor/creation.js";
import { start } from "../support/builds.js";
import { isCaught, type Subject, subjectOf } from "./subject.js";

/** Functions of a parameter of this shape, and the instructions that their programs have. */
const FUNCTIONS: Readonly<Record<string, readonly [readonly Opcode[], (x: Tensor) => Tensor]>> = {
  "elements transposed, reversed, broadcast and every other one": [
    [Opcode.Elementwise, Opcode.Reduce],
    (x) => {
      const y = x
        .permute(2, 0, 1)
        .mul(x.flip(0).permute(2, 0, 1))
        .tanh();
      return y
        .add(y.slice(1, 0, 1).exp())
        .slice(2, 0, 4, 2)
        .mul(x.sum([0, 1]).reshape([4, 1, 1]));
    },
  ],
  "products of transposed, sliced and broadcast matrices": [
    [Opcode.Gemm],
    (x) => {
      const left = x.slice(1, 1, 3).transpose(1, 2);
      const product = left.matmul(x.slice(0, 0, 1).slice(1, 0, 2)).add(x.sum([0, 1]));
      return product.matmul(x.transpose(0, 2).slice(2, 0, 1).reshape([4, 3]));
    },
  ],
  "a product with a bias and a chain, of joined and placed parts": [
    [Opcode.Gemm, Opcode.Elementwise, Opcode.Copy, Opcode.Fill],
    (x) => {
      const rows = cat([x.slice(2, 2, 4), x.flip(1).slice(2, 0, 2)], 2).reshape([6, 4]);
      const square = diagEmbed(diagonal(x, 0, 1, 2)).sum(0);
      return rows
        .matmul(cat([square, square.slice(0, 0, 1)], 0))
        .add(x.amax([0, 1]).slice(0, 0, 3))
        .relu()
        .mul(2);
    },
  ],
  "attention whose heads are columns": [
    [Opcode.Attention],
    (x) => {
      const heads = (y: Tensor): Tensor => y.reshape([2, 3, 2, 2]).transpose(1, 2);
      return scaledDotProductAttention(heads(x), heads(x.mul(2)), heads(x.flip(2)), { isCausal: true }).transpose(1, 2);
    },
  ],
  "picked and scattered elements of a transposed table": [
    [Opcode.Gather, Opcode.Scatter],
    (x) => {
      const index = tensor([[[2, 0, 1]], [[1, 1, 0]]], { dtype: "i32" });
      const table = x.transpose(1, 2).contiguous();
      const picked = gather(table, 2, index.expand([2, 4, 3]));
      return indexAdd(table, 1, tensor([3, 0, 0, 1], { dtype: "i32" }), picked);
    },
  ],
  "norms, running sums and sorted rows": [
    [Opcode.Rows, Opcode.Scan, Opcode.Sort, Opcode.ChannelNorm],
    (x) => {
      const normal = layerNorm(x, [4], x.sum([0, 1]), x.sum([0, 1]).slice(0, 0, 1).expand([4]));
      const wide = cat([normal, x.flip(0), normal.exp(), x.flip(2)], 2);
      const channels = batchNorm(wide, null, null, null, null, true);
      return sort(cumsum(channels.slice(2, 0, 8, 2).transpose(1, 2), 1), 1).values.softmax(-1);
    },
  ],
  "convolutions and pools": [
    [Opcode.Convolution, Opcode.Pool],
    (x) => {
      const image = x.reshape([1, 2, 3, 4]);
      const wide = cat([image, image.flip(3)], 3);
      return maxPool2d(conv2d(wide, cat([image.slice(3, 0, 3), image.slice(3, 1, 4)], 0), null, { padding: 1 }), 2);
    },
  ],
};

/** A training step of a function, with weights that tell all elements of its result apart. */
function stepOf(of: (x: Tensor) => Tensor): () => Tensor {
  manualSeed(7);
  const x = new Parameter(randn([2, 3, 4]));
  const weights = randn(of(x).shape);
  const optimizer = new SGD([x], { lr: 0.1 });
  return compile(() => {
    optimizer.zeroGrad();
    const loss = of(x).mul(weights).sum();
    loss.backward();
    optimizer.step();
    return loss;
  });
}

/** Numbers in the place of a word: near ones, none, its negative, and one with another of its bytes changed. */
function otherNumbers(word: number): number[] {
  const others = [word + 1, word - 1, 0, -word, 2 * word, word ^ 0x100, word ^ 0x10000, word ^ 0x1000000];
  return [...new Set(others.map((x) => x | 0))].filter((x) => x !== (word | 0));
}

describe.each(Object.entries(FUNCTIONS))("a plan with %s", (_, [opcodes, of]) => {
  let subject: Subject;
  let right: string;
  let steps: readonly Step[];

  beforeAll(async () => {
    await start("strict");
    subject = subjectOf(stepOf(of));
    ({ steps } = subject.plan);
    right = subject.run(steps);
  });

  /** Replays the plan with one step changed. */
  const changed = (step: Step, change: Partial<Step>, what: string): boolean =>
    isCaught(
      subject,
      steps.map((each) => (each === step ? { ...step, ...change } : each)),
      right,
      what,
    );

  it("has the instructions that it is to have, and is right", () => {
    for (const opcode of opcodes) expect(steps.map((step) => opcodeName(step.opcode))).toContain(opcodeName(opcode));
    expect(isCaught(subject, steps, right, "nothing")).toBe(false);
  });

  it("has another stride, extent or operation: wherever that matters", () => {
    let [tried, found] = [0, 0];
    for (const [i, step] of steps.entries()) {
      const name = `${opcodeName(step.opcode)} ${i}`;
      for (const flags of [step.flags ^ 1, step.flags ^ 2]) {
        tried++;
        if (changed(step, { flags }, `${name} with other flags`)) found++;
      }
      step.words.forEach((word, at) => {
        if (typeof word !== "number") return;
        for (const other of otherNumbers(word)) {
          tried++;
          const words = step.words.with(at, other);
          if (changed(step, { words }, `${name} with ${other} in place of ${word} in word ${at}`)) found++;
        }
      });
    }
    expect(found).toBeGreaterThan(tried / 2);
  });

  it("reads and writes from another element of a buffer on: anywhere", () => {
    for (const [i, step] of steps.entries()) {
      step.words.forEach((word, at) => {
        if (typeof word !== "object" || step.writes.includes(word.buffer) !== (word.buffer.node !== null)) return;
        for (const shift of [-1, 1, 4]) {
          const words = step.words.with(at, { ...word, offset: word.offset + shift });
          const what = `${opcodeName(step.opcode)} ${i} with word ${at} moved by ${shift}`;
          // A workspace may be anywhere within its buffer; nothing else may.
          changed(step, { words }, what);
        }
      });
    }
  });

  it("has its operands in another order: wherever that matters", () => {
    let found = 0;
    for (const [i, step] of steps.entries()) {
      const places = step.words.flatMap((word, at) => (typeof word === "object" ? [at] : []));
      for (const a of places) {
        for (const b of places.filter((place) => place > a)) {
          const [x, y] = [step.words[a], step.words[b]] as [PlanOperand, PlanOperand];
          const reads: Buffer[] = [...step.reads, ...step.writes];
          const change = { words: step.words.with(a, y).with(b, x), reads, writes: reads };
          if (changed(step, change, `${opcodeName(step.opcode)} ${i} with words ${a} and ${b} exchanged`)) found++;
        }
      }
    }
    expect(found).toBeGreaterThan(0);
  });
});
