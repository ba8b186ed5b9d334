/** A plan's memory for people: as text, and as a map of the temporaries over time. */

import type { Node } from "../graph/tensor.js";
import type { Buffer } from "./buffer.js";
import { paddedBytes } from "./buffer.js";
import type { MemoryReport, PlannedValue } from "./memory.js";
import type { Plan } from "./plan.js";

/** A number of bytes as a text of three digits or so, such as `1.46 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[power]}`;
}

/** Rows of what takes most, for texts. */
const SHOWN = 12;

/** Sums bytes by operator and line, the largest first. */
function sums(items: readonly PlannedValue[]): { what: string; bytes: number; count: number }[] {
  const found = new Map<string, { what: string; bytes: number; count: number }>();
  for (const { operator, source, bytes } of items) {
    const what = source === null ? operator : `${operator.padEnd(16)} ${source}`;
    const { bytes: before, count } = found.get(what) ?? { bytes: 0, count: 0 };
    found.set(what, { what, bytes: before + bytes, count: count + 1 });
  }
  return [...found.values()].sort((a, b) => b.bytes - a.bytes);
}

function table(title: string, items: readonly PlannedValue[]): string[] {
  if (items.length === 0) return [];
  const rows = sums(items);
  const more = rows.length - SHOWN;
  return [
    "",
    `${title} ${formatBytes(items.reduce((sum, { bytes }) => sum + bytes, 0))}`,
    ...rows
      .slice(0, SHOWN)
      .map(({ what, bytes, count }) => `  ${formatBytes(bytes).padStart(10)}  ${String(count).padStart(4)} × ${what}`),
    ...(more > 0 ? [`  and ${more} more`] : []),
  ];
}

/** What a step's memory goes to, as text. */
export function explainMemory(report: MemoryReport): string {
  const { arenaBytes, stateBytes, parameterBytes, gradientBytes, temporaryBytes, liveBytes, programBytes } = report;
  const line = (what: string, bytes: number, note = ""): string =>
    `${what.padEnd(28)}${formatBytes(bytes).padStart(11)}${note && `   ${note}`}`;
  const share = (100 * report.recomputedFlops) / Math.max(1, report.flops - report.recomputedFlops);
  return [
    line("arena", arenaBytes),
    line("  parameters", parameterBytes),
    line("  gradients kept", gradientBytes),
    line("  optimizer and other state", stateBytes - parameterBytes - gradientBytes),
    line(
      "  temporaries",
      temporaryBytes,
      `${(temporaryBytes / Math.max(1, liveBytes)).toFixed(4)} of the most alive at once`,
    ),
    line("  program", programBytes),
    line("  shared scratch", report.sharedBytes),
    "",
    `most is alive at step ${report.peak.step}: ${report.peak.operators.join("+") || "the arguments"}`,
    ...table("alive there, by operator:", report.alive),
    ...table("kept from the forward pass for the backward pass:", report.saved),
    ...table(
      `computed again instead of being kept, for ${share.toFixed(1)} % more arithmetic (${gigaflops(report.recomputedFlops)} of ${gigaflops(report.flops)} GFLOP):`,
      report.recomputed,
    ),
  ].join("\n");
}

function gigaflops(flops: number): string {
  return (flops / 1e9).toPrecision(3);
}

/** What of a plan the map shows. */
export type MappedPlan = Pick<Plan, "temporaries" | "temporaryBytes" | "steps" | "copies">;

const WIDTH = 1000;
const HEIGHT = 600;

/** Text as content of SVG and HTML. */
export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** What a rectangle of the map shows, and its colour. */
const KINDS = {
  argument: ["arguments", "#8a8a8a"],
  value: ["values", "#5b8bd0"],
  again: ["computed again", "#d9534f"],
  workspace: ["workspaces of kernels", "#c9b458"],
} as const;

/**
 * The map of a plan's temporaries as SVG: steps to the right, addresses upwards. It has no script and no style sheet;
 * what a rectangle is shows where the pointer rests on it.
 * @param lineOf the user's line that made a node
 */
export function memoryMap(plan: MappedPlan, lineOf: (node: Node) => string | null): string {
  const { temporaries, temporaryBytes, copies } = plan;
  const steps = plan.steps.length;
  const x = (step: number): number => (WIDTH * Math.max(0, Math.min(step, steps))) / Math.max(1, steps);
  const y = (address: number): number => HEIGHT - (HEIGHT * address) / Math.max(1, temporaryBytes);
  const kindOf = ({ node, first }: Buffer): keyof typeof KINDS => {
    if (node === null) return "workspace";
    return first < 0 ? "argument" : copies.has(node) ? "again" : "value";
  };
  const shapes = temporaries.map((buffer) => {
    const { offset, first, last, node } = buffer;
    const bytes = paddedBytes(buffer);
    const [left, right, top] = [x(first), x(last + 1), y(offset + bytes)];
    const source = node === null ? null : lineOf(node);
    const what = node === null ? "workspace" : `${node.primitive.name} ${node.dtype}[${node.shape}]`;
    const size = `width="${(right - left).toFixed(2)}" height="${(y(offset) - top).toFixed(2)}"`;
    const title = escaped(
      [
        `${what}, ${formatBytes(bytes)} at ${offset}`,
        `steps ${first} to ${Number.isFinite(last) ? last : "end"}${copies.has(node as Node) ? ", computed again" : ""}`,
        ...(source === null ? [] : [source]),
      ].join("\n"),
    );
    return `<rect x="${left.toFixed(2)}" y="${top.toFixed(2)}" ${size} fill="${KINDS[kindOf(buffer)][1]}"><title>${title}</title></rect>`;
  });
  const legend = Object.values(KINDS).map(
    ([name, fill], i) =>
      `<rect x="${i * 180}" y="${HEIGHT + 28}" width="12" height="12" fill="${fill}"/><text x="${i * 180 + 18}" y="${HEIGHT + 38}">${name}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-70 -10 ${WIDTH + 80} ${HEIGHT + 60}" font-family="sans-serif" font-size="12" stroke-width="0.3">`,
    `<title>${steps} steps, ${formatBytes(temporaryBytes)} of temporaries</title>`,
    `<rect x="0" y="0" width="${WIDTH}" height="${HEIGHT}" fill="#f4f4f4"/>`,
    `<g stroke="#ffffff">`,
    ...shapes,
    "</g>",
    `<text x="-4" y="10" text-anchor="end">${formatBytes(temporaryBytes)}</text>`,
    `<text x="-4" y="${HEIGHT}" text-anchor="end">0</text>`,
    `<text x="0" y="${HEIGHT + 16}">step 0</text>`,
    `<text x="${WIDTH}" y="${HEIGHT + 16}" text-anchor="end">step ${steps}</text>`,
    ...legend,
    "</svg>",
    "",
  ].join("\n");
}
