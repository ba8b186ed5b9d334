/**
 * Reads and writes safetensors files, the common format for weights.
 *
 *     byte 0-7   N, the length of the header: unsigned 64-bit, little-endian
 *     8          N bytes of JSON, filled up with spaces so that N is a multiple of 8:
 *                {"__metadata__":{"key":"text"},"name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}
 *     8 + N      the data; offsets count from here, and the tensors fill it without gaps or overlaps
 *
 * The format: https://github.com/huggingface/safetensors. Its elements are little-endian, as is the memory of every
 * machine with WebAssembly engines to speak of, so whole arrays are copied.
 */

import type { DType, TypedArray } from "../graph/dtype.js";
import { ArgumentError, FormatError } from "../graph/errors.js";
import { formatShape, type Shape, sizeOf } from "../graph/shape.js";
import { dataNode } from "../graph/sources.js";
import { Tensor } from "../graph/tensor.js";
import { readTensor } from "../tensor/realize.js";
import { findDuplicateKey } from "./json-keys.js";
import { widenBfloat16, widenFloat16 } from "./narrow-floats.js";

/** What a safetensors file holds. */
export interface SafetensorsFile {
  /** The tensors by name: what a module's `loadStateDict` takes. */
  readonly tensors: Readonly<Record<string, Tensor>>;
  /** The texts that the writer added, by key. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** The reference implementation's limit on N: a larger one is a corrupt file. */
const maxHeaderBytes = 100_000_000;

/** The code of each dtype. The reference sorts wide elements to the front, which aligns them all; and then by name. */
const codes: Readonly<Record<DType, string>> = { f32: "F32", i32: "I32", bool: "BOOL" };
const codeOrder: readonly DType[] = ["f32", "i32", "bool"];

/** How each element type of a file is read; `decode` gets a buffer of its own and gives null if a value does not fit. */
const readers: Readonly<
  Record<string, { bytes: number; dtype: DType; decode: (buffer: ArrayBuffer) => TypedArray | null }>
> = {
  F32: { bytes: 4, dtype: "f32", decode: (buffer) => new Float32Array(buffer) },
  F64: { bytes: 8, dtype: "f32", decode: (buffer) => Float32Array.from(new Float64Array(buffer)) },
  F16: { bytes: 2, dtype: "f32", decode: (buffer) => widenFloat16(new Uint16Array(buffer)) },
  BF16: { bytes: 2, dtype: "f32", decode: (buffer) => widenBfloat16(new Uint16Array(buffer)) },
  I32: { bytes: 4, dtype: "i32", decode: (buffer) => new Int32Array(buffer) },
  I64: { bytes: 8, dtype: "i32", decode: (buffer) => toInt32(new BigInt64Array(buffer)) },
  I16: { bytes: 2, dtype: "i32", decode: (buffer) => Int32Array.from(new Int16Array(buffer)) },
  I8: { bytes: 1, dtype: "i32", decode: (buffer) => Int32Array.from(new Int8Array(buffer)) },
  U16: { bytes: 2, dtype: "i32", decode: (buffer) => Int32Array.from(new Uint16Array(buffer)) },
  U8: { bytes: 1, dtype: "i32", decode: (buffer) => Int32Array.from(new Uint8Array(buffer)) },
  BOOL: { bytes: 1, dtype: "bool", decode: (buffer) => toBooleans(new Uint8Array(buffer)) },
};

function toInt32(values: BigInt64Array): Int32Array | null {
  return values.every((value) => value === BigInt.asIntN(32, value)) ? Int32Array.from(values, Number) : null;
}

function toBooleans(values: Uint8Array): Uint8Array | null {
  return values.every((value) => value <= 1) ? values : null;
}

/**
 * Writes tensors as a safetensors file. The same tensors and metadata give the same bytes, in whatever order they come.
 *
 * @param tensors tensors by name, such as a module's `stateDict()`; none can be called `__metadata__`
 * @param metadata texts to store beside them
 * @throws ArgumentError for a tensor called `__metadata__`
 * @example
 * writeFileSync("model.safetensors", encodeSafetensors(model.stateDict()));
 */
export function encodeSafetensors(
  tensors: Readonly<Record<string, Tensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  if (Object.hasOwn(tensors, "__metadata__")) {
    throw new ArgumentError(
      'encodeSafetensors: no tensor can have the name "__metadata__", which the format keeps for texts',
    );
  }
  const entries = Object.entries(tensors).sort(
    ([nameA, a], [nameB, b]) => codeOrder.indexOf(a.dtype) - codeOrder.indexOf(b.dtype) || (nameA < nameB ? -1 : 1),
  );
  const values = entries.map(([, tensor]) => readTensor(tensor, "encodeSafetensors"));
  // Fields as text, not in an object: that would reorder names that look like numbers.
  const texts = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
  const fields =
    texts.length === 0 ? [] : [`"__metadata__":{${texts.map(([key, text]) => field(key, text)).join(",")}}`];
  let end = 0;
  for (const [i, [name, { dtype, shape }]] of entries.entries()) {
    const begin = end;
    end += (values[i] as TypedArray).byteLength;
    fields.push(field(name, { dtype: codes[dtype], shape, data_offsets: [begin, end] }));
  }
  const json = new TextEncoder().encode(`{${fields.join(",")}}`);
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const file = new Uint8Array(8 + headerBytes + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.fill(0x20, 8 + json.length, 8 + headerBytes);
  file.set(json, 8);
  let offset = 8 + headerBytes;
  for (const value of values) {
    file.set(new Uint8Array(value.buffer, value.byteOffset, value.byteLength), offset);
    offset += value.byteLength;
  }
  return file;
}

function field(key: string, value: unknown): string {
  return `${JSON.stringify(key)}:${JSON.stringify(value)}`;
}

/**
 * Reads a safetensors file. 16-bit and 64-bit floats become f32 (the latter rounded), integers i32.
 *
 * @param source what errors call the file
 * @throws FormatError for anything that the format does not allow (a truncated file, tensors that overlap or leave
 * gaps, bytes left over, …), for an element type without a dtype here, and for a 64-bit integer beyond 32 bits.
 */
export function decodeSafetensors(bytes: Uint8Array, source = "safetensors file"): SafetensorsFile {
  try {
    return decode(bytes);
  } catch (error) {
    if (error instanceof FormatError) throw new FormatError(`${source}: ${error.message}`, { cause: error.cause });
    throw error;
  }
}

function decode(bytes: Uint8Array): SafetensorsFile {
  const { header, dataStart } = readHeader(bytes);
  const { __metadata__: metadata = {}, ...described } = header;
  if (!isObject(metadata) || !Object.values(metadata).every((text) => typeof text === "string")) {
    throw new FormatError("__metadata__ is not an object of texts");
  }
  const infos = Object.entries(described).map(([name, value]) => checkInfo(name, value));
  infos.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkLayout(infos, bytes.length - dataStart);
  const tensors = infos.map(({ name, code, shape, begin, end }): [string, Tensor] => {
    const { dtype, decode } = readers[code] as (typeof readers)[string];
    // Copied, because a tensor's place in the file need not be aligned, and so that it does not hold the whole file.
    const data = decode(new Uint8Array(bytes.subarray(dataStart + begin, dataStart + end)).buffer);
    if (data === null) {
      throw new FormatError(
        code === "BOOL"
          ? `tensor "${name}" is BOOL, and has a byte that is neither 0 nor 1`
          : `tensor "${name}" is ${code}, and has a value that does not fit into 32 bits`,
      );
    }
    return [name, new Tensor(dataNode(data, shape, dtype))];
  });
  return { tensors: Object.fromEntries(tensors), metadata: metadata as Record<string, string> };
}

/** What the header says of one tensor. */
interface TensorInfo {
  readonly name: string;
  readonly code: string;
  readonly shape: Shape;
  readonly begin: number;
  readonly end: number;
}

function readHeader(bytes: Uint8Array): { header: Record<string, unknown>; dataStart: number } {
  if (bytes.length < 8) {
    throw new FormatError(
      `the file is truncated: it has ${bytes.length} bytes, and starts with an 8-byte header length`,
    );
  }
  const announced = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
  if (announced > maxHeaderBytes) {
    throw new FormatError(
      `not a safetensors file, or a corrupt one: its header length is ${announced}, and the most is ${maxHeaderBytes}`,
    );
  }
  const dataStart = 8 + Number(announced);
  if (dataStart > bytes.length) {
    throw new FormatError(`the file is truncated: the header ends at byte ${dataStart}, and there are ${bytes.length}`);
  }
  let json: string;
  let header: unknown;
  try {
    json = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(8, dataStart));
    header = JSON.parse(json);
  } catch (error) {
    throw new FormatError(`the header is not JSON: ${(error as Error).message}`, { cause: error });
  }
  if (!isObject(header)) throw new FormatError("the header is not a JSON object");
  const duplicate = findDuplicateKey(json);
  if (duplicate !== null) throw new FormatError(`the header has the key "${duplicate}" twice`);
  return { header, dataStart };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function checkInfo(name: string, value: unknown): TensorInfo {
  const { dtype, shape, data_offsets: offsets } = isObject(value) ? value : {};
  const reader = typeof dtype === "string" && Object.hasOwn(readers, dtype) ? readers[dtype] : undefined;
  if (typeof dtype !== "string" || reader === undefined) {
    throw new FormatError(
      `tensor "${name}" has dtype ${JSON.stringify(dtype)}, and the ones read here are ${Object.keys(readers).join(", ")}`,
    );
  }
  if (!isCounts(shape)) {
    throw new FormatError(`tensor "${name}" has shape ${JSON.stringify(shape)}, not a list of whole numbers from 0 up`);
  }
  const [begin = 0, end = -1] = isCounts(offsets) && offsets.length === 2 ? offsets : [];
  if (begin > end) {
    throw new FormatError(
      `tensor "${name}" has data_offsets ${JSON.stringify(offsets)}, not two rising whole numbers from 0 up`,
    );
  }
  const needed = sizeOf(shape) * reader.bytes;
  if (end - begin !== needed) {
    throw new FormatError(
      `tensor "${name}" of dtype ${dtype} and shape ${formatShape(shape)} needs ${needed} bytes, and its data_offsets [${begin},${end}] hold ${end - begin}`,
    );
  }
  return { name, code: dtype, shape, begin, end };
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

/** Checks that the tensors, by rising offset, fill the data from the first byte to the last. */
function checkLayout(infos: readonly TensorInfo[], dataBytes: number): void {
  let filled = 0;
  let before = "the start of the data";
  for (const { name, begin, end } of infos) {
    if (begin > filled) {
      throw new FormatError(
        `${begin - filled} bytes between ${before} and tensor "${name}" at ${begin} belong to nothing`,
      );
    }
    if (begin < filled)
      throw new FormatError(`tensor "${name}" starts at ${begin} and overlaps ${before}, which ends at ${filled}`);
    filled = end;
    before = `tensor "${name}"`;
  }
  if (dataBytes < filled) {
    throw new FormatError(
      `the file is truncated: ${before} ends at byte ${filled} of the data, and there are ${dataBytes}`,
    );
  }
  if (dataBytes > filled) {
    throw new FormatError(`${dataBytes - filled} bytes follow ${before}, where the data should end (at ${filled})`);
  }
}
