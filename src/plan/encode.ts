/** Encoding: from steps to the words of a program, with the places where addresses go. */
import { Opcode } from "../isa.js";
import type { PlanOperand, Region, Step } from "./buffer.js";

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

function isOperand(word: number | PlanOperand): word is PlanOperand {
  return typeof word !== "number";
}

/** Encodes placed steps. */
export function encode(steps: readonly Step[]): Code {
  const words: number[] = [];
  const starts: number[] = [];
  const relocated: { word: number; operand: PlanOperand }[] = [];
  for (const step of steps) {
    starts.push(words.length);
    const length = step.words.length + 1;
    if (length > 0xffff) throw new Error(`an instruction of ${length} words does not fit its header`);
    words.push(step.opcode | (step.flags << 8) | (length << 16));
    for (const word of step.words) {
      if (isOperand(word)) relocated.push({ word: words.length, operand: word });
      words.push(isOperand(word) ? 0 : word);
    }
  }
  words.push(Opcode.End | (1 << 16));
  return {
    words: Uint32Array.from(words, (word) => word >>> 0),
    relocations: {
      word: Uint32Array.from(relocated, ({ word }) => word),
      base: Uint32Array.from(relocated, ({ operand }) => baseOf(operand.buffer.region)),
      offset: Uint32Array.from(relocated, ({ operand }) => operand.buffer.offset + 4 * operand.offset),
    },
    starts,
  };
}
