/** Checkpoints: functions whose inner values are computed again in the backward pass instead of being kept. */
import { ArgumentError } from "../graph/errors.js";
import { expectNames, namedPrimitive } from "../graph/names.js";
import { expectPolicy, type RecomputePolicy } from "../graph/policy.js";
import {
  apply,
  inRegion,
  isWithin,
  keepFor,
  mode,
  type Node,
  newWalk,
  nodeOf,
  type Region,
  Tensor,
} from "../graph/tensor.js";
import { setCheckpointing } from "../plan/plan.js";
import { recompute } from "../plan/recompute/pass.js";

/** The tensors in arrays and plain objects, at any depth; whatever else is in them is passed over. */
function tensorsIn(value: unknown): Tensor[] {
  const found: Tensor[] = [];
  const seen = new Set<unknown>();
  const open = [value];
  while (open.length > 0) {
    const at = open.pop();
    if (at instanceof Tensor) found.push(at);
    else if (typeof at === "object" && at !== null && !seen.has(at)) {
      seen.add(at);
      if (Array.isArray(at) || Object.getPrototypeOf(at) === Object.prototype)
        for (const part of Object.values(at)) open.push(part);
    }
  }
  return found;
}

/** What was made in `region` on the way to `outputs`. */
function madeIn(region: Region, outputs: readonly Node[]): Node[] {
  const walk = newWalk();
  const found: Node[] = [];
  const open = [...outputs];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (node.walk === walk || !isWithin(node.region, region)) continue;
    node.walk = walk;
    found.push(node);
    open.push(...node.inputs);
  }
  return found;
}

/**
 * Calls `fn` so that of all it computes only what it returns is kept; what a backward pass needs of the rest is computed
 * again when it gets there, from the arguments and from whatever `fn` captures (as PyTorch's
 * `torch.utils.checkpoint`). Values, gradients and random draws are the same bits as without, and whatever `fn`
 * overwrites in place, such as running statistics, is overwritten once.
 *
 * A policy before the function says what of the inner values is kept after all. Of checkpoints within one another each
 * decides about what the inner ones keep.
 * @param fn takes and returns what it likes; the tensors among what it returns, also in arrays and plain objects, are kept
 * @throws ArgumentError where a policy lists names that are not there, or `fn` returns a promise
 * @example
 * for (const block of blocks) x = checkpoint((x) => block.forward(x), x);
 * @example
 * checkpoint({ saveOnly: ["matmul"] }, (x) => block.forward(x), x); // recomputes all but matrix products
 */
export function checkpoint<Args extends readonly unknown[], Out>(fn: (...args: Args) => Out, ...args: Args): Out;
/** The same with a policy: what `fn` computes and the policy keeps is not computed again. */
export function checkpoint<Args extends readonly unknown[], Out>(
  policy: RecomputePolicy,
  fn: (...args: Args) => Out,
  ...args: Args
): Out;
export function checkpoint<Out>(...call: readonly unknown[]): Out {
  const [policy, fn, ...args] = (typeof call[0] === "function" ? [undefined, ...call] : call) as [
    RecomputePolicy | undefined,
    (...args: readonly unknown[]) => Out,
    ...unknown[],
  ];
  if (policy !== undefined) expectPolicy("checkpoint", policy);
  if (typeof fn !== "function") throw new ArgumentError(`checkpoint: expected a function to call, not ${typeof fn}`);
  setCheckpointing((units, targets, lowerAll) => recompute(units, targets, {}, lowerAll));
  const region: Region = { parent: mode.region, ...(policy !== undefined && { policy }) };
  const out = inRegion(region, () => fn(...args));
  if (out instanceof Promise) {
    throw new ArgumentError(
      "checkpoint: the function returned a promise; all that is to be computed again must be called before it returns",
    );
  }
  const outputs = tensorsIn(out).map(nodeOf);
  expectNames("checkpoint", policy, typeof policy === "object" ? madeIn(region, outputs) : []);
  for (const node of outputs) keepFor(node, region, region.parent);
  return out;
}

/**
 * Gives a value a name, by which a policy can have it kept: `{ saveOnly: ["attention"] }` (as JAX's `checkpoint_name`).
 * It changes nothing else: the result is `x`, and so are its gradients.
 * @param name any text; the same one may be given to many values, such as one in each layer
 * @returns the same value; what is computed from it, and not from `x`, is computed from the kept value
 * @example
 * const mixed = checkpointName(scaledDotProductAttention(q, k, v), "attention");
 */
export function checkpointName(x: Tensor, name: string): Tensor {
  if (typeof name !== "string" || name === "") {
    throw new ArgumentError(`checkpointName: a name is a text that is not empty, not ${JSON.stringify(name)}`);
  }
  return apply(namedPrimitive, [x], { name });
}
