/** Tensors as text. */
import { formatShape } from "../graph/shape.js";
import { mode, type Tensor } from "../graph/tensor.js";
import { readTensor } from "./realize.js";

/** Elements that are printed at either end of a long dimension. */
const EDGE = 3;

/**
 * Dtype, shape and elements, long dimensions shortened: `tensor f32[2,2] [[1, 2], [3, 4]]`. In a trace, where there
 * are no elements, without them.
 */
export function printTensor(tensor: Tensor): string {
  const head = `tensor ${tensor.dtype}${formatShape(tensor.shape)}`;
  if (mode.scope !== null) return head;
  const elements = readTensor(tensor, "toString");
  const { shape } = tensor;
  const show = (depth: number, at: number, size: number): string => {
    if (depth === shape.length) {
      const element = elements[at] as number;
      return tensor.dtype === "bool" ? String(element !== 0) : String(Number(element.toPrecision(6)));
    }
    const count = shape[depth] as number;
    const step = size / Math.max(count, 1);
    const shown = Array.from({ length: count }, (_, i) => i).filter(
      (i) => count <= 2 * EDGE + 1 || i < EDGE || i >= count - EDGE,
    );
    const parts = shown.map((i) => show(depth + 1, at + i * step, step));
    if (shown.length < count) parts.splice(EDGE, 0, "…");
    return `[${parts.join(", ")}]`;
  };
  return `${head} ${show(0, 0, elements.length)}`;
}
