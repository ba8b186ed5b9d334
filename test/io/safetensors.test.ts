import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Tensor, tensor } from "../../src/index.js";
import { decodeSafetensors, encodeSafetensors } from "../../src/io/index.js";
import { Linear } from "../../src/nn/index.js";
import { start } from "../support/builds.js";

const text = new TextEncoder();

/** A file with this header, as given or as JSON, and these bytes of data. */
function file(header: unknown, data: ArrayLike<number> = [], length?: bigint): Uint8Array {
  const json = text.encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(Uint8Array.from(data), 8 + json.length);
  return bytes;
}

/** A file with one tensor "t" of these bytes. */
function one(dtype: string, shape: number[], bytes: ArrayLike<number>): Uint8Array {
  return file({ t: { dtype, shape, data_offsets: [0, bytes.length] } }, bytes);
}

const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const f32 = (shape: number[], ...values: number[]) => tensor(Float32Array.from(values), shape);
const i32 = (shape: number[], ...values: number[]) => tensor(Int32Array.from(values), shape);
const bool = (shape: number[], ...values: number[]) => tensor(Uint8Array.from(values), { shape, dtype: "bool" });

/** What can be seen of a tensor: plain data to compare. */
const plain = (value: Tensor | undefined) =>
  value && { dtype: value.dtype, shape: [...value.shape], data: [...value.data()] };
const decodeOne = (dtype: string, shape: number[], array: ArrayBufferView) =>
  plain(decodeSafetensors(one(dtype, shape, bytesOf(array))).tensors.t);

describe("writing safetensors", () => {
  it("gives the file byte for byte as the format describes it", () => {
    const written = encodeSafetensors(
      { b: bool([3], 1, 0, 1), z: f32([], -2), i: i32([1], 258), a: f32([2, 1], 1, 0.5) },
      { made: 'by "hand"' },
    );
    const header =
      '{"__metadata__":{"made":"by \\"hand\\""},' +
      '"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},' +
      '"z":{"dtype":"F32","shape":[],"data_offsets":[8,12]},' +
      '"i":{"dtype":"I32","shape":[1],"data_offsets":[12,16]},' +
      '"b":{"dtype":"BOOL","shape":[3],"data_offsets":[16,19]}}      ';
    expect(header.length % 8).toBe(0);
    const expected = [
      ...[header.length & 255, header.length >> 8, 0, 0, 0, 0, 0, 0],
      ...text.encode(header),
      ...[0, 0, 0x80, 0x3f, 0, 0, 0, 0x3f],
      ...[0, 0, 0, 0xc0],
      ...[2, 1, 0, 0],
      ...[1, 0, 1],
    ];
    expect([...written]).toEqual(expected);
  });

  it("does not depend on the order of tensors and metadata", () => {
    const a = f32([1], 1);
    const b = f32([1], 2);
    const forward = encodeSafetensors({ a, b }, { x: "1", y: "2" });
    expect(encodeSafetensors({ b, a }, { y: "2", x: "1" })).toEqual(forward);
  });

  it("keeps the name that the format needs for itself", () => {
    expect(() => encodeSafetensors({ __metadata__: f32([0]) })).toThrow('no tensor can have the name "__metadata__"');
  });
});

describe("reading safetensors", () => {
  it("gives back whatever was written: any names, shapes, metadata, and every bit of every value", () => {
    const anyTensor: fc.Arbitrary<Tensor> = fc
      .tuple(fc.constantFrom("f32", "i32", "bool"), fc.array(fc.nat(4), { maxLength: 4 }))
      .chain(([dtype, shape]): fc.Arbitrary<Tensor> => {
        const size = shape.reduce((product, n) => product * n, 1);
        const length = { minLength: size, maxLength: size };
        // From bits, so that NaN payloads, signed zeros and subnormals are among the values.
        if (dtype === "f32") return fc.uint32Array(length).map((bits) => tensor(new Float32Array(bits.buffer), shape));
        if (dtype === "i32") return fc.int32Array(length).map((data) => tensor(data, shape));
        return fc.uint8Array({ ...length, max: 1 }).map((data) => tensor(data, { shape, dtype: "bool" }));
      });
    const name = fc.string({ unit: "grapheme" }).filter((key) => key !== "__metadata__");
    const metadata = fc.dictionary(fc.string(), fc.string({ unit: "grapheme" }));
    fc.assert(
      fc.property(fc.array(fc.tuple(name, anyTensor), { maxLength: 6 }), metadata, (pairs, texts) => {
        const tensors = Object.fromEntries(pairs);
        const bytes = encodeSafetensors(tensors, texts);
        expect(new DataView(bytes.buffer).getUint32(0, true) % 8).toBe(0);
        const read = decodeSafetensors(bytes);
        expect(Object.entries(read.metadata).sort()).toEqual(Object.entries(texts).sort());
        expect(Object.keys(read.tensors).sort()).toEqual(Object.keys(tensors).sort());
        for (const [key, written] of Object.entries(tensors)) {
          const back = read.tensors[key] as Tensor;
          expect([back.dtype, back.shape]).toEqual([written.dtype, written.shape]);
          expect(bytesOf(back.data())).toEqual(bytesOf(written.data()));
        }
      }),
    );
  });

  it("carries a model from one module to another", async () => {
    await start("strict");
    const [trained, restored] = [new Linear(3, 2), new Linear(3, 2)];
    restored.loadStateDict(decodeSafetensors(encodeSafetensors(trained.stateDict())).tensors);
    const input = f32([1, 3], 1, 2, 3);
    expect(restored.forward(input).toArray()).toEqual(trained.forward(input).toArray());
  });

  it("does not mind where in a larger buffer the file lies, or that its tensors are not aligned", () => {
    const bytes = file('{"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', [0, 0, 0x80, 0x3f]);
    const shifted = Buffer.concat([Buffer.of(1, 2, 3), bytes]).subarray(3);
    expect(plain(decodeSafetensors(shifted).tensors.t)).toEqual({ dtype: "f32", shape: [1], data: [1] });
  });

  it("widens 16-bit floats exactly, subnormals and infinities too", () => {
    const halves = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x8001, 0x03ff, 0x7bff, 0x7c00, 0xfc00, 0x8000, 0x3555);
    const expected = [1, -2, 2 ** -24, -(2 ** -24), 1023 * 2 ** -24, 65504, Infinity, -Infinity, -0, 0.333251953125];
    expect(decodeOne("F16", [10], halves)?.data).toEqual(expected);
    expect(decodeOne("F16", [1], Uint16Array.of(0x7e01))?.data).toEqual([NaN]);
    const brains = Uint16Array.of(0x3f80, 0xc040, 0x0001, 0x7f80);
    expect(decodeOne("BF16", [4], brains)?.data).toEqual([1, -3, 2 ** -133, Infinity]);
  });

  it("rounds 64-bit floats, and takes integers of any width that fit into 32 bits", () => {
    expect(decodeOne("F64", [1], Float64Array.of(0.1))).toEqual({ dtype: "f32", shape: [1], data: [Math.fround(0.1)] });
    const largest = 2 ** 31 - 1;
    expect(decodeOne("I64", [2], BigInt64Array.of(-5n, BigInt(largest)))).toEqual({
      dtype: "i32",
      shape: [2],
      data: [-5, largest],
    });
    expect(() => decodeOne("I64", [1], BigInt64Array.of(2n ** 31n))).toThrow(
      'tensor "t" is I64, and has a value that does not fit into 32 bits',
    );
    expect(decodeOne("I16", [1], Int16Array.of(-300))?.data).toEqual([-300]);
    expect(decodeOne("U16", [1], Uint16Array.of(65535))?.data).toEqual([65535]);
    expect(decodeOne("I8", [1], Int8Array.of(-7))?.data).toEqual([-7]);
    expect(decodeOne("U8", [1], Uint8Array.of(200))).toEqual({ dtype: "i32", shape: [1], data: [200] });
    expect(() => decodeOne("BOOL", [2], Uint8Array.of(0, 2))).toThrow(
      'tensor "t" is BOOL, and has a byte that is neither 0 nor 1',
    );
  });

  const entry = (begin: number, end: number) => ({ dtype: "U8", shape: [end - begin], data_offsets: [begin, end] });
  const faults: [string, Uint8Array, string][] = [
    ["a file shorter than its first number", Uint8Array.of(1, 2, 3), "the file is truncated: it has 3 bytes"],
    [
      "a header beyond the end",
      file("{}", [], 20n),
      "the file is truncated: the header ends at byte 28, and there are 10",
    ],
    [
      "an absurd header length",
      file("{}", [], 2n ** 63n),
      "its header length is 9223372036854775808, and the most is 100000000",
    ],
    ["a header that is not JSON", file("{bad}"), "the header is not JSON"],
    ["a header that is not UTF-8", Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0xff), "the header is not JSON"],
    ["a header that is a list", file([]), "the header is not a JSON object"],
    [
      "a name that comes twice",
      file(`{"a":${JSON.stringify(entry(0, 0))},"\\u0061":${JSON.stringify(entry(0, 0))}}`),
      'the key "a" twice',
    ],
    [
      "a field that comes twice",
      file('{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}'),
      'the key "dtype" twice',
    ],
    ["metadata that are not texts", file({ __metadata__: { epochs: 3 } }), "__metadata__ is not an object of texts"],
    [
      "a tensor that is not described",
      file({ w: null }),
      'tensor "w" has dtype undefined, and the ones read here are F32',
    ],
    [
      "a dtype that is unknown here",
      one("F8_E5M2", [1], [1]),
      'tensor "t" has dtype "F8_E5M2", and the ones read here are F32, F64',
    ],
    ["a shape with a negative size", one("U8", [-1], [1]), 'tensor "t" has shape [-1], not a list of whole numbers'],
    [
      "offsets that fall",
      file({ w: { dtype: "U8", shape: [1], data_offsets: [1, 0] } }, [1]),
      'tensor "w" has data_offsets [1,0]',
    ],
    [
      "offsets that are three",
      file({ w: { dtype: "U8", shape: [1], data_offsets: [0, 1, 2] } }, [1]),
      "has data_offsets [0,1,2]",
    ],
    [
      "a shape that the offsets contradict",
      one("F32", [3], [0, 0, 0, 0]),
      'tensor "t" of dtype F32 and shape [3] needs 12 bytes, and its data_offsets [0,4] hold 4',
    ],
    ["a shape too large for any file", one("F32", [2 ** 53 - 1, 2 ** 53 - 1], [1]), "needs 3.2"],
    [
      "a gap before the first tensor",
      file({ a: entry(2, 3) }, [1, 1, 1]),
      '2 bytes between the start of the data and tensor "a" at 2 belong to nothing',
    ],
    [
      "a gap between tensors",
      file({ a: entry(0, 1), b: entry(2, 3) }, [1, 1, 1]),
      '1 bytes between tensor "a" and tensor "b" at 2',
    ],
    [
      "tensors that overlap",
      file({ a: entry(0, 2), b: entry(1, 3) }, [1, 1, 1]),
      'tensor "b" starts at 1 and overlaps tensor "a", which ends at 2',
    ],
    [
      "data that are cut off",
      file({ a: entry(0, 2), b: entry(2, 9) }, [1, 1, 1]),
      'the file is truncated: tensor "b" ends at byte 9 of the data, and there are 3',
    ],
    [
      "bytes at the end",
      file({ a: entry(0, 2) }, [1, 1, 1]),
      '1 bytes follow tensor "a", where the data should end (at 2)',
    ],
  ];
  it.each(faults)("refuses %s", (_, bytes, message) => {
    expect(() => decodeSafetensors(bytes, "model.safetensors")).toThrow(message);
    expect(() => decodeSafetensors(bytes, "model.safetensors")).toThrow(/^model\.safetensors: /);
  });

  it("never does worse than a clear refusal when a good file is cut or damaged", () => {
    const good = encodeSafetensors({ a: f32([2], 1, 2), b: f32([1], 3) }, { k: "v" });
    for (let length = 0; length < good.length; length++) {
      expect(() => decodeSafetensors(good.subarray(0, length)), `the first ${length} bytes`).toThrow(
        "safetensors file: ",
      );
    }
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const damaged = good.slice();
        damaged[at] = (damaged[at] as number) ^ flip;
        try {
          decodeSafetensors(damaged);
        } catch (error) {
          expect((error as Error).name).toBe("FormatError");
        }
      }),
    );
  });
});
