/**
 * Looking inside: what `LANEGRAD_DEBUG` and `LANEGRAD_CHECK` in the environment ask for.
 *
 * | LANEGRAD_DEBUG | prints, on standard error |
 * | --- | --- |
 * | 1 | a line for every plan: nodes, steps, bytes, time |
 * | 2 | and the graph, before and after simplification |
 * | 3 | and the program: every step with its addresses, and the map of the temporaries |
 * | 4 | and the time of every run |
 *
 * `LANEGRAD_CHECK=1` verifies the graph after every pass and replays every program symbolically before it first runs.
 */

/** Pages have no environment; there `globalThis.LANEGRAD_DEBUG` and `LANEGRAD_CHECK` are read instead. */
function setting(name: string): number {
  const page = (globalThis as Record<string, unknown>)[name];
  const env = typeof process === "undefined" ? undefined : process.env?.[name];
  return Number(page ?? env ?? 0) || 0;
}

/** How much to print. */
export const debugLevel: number = setting("LANEGRAD_DEBUG");

/** Whether passes are verified. */
export const checking: boolean = setting("LANEGRAD_CHECK") > 0;

/** Prints where the level asks for it; the text is made only then. */
export function debug(level: number, text: () => string): void {
  if (debugLevel >= level) console.error(text());
}
