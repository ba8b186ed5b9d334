/** Placement and scheduling: how near to the bound, and that a step's memory is what it should be. */
import { beforeAll, describe, expect, it } from "vitest";
import type { Tensor } from "../../src/graph/tensor.js";
import { Layout } from "../../src/isa.js";
import { relu } from "../../src/ops/activation.js";
import { linear } from "../../src/ops/matmul.js";
import { randn } from "../../src/ops/random.js";
import type { Extents } from "../../src/plan/extents.js";
import { placeExactly } from "../../src/plan/place-exact.js";
import { search } from "../../src/plan/place-search.js";
import { compile } from "../../src/tensor/compile.js";
import { runtime } from "../../src/tensor/session.js";
import { start } from "../support/builds.js";

/** Extents whose sizes and lifetimes, of up to `steps` and 20 steps, follow from a linear congruential generator. */
function extentsOf(count: number, seed: number, steps = 60): Extents {
  let state = seed;
  const next = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const first = Float64Array.from({ length: count }, () => next(steps));
  return {
    bytes: Float64Array.from({ length: count }, () => 16 * (1 + next(40))),
    first,
    last: first.map((at) => at + next(20)),
  };
}

/** The most bytes alive at once. */
function boundOf({ bytes, first, last }: Extents): number {
  const at = Array.from({ length: 81 }, (_, t) =>
    bytes.reduce((sum, size, i) => ((first[i] as number) <= t && (last[i] as number) >= t ? sum + size : sum), 0),
  );
  return Math.max(...at);
}

/** The fewest bytes of all orders in which extents can be laid, each as low as those before let it lie. */
function fewestOf({ bytes, first, last }: Extents): number {
  const count = bytes.length;
  const offsets = new Float64Array(count);
  const lay = (laid: readonly number[], total: number): number => {
    if (laid.length === count) return total;
    let fewest = Number.POSITIVE_INFINITY;
    for (let i = 0; i < count; i++) {
      if (laid.includes(i)) continue;
      const beside = laid.filter(
        (j) => (first[i] as number) <= (last[j] as number) && (first[j] as number) <= (last[i] as number),
      );
      const end = (j: number): number => (offsets[j] as number) + (bytes[j] as number);
      const size = bytes[i] as number;
      const fits = (at: number): boolean => beside.every((j) => at + size <= (offsets[j] as number) || at >= end(j));
      const offset = Math.min(...[0, ...beside.map(end)].filter(fits));
      offsets[i] = offset;
      fewest = Math.min(fewest, lay([...laid, i], Math.max(total, offset + size)));
    }
    return fewest;
  };
  return lay([], 0);
}

describe("the search for a placement", () => {
  it("keeps apart what is alive together, near the bound, and finds the same every time", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const extents = extentsOf(60, seed);
      const { bytes, first, last } = extents;
      const bound = boundOf(extents);
      const { offsets, total } = search(extents, bound);
      expect(search(extents, bound).offsets).toEqual(offsets);
      expect(total).toBeGreaterThanOrEqual(bound);
      expect(total).toBeLessThanOrEqual(1.05 * bound);
      for (let i = 0; i < bytes.length; i++) {
        const end = (offsets[i] as number) + (bytes[i] as number);
        expect(end).toBeLessThanOrEqual(total);
        for (let j = 0; j < i; j++) {
          const together = (first[i] as number) <= (last[j] as number) && (first[j] as number) <= (last[i] as number);
          if (!together) continue;
          const apart =
            end <= (offsets[j] as number) || (offsets[i] as number) >= (offsets[j] as number) + (bytes[j] as number);
          expect(apart).toBe(true);
        }
      }
    }
  });

  it("fits few extents into the fewest bytes that any order of laying them comes down to", () => {
    for (let seed = 1; seed <= 40; seed++) {
      const extents = extentsOf(7, seed, 12);
      const fewest = fewestOf(extents);
      expect(search(extents, boundOf(extents), fewest).total).toBeLessThanOrEqual(fewest);
      expect(placeExactly(extents, fewest)?.total).toBe(fewest);
      expect(placeExactly(extents, fewest - 16)).toBeNull();
    }
  });

  it("places nothing in nothing", () => {
    expect(search(extentsOf(0, 1), 0).total).toBe(0);
  });
});

const WIDTH = 64;
const BATCH = 32;
const DEPTH = 12;
const MATRIX_BYTES = 4 * WIDTH * WIDTH;

function weightsOf(count: number): Tensor[] {
  return Array.from({ length: count }, () => {
    const weight = randn([WIDTH, WIDTH]).mul(0.1).detach();
    weight.requiresGrad = true;
    return weight;
  });
}

describe("a training step", () => {
  beforeAll(() => start("strict"));

  it("updates each weight as soon as its gradient is there", () => {
    const weights = weightsOf(DEPTH);
    const step = compile((x: Tensor) => {
      const loss = weights.reduce((h, w) => relu(linear(h, w)), x).sum();
      loss.backward();
      for (const weight of weights) {
        weight.requiresGrad = false;
        weight.sub_((weight.grad as Tensor).mul(0.01));
        weight.grad = null;
        weight.requiresGrad = true;
      }
      return loss;
    });
    const activations = DEPTH * 4 * BATCH * WIDTH;
    // Without that, a gradient for every weight would be alive at the end.
    expect(step.memory(randn([BATCH, WIDTH])).temporaryBytes).toBeLessThan(activations + 5 * MATRIX_BYTES);
  });

  it("accumulates gradients over micro-batches in one set of buffers", () => {
    const weights = weightsOf(DEPTH);
    const accumulate = compile((x: Tensor) => {
      const loss = weights.reduce((h, w) => relu(linear(h, w)), x).sum();
      loss.backward();
      return loss;
    });
    const x = randn([BATCH, WIDTH]);
    accumulate(x);
    const first = weights.map(({ grad }) => grad?.toArray());
    accumulate(x);
    const report = accumulate.memory(x);
    expect(report.gradientBytes).toBe(DEPTH * MATRIX_BYTES);
    expect(report.stateBytes).toBe(2 * DEPTH * MATRIX_BYTES);
    expect(report.temporaryBytes).toBeLessThan(DEPTH * 4 * BATCH * WIDTH + 5 * MATRIX_BYTES);
    const twice = (first[0] as number[][]).map((row) => row.map((g) => 2 * g));
    expect(weights[0]?.grad?.toArray()).toEqual(twice);
  });

  it("touches the temporaries that were foretold, and no byte behind them", async () => {
    await start("strict");
    const weights = weightsOf(4);
    const step = compile((x: Tensor) => weights.reduce((h, w) => relu(linear(h, w)), x).sum());
    const x = randn([BATCH, WIDTH]);
    const { temporaryBytes } = step.memory(x);
    step(x).item();
    const guard = 4096;
    const address = runtime().temporaries(temporaryBytes + guard);
    const bytes = new Uint8Array(runtime().arena.memory.buffer, address, temporaryBytes + guard).fill(0xa5);
    step(x).item();
    const touched = bytes.findLastIndex((byte) => byte !== 0xa5) + 1;
    expect(touched).toBeLessThanOrEqual(temporaryBytes);
    expect(touched).toBeGreaterThan(temporaryBytes - Layout.Alignment);
  });
});

describe("the report", () => {
  beforeAll(() => start("strict"));

  it("says where most is alive, what is computed again, and draws the map", () => {
    const weights = weightsOf(DEPTH);
    const fn = (x: Tensor): Tensor => {
      const loss = weights.reduce((h, w) => relu(linear(h, w)).exp(), x).sum();
      loss.backward();
      return loss;
    };
    const x = randn([BATCH, WIDTH]);
    const whole = compile(fn).memory(x);
    const memoryBudget = whole.arenaBytes - Math.floor(0.2 * whole.temporaryBytes);
    const step = compile(fn, { memoryBudget });
    const text = step.explainMemory(x);
    expect(text).toMatch(/^arena +[\d.]+ KiB +\d+ bytes$/m);
    expect(text).toMatch(/alive at the peak, at step \d+: \w+/);
    expect(text).toMatch(/computed again instead of being kept, for [\d.]+ % more arithmetic/);
    const alive = step.memory(x).alive.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(alive).toBeGreaterThan(0.9 * step.memory(x).liveBytes);
    const map = step.memoryMap(x);
    expect(map).toMatch(/^<svg .*<rect .*#d9534f.*<\/svg>\n$/s);
    // Nothing that a strict content policy would block.
    expect(map).not.toMatch(/<script|<style|style=|href=/);
    // The test's own lines, and not those of layers and operators.
    expect(text).toMatch(/placement\.test\.ts:\d+/);
    expect(text).not.toMatch(/\/src\//);
    expect(step.memory(x).saved.length).toBeGreaterThan(0);
  });
});
