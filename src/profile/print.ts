/** Profiles as text. */
import type { Entry, Profile } from "./analyse.js";

type Column = readonly [title: string, cell: (entry: Entry) => string, align: "left" | "right"];

const COLUMNS: readonly Column[] = [
  ["operator", ({ operator }) => operator, "left"],
  ["instruction", ({ instruction }) => instruction, "left"],
  ["phase", ({ phase }) => phase, "left"],
  ["shape", ({ shape }) => shape, "left"],
  ["calls", ({ calls }) => String(calls), "right"],
  ["time", ({ milliseconds }) => duration(milliseconds), "right"],
  ["% of step", ({ share }) => (100 * share).toFixed(1), "right"],
  ["GFLOP/s", ({ flops, milliseconds }) => rate(flops, milliseconds), "right"],
  ["GB/s", ({ bytes, milliseconds }) => rate(bytes, milliseconds), "right"],
  ["% of ceiling", ({ fraction, bound }) => `${(100 * fraction).toFixed(0)} ${bound}`, "right"],
];

/** A time in the unit that suits it. */
function duration(milliseconds: number): string {
  return milliseconds < 1 ? `${(1000 * milliseconds).toPrecision(3)} µs` : `${milliseconds.toPrecision(4)} ms`;
}

function rate(work: number, milliseconds: number): string {
  return work === 0 || milliseconds === 0 ? "–" : (work / milliseconds / 1e6).toFixed(1);
}

/** Entries as a table. */
export function printEntries(entries: readonly Entry[]): string {
  const rows = [COLUMNS.map(([title]) => title), ...entries.map((entry) => COLUMNS.map(([, cell]) => cell(entry)))];
  const widths = COLUMNS.map((_, i) => Math.max(...rows.map((row) => (row[i] as string).length)));
  const line = (row: readonly string[]): string =>
    COLUMNS.map(([, , align], i) =>
      align === "left"
        ? (row[i] as string).padEnd(widths[i] as number)
        : (row[i] as string).padStart(widths[i] as number),
    ).join("  ");
  return rows.map((row) => line(row).trimEnd()).join("\n");
}

/** A profile: what it compares with, the phases, operators by cost, and the costliest instructions, `limit` of each. */
export function printProfile(profile: Profile, limit: number): string {
  const { ceilings, milliseconds, cutMilliseconds, runs, products, instructions, operators, phases } = profile;
  const apart = 100 * (cutMilliseconds / milliseconds - 1);
  const costliest = [...instructions].sort((x, y) => y.milliseconds - x.milliseconds);
  const rest = (all: readonly Entry[]): string => (all.length > limit ? ` (the first ${limit} of ${all.length})` : "");
  const flops = instructions.reduce((sum, entry) => sum + entry.flops, 0);
  return [
    `A step takes ${duration(milliseconds)} (the faster half of ${runs} runs): ${rate(flops, milliseconds)} GFLOP/s in ${instructions.length} instructions.`,
    `Timed one by one, as below, they add up to ${duration(cutMilliseconds)} (${apart < 0 ? "" : "+"}${apart.toFixed(1)} %).`,
    `Products, convolutions and attention take ${(100 * products.share).toFixed(0)} % of that, at ${(100 * products.fraction).toFixed(0)} % of the arithmetic ceiling.`,
    `Ceilings of this machine, one thread: ${(ceilings.flops / 1e9).toFixed(1)} GFLOP/s, ${(ceilings.bytes / 1e9).toFixed(1)} GB/s.`,
    "",
    ...Object.entries(phases).map(
      ([phase, ms]) =>
        `${phase.padEnd(20)} ${duration(ms).padStart(9)}  ${((100 * ms) / cutMilliseconds).toFixed(1).padStart(5)} %`,
    ),
    "",
    `By operator${rest(operators)}:`,
    printEntries(operators.slice(0, limit)),
    "",
    `Instructions${rest(costliest)}:`,
    printEntries(costliest.slice(0, limit)),
  ].join("\n");
}
