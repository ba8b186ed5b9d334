/** Placement: offsets for temporaries, so that buffers that are never alive together share memory. */
import { ArenaError } from "../graph/errors.js";
import { type Buffer, paddedBytes } from "./buffer.js";
import type { Extents } from "./extents.js";
import { CLIMBING_WORK, search } from "./place-search.js";

/** A run of buffers that share their memory one after the other, each taking over from the one before. */
interface Block {
  readonly buffers: Buffer[];
  readonly bytes: number;
  first: number;
  last: number;
}

/** Joins buffers that take over the memory of an input which dies as they are written. */
function blocksOf(buffers: readonly Buffer[]): Block[] {
  const blockOf = new Map<Buffer, Block>();
  const blocks: Block[] = [];
  for (const buffer of buffers) {
    const { reuses } = buffer;
    const from = reuses?.from.find((x) => x.last === reuses.step && blockOf.get(x)?.buffers.at(-1) === x);
    const block = from === undefined ? undefined : blockOf.get(from);
    if (block !== undefined) {
      block.buffers.push(buffer);
      block.last = Math.max(block.last, buffer.last);
      blockOf.set(buffer, block);
    } else {
      const own: Block = { buffers: [buffer], bytes: paddedBytes(buffer), first: buffer.first, last: buffer.last };
      if (own.bytes > 0) blocks.push(own);
      blockOf.set(buffer, own);
    }
  }
  return blocks;
}

function extentsOf(blocks: readonly Block[]): Extents {
  return {
    bytes: Float64Array.from(blocks, ({ bytes }) => bytes),
    first: Float64Array.from(blocks, ({ first }) => first),
    last: Float64Array.from(blocks, ({ last }) => last),
  };
}

/**
 * Gives every buffer an offset.
 * @param enough bytes with which a quick try is content, and a quicker one does where more are alive at once; without, the
 *   fewest are searched for
 * @param isHard whether as much work is spent on coming down to them as on the fewest
 * @returns bytes of the region that holds them
 */
export function place(buffers: readonly Buffer[], enough?: number, isHard = false): number {
  const blocks = blocksOf(buffers);
  const bound = peakOfBlocks(blocks).bytes;
  const extents = extentsOf(blocks);
  const { offsets, total } =
    enough === undefined
      ? search(extents, bound)
      : search(extents, bound, enough, isHard ? CLIMBING_WORK : CLIMBING_WORK / 20);
  blocks.forEach((block, i) => {
    for (const buffer of block.buffers) buffer.offset = offsets[i] as number;
  });
  return total;
}

/**
 * Checks that a memory with 32-bit addresses can hold placed buffers. A plan that it cannot hold may be asked what it
 * needs, and be the start of one that computes values again.
 * @throws ArenaError where it cannot, naming the largest buffer
 */
export function expectAddressable(buffers: readonly Buffer[], total: number): void {
  if (total < 2 ** 32) return;
  const largest = buffers.reduce((most, buffer) => (buffer.bytes > most.bytes ? buffer : most));
  throw new ArenaError(
    `the plan needs ${total} bytes of temporaries, and a 32-bit memory holds 4294967296; the largest is ${largest.bytes} bytes (${largest.node?.primitive.name ?? "workspace"} [${largest.node?.shape ?? ""}]); a memory budget makes a plan that fits`,
  );
}

/** Bytes alive at a step. */
export interface Peak {
  readonly bytes: number;
  /** The first step at which so many bytes are alive; -1 before the first one. */
  readonly step: number;
}

/** The most bytes alive at once, and when. */
export function peakOf(buffers: readonly Buffer[]): Peak {
  return peakOfBlocks(blocksOf(buffers));
}

function peakOfBlocks(blocks: readonly Block[]): Peak {
  const changes = new Map<number, number>();
  const change = (at: number, bytes: number): void => {
    changes.set(at, (changes.get(at) ?? 0) + bytes);
  };
  for (const { first, last, bytes } of blocks) {
    change(first, bytes);
    change(last + 1, -bytes);
  }
  let live = 0;
  let peak: Peak = { bytes: 0, step: -1 };
  for (const at of [...changes.keys()].sort((a, b) => a - b)) {
    live += changes.get(at) as number;
    if (live > peak.bytes) peak = { bytes: live, step: at };
  }
  return peak;
}

/** The most bytes alive at once: no placement of these lifetimes can need less. */
export function liveBytes(buffers: readonly Buffer[]): number {
  return peakOf(buffers).bytes;
}
