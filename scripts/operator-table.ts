/**
 * Makes docs/operators.md, the table of all operators, from the sources: the operators' records and functions, their
 * graphs and plans, and the errors stated beside the vector functions.
 *
 *   npm run docs:operators
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Operator } from "../src/ops/define.js";
import { operators } from "../src/ops/table.js";
import { type Facts, factsOf } from "./operator-facts.js";
import { type Family, OperatorSources } from "./operator-signatures.js";

/** Where the table is. */
export const PAGE = new URL("../docs/operators.md", import.meta.url);

const ASSEMBLY = new URL("../assembly/", import.meta.url);

const INTRODUCTION = `# Operators

Every operator, by family: how it is called, then what it takes and does. This page is made from the sources by
\`npm run docs:operators\`, and a test fails where it differs from them.

In the **signatures**, a parameter without a type is a tensor, or of the type of its default. \`?\` marks what may be left
out; options stand in braces and are an object, the last argument.

In the **tables**, what is said of an operator was found by building the graphs of its sample calls, the ones that its
tests run. An operator with several ways has them all, separated by semicolons. \`dropout\` is sampled as it is outside of
training.

- **takes**: dtypes of its data. The operator may convert them: mathematical functions give f32 for whole numbers.
  Indices, conditions and numbers that stand beside the data keep dtypes of their own.
- **reverse**: whether \`grad\` and \`vjp\` lead through it. \`zero\`: they do, and the derivative is 0 wherever it exists.
- **forward**: whether \`jvp\` does. \`transposed\`: one of the primitives in it has no rule of its own, and its VJP is
  transposed instead, at about twice the cost.
- **vmap**: \`yes\` if all examples run at once; \`loop\` if one of the primitives in it is repeated for each example;
  \`no\` if there is no tensor that could differ between examples, or its values decide the shape of the result.
- **runs as**: what the plan of the call is, after simplification. \`view\`: nothing moves. \`one chain\`: one pass over
  memory, whatever the number of elementwise operations in it. \`kernel x\`: one instruction, with the chain that is its
  epilogue. \`composed: n steps\`: so many instructions. Within a larger program chains fuse further.
- **ulp**: the largest error measured, in units in the last place of the f32 result, for operators that are one vector
  function; of two arguments on random pairs. \`+ - * /\`, \`sqrt\` and \`reciprocal\` are rounded correctly, as IEEE 754
  asks: half an ulp.
`;

/** The errors in ulp that are stated above the vector functions, by function. */
export function statedErrors(): Map<string, number> {
  const errors = new Map<string, number>();
  for (const file of readdirSync(ASSEMBLY).filter((name) => name.startsWith("math"))) {
    const source = readFileSync(new URL(file, ASSEMBLY), "utf8");
    const functions = source.matchAll(
      /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*(?:\/\/.*\s*)?(?:@inline\s*)?export function (\w+)/g,
    );
    for (const [, comment, name] of functions) {
      const text = (comment as string).replace(/\s*\n\s*\*\s*/g, " ");
      const error = /Error ≤ ([\d.]+) ulp/.exec(text)?.[1] ?? (/\bfmod, exact\b/.test(text) ? "0" : undefined);
      if (error !== undefined) errors.set(name as string, Number(error));
    }
  }
  return errors;
}

/** A paragraph in lines of at most 120 characters. */
function wrapped(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= 120) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join("\n");
}

/** Cells in columns of one width each, so that the table can be read as it is. */
function table(rows: readonly (readonly string[])[]): string {
  const [head = []] = rows;
  const widths = head.map((_, column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i] as number)).join(" | ")} |`;
  const [first, ...rest] = rows.map(line);
  return [first, line(widths.map((width) => "-".repeat(width))), ...rest].join("\n");
}

function errorOf({ elementwise }: Facts, errors: ReadonlyMap<string, number>): string {
  const stated = elementwise.flatMap((primitive) => errors.get(primitive) ?? []);
  return stated.length > 0 ? String(Math.max(...stated)) : "";
}

function section(family: Family, sources: OperatorSources, errors: ReadonlyMap<string, number>): string {
  const rows = family.operators.map((name) => {
    const facts = factsOf(operators[name] as Operator);
    const { dtypes, reverse, forward, batching, runs } = facts;
    return [`\`${name}\``, dtypes.join(", "), reverse, forward, batching, runs.join("; "), errorOf(facts, errors)];
  });
  const shown = [["operator", "takes", "reverse", "forward", "vmap", "runs as", "ulp"], ...rows].map((row) =>
    rows.some((cells) => cells.at(-1) !== "") ? row : row.slice(0, -1),
  );
  const signatures = family.operators.map((name) => sources.signature(name));
  return [`## ${family.name}`, wrapped(family.about), `\`\`\`ts\n${signatures.join("\n")}\n\`\`\``, table(shown)].join(
    "\n\n",
  );
}

/** The whole page. */
export function operatorPage(): string {
  const sources = new OperatorSources();
  const errors = statedErrors();
  const sections = sources.families.map((family) => section(family, sources, errors));
  return `${[INTRODUCTION.trim(), ...sections].join("\n\n")}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(PAGE, operatorPage());
