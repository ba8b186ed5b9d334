/** A plan's memory for people: as text, and as a map of the temporaries over time. */

import { formatShape } from "../graph/shape.js";
import type { Origin } from "../graph/sites.js";
import type { Node } from "../graph/tensor.js";
import { paddedBytes } from "./buffer.js";
import {
  type MappedPlan,
  type MemoryReport,
  type PlannedState,
  type PlannedValue,
  rolesOf,
  type ValueRole,
} from "./memory.js";
import { peakOf } from "./place.js";

/** A number of bytes as a text of three digits or so, such as `1.46 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[power]}`;
}

/** Rows of what takes most, for texts. */
const SHOWN = 12;

/** What temporaries are for, and their colours in the map. */
const ROLES: Readonly<Record<ValueRole, readonly [name: string, colour: string]>> = {
  argument: ["arguments", "#8a8a8a"],
  saved: ["kept for the backward pass", "#2f5d9e"],
  again: ["computed again", "#d9534f"],
  other: ["other values", "#8fb3e0"],
  workspace: ["workspaces of kernels", "#c9b458"],
};

/** A row of a table: all of one kind. */
interface Row {
  readonly bytes: number;
  readonly count: number;
  /** What they are, in columns. */
  readonly cells: readonly string[];
}

/** Sums bytes by what the cells say, the largest first. */
function rowsOf<T extends { readonly bytes: number }>(items: readonly T[], cellsOf: (item: T) => string[]): Row[] {
  const found = new Map<string, Row>();
  for (const item of items) {
    const cells = cellsOf(item);
    const key = cells.join("\n");
    const { bytes, count } = found.get(key) ?? { bytes: 0, count: 0 };
    found.set(key, { cells, bytes: bytes + item.bytes, count: count + 1 });
  }
  return [...found.values()].sort((a, b) => b.bytes - a.bytes);
}

/** A table, and what it adds up to. */
export interface Table {
  readonly title: string;
  readonly bytes: number;
  readonly columns: readonly string[];
  readonly rows: readonly Row[];
}

/** A name for all layers of a row of them: `blocks.3.mlp` becomes `blocks.*.mlp`. */
function anyLayer(name: string): string {
  return name.replace(/(?<=^|\.)\d+(?=\.|$)/, "*");
}

function tableOf<T extends { readonly bytes: number }>(
  title: string,
  items: readonly T[],
  columns: Readonly<Record<string, (item: T) => string>>,
): Table[] {
  if (items.length === 0) return [];
  // A column that says nothing is left out.
  const told = Object.entries(columns).filter(([, cellOf]) => items.some((item) => cellOf(item) !== ""));
  const rows = rowsOf(items, (item) => told.map(([, cellOf]) => cellOf(item)));
  return [
    { title, bytes: items.reduce((sum, { bytes }) => sum + bytes, 0), columns: told.map(([name]) => name), rows },
  ];
}

/** The tables of a report: what takes the memory, and what is computed again. */
export function memoryTables(report: MemoryReport): Table[] {
  const share = (100 * report.recomputedFlops) / Math.max(1, report.flops - report.recomputedFlops);
  const { step, operators } = report.peak;
  const values = (title: string, items: readonly PlannedValue[]): Table[] =>
    tableOf(title, items, {
      operator: ({ operator, names }) => [operator, ...names.map((name) => JSON.stringify(name))].join(" "),
      module: ({ module }) => (module === "" ? "(the model)" : anyLayer(module ?? "")),
      line: ({ source }) => source ?? "",
    });
  return [
    ...tableOf("states: parameters, gradients that are kept, optimizers and buffers", report.states, {
      kind: ({ kind }) => kind,
      name: ({ name }) => anyLayer(name ?? ""),
      shape: ({ shape }) => formatShape(shape),
    }),
    ...values(`alive at the peak, at step ${step}: ${operators.join("+") || "the arguments"}`, report.alive),
    ...values("kept from the forward pass for the backward pass", report.saved),
    ...values(
      `computed again instead of being kept, for ${share.toFixed(1)} % more arithmetic (${gigaflops(report.recomputedFlops)} of ${gigaflops(report.flops)} GFLOP)`,
      report.recomputed,
    ),
  ];
}

function printTable({ title, bytes, columns, rows }: Table): string[] {
  const shown = rows.slice(0, SHOWN);
  const widths = columns.map((column, i) =>
    Math.max(...[column, ...shown.map(({ cells }) => cells[i] as string)].map((x) => x.length)),
  );
  const line = (first: string, second: string, cells: readonly string[]): string =>
    `  ${first.padStart(10)}  ${second.padStart(5)}  ${cells.map((cell, i) => cell.padEnd(widths[i] as number)).join("  ")}`.trimEnd();
  const more = rows.slice(SHOWN);
  const rest = more.reduce((sum, row) => sum + row.bytes, 0);
  return [
    "",
    title,
    line("bytes", "count", columns),
    ...shown.map(({ bytes, count, cells }) => line(formatBytes(bytes), String(count), cells)),
    ...(more.length > 0 ? [line(formatBytes(rest), "", [`in ${more.length} more rows`])] : []),
    line(formatBytes(bytes), "", ["in all"]),
  ];
}

/** What the arena is made of, with remarks; of what is indented, the part before it. */
export function memoryParts(
  report: MemoryReport,
): { readonly what: string; readonly bytes: number; readonly note: string }[] {
  const { stateBytes, parameterBytes, gradientBytes, temporaryBytes, liveBytes, alive } = report;
  const inUse = alive.reduce((sum, { bytes }) => sum + bytes, 0);
  const uses = Object.entries(ROLES).flatMap(([role, [name]]) => {
    const values = alive.filter((value) => value.role === role);
    const bytes = values.reduce((sum, value) => sum + value.bytes, 0);
    return bytes === 0 ? [] : [{ what: `  ${name}`, bytes, note: `${values.length} at the peak` }];
  });
  const count = (kind: PlannedState["kind"]): string => {
    const tensors = report.states.filter((state) => state.kind === kind).length;
    return tensors === 0 ? "" : `${tensors} tensors`;
  };
  return [
    { what: "parameters", bytes: parameterBytes, note: count("parameter") },
    { what: "gradients kept", bytes: gradientBytes, note: count("gradient") },
    { what: "optimizer and other state", bytes: stateBytes - parameterBytes - gradientBytes, note: count("other") },
    {
      what: "temporaries",
      bytes: temporaryBytes,
      note: `${(temporaryBytes / Math.max(1, liveBytes)).toFixed(4)} of the most alive at once`,
    },
    ...uses,
    ...(temporaryBytes > inUse ? [{ what: "  free at the peak", bytes: temporaryBytes - inUse, note: "" }] : []),
    { what: "program", bytes: report.programBytes, note: "" },
    { what: "shared scratch", bytes: report.sharedBytes, note: "" },
  ];
}

/** What a step's memory goes to, as text. */
export function explainMemory(report: MemoryReport): string {
  const line = (what: string, bytes: number, note: string): string =>
    `${what.padEnd(28)}${formatBytes(bytes).padStart(11)}${note && `   ${note}`}`;
  return [
    line("arena", report.arenaBytes, `${report.arenaBytes} bytes`),
    ...memoryParts(report).map(({ what, bytes, note }) => line(`  ${what}`, bytes, note)),
    ...memoryTables(report).flatMap(printTable),
  ].join("\n");
}

function gigaflops(flops: number): string {
  return (flops / 1e9).toPrecision(3);
}

const WIDTH = 1000;
const HEIGHT = 600;

/** Text as content of SVG and HTML. */
export function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}

/**
 * The map of a plan's temporaries as SVG: steps to the right, addresses upwards, and a line at the step of the peak. It has
 * no script and no style sheet; what a rectangle is shows where the pointer rests on it.
 * @param originOf what made a node
 */
export function memoryMap(plan: MappedPlan, originOf: (node: Node) => Origin): string {
  const { temporaries, temporaryBytes, copies } = plan;
  const steps = plan.steps.length;
  const roleOf = rolesOf(plan);
  const peak = peakOf(temporaries);
  const x = (step: number): number => (WIDTH * Math.max(0, Math.min(step, steps))) / Math.max(1, steps);
  const y = (address: number): number => HEIGHT - (HEIGHT * address) / Math.max(1, temporaryBytes);
  const shapes = temporaries.map((buffer) => {
    const { offset, first, last, node } = buffer;
    const bytes = paddedBytes(buffer);
    const [left, right, top] = [x(first), x(last + 1), y(offset + bytes)];
    const { source, module } = node === null ? { source: null, module: null } : originOf(node);
    const what = node === null ? "workspace" : `${node.primitive.name} ${node.dtype}[${node.shape}]`;
    const size = `width="${(right - left).toFixed(2)}" height="${(y(offset) - top).toFixed(2)}"`;
    const title = escaped(
      [
        `${what}, ${formatBytes(bytes)} at ${offset}`,
        `steps ${first} to ${Number.isFinite(last) ? last : "end"}${copies.has(node as Node) ? ", computed again" : ""}`,
        ...[module, source].filter((text) => text !== null),
      ].join("\n"),
    );
    return `<rect x="${left.toFixed(2)}" y="${top.toFixed(2)}" ${size} fill="${ROLES[roleOf(buffer)][1]}"><title>${title}</title></rect>`;
  });
  const legend = Object.values(ROLES).map(
    ([name, fill], i) =>
      `<rect x="${i * 200}" y="${HEIGHT + 50}" width="12" height="12" fill="${fill}"/><text x="${i * 200 + 18}" y="${HEIGHT + 60}">${name}</text>`,
  );
  const rows = ticksOf(temporaryBytes, 1024 ** Math.floor(Math.log2(Math.max(1, temporaryBytes)) / 10));
  const text = (x: number, y: number, anchor: string, content: string): string =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${content}</text>`;
  const ticks = [
    ...ticksOf(steps, 1).map((step) => text(x(step), HEIGHT + 16, "middle", String(step))),
    ...rows.map((at) => text(-6, y(at) + 4, "end", formatBytes(at))),
  ];
  const lines = rows.map(
    (at) => `<line x1="-4" x2="${WIDTH}" y1="${y(at).toFixed(1)}" y2="${y(at).toFixed(1)}" stroke="#d8d8d8"/>`,
  );
  const at = x(peak.step + 0.5);
  const side = at > WIDTH / 2 ? "end" : "start";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-90 -30 ${WIDTH + 110} ${HEIGHT + 98}" font-family="sans-serif" font-size="12" stroke-width="0.3">`,
    `<title>${steps} steps, ${formatBytes(temporaryBytes)} of temporaries</title>`,
    // Its own ground, so that it reads the same on a dark page.
    `<rect x="-90" y="-30" width="${WIDTH + 110}" height="${HEIGHT + 98}" fill="#ffffff"/>`,
    `<rect x="0" y="0" width="${WIDTH}" height="${HEIGHT}" fill="#f4f4f4"/>`,
    `<g stroke-width="1">`,
    ...lines,
    "</g>",
    `<g stroke="#ffffff">`,
    ...shapes,
    "</g>",
    `<line x1="${at.toFixed(2)}" y1="-4" x2="${at.toFixed(2)}" y2="${HEIGHT}" stroke="#333333" stroke-width="1" stroke-dasharray="4 3"/>`,
    text(
      at,
      -10,
      side,
      `most alive: ${formatBytes(peak.bytes)} at step ${peak.step}, in ${formatBytes(temporaryBytes)}`,
    ),
    ...ticks,
    text(WIDTH / 2, HEIGHT + 34, "middle", "steps of the program"),
    `<text transform="translate(-76 ${HEIGHT / 2}) rotate(-90)" text-anchor="middle">address within the temporaries</text>`,
    ...legend,
    "</svg>",
    "",
  ].join("\n");
}

/** Round numbers from 0 to `end`, some five of them: multiples of 1, 2 or 5 times a power of ten of a unit, at least 1. */
function ticksOf(end: number, unit: number): number[] {
  const rough = end / unit / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, unit * power * ([1, 2, 5].find((k) => k * power >= rough) ?? 10));
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
}
