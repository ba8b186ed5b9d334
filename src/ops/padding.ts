/** Padding: tensors made larger at the ends of their dimensions, or smaller. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape, type Shape } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import type { OperatorTable } from "./define.js";
import { cat } from "./join.js";
import { expand, flip, narrow, placed, slice } from "./movement.js";

/** What stands outside of a padded tensor. */
export type PadMode = "constant" | "reflect" | "replicate" | "circular";

/** `count` elements that continue dimension `dim` before its start, or after its end. */
type Continuation = (x: Tensor, dim: number, count: number, side: "before" | "after") => Tensor;

const CONTINUATIONS: Record<Exclude<PadMode, "constant">, Continuation> = {
  reflect(x, dim, count, side) {
    const size = x.shape[dim] as number;
    if (count >= size) {
      throw new ShapeError(
        `pad: reflect by ${count} needs more than ${count} elements, and dimension ${dim} has ${size}`,
      );
    }
    return flip(narrow(x, dim, side === "before" ? 1 : size - 1 - count, count), dim);
  },
  replicate(x, dim, count, side) {
    const edge = narrow(x, dim, side === "before" ? 0 : (x.shape[dim] as number) - 1, 1);
    return expand(
      edge,
      edge.shape.map((n, i) => (i === dim ? count : n)),
    );
  },
  circular(x, dim, count, side) {
    const size = x.shape[dim] as number;
    if (count > size) {
      throw new ShapeError(`pad: circular by ${count} goes around more than once: dimension ${dim} has ${size}`);
    }
    return narrow(x, dim, side === "before" ? size - count : 0, count);
  },
};

/** Dimension `dim` continued by `before` and `after` elements that are made of its own. */
function continued(input: Tensor, dim: number, before: number, after: number, next: Continuation): Tensor {
  if (before <= 0 && after <= 0) return input;
  if (input.shape[dim] === 0) throw new ShapeError(`pad: dimension ${dim} is empty: there is nothing to continue`);
  return cat(
    [
      ...(before > 0 ? [next(input, dim, before, "before")] : []),
      input,
      ...(after > 0 ? [next(input, dim, after, "after")] : []),
    ],
    dim,
  );
}

function surrounded(input: Tensor, dim: number, before: number, after: number, value: number): Tensor {
  const count = input.shape[dim] as number;
  const size = count + Math.max(0, before) + Math.max(0, after);
  if (size === count) return input;
  return placed([input], { dim, size, value, parts: [{ start: Math.max(0, before), count, step: 1 }] });
}

/**
 * Pads, or cuts where a width is negative.
 * @param pad widths before and after each dimension, the last dimension first
 * @param options.mode what stands outside: `constant` is `value`; `reflect` mirrors at the edge without repeating it,
 * `replicate` repeats the edge, `circular` continues at the other end
 */
export function pad(input: Tensor, pad: Shape, options: { mode?: PadMode; value?: number | null } = {}): Tensor {
  const { mode = "constant" } = options;
  const given = options.value ?? 0;
  const value = input.dtype === "f32" ? given : input.dtype === "i32" ? Math.trunc(given) : Number(given !== 0);
  if (pad.length % 2 !== 0 || pad.length > 2 * input.ndim) {
    throw new ShapeError(
      `pad: ${pad.length} widths for shape ${formatShape(input.shape)}; give two for each padded dimension, the last one first`,
    );
  }
  if (mode !== "constant" && !(mode in CONTINUATIONS)) {
    throw new ArgumentError(`pad: mode must be constant, reflect, replicate or circular, not ${JSON.stringify(mode)}`);
  }
  let out = input;
  for (let i = 0; i < pad.length; i += 2) {
    const dim = input.ndim - 1 - i / 2;
    const [before, after] = [pad[i] as number, pad[i + 1] as number];
    const size = out.shape[dim] as number;
    if (size + before + after < 0) {
      throw new ShapeError(
        `pad: widths ${before} and ${after} leave less than nothing of dimension ${dim}, which has ${size}`,
      );
    }
    if (mode === "constant") {
      const start = Math.max(0, -before);
      const kept = slice(out, dim, start, Math.max(start, size - Math.max(0, -after)));
      const missing = size + before + after - (kept.shape[dim] as number);
      // A negative width may cut into what the other one adds.
      const added = Math.min(Math.max(0, before), missing);
      out = surrounded(kept, dim, added, missing - added, value);
    } else if (mode === "circular") {
      // Cut first and closed to a circle then, as PyTorch does; the modes below continue the whole dimension.
      const start = Math.max(0, -before);
      const kept = narrow(out, dim, start, Math.max(0, size - start - Math.max(0, -after)));
      out = continued(kept, dim, before, after, CONTINUATIONS.circular);
    } else {
      const whole = continued(out, dim, before, after, CONTINUATIONS[mode]);
      const start = Math.max(0, -before);
      out = narrow(whole, dim, start, size + before + after);
    }
  }
  return out;
}

/** The operators of this file. */
export default {
  pad: {
    fn: pad,
    params: ["input", "pad"],
    options: ["mode", "value"],
    samples: [
      'f32[3,4]; [1,2,0,1]; {"value":0.5}',
      "f32[3,4]; [-1,2]",
      'f32[3,4]; [1,2,1,1]; {"mode":"reflect"}',
      'f32[3,4]; [3,-1]; {"mode":"replicate"}',
      'f32[3,4]; [2,1]; {"mode":"circular"}',
      'f32[3,4]; [-1,2,1,-1]; {"mode":"circular"}',
    ],
  },
} satisfies OperatorTable;
