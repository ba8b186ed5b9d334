/** Values that are known before anything is computed. */
import { ArgumentError, TraceError } from "./errors.js";
import { mode, nodeOf, type Tensor } from "./tensor.js";

/**
 * The elements of a tensor that decides the shape of a result, and must therefore be known before anything is computed.
 * @throws ArgumentError where the value was neither given as data nor read before
 * @throws TraceError where a function is traced, by compile or vmap, and each call or example may bring another value
 */
export function knownValues(op: string, argument: string, x: Tensor): number[] {
  const { value, storage } = nodeOf(x);
  const known = value ?? storage?.read();
  if (known === undefined && mode.scope !== null) {
    throw new TraceError(
      `${op}: ${argument} decides the shape of the result; in a function under compile or vmap give it as numbers`,
    );
  }
  if (known === undefined) {
    throw new ArgumentError(
      `${op}: ${argument} decides the shape of the result and is not computed yet; read its value and give that`,
    );
  }
  return Array.from(known);
}
