/** The batch rule that operators share whose first dimension counts items which they compute independently. */
import type { BatchContext, Primitive } from "../graph/primitive.js";
import { apply, type Tensor } from "../graph/tensor.js";
import { reshape } from "./movement.js";

/**
 * The examples' items as more items of one call.
 * @param itemInputs the inputs whose first dimension counts items, as the output's does; the others serve all items
 * @returns null where one of those differs between examples
 */
export function batchAsItems<A>(
  primitive: Primitive<Tensor, A>,
  itemInputs: readonly number[],
  { inputs, batched, attrs, size, spread }: BatchContext<Tensor, A>,
): Tensor | null {
  if (batched.some((differs, i) => differs && !itemInputs.includes(i))) return null;
  const merged = inputs.map((x, i) => {
    if (!itemInputs.includes(i)) return x;
    const [, items, ...rest] = spread(i).shape as [number, number, ...number[]];
    return reshape(spread(i), size * items, rest);
  });
  const out = apply(primitive, merged, attrs);
  return reshape(out, size, (out.shape[0] as number) / size, out.shape.slice(1));
}
