/** Symbolic replay: runs a program on buffers' names instead of on numbers, and checks that every read finds its own. */
import { sameShape } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { attrsKey, isLeaf } from "../graph/walk.js";
import { type Buffer, paddedBytes, type Step } from "./buffer.js";

/** Bytes of the temporary region that hold (part of) a buffer. */
interface Held {
  readonly start: number;
  readonly end: number;
  readonly buffer: Buffer;
}

/** Memory as a list of what holds which bytes. */
class Memory {
  private held: Held[] = [];

  write(buffer: Buffer): void {
    const start = buffer.offset;
    const end = start + paddedBytes(buffer);
    const rest = this.held.flatMap((h) => {
      if (h.end <= start || h.start >= end) return [h];
      const parts: Held[] = [];
      if (h.start < start) parts.push({ ...h, end: start });
      if (h.end > end) parts.push({ ...h, start: end });
      return parts;
    });
    this.held = end > start ? [...rest, { start, end, buffer }] : rest;
  }

  /** Whether all bytes of a buffer hold that buffer. */
  holds(buffer: Buffer): boolean {
    return this.held.reduce((sum, h) => sum + (h.buffer === buffer ? h.end - h.start : 0), 0) === paddedBytes(buffer);
  }
}

/** Whether two nodes apply the same operators to the same leaves. `equal` remembers which pairs do. */
function isSameExpression(a: Node, b: Node, equal: Map<Node, Set<Node>>): boolean {
  const stack: [Node, Node][] = [[a, b]];
  for (let pair = stack.pop(); pair !== undefined; pair = stack.pop()) {
    const [x, y] = pair;
    const known = equal.get(x) ?? new Set();
    if (x === y || known.has(y)) continue;
    equal.set(x, known.add(y));
    if (isLeaf(x) || isLeaf(y) || x.primitive !== y.primitive || attrsKey(x.attrs) !== attrsKey(y.attrs)) return false;
    if (!sameShape(x.shape, y.shape) || x.inputs.length !== y.inputs.length) return false;
    for (const [i, input] of x.inputs.entries()) stack.push([input, y.inputs[i] as Node]);
  }
  return true;
}

/**
 * Replays steps in order.
 * @param results buffers that the host reads after the run
 * @param originals for each value that is computed again, the first one
 * @throws Error naming the first step that reads a buffer which was never written, or was overwritten
 */
export function replay(
  steps: readonly Step[],
  temporaries: readonly Buffer[],
  results: readonly Buffer[],
  originals: ReadonlyMap<Node, Node> = new Map(),
): void {
  const equal = new Map<Node, Set<Node>>();
  for (const [copy, original] of originals) {
    if (isSameExpression(copy, original, equal)) continue;
    throw new Error(`${copy.primitive.name} [${copy.shape}] is computed again from other values than the first time`);
  }
  const memory = new Memory();
  for (const buffer of temporaries) if (buffer.first === -1) memory.write(buffer);
  const check = (buffer: Buffer, who: string): void => {
    if (buffer.region.kind !== "temporary" || memory.holds(buffer)) return;
    throw new Error(
      `${who} reads ${buffer.node?.primitive.name ?? "a workspace"} at ${buffer.offset}, which was overwritten or never written`,
    );
  };
  steps.forEach((step, i) => {
    const own = new Set(step.writes);
    for (const buffer of step.reads) {
      // A scatter adds into the buffer that it writes, and an epilogue reads what its product is writing.
      if (!own.has(buffer)) check(buffer, `step ${i} (${step.nodes.map((n) => n.primitive.name).join("+")})`);
    }
    for (const buffer of step.writes) if (buffer.region.kind === "temporary") memory.write(buffer);
  });
  for (const buffer of results) check(buffer, "the host");
}
