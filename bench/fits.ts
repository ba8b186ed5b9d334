/**
 * A training step that fits its memory only by computing values again: a GPT whose activations need 6 GiB, trained in an
 * arena of 1 GiB. WebAssembly's 32-bit memory could not hold the first at all.
 */
import { explainMemory } from "../src/plan/report.js";
import { tensor } from "../src/tensor/creation.js";
import { init } from "../src/tensor/session.js";
import { availableBuilds } from "./kernels.js";
import type { Report, Row } from "./report.js";
import { gpt } from "./training-graphs.js";

const [LAYERS, WIDTH, CONTEXT, BATCH] = [12, 256, 256, 124];
const VOCABULARY = 256;
const BUDGET = 2 ** 30;
const STEPS = 3;

/** Tokens that follow one another by a rule, so that there is something to learn, and what follows each. */
function sequences(): { x: Int32Array; y: Int32Array } {
  const token = (i: number): number => (i * 31 + (i >> 4)) % VOCABULARY;
  const count = BATCH * CONTEXT;
  return {
    x: Int32Array.from({ length: count }, (_, i) => token(i)),
    y: Int32Array.from({ length: count }, (_, i) => token(i + 1)),
  };
}

/** Plans the step with and without the budget, prints the plan, and runs it a few times. */
export async function fits(): Promise<Report> {
  await init({
    build: availableBuilds()[0] as "strict",
    wasm: new URL("../build/wasm/", import.meta.url),
    maximumBytes: BUDGET + 2 ** 26,
  });
  const graph = gpt(LAYERS, WIDTH, CONTEXT, { batch: BATCH, heads: 8, vocabulary: VOCABULARY });
  const whole = graph.step().memory(...graph.args);
  const started = performance.now();
  const step = graph.step({ memoryBudget: BUDGET });
  const planned = step.memory(...graph.args);
  const milliseconds = performance.now() - started;
  console.log(`${explainMemory(planned)}\n`);

  const { x, y } = sequences();
  const args = [tensor(x).reshape([BATCH, CONTEXT]), tensor(y)] as const;
  const measured = step.measureMemory(...args);
  const rows: Row[] = Array.from({ length: STEPS }, (_, i) => {
    const from = performance.now();
    const loss = step(...args).item();
    return { step: i + 1, loss, "time, s": (performance.now() - from) / 1000 };
  });
  const again = planned.recomputedFlops / (planned.flops - planned.recomputedFlops);
  const losses = rows.map(({ loss }) => Number(loss));
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const failures = [
    ...(measured.arenaBytes === planned.arenaBytes
      ? []
      : [`foretold ${planned.arenaBytes} bytes, and took ${measured.arenaBytes}`]),
    ...(losses.every(Number.isFinite) && (losses.at(-1) as number) < (losses[0] as number)
      ? []
      : ["the loss did not fall"]),
  ];
  return {
    title: `a GPT of ${graph.name} with a batch of ${BATCH}: ${mib(whole.arenaBytes)} without a budget, ${mib(planned.arenaBytes)} foretold and ${mib(measured.arenaBytes)} measured within ${mib(BUDGET)}, for ${(100 * again).toFixed(1)} % more arithmetic; planned in ${(milliseconds / 1000).toFixed(1)} s`,
    rows,
    failures,
  };
}
