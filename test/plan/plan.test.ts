/** What the planner makes of graphs: how many steps, in how much memory, and that it notices its own mistakes. */
import { beforeAll, describe, expect, it } from "vitest";
import { nodeOf, type Tensor } from "../../src/graph/tensor.js";
import { Opcode } from "../../src/isa.js";
import { MicroOp } from "../../src/micro-op.js";
import { relu } from "../../src/ops/activation.js";
import { cat } from "../../src/ops/join.js";
import { linear } from "../../src/ops/matmul.js";
import type { Buffer } from "../../src/plan/buffer.js";
import { operationsOf } from "../../src/plan/chain.js";
import { encode } from "../../src/plan/encode.js";
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

/** The micro-operations of a chain. */
function microOps(nodes: readonly Tensor[], outputs: readonly Tensor[]): MicroOp[] {
  return operationsOf(nodes.map(nodeOf), new Set(outputs.map(nodeOf))).map(({ op }) => op);
}

/** A buffer of so many bytes that is alive from one step to another. */
function span(first: number, last: number, bytes: number): Buffer {
  return { region: { kind: "temporary" }, bytes, node: null, first, last, offset: 0, reuses: null };
}

describe("micro-operations", () => {
  const [a, b, c, d] = [0, 1, 2, 3].map((from) => matrix(4, 5, from)) as [Tensor, Tensor, Tensor, Tensor];

  it("makes one of a difference, its product and a sum", () => {
    const difference = a.sub(b);
    const product = difference.mul(c);
    const out = b.add(product);
    expect(microOps([difference, product, out], [out])).toEqual([MicroOp.SubMulAdd]);
  });

  it("makes one of two products and their sum, whichever comes first", () => {
    const [left, right] = [a.mul(b), c.mul(d)];
    for (const out of [left.add(right), right.add(left)])
      expect(microOps([left, right, out], [out])).toEqual([MicroOp.MulAddMul]);
  });

  it("keeps a value that something else reads on its own", () => {
    const difference = a.sub(b);
    const product = difference.mul(c);
    const out = b.add(product);
    expect(microOps([difference, product, out], [out, difference])).toEqual([MicroOp.Sub, MicroOp.MulAdd]);
    expect(microOps([difference, product, out], [out, product])).toEqual([MicroOp.Sub, MicroOp.Mul, MicroOp.Add]);
  });

  it("brings a step of Adam together, also where weight decay comes between", () => {
    const [g, m, v, p] = [a, b, c, d];
    const difference = g.sub(m);
    const change = difference.mul(0.1);
    const average = m.add(change);
    const old = v.mul(0.99);
    const square = g.mul(g);
    const share = square.mul(0.01);
    const averageSquare = old.add(share);
    const root = averageSquare.sqrt();
    const corrected = root.mul(1.5);
    const divisor = corrected.add(1e-8);
    const direction = average.div(divisor);
    const move = direction.mul(-0.001);
    const kept = p.mul(0.999);
    const out = move.add(kept);
    const nodes = [difference, change, average, old, square, share, averageSquare, root, corrected, divisor];
    expect(microOps([...nodes, direction, move, kept, out], [average, averageSquare, out])).toEqual([
      MicroOp.Mul,
      MicroOp.AdamStep,
      MicroOp.MulAddMulMul,
      MicroOp.DivRootMulAdd,
    ]);
  });
});

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

  it("makes what follows a layer on rows of any number of dimensions its epilogue", () => {
    const x = matrix(6, 4).reshape([2, 3, 4]);
    const weight = matrix(4, 4);
    const bias = tensor([1, 2, 3, 4]);
    const strided = matrix(4, 2).select(1, 1);
    for (const b of [bias, null, strided]) {
      const plan = planOf(linear(x, weight, b).add(x).maximum(tensor(0)));
      const copies = b === strided ? [Opcode.Copy] : [];
      expect(opcodes(plan)).toEqual([...copies, Opcode.Gemm, Opcode.Elementwise]);
      expect(plan.steps.at(-1)?.nodes.map((node) => node.primitive.name)).toEqual(["add", "maximum"]);
      const product = x.matmul(weight.t());
      const apart = [...(b === null ? product : product.add(b)).data()];
      const expected = apart.map((y, i) => Math.max(0, y + (x.data()[i] as number)));
      expect([...linear(x, weight, b).add(x).maximum(tensor(0)).data()]).toEqual(expected);
    }
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

  it("copies an operand that a chain would read across its lines, where those are many", () => {
    const across = (rows: number, columns: number): Plan =>
      planOf(matrix(rows, columns).add(matrix(columns, rows).t()));
    expect(opcodes(across(20, 160))).toEqual([Opcode.Copy, Opcode.Elementwise]);
    expect(opcodes(across(160, 20))).toEqual([Opcode.Elementwise]);
    expect(opcodes(across(40, 40))).toEqual([Opcode.Elementwise]);
    const [x, y] = [matrix(20, 160), matrix(160, 20)];
    const expected = x.toArray() as number[][];
    expected.forEach((row, i) => {
      row.forEach((_, j) => {
        row[j] = (row[j] as number) + ((y.toArray() as number[][])[j]?.[i] as number);
      });
    });
    expect(x.add(y.t()).toArray()).toEqual(expected);
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

describe("gradients of parts of a tensor", () => {
  /** The instructions that compute the gradient of Σ Σᵢ exp(partᵢ)ⁱ⁺¹, and the gradient. */
  function gradientOf(parts: (x: Tensor) => Tensor[], x: Tensor): { opcodes: Opcode[]; gradient: number[] } {
    const powers = (x: Tensor) =>
      parts(x).map((part, i) =>
        part
          .mul(i + 1)
          .exp()
          .sum(),
      );
    const [, pull] = vjp((x: Tensor) => powers(x).reduce((a, b) => a.add(b)), x);
    const gradient = pull(tensor(1))[0];
    return { opcodes: opcodes(planOf(gradient)), gradient: [...gradient.data()] };
  }
  const count = (all: readonly Opcode[], opcode: Opcode): number => all.filter((each) => each === opcode).length;
  const slope = (x: number, i: number): number => Math.fround((i + 1) * Math.exp((i + 1) * x));

  it.each([
    { what: "chunks", parts: (x: Tensor) => x.chunk(3, 1), of: (c: number) => Math.floor(c / 2) },
    {
      what: "splits of unequal size",
      parts: (x: Tensor) => x.split([1, 4, 1], 1),
      of: (c: number) => [0, 1, 1, 1, 1, 2][c],
    },
    { what: "single columns", parts: (x: Tensor) => x.unbind(1), of: (c: number) => c },
    {
      what: "every second column",
      parts: (x: Tensor) => [x.slice(1, 0, 6, 2), x.slice(1, 1, 6, 2)],
      of: (c: number) => c % 2,
    },
  ])("are written side by side: $what", ({ parts, of }) => {
    const x = matrix(2, 6);
    const { opcodes, gradient } = gradientOf(parts, x);
    expect(count(opcodes, Opcode.Fill)).toBe(0);
    expect(count(opcodes, Opcode.Copy)).toBe(parts(x).length);
    [...x.data()].forEach((v, i) => {
      expect(gradient[i]).toBeCloseTo(slope(v, of(i % 6) as number), 3);
    });
  });

  it("are written into zeros once where they leave gaps, and added where they overlap", () => {
    const x = matrix(2, 6);
    const gaps = gradientOf((x) => [x.narrow(1, 4, 2), x.narrow(1, 0, 1)], x);
    expect([count(gaps.opcodes, Opcode.Fill), count(gaps.opcodes, Opcode.Copy)]).toEqual([1, 2]);
    expect(gaps.gradient.map((g) => g === 0)).toEqual([...x.data()].map((_, i) => i % 6 > 0 && i % 6 < 4));
    const overlap = gradientOf((x) => [x.narrow(1, 0, 4), x.narrow(1, 2, 4)], x);
    [...x.data()].forEach((v, i) => {
      const expected = (i % 6 < 4 ? slope(v, 0) : 0) + (i % 6 >= 2 ? slope(v, 1) : 0);
      expect(overlap.gradient[i]).toBeCloseTo(expected, 3);
    });
  });

  it("are not moved at all where they lie side by side already", () => {
    const packed = matrix(4, 6).mul(2);
    const [a, b, c] = packed.reshape([4, 3, 2]).unbind(1) as [Tensor, Tensor, Tensor];
    const together = cat(
      [a, b, c].map((x) => x.reshape([4, 1, 2])),
      1,
    );
    expect(opcodes(planOf(together.reshape([4, 6]).add(1)))).toEqual([Opcode.Elementwise]);
    const [left, right] = packed.chunk(2, 1) as [Tensor, Tensor];
    expect(opcodes(planOf(cat([right, left], 1).add(1)))).toContain(Opcode.Copy);
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
    const reused = plan.temporaries.flatMap(({ reuses, offset }) =>
      (reuses?.from ?? []).filter(({ last }) => last === reuses?.step).map((from) => [from.offset, offset]),
    );
    expect(reused.length).toBeGreaterThan(0);
    for (const [from, offset] of reused) expect(from).toBe(offset);
  });

  it("never overlaps buffers that are alive together", () => {
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

  it("fits thousands of values that a backward pass frees in turn", () => {
    const layers = 6000;
    const kept = Array.from({ length: layers }, (_, i) => span(3 * i, 6 * layers - 3 * i, 16 * (1 + (i % 5))));
    const passing = Array.from({ length: layers }, (_, i) => span(3 * i, 3 * i + 1, 64));
    const buffers = [...kept, ...passing];
    const bound = liveBytes(buffers);
    const total = place(buffers);
    expect(total).toBeGreaterThanOrEqual(bound);
    expect(total).toBeLessThanOrEqual(1.002 * bound);
    const byOffset = [...buffers].sort((a, b) => a.offset - b.offset);
    let overlaps = 0;
    for (const [i, a] of byOffset.entries()) {
      for (let j = i + 1; (byOffset[j]?.offset ?? total) < a.offset + a.bytes; j++) {
        const b = byOffset[j] as Buffer;
        if (a.first <= b.last && b.first <= a.last) overlaps++;
      }
    }
    expect(overlaps).toBe(0);
  });

  it("finds the fewest bytes where an order by size does not", () => {
    const buffers = [span(5, 7, 64), span(4, 5, 48), span(0, 2, 80), span(2, 4, 80)];
    expect(place(buffers)).toBe(160);
    expect(liveBytes(buffers)).toBe(160);
  });
});

describe("symbolic replay", () => {
  it("accepts a plan as it is and rejects one whose buffers were moved onto each other", () => {
    const x = matrix(8, 8);
    const plan = planOf(x.matmul(x).add(x).sum());
    expect(() => replay(plan)).not.toThrow();
    for (const buffer of plan.temporaries) buffer.offset = 0;
    expect(() => replay({ ...plan, code: encode(plan.steps) })).toThrow(/writes where it still reads|should read/);
  });
});
