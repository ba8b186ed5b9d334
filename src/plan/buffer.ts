/** Buffers: the pieces of memory that a plan's steps read and write, before they have addresses. */
import type { Operand } from "../graph/primitive.js";
import type { Node } from "../graph/tensor.js";
import { Layout } from "../isa.js";

/** Where a buffer's memory comes from. */
export type Region =
  /** The temporaries of one run, placed so that dead ones are reused. */
  | { readonly kind: "temporary" }
  /** The program's own numbers: constants, and cells that the host writes before a run. */
  | { readonly kind: "pool" }
  /** State `slot`, which outlives the run. */
  | { readonly kind: "state"; readonly slot: number };

/** A piece of memory. */
export interface Buffer {
  readonly region: Region;
  /** Without padding. */
  readonly bytes: number;
  /** The value that is written here first; for reports. */
  readonly node: Node | null;
  /** Number of the first step that uses it; -1 if the host writes it before the run. */
  first: number;
  /** Number of the last step that uses it; Infinity if the host reads it after the run. */
  last: number;
  /** Byte offset within its region, once placed. */
  offset: number;
  /** Buffers whose memory this one could take over, if step `step` is the last to use them. */
  reuses: { readonly from: readonly Buffer[]; readonly step: number } | null;
}

/** An operand of the plan. */
export interface PlanOperand extends Operand {
  readonly buffer: Buffer;
}

/** One instruction before it has addresses. */
export interface Step {
  readonly opcode: number;
  flags: number;
  /** What follows the header; an operand stands for the address of its first element. */
  readonly words: readonly (number | PlanOperand)[];
  readonly reads: readonly Buffer[];
  readonly writes: readonly Buffer[];
  /** The nodes it computes. */
  readonly nodes: readonly Node[];
}

/** Rounds bytes up to what the arena deals out, at least one such piece. */
export function aligned(bytes: number): number {
  return Math.max(Layout.Alignment, Math.ceil(bytes / Layout.Alignment) * Layout.Alignment);
}

/** Bytes that a program's words and its pool take in the arena. */
export function programBytes(words: number, poolBytes: number): number {
  return aligned(aligned(4 * words) + poolBytes);
}

/** A buffer's size with padding, in bytes. */
export function paddedBytes(buffer: Buffer): number {
  return Math.ceil(buffer.bytes / Layout.Alignment) * Layout.Alignment;
}

/** A buffer that stands for a state's memory. */
export function stateBuffer(slot: number, bytes: number, node: Node | null): Buffer {
  const region: Region = { kind: "state", slot };
  return { region, bytes, node, first: 0, last: Number.POSITIVE_INFINITY, offset: 0, reuses: null };
}
