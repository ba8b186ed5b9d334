/** What a benchmark reports, and how it is printed. */

/** One line of a table: columns in the order of the keys. */
export type Row = Readonly<Record<string, string | number>>;

/** One table. */
export interface Report {
  readonly title: string;
  readonly rows: readonly Row[];
  /** What must not be so: the run then ends with status 1. */
  readonly failures?: readonly string[];
}

function textOf(cell: string | number): string {
  return typeof cell === "string" ? cell : cell.toFixed(cell < 10 ? 2 : 1);
}

/** `report` as text: one line for every row, columns aligned, numbers to the right. */
export function formatReport({ title, rows }: Report): string {
  const columns = Object.keys(rows[0] ?? {});
  const widths = columns.map((column) =>
    Math.max(column.length, ...rows.map((row) => textOf(row[column] ?? "").length)),
  );
  const line = (cells: readonly (string | number)[]) =>
    cells.map((cell, i) =>
      typeof cell === "string" ? cell.padEnd(widths[i] ?? 0) : textOf(cell).padStart(widths[i] ?? 0),
    );
  const header = columns.map((column, i) =>
    typeof rows[0]?.[column] === "number" ? column.padStart(widths[i] ?? 0) : column,
  );
  const lines = [header, ...rows.map((row) => columns.map((column) => row[column] ?? ""))].map((cells) =>
    line(cells).join("  ").trimEnd(),
  );
  return [title, "", ...lines, ""].join("\n");
}
