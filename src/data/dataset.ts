/** What a dataset is: named columns, each an array of one row per example; and how to take parts of it. */

import { allocate, dtypeOf, type TypedArray } from "../graph/dtype.js";
import { ArgumentError, IndexError, ShapeError } from "../graph/errors.js";
import { formatShape, type Shape, sizeOf } from "../graph/shape.js";
import { Random } from "./random.js";

/** Rows of one kind, such as all the images: `shape[0]` rows, one after the other in row-major order. */
export interface Column<Data extends TypedArray = TypedArray> {
  readonly shape: Shape;
  readonly data: Data;
}

/** Columns with the same number of rows; row i of each belongs to example i. */
export type Dataset = Readonly<Record<string, Column>>;

/** Images `[count, rows, columns]` with values from 0 (background) to 1, and their classes `[count]`. */
export type LabelledImages = {
  readonly images: Column<Float32Array>;
  readonly labels: Column<Int32Array>;
};

/**
 * The number of examples in a dataset.
 * @throws ShapeError when a column's data do not fill its shape, or when the columns differ in their number of rows.
 * @throws ArgumentError when there are no columns.
 */
export function exampleCount(dataset: Dataset): number {
  let first: { name: string; rows: number } | undefined;
  for (const [name, { shape, data }] of Object.entries(dataset)) {
    const rows = shape[0];
    if (rows === undefined)
      throw new ShapeError(`column "${name}" has shape []: its first dimension must count the rows`);
    if (sizeOf(shape) !== data.length) {
      throw new ShapeError(
        `column "${name}" of shape ${formatShape(shape)} needs ${sizeOf(shape)} elements, and has ${data.length}`,
      );
    }
    first ??= { name, rows };
    if (rows !== first.rows) {
      throw new ShapeError(`column "${name}" has ${rows} rows, and column "${first.name}" has ${first.rows}`);
    }
  }
  if (first === undefined) throw new ArgumentError("the dataset has no columns");
  return first.rows;
}

/**
 * The examples with the given row numbers, copied in their order.
 * @throws IndexError for a row that the dataset does not have.
 */
export function takeRows<D extends Dataset>(dataset: D, rows: ArrayLike<number>): D {
  const count = exampleCount(dataset);
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    if (!Number.isInteger(row) || row < 0 || row >= count) {
      throw new IndexError(`there is no row ${row} in a dataset of ${count} examples`);
    }
  }
  const columns = Object.entries(dataset).map(([name, { shape, data }]): [string, Column] => {
    const rowShape = shape.slice(1);
    const rowSize = sizeOf(rowShape);
    const taken = allocate(dtypeOf(data), rows.length * rowSize);
    for (let i = 0; i < rows.length; i++) {
      const start = (rows[i] as number) * rowSize;
      taken.set(data.subarray(start, start + rowSize), i * rowSize);
    }
    return [name, { shape: [rows.length, ...rowShape], data: taken }];
  });
  return Object.fromEntries(columns) as unknown as D;
}

/**
 * Splits a dataset in two after a random shuffle of its rows: the first part holds `count` examples, the second the
 * rest.
 * @throws ArgumentError when there are fewer examples than that.
 */
export function splitDataset<D extends Dataset>(dataset: D, count: number, seed = 0): [D, D] {
  const total = exampleCount(dataset);
  if (!Number.isInteger(count) || count < 0 || count > total) {
    throw new ArgumentError(`cannot split ${count} examples off a dataset of ${total}`);
  }
  const order = shuffledRows(total, new Random(seed));
  return [takeRows(dataset, order.subarray(0, count)), takeRows(dataset, order.subarray(count))];
}

/** The row numbers from 0 to `count` - 1 in random order. */
export function shuffledRows(count: number, random: Random): Uint32Array {
  return random.shuffle(Uint32Array.from({ length: count }, (_, row) => row));
}
