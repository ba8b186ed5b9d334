/** Reads recorded operator calls: one JSON object a line, from `.jsonl` or `.jsonl.gz` files. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { DType } from "../../src/graph/dtype.js";

/** A recorded number; non-finite ones are strings. */
type RecordedNumber = number | boolean | "nan" | "inf" | "-inf";

/** A recorded tensor, row-major. */
export interface RecordedTensor {
  readonly t: "f32" | "f64" | "i64" | "i32" | "bool";
  readonly shape: readonly number[];
  readonly data: readonly RecordedNumber[];
  /** Whether its gradient was recorded. */
  readonly grad: boolean;
}

/** A recorded argument. */
export type RecordedValue =
  | null
  | boolean
  | number
  | string
  | RecordedTensor
  | { readonly list: readonly RecordedValue[] }
  | { readonly float: "nan" | "inf" | "-inf" }
  | { readonly dtype: string }
  | { readonly slice: readonly (number | null)[] }
  | { readonly ellipsis: 1 };

/** A recorded call `op(input, *args, **kwargs)` and what came of it. */
export interface Case {
  readonly op: string;
  readonly i: number;
  readonly input: RecordedValue;
  readonly args: readonly RecordedValue[];
  readonly kwargs: Readonly<Record<string, RecordedValue>>;
  readonly error?: boolean;
  readonly outputs: readonly RecordedTensor[];
  readonly diff_outputs: readonly number[];
  readonly cotangents: readonly RecordedTensor[];
  /** One for each argument tensor with `grad`, in the order of the call; null where no gradient flows. */
  readonly grads: readonly (RecordedTensor | null)[];
}

const EXTENSION = /\.jsonl(\.gz)?$/;

/** The operators that a folder holds calls of, by name; each is a file. */
export function listOperators(directory: string): Map<string, string> {
  const files = readdirSync(directory).filter((file) => EXTENSION.test(file));
  return new Map(files.sort().map((file) => [file.replace(EXTENSION, ""), join(directory, file)]));
}

/** The calls in one file. */
export function readCases(file: string): Case[] {
  const bytes = readFileSync(file);
  const text = (file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as Case);
}

/** Whether a recorded value is a tensor. */
export function isTensor(value: RecordedValue): value is RecordedTensor {
  return typeof value === "object" && value !== null && "t" in value;
}

/** The dtype that stands for a recorded one: 64-bit types have none of their own here. */
export function dtypeFor(recorded: string): DType {
  if (recorded === "bool") return "bool";
  return recorded.startsWith("i") ? "i32" : "f32";
}

/** A recorded number as a number. */
export function numberFrom(value: RecordedNumber | string): number {
  if (typeof value !== "string") return Number(value);
  return value === "nan" ? Number.NaN : value === "inf" ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
}
