/** Plans to be broken: caught as they run, and run again with other steps. */
import { expect } from "vitest";
import type { TypedArray } from "../../src/graph/dtype.js";
import type { Tensor } from "../../src/graph/tensor.js";
import { Layout } from "../../src/isa.js";
import type { Step } from "../../src/plan/buffer.js";
import { encode } from "../../src/plan/encode.js";
import type { Plan } from "../../src/plan/plan.js";
import { replay } from "../../src/plan/replay.js";
import type { Guard, Program } from "../../src/runtime/runtime.js";
import { runtime } from "../../src/tensor/session.js";

/** A plan, and what running a variant of it gives: the bits of its results and of the states that it leaves. */
export interface Subject {
  readonly plan: Plan;
  run(steps: readonly Step[]): string;
}

/** Catches the program of a step as it runs. */
export function subjectOf(step: () => Tensor): Subject {
  let caught: Subject | null = null;
  const guard: Guard = {
    around(program: Program, states, execute) {
      const { plan } = program;
      const before = states.map(({ resident }) => resident.read());
      const run = (steps: readonly Step[]): string => {
        states.forEach(({ resident }, i) => {
          resident.write(before[i] as TypedArray);
        });
        const bases = [runtime().temporaries(plan.temporaryBytes), program.poolAddress];
        const code = encode(steps);
        runtime().writeCode(program.block.address, code, [...bases, ...states.map(({ resident }) => resident.address)]);
        const words = new Int32Array(
          runtime().arena.memory.buffer,
          bases[0],
          plan.temporaryBytes / Layout.ElementBytes,
        );
        words.fill(-1);
        let results: TypedArray[] = [];
        try {
          results = execute();
        } catch (error) {
          return String(error);
        }
        const values = [...results, ...states.map(({ resident }) => resident.read())];
        return values.map(({ buffer }) => new Uint32Array(buffer).join()).join(";");
      };
      if (plan.updates.length > 0) caught = { plan, run };
      return execute();
    },
  };
  const audit = runtime().guard;
  runtime().guard = guard;
  step().item();
  expect(caught).not.toBeNull();
  runtime().guard = audit;
  return caught as unknown as Subject;
}

/**
 * Whether replaying a plan with other steps throws. Where it does not, running them must give the same bits.
 * @param right what the plan itself gives
 */
export function isCaught({ plan, run }: Subject, steps: readonly Step[], right: string, what: string): boolean {
  try {
    replay({ ...plan, steps, code: encode(steps) });
  } catch {
    return true;
  }
  expect(run(steps) === right, `${what} changes the result, and the replay does not see it`).toBe(true);
  return false;
}
