import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { decodeIdx, readIdx } from "../../src/data/index.js";

/** Bytes of an IDX file: header fields, then data. */
function idx(type: number, shape: number[], ...data: number[]): Uint8Array<ArrayBuffer> {
  const header = [
    0,
    0,
    type,
    shape.length,
    ...shape.flatMap((size) => [size >>> 24, (size >>> 16) & 255, (size >>> 8) & 255, size & 255]),
  ];
  return Uint8Array.from([...header, ...data]);
}

describe("IDX files", () => {
  it("hold arrays of every element type, big-endian", () => {
    expect(decodeIdx(idx(8, [2, 2], 0, 1, 254, 255))).toEqual({ shape: [2, 2], data: Uint8Array.of(0, 1, 254, 255) });
    expect(decodeIdx(idx(9, [2], 255, 127)).data).toEqual(Int8Array.of(-1, 127));
    expect(decodeIdx(idx(11, [2], 1, 2, 255, 254)).data).toEqual(Int16Array.of(258, -2));
    expect(decodeIdx(idx(12, [1], 0xff, 0xff, 0xff, 0)).data).toEqual(Int32Array.of(-256));
    expect(decodeIdx(idx(13, [1], 0x3f, 0xc0, 0, 0)).data).toEqual(Float32Array.of(1.5));
    expect(decodeIdx(idx(14, [1], 0xc0, 0x04, 0, 0, 0, 0, 0, 0)).data).toEqual(Float64Array.of(-2.5));
  });

  it("may be scalars, empty, or anywhere in a larger buffer", () => {
    expect(decodeIdx(idx(8, [], 7))).toEqual({ shape: [], data: Uint8Array.of(7) });
    expect(decodeIdx(idx(8, [0, 28, 28]))).toEqual({ shape: [0, 28, 28], data: new Uint8Array(0) });
    const within = Uint8Array.from([9, ...idx(12, [1], 0, 0, 1, 0), 9]).subarray(1, -1);
    expect(decodeIdx(within).data).toEqual(Int32Array.of(256));
  });

  it("may be compressed, which their first bytes say", async () => {
    const plain = idx(8, [3], 1, 2, 3);
    expect((await readIdx(plain)).data).toEqual(Uint8Array.of(1, 2, 3));
    expect((await readIdx(new Uint8Array(gzipSync(plain)))).data).toEqual(Uint8Array.of(1, 2, 3));
    const large = Buffer.concat([idx(8, [300_000]), Buffer.alloc(300_000, 5)]);
    expect((await readIdx(new Uint8Array(gzipSync(large)))).data.length).toBe(300_000);
  });

  it("are refused with the reason when they are not what they say", async () => {
    expect(() => decodeIdx(Uint8Array.of(0, 0), "x.idx")).toThrow(
      "x.idx: the file is truncated: its 2 bytes end within the header",
    );
    expect(() => decodeIdx(idx(8, [2, 3]).subarray(0, 9))).toThrow("its 9 bytes end within the header");
    expect(() => decodeIdx(idx(7, [1], 1))).toThrow("not an IDX file: it starts with 00 00 07 01");
    expect(() => decodeIdx(Uint8Array.of(0x50, 0x4b, 3, 4, 0))).toThrow("not an IDX file: it starts with 50 4b 03 04");
    expect(() => decodeIdx(idx(12, [2, 2], 1, 2, 3))).toThrow(
      "the file is truncated: the header announces [2,2] elements of 4 bytes, 28 bytes in all, and there are 15",
    );
    expect(() => decodeIdx(idx(8, [2], 1, 2, 3))).toThrow("bytes follow the last element: the header announces [2]");
  });

  it("cannot make the reader allocate what a corrupt header announces", async () => {
    expect(() => decodeIdx(idx(14, [0xffffffff, 0xffffffff, 0xffffffff], 1, 2))).toThrow("the file is truncated");
    expect(() => decodeIdx(idx(8, new Array<number>(255).fill(0xffffffff), 1))).toThrow("the file is truncated");
    const endless = new Uint8Array(gzipSync(Buffer.concat([idx(8, [2], 1, 2), Buffer.alloc(50_000_000)])));
    await expect(readIdx(endless, "endless.gz")).rejects.toThrow("endless.gz: bytes follow the last element");
  });

  it("say so when their compression is broken", async () => {
    const packed = new Uint8Array(gzipSync(idx(8, [1000], ...new Array<number>(1000).fill(1).map((_, i) => i % 251))));
    await expect(readIdx(packed.slice(0, -20), "a.gz")).rejects.toThrow("a.gz: the gzip data are truncated or corrupt");
    const damaged = packed.slice();
    damaged[damaged.length - 6] = (damaged.at(-6) as number) ^ 255;
    await expect(readIdx(damaged, "a.gz")).rejects.toThrow("a.gz: the gzip data are truncated or corrupt");
    await expect(readIdx(new Uint8Array(gzipSync(idx(8, [5], 1, 2))))).rejects.toThrow("the file is truncated");
  });
});
