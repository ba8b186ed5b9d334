/** What the planner makes of graphs: how many steps, in how much memory, and that it notices its own mistakes. */
import { beforeAll, describe, expect, it } from "vitest";
import { nodeOf, type Tensor } from "../../src/graph/tensor.js";
import { Opcode } from "../../src/isa.js";
import { relu } from "../../src/ops/activation.js";
import type { Buffer } from "../../src/plan/buffer.js";
import { liveBytes, place } from "../../src/plan/place.js";
import { compilePlan, type Plan } from "../../src/plan/plan.js";
import { replay } from "../../src/plan/replay.js";
import { tensor } from "../../src/tensor/creation.js";
import { vjp } from "../../src/transforms/reverse.js";
import { start } from "../support/builds.js";

function planOf(...results: Tensor[]): Plan {
  return compilePlan({ results: results.map(nodeOf), states: [], stateLeaves: new Map(), updates: [] });
}

function opcodes(plan: Plan): Opcode[] {
  return plan.steps.map(({ opcode }) => opcode);
}

function matrix(rows: number, columns: number, from = 0): Tensor {
  return tensor(
    Float32Array.from({ length: rows * columns }, (_, i) => ((i + from) % 7) - 3),
    [rows, columns],
  );
}

beforeAll(() => start("strict"));

describe("fusion", () => {
  it("runs a chain of elementwise operators as one instruction", () => {
    const x = matrix(4, 5);
    const plan = planOf(x.mul(2).add(1).neg().mul(x).abs());
    expect(opcodes(plan)).toEqual([Opcode.Elementwise]);
  });

  it("joins chains that meet", () => {
    const x = matrix(4, 5);
    const y = matrix(4, 5, 3);
    expect(opcodes(planOf(x.mul(3).add(y.mul(5))))).toEqual([Opcode.Elementwise]);
  });

  it("keeps a chain whole where one of its values is needed outside too", () => {
    const middle = matrix(4, 5).mul(3);
    const plan = planOf(middle.add(1), middle);
    expect(opcodes(plan)).toEqual([Opcode.Elementwise]);
    expect(plan.results).toHaveLength(2);
  });

  it("does not join what something else must run between", () => {
    const x = matrix(4, 4);
    const doubled = x.mul(2);
    // The sum must be complete before any element is divided by it.
    const plan = planOf(doubled.div(doubled.sum()));
    expect(opcodes(plan)).toEqual([Opcode.Elementwise, Opcode.Reduce, Opcode.Elementwise]);
  });

  it("makes bias and activation the epilogue of a matrix product", () => {
    const out = matrix(8, 6)
      .matmul(matrix(6, 4))
      .add(tensor([1, 2, 3, 4]))
      .maximum(tensor(0));
    const plan = planOf(out);
    expect(opcodes(plan)).toEqual([Opcode.Gemm, Opcode.Elementwise]);
    const [gemm, chain] = plan.steps;
    expect(gemm?.flags).not.toBe(0);
    // The bias went into the product: the chain has the activation left.
    expect(chain?.nodes.map((node) => node.primitive.name)).toEqual(["maximum"]);
  });

  it("computes a ReLU's mask in the backward pass instead of storing it", () => {
    const x = matrix(8, 6);
    const w = matrix(6, 4);
    w.requiresGrad = true;
    const hidden = relu(x.matmul(w));
    const [, pull] = vjp((v: Tensor) => relu(x.matmul(v)).matmul(matrix(4, 3)), w);
    const plan = planOf(...pull(matrix(8, 3)), hidden);
    const masks = plan.temporaries.filter(({ node }) => node?.dtype === "bool");
    expect(masks).toEqual([]);
  });

  it("moves nothing for reshapes, transposes, slices and broadcasts", () => {
    const x = matrix(6, 4);
    const plan = planOf(
      x
        .t()
        .slice(0, 1, 3)
        .reshape([2, 3, 2])
        .flip(1)
        .add(tensor([1, 2])),
    );
    expect(opcodes(plan)).toEqual([Opcode.Elementwise]);
  });

  it("gives transposed operands to the product as they are", () => {
    expect(opcodes(planOf(matrix(6, 4).t().matmul(matrix(6, 5))))).toEqual([Opcode.Gemm]);
  });
});

describe("simplification", () => {
  it("computes equal expressions once", () => {
    const x = matrix(3, 3);
    const plan = planOf(x.matmul(x).add(x.matmul(x)));
    expect(opcodes(plan).filter((opcode) => opcode === Opcode.Gemm)).toHaveLength(1);
  });

  it("does arithmetic on constants while planning", () => {
    const plan = planOf(tensor([1, 2]).mul(tensor([1, 2]).mul(0).add(1).mul(1)));
    expect(plan.steps.length).toBe(1);
  });
});

describe("placement", () => {
  it("lets the results of a chain of products share two buffers", () => {
    let x = matrix(16, 16);
    for (let i = 0; i < 10; i++) x = x.matmul(x);
    const plan = planOf(x);
    const matrices = plan.temporaries.filter(({ node }) => node !== null);
    expect(matrices).toHaveLength(11);
    expect(plan.temporaryBytes).toBe(liveBytes(plan.temporaries));
    expect(plan.temporaryBytes).toBeLessThan(3 * 1024 + 8192);
  });

  it("lets an elementwise result take over the memory of an input that dies", () => {
    const x = matrix(64, 64);
    const plan = planOf(x.matmul(x).sum(0).neg().matmul(x).neg());
    const reused = plan.temporaries.filter(({ reuses }) => reuses !== null && reuses.from.last === reuses.step);
    expect(reused.length).toBeGreaterThan(0);
    for (const { reuses, offset } of reused) expect(reuses?.from.offset).toBe(offset);
  });

  it("never overlaps buffers that are alive together", () => {
    const span = (first: number, last: number, bytes: number): Buffer => ({
      region: { kind: "temporary" },
      bytes,
      node: null,
      first,
      last,
      offset: 0,
      reuses: null,
    });
    const buffers = Array.from({ length: 200 }, (_, i) =>
      span((i * 37) % 50, ((i * 37) % 50) + (i % 9), 16 * (1 + (i % 13))),
    );
    const total = place(buffers);
    expect(total).toBeGreaterThanOrEqual(liveBytes(buffers));
    for (const a of buffers) {
      for (const b of buffers) {
        if (a === b || a.last < b.first || b.last < a.first) continue;
        expect(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset).toBe(true);
      }
    }
  });
});

describe("symbolic replay", () => {
  it("accepts a plan as it is and rejects one whose buffers were moved onto each other", () => {
    const x = matrix(8, 8);
    const plan = planOf(x.matmul(x).add(x).sum());
    const results = plan.temporaries.filter(({ last }) => last === Number.POSITIVE_INFINITY);
    expect(() => replay(plan.steps, plan.temporaries, results)).not.toThrow();
    for (const buffer of plan.temporaries) buffer.offset = 0;
    expect(() => replay(plan.steps, plan.temporaries, results)).toThrow(/overwritten or never written/);
  });
});
