/** What a walk knows of each value is kept up to date from one change to the next: it must be what working it all out gives. */
import { describe, expect, it } from "vitest";
import { Bits } from "../../src/plan/recompute/bits.js";
import { columnsOf } from "../../src/plan/recompute/columns.js";
import type { Model, Value } from "../../src/plan/recompute/model.js";
import { Outlook } from "../../src/plan/recompute/outlook.js";

/** Numbers from 0 to `below`, always the same (Park and Miller's generator). */
function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
}

describe("a set of bits", () => {
  it.each([1, 31, 32, 33, 100])("is gone through in order, both ways, with numbers below %i", (count) => {
    const roll = dice(count);
    const [bits, set] = [new Bits(count), new Set<number>()];
    for (let i = 0; i < 4 * count; i++) {
      const v = roll(count);
      if (roll(2) === 0) {
        bits.add(v);
        set.add(v);
      } else {
        bits.delete(v);
        set.delete(v);
      }
      const [rising, falling]: [number[], number[]] = [[], []];
      for (let x = bits.from(0); x !== -1; x = bits.from(x + 1)) rising.push(x);
      for (let x = bits.upTo(count - 1); x !== -1; x = bits.upTo(x - 1)) falling.push(x);
      const sorted = [...set].sort((a, b) => a - b);
      expect(rising).toEqual(sorted);
      expect(falling).toEqual(sorted.reverse());
      expect(bits.has(v)).toBe(set.has(v));
    }
  });
});

describe("an outlook", () => {
  const COUNT = 80;

  function valuesOf(roll: (below: number) => number): Value[] {
    return Array.from({ length: COUNT }, (_, v) => {
      const inputs = [...new Set(Array.from({ length: roll(4) }, () => v - 1 - roll(10)))].filter((x) => x >= 0);
      const uses = [...new Set(Array.from({ length: 1 + roll(4) }, () => v + 1 + roll(100)))].sort((a, b) => a - b);
      return { inputs, uses, cost: 1 + roll(9), bytes: 4, workspace: 0, until: 0, kept: false } as unknown as Value;
    });
  }

  it.each([1, 2, 3, 4])("knows what all changes come to, by whatever way (%i)", (seed) => {
    const roll = dice(seed);
    const values = valuesOf(roll);
    const [resident, ran, claims] = [new Uint8Array(COUNT), new Uint8Array(COUNT), new Uint8Array(COUNT)];
    const nextUse = new Int32Array(COUNT);
    const outlook = new Outlook(columnsOf({ values } as unknown as Model), { resident, ran, nextUse, claims });
    const { needed, again, worth } = outlook;

    const change = (begun: number): void => {
      const v = roll(begun);
      const { inputs, uses } = values[v] as Value;
      switch (roll(3)) {
        case 0:
          resident[v] = 1 - (resident[v] as number);
          outlook.move(v);
          break;
        case 1:
          claims[v] = 1 - (claims[v] as number);
          for (const x of inputs) outlook.wait(x);
          break;
        default:
          nextUse[v] = Math.min((nextUse[v] as number) + 1, uses.length);
          outlook.wait(v);
      }
    };
    const workedOut = (begun: number): { needed: number[]; again: number[] } => {
      const costs: number[] = [];
      for (const { cost, inputs } of values.slice(0, begun)) {
        costs.push(inputs.reduce((sum, x) => sum + (resident[x] === 1 ? 0 : (costs[x] as number)), cost));
      }
      const times = costs.map((_, v) => values[v]?.uses[nextUse[v] as number] ?? Number.POSITIVE_INFINITY);
      for (let v = begun - 1; v >= 0; v--) {
        if (claims[v] === 0) continue;
        for (const x of values[v]?.inputs ?? []) times[x] = Math.min(times[x] as number, times[v] as number);
      }
      return { needed: times, again: costs };
    };

    for (let begun = 1; begun <= COUNT; begun++) {
      ran[begun - 1] = 1;
      outlook.add(begun - 1);
      for (let i = roll(8); i > 0; i--) change(begun);
      const before = { needed: [...needed], again: [...again] };
      worth.fill(1);
      outlook.update();
      const expected = workedOut(begun);
      expect([...needed.subarray(0, begun)]).toEqual(expected.needed);
      expect([...again.subarray(0, begun)]).toEqual(expected.again);
      for (let v = 0; v < begun; v++) {
        if (worth[v] !== 1) continue;
        expect([needed[v], again[v]]).toEqual([before.needed[v], before.again[v]]);
      }
    }
  });
});
