/** The plan as a page that needs nothing else: no script, and still readable where a policy blocks its style sheet. */
import type { MemoryReport } from "../index.js";
import { escaped, formatBytes, memoryParts, memoryTables, type Table } from "../plan/report.js";

const STYLE = `
:root { color-scheme: light dark }
body { font: 14px/1.45 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: 600; border-bottom: 1px solid #999 }
th, td { padding: .15rem 1rem .15rem 0; vertical-align: top }
.number { text-align: right; white-space: nowrap } td:nth-child(n + 4) { font-family: ui-monospace, monospace; font-size: 12px }
td { white-space: pre-wrap } svg { width: 100%; height: auto }
details { margin: .5rem 0 }
`;

/** Rows that show at once; the rest of a table unfolds. */
const SHOWN = 15;
/** Pixels of the longest bar. */
const BAR = 220;

function bar(share: number): string {
  const width = Math.max(1, Math.round(BAR * share));
  return `<svg width="${width}" height="10" style="width:${width}px"><rect width="${width}" height="10" fill="#5b8bd0"/></svg>`;
}

/** A table with a bar for every row. */
function tableOf(
  columns: readonly string[],
  rows: readonly { readonly bytes: number; readonly cells: readonly string[] }[],
  total: number,
): string {
  const head = ["bytes", "share", ...columns].map((name) => `<th>${escaped(name)}</th>`).join("");
  const body = rows.map(
    ({ bytes, cells }) =>
      `<tr><td class="number">${formatBytes(bytes)}</td><td>${bar(bytes / Math.max(1, total))}</td>${cells.map((cell) => `<td>${escaped(cell)}</td>`).join("")}</tr>`,
  );
  return `<table>\n<thead><tr>${head}</tr></thead>\n<tbody>\n${body.join("\n")}\n</tbody>\n</table>\n`;
}

function section({ title, bytes, columns, rows }: Table): string {
  const counted = rows.map((row) => ({ bytes: row.bytes, cells: [`${row.count} ×`, ...row.cells] }));
  const names = ["count", ...columns];
  const more = counted.slice(SHOWN);
  const rest =
    more.length === 0
      ? ""
      : `<details><summary>${more.length} more rows</summary>\n${tableOf(names, more, bytes)}</details>\n`;
  return `<h2>${escaped(title)}: ${formatBytes(bytes)}</h2>\n${tableOf(names, counted.slice(0, SHOWN), bytes)}${rest}`;
}

/**
 * @param title names the plan
 * @param lines remarks, such as what was measured
 * @param map the map of the temporaries, as SVG
 */
export function planPage(title: string, report: MemoryReport, lines: readonly string[], map: string): string {
  const parts = memoryParts(report).map(({ what, bytes, note }) => ({ bytes, cells: [what, note] }));
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>lanegrad plan: ${escaped(title)}</title><style>${STYLE}</style></head>
<body>
<h1>Memory of ${escaped(title)}: ${formatBytes(report.arenaBytes)}</h1>
${lines.map((line) => `<p>${escaped(line)}</p>\n`).join("")}${tableOf(["part", ""], parts, report.arenaBytes)}
<h2>Temporaries: steps to the right, addresses upwards</h2>
<p>Rest the pointer on a rectangle to see what it is.</p>
${map}
${memoryTables(report).map(section).join("\n")}</body>
</html>
`;
}
