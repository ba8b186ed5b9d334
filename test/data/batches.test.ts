import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { batches, exampleCount, splitDataset, takeRows } from "../../src/data/index.js";
import type { Tensor } from "../../src/index.js";
import "../../src/index.js";

/** Example i has the pixels [i, i + 100] and the label i. */
function counting(count: number) {
  return {
    images: {
      shape: [count, 2],
      data: Float32Array.from({ length: 2 * count }, (_, i) => (i >> 1) + 100 * (i % 2)),
    },
    labels: { shape: [count], data: Int32Array.from({ length: count }, (_, i) => i) },
  };
}

function labelsOf(parts: Iterable<{ labels: Tensor }>): number[] {
  return [...parts].flatMap(({ labels }) => [...labels.data()]);
}

describe("batches", () => {
  it("show every example once an epoch, each image with its own label, for any count and batch", () => {
    fc.assert(
      fc.property(fc.nat(60), fc.integer({ min: 1, max: 70 }), fc.nat(), fc.nat(9), (count, batch, seed, epoch) => {
        const parts = [...batches(counting(count), { batch, seed, epoch })];
        expect(parts.length).toBe(Math.ceil(count / batch));
        for (const { images, labels } of parts) {
          expect(images.shape).toEqual([labels.numel, 2]);
          expect([...images.data()]).toEqual([...labels.data()].flatMap((label) => [label, label + 100]));
        }
        expect(labelsOf(parts).sort((a, b) => a - b)).toEqual([...counting(count).labels.data]);
      }),
    );
  });

  it("come in an order that the seed and the epoch decide", () => {
    const order = (seed: number, epoch: number) => labelsOf(batches(counting(50), { batch: 8, seed, epoch }));
    expect(order(1, 0)).toEqual(order(1, 0));
    expect(order(1, 1)).not.toEqual(order(1, 0));
    expect(order(2, 0)).not.toEqual(order(1, 0));
  });

  it("keep the order of the data when not shuffled, and leave out a smaller rest when told to", () => {
    const sizes = (dropLast: boolean) =>
      [...batches(counting(10), { batch: 4, shuffle: false, dropLast })].map(({ labels }) => [...labels.data()]);
    expect(sizes(false)).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ]);
    expect(sizes(true)).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
    ]);
  });

  it("are tensors of the columns' dtypes, each a copy that stays what it is while the loop goes on", () => {
    const data = counting(4);
    const kept = [...batches(data, { batch: 2, shuffle: false })];
    data.labels.data.fill(9);
    expect(kept.map(({ images, labels }) => [images.dtype, labels.dtype])).toEqual(new Array(2).fill(["f32", "i32"]));
    expect(labelsOf(kept)).toEqual([0, 1, 2, 3]);
    const flags = { known: { shape: [1, 2], data: Uint8Array.of(1, 0) } };
    const [first] = batches(flags, { batch: 1 });
    expect([first?.known.dtype, first?.known.toArray()]).toEqual(["bool", [[true, false]]]);
  });

  it("pass through a transform on their way, which cannot break their shapes unnoticed", () => {
    const data = counting(4);
    const doubled = batches(data, {
      batch: 2,
      shuffle: false,
      transform: ({ images, labels }) => ({ images: { ...images, data: images.data.map((x) => 2 * x) }, labels }),
    });
    expect([...doubled].map(({ images }) => [...images.data()])).toEqual([
      [0, 200, 2, 202],
      [4, 204, 6, 206],
    ]);
    expect([...data.images.data]).toEqual([...counting(4).images.data]);
    const broken = batches(data, {
      batch: 2,
      transform: ({ images, labels }) => ({ images, labels: { ...labels, shape: [3] } }),
    });
    expect(() => [...broken]).toThrow('column "labels" of shape [3] needs 3 elements, and has 2');
  });

  it("refuse nonsense at the call, before the first batch is asked for", () => {
    expect(() => batches(counting(4), { batch: 0 })).toThrow("batch must be an integer from 1 up, not 0");
    expect(() => batches(counting(4), { batch: 2, epoch: -1 })).toThrow("epoch must be an integer from 0 up, not -1");
    expect(() => batches(counting(4), { batch: 2, seed: 0.5 })).toThrow("seed must be an integer");
    const uneven = { ...counting(4), labels: { shape: [3], data: new Int32Array(3) } };
    expect(() => batches(uneven, { batch: 2 })).toThrow('column "labels" has 3 rows, and column "images" has 4');
  });
});

describe("a dataset", () => {
  it("knows its number of examples, or what is wrong with it", () => {
    expect(exampleCount(counting(5))).toBe(5);
    expect(() => exampleCount({})).toThrow("no columns");
    expect(() => exampleCount({ x: { shape: [], data: new Float32Array(1) } })).toThrow(
      "first dimension must count the rows",
    );
    expect(() => exampleCount({ x: { shape: [2, 3], data: new Float32Array(5) } })).toThrow(
      'column "x" of shape [2,3] needs 6 elements, and has 5',
    );
  });

  it("gives rows by number, and refuses rows it does not have", () => {
    expect([...takeRows(counting(5), [4, 0, 4]).labels.data]).toEqual([4, 0, 4]);
    for (const row of [-1, 5, 1.5]) expect(() => takeRows(counting(5), [0, row])).toThrow(`there is no row ${row}`);
  });

  it("splits in two parts that share nothing and miss nothing", () => {
    const [larger, rest] = splitDataset(counting(10), 8, 3);
    expect([larger.images.shape, rest.images.shape]).toEqual([
      [8, 2],
      [2, 2],
    ]);
    expect([...larger.labels.data, ...rest.labels.data].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect([...larger.labels.data]).not.toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(() => splitDataset(counting(10), 11)).toThrow("cannot split 11 examples off a dataset of 10");
  });
});
