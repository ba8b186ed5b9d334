/** Reads the values of command-line options, with errors that say what would be right. */

import { InvalidArgumentError } from "commander";

/** A parser for whole numbers from `least` up. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`It must be a whole number from ${least} up.`);
    }
    return value;
  };
}

/** Parses a number above 0. */
export function positiveNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value <= 0) {
    throw new InvalidArgumentError("It must be a number above 0.");
  }
  return value;
}

/** Parses the sizes of hidden layers, such as `256,128`; an empty text means none. */
export function layerSizes(text: string): number[] {
  if (text.trim() === "") return [];
  const sizes = text.split(",").map((size) => (/^\s*\d+\s*$/.test(size) ? Number(size) : 0));
  if (!sizes.every((size) => size >= 1 && size <= 65_536)) {
    throw new InvalidArgumentError("It must be sizes from 1 to 65536, such as 256,128.");
  }
  return sizes;
}
