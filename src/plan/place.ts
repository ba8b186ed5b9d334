/** Placement: offsets for temporaries, so that buffers that are never alive together share memory. */
import { ArenaError } from "../graph/errors.js";
import { type Buffer, paddedBytes } from "./buffer.js";

/** A run of buffers that share their memory one after the other, each taking over from the one before. */
interface Block {
  readonly buffers: Buffer[];
  readonly bytes: number;
  first: number;
  last: number;
  offset: number;
}

/** Joins buffers that take over the memory of an input which dies as they are written. */
function blocksOf(buffers: readonly Buffer[]): Block[] {
  const blockOf = new Map<Buffer, Block>();
  const blocks: Block[] = [];
  for (const buffer of buffers) {
    const { reuses } = buffer;
    const block = reuses === null || reuses.from.last !== reuses.step ? undefined : blockOf.get(reuses.from);
    if (block !== undefined && block.buffers.at(-1) === reuses?.from) {
      block.buffers.push(buffer);
      block.last = Math.max(block.last, buffer.last);
      blockOf.set(buffer, block);
    } else {
      const own: Block = {
        buffers: [buffer],
        bytes: paddedBytes(buffer),
        first: buffer.first,
        last: buffer.last,
        offset: 0,
      };
      blocks.push(own);
      blockOf.set(buffer, own);
    }
  }
  return blocks;
}

/**
 * Gives every buffer an offset: largest first, each into the lowest gap among the placed ones it is alive with.
 * (Greedy by size: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020.)
 * @returns bytes of the region that holds them
 */
export function place(buffers: readonly Buffer[]): number {
  const blocks = blocksOf(buffers).filter(({ bytes }) => bytes > 0);
  const placed: Block[] = [];
  let total = 0;
  for (const block of [...blocks].sort((a, b) => b.bytes - a.bytes || a.first - b.first)) {
    let offset = 0;
    for (const other of placed) {
      const together = other.first <= block.last && block.first <= other.last;
      if (!together) continue;
      if (offset + block.bytes <= other.offset) break;
      offset = Math.max(offset, other.offset + other.bytes);
    }
    block.offset = offset;
    for (const buffer of block.buffers) buffer.offset = offset;
    total = Math.max(total, offset + block.bytes);
    const at = placed.findIndex((other) => other.offset > offset);
    placed.splice(at === -1 ? placed.length : at, 0, block);
  }
  if (total >= 2 ** 32) {
    const largest = [...buffers].sort((a, b) => b.bytes - a.bytes)[0] as Buffer;
    throw new ArenaError(
      `the plan needs ${total} bytes of temporaries, and a 32-bit memory holds 4294967296; the largest is ${largest.bytes} bytes (${largest.node?.primitive.name ?? "workspace"} [${largest.node?.shape ?? ""}])`,
    );
  }
  return total;
}

/** The most bytes alive at once: no placement of these lifetimes can need less. */
export function liveBytes(buffers: readonly Buffer[]): number {
  const changes = new Map<number, number>();
  const change = (at: number, bytes: number): void => {
    changes.set(at, (changes.get(at) ?? 0) + bytes);
  };
  for (const { first, last, bytes } of blocksOf(buffers)) {
    change(first, bytes);
    change(last + 1, -bytes);
  }
  let live = 0;
  let most = 0;
  for (const at of [...changes.keys()].sort((a, b) => a - b)) {
    live += changes.get(at) as number;
    most = Math.max(most, live);
  }
  return most;
}
