/** Reading and listing files, with errors that name the file and say in words what is wrong. */

import { readdir, readFile } from "node:fs/promises";
import { getSystemErrorMap } from "node:util";
import { FormatError } from "../index.js";

/** The bytes of a file. Throws a `FormatError` when it cannot be read. */
export function readBytes(path: string): Promise<Uint8Array<ArrayBuffer>> {
  return readFile(path).catch((error) => refuse(path, error));
}

/** The names in a directory. Throws a `FormatError` when it cannot be read. */
export function listDirectory(path: string): Promise<string[]> {
  return readdir(path).catch((error) => refuse(path, error));
}

function refuse(path: string, error: NodeJS.ErrnoException): never {
  const [, reason] = getSystemErrorMap().get(error.errno ?? 0) ?? [];
  throw new FormatError(`cannot read ${path}: ${reason ?? error.message}`, { cause: error });
}
