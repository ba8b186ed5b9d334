/** Reading, listing and writing files, with errors that name the file and say in words what is wrong. */

import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { getSystemErrorMap } from "node:util";
import { FormatError } from "../index.js";

/** The bytes of a file. Throws a `FormatError` when it cannot be read. */
export function readBytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  return readFile(path).catch((error) => refuse("read", path, error));
}

/** The names in a directory. Throws a `FormatError` when it cannot be read. */
export function listDirectory(path: string): Promise<string[]> {
  return readdir(path).catch((error) => refuse("read", path, error));
}

/** Writes a file, in folders that are made where they are missing. Throws a `FormatError` when it cannot be written. */
export async function writeText(path: string, text: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
  } catch (error) {
    refuse("write", path, error as NodeJS.ErrnoException);
  }
}

function refuse(what: "read" | "write", path: string, error: NodeJS.ErrnoException): never {
  const [, reason] = getSystemErrorMap().get(error.errno ?? 0) ?? [];
  throw new FormatError(`cannot ${what} ${path}: ${reason ?? error.message}`, { cause: error });
}
