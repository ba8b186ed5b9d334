/** A plan's memory for people: as text, and as a map of the temporaries over time. */
import type { Buffer } from "./buffer.js";
import { paddedBytes } from "./buffer.js";
import type { MemoryReport } from "./memory.js";

/** A number of bytes as a text of three digits or so, such as `1.46 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[power]}`;
}

/** Rows of what takes most, for texts. */
const SHOWN = 12;

/** Sums `bytes` by operator, the largest first. */
function byOperator(
  items: readonly { readonly operator: string; readonly bytes: number }[],
): [string, number, number][] {
  const sums = new Map<string, [string, number, number]>();
  for (const { operator, bytes } of items) {
    const [, total, count] = sums.get(operator) ?? [operator, 0, 0];
    sums.set(operator, [operator, total + bytes, count + 1]);
  }
  return [...sums.values()].sort((a, b) => b[1] - a[1]);
}

function table(title: string, items: readonly { readonly operator: string; readonly bytes: number }[]): string[] {
  if (items.length === 0) return [];
  const rows = byOperator(items);
  const more = rows.length - SHOWN;
  return [
    "",
    title,
    ...rows
      .slice(0, SHOWN)
      .map(
        ([operator, bytes, count]) =>
          `  ${formatBytes(bytes).padStart(10)}  ${String(count).padStart(4)} × ${operator}`,
      ),
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
    line("  other state", stateBytes - parameterBytes - gradientBytes),
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
    ...table(
      `computed again instead of being kept, for ${share.toFixed(1)} % more arithmetic:`,
      report.recomputed.map(({ operator, bytes }) => ({ operator, bytes })),
    ),
  ].join("\n");
}

const WIDTH = 1000;
const HEIGHT = 600;

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** The map of the temporaries as SVG: steps to the right, addresses upwards; what is computed again is red. */
export function memoryMap(
  temporaries: readonly Buffer[],
  totalBytes: number,
  steps: number,
  isAgain: (buffer: Buffer) => boolean,
): string {
  const x = (step: number): number => (WIDTH * Math.max(0, Math.min(step, steps))) / Math.max(1, steps);
  const y = (address: number): number => HEIGHT - (HEIGHT * address) / Math.max(1, totalBytes);
  const shapes = temporaries.map((buffer) => {
    const { offset, first, last, node } = buffer;
    const bytes = paddedBytes(buffer);
    const [left, right, top] = [x(first), x(last + 1), y(offset + bytes)];
    const what = node === null ? "workspace" : `${node.primitive.name} [${node.shape}]`;
    const fill = isAgain(buffer) ? "#d9534f" : node === null ? "#bbbbbb" : "#5b8bd0";
    const size = `width="${(right - left).toFixed(2)}" height="${(y(offset) - top).toFixed(2)}"`;
    const title = escaped(`${what}, ${formatBytes(bytes)}, steps ${first} to ${Number.isFinite(last) ? last : "end"}`);
    return `<rect x="${left.toFixed(2)}" y="${top.toFixed(2)}" ${size} fill="${fill}"><title>${title}</title></rect>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" stroke="#ffffff" stroke-width="0.3">`,
    `<title>${steps} steps, ${formatBytes(totalBytes)} of temporaries</title>`,
    ...shapes,
    "</svg>",
    "",
  ].join("\n");
}
