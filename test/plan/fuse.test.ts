/** Which nodes run together, on random graphs of operators that fuse and operators that do not. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Node, nodeOf, type Tensor } from "../../src/graph/tensor.js";
import { isLeaf, topological } from "../../src/graph/walk.js";
import { add, exp, mul, sum, transpose } from "../../src/ops/index.js";
import { fuse, type Unit } from "../../src/plan/fuse.js";
import { tensor } from "../../src/tensor/creation.js";

const OPERATORS: readonly ((x: Tensor, y: Tensor) => Tensor)[] = [
  add,
  mul,
  (x) => exp(x),
  (x, y) => mul(x, sum(y)),
  (x, y) => add(transpose(x, 0, 1), y),
  (x, y) => mul(x, sum(y, 0, true)),
];

/** Each operator reads two of the values before it; every fifth value is wanted. */
function grow(picks: readonly (readonly [number, number, number])[]): Node[] {
  const values = [
    tensor([
      [1, 2],
      [3, 4],
    ]),
    tensor([
      [4, 3],
      [2, 1],
    ]),
  ];
  for (const [operator, a, b] of picks) {
    const pick = (i: number): Tensor => values[values.length - 1 - (i % values.length)] as Tensor;
    values.push((OPERATORS[operator % OPERATORS.length] as (typeof OPERATORS)[number])(pick(a), pick(b)));
  }
  return values.filter((_, i) => i % 5 === 0 || i === values.length - 1).map(nodeOf);
}

function unitsOf(roots: readonly Node[]): Unit[] {
  return fuse(topological(roots), new Set(roots));
}

const graphs = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { minLength: 1, maxLength: 120 }).map(grow);

describe("units", () => {
  it("hold every node once, in an order in which each comes after all that it reads", () => {
    fc.assert(
      fc.property(graphs, (roots) => {
        const computed = new Set<Node>();
        for (const { nodes } of unitsOf(roots)) {
          for (const node of nodes) {
            expect(computed.has(node)).toBe(false);
            for (const input of isLeaf(node) ? [] : node.inputs) expect(computed.has(input)).toBe(true);
            computed.add(node);
          }
        }
        expect(computed.size).toBe(topological(roots).length);
      }),
    );
  });

  it("hold no value that depends on another of its own by way of a different unit", () => {
    fc.assert(
      fc.property(graphs, (roots) => {
        const units = unitsOf(roots);
        const unitOf = new Map(units.flatMap((unit) => unit.nodes.map((node) => [node, unit] as const)));
        const behind = new Map<Unit, Set<Unit>>();
        for (const unit of units) {
          const all = new Set<Unit>();
          for (const input of unit.nodes.flatMap((node) => (isLeaf(node) ? [] : node.inputs))) {
            const other = unitOf.get(input) as Unit;
            if (other === unit) continue;
            for (const earlier of [other, ...(behind.get(other) as Set<Unit>)]) all.add(earlier);
          }
          expect(all.has(unit)).toBe(false);
          behind.set(unit, all);
        }
      }),
    );
  });

  it("stay apart where finding out whether they may be one would take long", () => {
    const sizes = [10, 1000].map((count) => {
      const first = mul(tensor([1, 2, 3, 4]), 2);
      let last: Tensor = tensor([4, 3, 2, 1]);
      for (let i = 0; i < count; i++) last = mul(last, sum(last));
      const result = nodeOf(add(first, last));
      return unitsOf([result]).find(({ nodes }) => nodes.includes(result))?.nodes.length;
    });
    expect(sizes).toEqual([3, 2]);
  });
});
