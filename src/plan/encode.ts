/** Encoding: from steps to the words of a program, with the places where addresses go. */
import { Opcode } from "../isa.js";
import type { Region, Step } from "./buffer.js";

/** Numbers of the regions that a relocation may refer to; state `slot` is `Base.State + slot`. */
export const Base = { Temporary: 0, Pool: 1, State: 2 } as const;

/** Words whose value is the address of a region plus an offset. */
export interface Relocations {
  /** Index of the word in the program. */
  readonly word: Uint32Array;
  /** The region's number. */
  readonly base: Uint32Array;
  /** Bytes from the region's start. */
  readonly offset: Uint32Array;
}

/** A program without addresses: it runs anywhere in memory once its relocations are applied. */
export interface Code {
  readonly words: Uint32Array;
  readonly relocations: Relocations;
  /** Where each step's instruction starts, in words. */
  readonly starts: readonly number[];
}

function baseOf(region: Region): number {
  if (region.kind === "temporary") return Base.Temporary;
  return region.kind === "pool" ? Base.Pool : Base.State + region.slot;
}

/** Encodes placed steps. */
export function encode(steps: readonly Step[]): Code {
  const starts: number[] = [];
  let length = 1;
  let operands = 0;
  for (const { words } of steps) {
    if (words.length + 1 > 0xffff)
      throw new Error(`an instruction of ${words.length + 1} words does not fit its header`);
    starts.push(length - 1);
    length += words.length + 1;
    for (const word of words) if (typeof word !== "number") operands++;
  }
  const words = new Uint32Array(length);
  const [word, base, offset] = [new Uint32Array(operands), new Uint32Array(operands), new Uint32Array(operands)];
  let [at, operand] = [0, 0];
  for (const step of steps) {
    words[at++] = step.opcode | (step.flags << 8) | ((step.words.length + 1) << 16);
    for (const value of step.words) {
      if (typeof value === "number") words[at] = value;
      else {
        word[operand] = at;
        base[operand] = baseOf(value.buffer.region);
        offset[operand++] = value.buffer.offset + 4 * value.offset;
      }
      at++;
    }
  }
  words[at] = Opcode.End | (1 << 16);
  return { words, relocations: { word, base, offset }, starts };
}
