/**
 * Reads IDX files, the format of MNIST: a big-endian header, then the elements of one array.
 *
 *     byte 0-1   0
 *     byte 2     element type: 08 u8, 09 i8, 0B i16, 0C i32, 0D f32, 0E f64
 *     byte 3     number of dimensions d
 *     4 + 4·i    size of dimension i, unsigned 32-bit, outermost first
 *     4 + 4·d    the elements in row-major order
 *
 * The format: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".
 */

import { FormatError } from "../graph/errors.js";
import { formatShape, type Shape, sizeOf } from "../graph/shape.js";

/** What the elements of an IDX file are read into. */
export type IdxData = Uint8Array | Int8Array | Int16Array | Int32Array | Float32Array | Float64Array;

/** The array that an IDX file holds. */
export interface IdxArray {
  readonly shape: Shape;
  readonly data: IdxData;
}

interface ElementType {
  readonly bytes: number;
  readonly array: new (length: number) => IdxData;
  readonly read: (view: DataView, offset: number) => number;
}

const elementTypes: Readonly<Record<number, ElementType>> = {
  8: { bytes: 1, array: Uint8Array, read: (view, offset) => view.getUint8(offset) },
  9: { bytes: 1, array: Int8Array, read: (view, offset) => view.getInt8(offset) },
  11: { bytes: 2, array: Int16Array, read: (view, offset) => view.getInt16(offset) },
  12: { bytes: 4, array: Int32Array, read: (view, offset) => view.getInt32(offset) },
  13: { bytes: 4, array: Float32Array, read: (view, offset) => view.getFloat32(offset) },
  14: { bytes: 8, array: Float64Array, read: (view, offset) => view.getFloat64(offset) },
};

interface IdxHeader {
  readonly shape: Shape;
  readonly type: ElementType;
  /** Where the elements start. */
  readonly start: number;
  /** Bytes of the whole file. */
  readonly total: number;
}

/** Reads the header, or gives null when `bytes` end before it does. */
function parseHeader(bytes: Uint8Array, name: string): IdxHeader | null {
  if (bytes.length < 4) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = elementTypes[view.getUint8(2)];
  if (view.getUint16(0) !== 0 || type === undefined) {
    const magic = [...bytes.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    throw new FormatError(
      `${name}: not an IDX file: it starts with ${magic}, not with 00 00, an element type (08, 09, 0b, 0c, 0d or 0e) and the number of dimensions`,
    );
  }
  const rank = view.getUint8(3);
  const start = 4 + 4 * rank;
  if (bytes.length < start) return null;
  const shape = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  return { shape, type, start, total: start + sizeOf(shape) * type.bytes };
}

function checkLength(header: IdxHeader | null, length: number, name: string): asserts header is IdxHeader {
  if (header === null)
    throw new FormatError(`${name}: the file is truncated: its ${length} bytes end within the header`);
  if (length === header.total) return;
  const announced = `the header announces ${formatShape(header.shape)} elements of ${header.type.bytes} bytes, ${header.total} bytes in all`;
  throw new FormatError(
    length < header.total
      ? `${name}: the file is truncated: ${announced}, and there are ${length}`
      : `${name}: bytes follow the last element: ${announced}, and there are more`,
  );
}

/**
 * Reads an IDX file that is not compressed.
 * @param name what errors call the file
 * @throws FormatError when it is no IDX file, is truncated, or has bytes left over.
 */
export function decodeIdx(bytes: Uint8Array, name = "IDX file"): IdxArray {
  const header = parseHeader(bytes, name);
  // Checked before anything is allocated: a corrupt header can announce terabytes.
  checkLength(header, bytes.length, name);
  const { shape, type, start } = header;
  const data = new type.array(sizeOf(shape));
  if (data instanceof Uint8Array) {
    data.set(bytes.subarray(start));
  } else {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let i = 0; i < data.length; i++) data[i] = type.read(view, start + i * type.bytes);
  }
  return { shape, data };
}

/**
 * Reads an IDX file, plain or compressed by gzip (told apart by the first bytes, not by the name).
 * @param name what errors call the file
 * @throws FormatError as `decodeIdx` does, and for broken gzip data.
 */
export async function readIdx(bytes: Uint8Array<ArrayBuffer>, name = "IDX file"): Promise<IdxArray> {
  const gzipped = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return decodeIdx(gzipped ? await gunzip(bytes, name) : bytes, name);
}

/** Unpacks gzip data, stopping as soon as there is more than the IDX header inside announces. */
async function gunzip(bytes: Uint8Array<ArrayBuffer>, name: string): Promise<Uint8Array> {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  let unpacked = new Uint8Array(0);
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return unpacked.subarray(0, length);
      if (length + value.length > unpacked.length) {
        const larger = new Uint8Array(Math.max(2 * unpacked.length, length + value.length));
        larger.set(unpacked.subarray(0, length));
        unpacked = larger;
      }
      unpacked.set(value, length);
      length += value.length;
      const header = parseHeader(unpacked.subarray(0, length), name);
      if (header !== null && length > header.total) checkLength(header, length, name);
    }
  } catch (error) {
    if (error instanceof FormatError) {
      await reader.cancel();
      throw error;
    }
    throw new FormatError(`${name}: the gzip data are truncated or corrupt`, { cause: error });
  }
}
