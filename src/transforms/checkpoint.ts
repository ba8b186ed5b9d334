/** Checkpoints: functions whose inner values are computed again in the backward pass instead of being kept. */
import { mode, nodeOf, type Region } from "../graph/tensor.js";
import { leavesOf, type Tree } from "../graph/tree.js";
import { setCheckpointing } from "../plan/plan.js";
import { recompute } from "../plan/recompute-plan.js";

/**
 * Calls `fn` so that of all it computes only what it returns is kept; what a backward pass needs of the rest is computed
 * again when it gets there, from the arguments and from whatever `fn` captures (as PyTorch's
 * `torch.utils.checkpoint`). Values, gradients and random draws are the same bits as without.
 *
 * Of checkpoints within one another the outermost decides what is kept.
 * @param fn takes tensors, or arrays and plain objects of them, and returns such
 * @example
 * for (const block of blocks) x = checkpoint((x) => block.forward(x), x);
 */
export function checkpoint<Args extends readonly Tree[], Out extends Tree>(
  fn: (...args: Args) => Out,
  ...args: Args
): Out {
  setCheckpointing((units, targets, layOut) => recompute(units, targets, {}, layOut));
  const region: Region = { parent: mode.region };
  mode.region = region;
  let out: Out;
  try {
    out = fn(...args);
  } finally {
    mode.region = region.parent;
  }
  for (const tensor of leavesOf("checkpoint (the returned value)", out)) {
    // A view has no memory of its own: what it shows is kept.
    let node = nodeOf(tensor);
    for (;;) {
      if (node.holder === region) node.holder = region.parent;
      const [input] = node.inputs;
      if (input === undefined || node.primitive.lowering.kind !== "view") break;
      node = input;
    }
  }
  return out;
}
