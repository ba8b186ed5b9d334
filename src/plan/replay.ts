/** Symbolic replay: runs a program on buffers' names instead of on numbers, and checks that every read finds its own. */
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

/**
 * Replays steps in order.
 * @param results buffers that the host reads after the run
 * @throws Error naming the first step that reads a buffer which was never written, or was overwritten
 */
export function replay(steps: readonly Step[], temporaries: readonly Buffer[], results: readonly Buffer[]): void {
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
