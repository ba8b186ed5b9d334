/** The program that a call runs in Wasm, alone. */
import { Runtime } from "../src/runtime/runtime.js";

/**
 * What one call of `step` runs in Wasm, without the JavaScript around it: the program as the call left it. It holds on to
 * `step`, whose program's memory would go with it, and is valid until a program that needs more temporaries runs.
 */
export function programOf(step: () => unknown): () => void {
  const { run } = Runtime.prototype;
  let program: (() => void) | undefined;
  Runtime.prototype.run = function (this: Runtime, address) {
    program = () => run.call(this, address);
    return run.call(this, address);
  };
  step();
  Runtime.prototype.run = run;
  if (program === undefined) throw new Error("the step ran no program");
  return Object.assign(program, { step });
}
