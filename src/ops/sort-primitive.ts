/** Where the elements of sorted rows were: the primitive behind sorts, medians and the largest of a row. */
import type { Primitive, RefArray } from "../graph/primitive.js";
import { sizeOf } from "../graph/shape.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { Flag, Opcode, SortPair } from "../isa.js";
import { eachRow } from "./rows.js";

interface SortAttrs {
  readonly descending: boolean;
  /** Of the sorted order of each row, which places are wanted: `count` from `first` on. */
  readonly first: number;
  readonly count: number;
}

/** NaN is above all numbers, and -0 equals +0. */
function compare(a: number, b: number): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  return a < b ? -1 : a > b ? 1 : 0;
}

const sortedPlacesPrimitive: Primitive<Tensor, SortAttrs> = {
  name: "sortedPlaces",
  infer: ([x], { count }) => ({ shape: [...(x as Tensor).shape.slice(0, -1), count], dtype: "i32" }),
  reference([x], out, { descending, first, count }) {
    const result = new Float64Array(sizeOf(out.shape));
    const { data, shape } = x as RefArray;
    const sign = descending ? -1 : 1;
    eachRow(shape.at(-1) as number, [data], ([row], r) => {
      const values = row as Float64Array;
      const order = Array.from(values.keys()).sort(
        (i, j) => sign * compare(values[i] as number, values[j] as number) || i - j,
      );
      result.set(order.slice(first, first + count), r * count);
    });
    return result;
  },
  vjp: null,
  batch: ({ spread, attrs }) => apply(sortedPlacesPrimitive, [spread(0)], attrs),
  lowering: {
    kind: "kernel",
    lower(context) {
      const { descending, first, count } = context.attrs;
      const input = context.contiguous(0);
      const out = context.output();
      const length = input.shape.at(-1) as number;
      const bytes = 2 * SortPair.Bytes * Math.max(count, Math.min(length, SortPair.Few));
      const workspace = context.workspace(bytes);
      const flags = [input.dtype === "f32" ? 1 : 0, descending ? 1 : 0];
      const sizes = [sizeOf(input.shape.slice(0, -1)), length, first, count];
      context.emit(Opcode.Sort, Flag.None, [out, input, ...sizes, ...flags, workspace, bytes], {
        reads: [input],
        writes: [out, workspace],
      });
    },
  },
  // Comparisons of a merge sort.
  flops: ([x]) => sizeOf((x as Tensor).shape) * Math.ceil(Math.log2(Math.max(2, (x as Tensor).shape.at(-1) as number))),
};

/**
 * Where, in each row of the last dimension, the elements are that stand in places `first` to `first + count - 1` of the
 * row in sorted order; i32. Equal elements keep their order, and NaN counts as the largest.
 * @param x `[..., length]` of any dtype; not empty
 */
export function sortedPlaces(x: Tensor, descending: boolean, first: number, count: number): Tensor {
  return apply(sortedPlacesPrimitive, [x], { descending, first, count });
}
