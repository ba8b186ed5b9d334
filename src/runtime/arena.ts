/** The arena: one linear memory dealt out in aligned regions, growing on demand up to a maximum. */
import { ArenaError } from "../graph/errors.js";
import { Layout } from "../isa.js";

const PAGE = 65536;

/** Address 0 means "none" in instructions, and engines catch stray small addresses more easily when nothing is there. */
const FIRST_ADDRESS = 1024;

/** A part of the arena. */
export interface Extent {
  readonly address: number;
  readonly bytes: number;
}

/** Deals out regions of a `WebAssembly.Memory`, first fit in the lowest free extent. */
export class Arena {
  readonly memory: WebAssembly.Memory;
  /** Free extents by rising address, never adjacent. */
  private free: Extent[] = [];
  private end = FIRST_ADDRESS;

  /** @param maximumBytes up to 4 GiB; rounded down to whole pages of 64 KiB */
  constructor(private readonly maximumBytes: number) {
    this.memory = new WebAssembly.Memory({ initial: 1, maximum: 65536 });
  }

  /** Bytes from the start of memory to the end of the last region in use. */
  get bytes(): number {
    return this.end;
  }

  /**
   * A region of at least `bytes`, aligned and uninitialized.
   * @param what names its purpose in the error
   * @throws ArenaError where it would pass the maximum; the arena is then unchanged
   */
  allocate(bytes: number, what: string): Extent {
    const size = Math.max(Layout.Alignment, Math.ceil(bytes / Layout.Alignment) * Layout.Alignment);
    const at = this.free.findIndex((extent) => extent.bytes >= size);
    const found = this.free[at];
    if (found !== undefined) {
      const rest = { address: found.address + size, bytes: found.bytes - size };
      this.free.splice(at, 1, ...(rest.bytes > 0 ? [rest] : []));
      return { address: found.address, bytes: size };
    }
    const address = this.end;
    this.growTo(address + size, `${what} (${size} bytes)`);
    this.end = address + size;
    return { address, bytes: size };
  }

  /** Gives a region back. */
  release({ address, bytes }: Extent): void {
    const after = this.free.findIndex((extent) => extent.address > address);
    const at = after === -1 ? this.free.length : after;
    const next = this.free[at];
    const before = this.free[at - 1];
    let start = address;
    let end = address + bytes;
    let from = at;
    let replaced = 0;
    if (before !== undefined && before.address + before.bytes === start) {
      start = before.address;
      from--;
      replaced++;
    }
    if (next !== undefined && next.address === end) {
      end += next.bytes;
      replaced++;
    }
    if (end === this.end) {
      this.end = start;
      this.free.splice(from, replaced);
    } else {
      this.free.splice(from, replaced, { address: start, bytes: end - start });
    }
  }

  private growTo(end: number, what: string): void {
    const have = this.memory.buffer.byteLength;
    if (end <= have) return;
    if (end > this.maximumBytes) {
      throw new ArenaError(
        `the arena cannot hold ${what}: it would grow to ${end} bytes, and its maximum is ${this.maximumBytes}; a maximum of ${end} would fit`,
      );
    }
    try {
      this.memory.grow(Math.ceil((end - have) / PAGE));
    } catch {
      throw new ArenaError(
        `the arena cannot hold ${what}: the engine refused to grow its memory from ${have} to ${end} bytes`,
      );
    }
  }
}
