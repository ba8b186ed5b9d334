/** The entries of the package as its users' editors show them: everything documented, nothing of type `any`. */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const ENTRIES = ["index", "nn/index", "optim/index", "data/index", "io/index"].map((entry) => `src/${entry}.ts`);

const { config } = ts.readConfigFile(resolve(ROOT, "tsconfig.build.json"), ts.sys.readFile);
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
const program = ts.createProgram(
  ENTRIES.map((entry) => resolve(ROOT, entry)),
  { ...options, emitDeclarationOnly: true },
);
const checker = program.getTypeChecker();

/** Names of exported symbols without a documentation comment, those of exported namespaces included. */
function undocumented(exported: ts.Symbol, path: string): string[] {
  const isAlias = (exported.flags & ts.SymbolFlags.Alias) !== 0;
  const symbol = isAlias ? checker.getAliasedSymbol(exported) : exported;
  if (symbol.flags & ts.SymbolFlags.ValueModule) {
    return checker.getExportsOfModule(symbol).flatMap((inner) => undocumented(inner, `${path}.${inner.name}`));
  }
  return symbol.getDocumentationComment(checker).length > 0 ? [] : [path];
}

function containsAny(node: ts.Node): boolean {
  return node.kind === ts.SyntaxKind.AnyKeyword || (ts.forEachChild(node, containsAny) ?? false);
}

it.each(ENTRIES)("everything that %s exports has a documentation comment", (entry) => {
  const source = program.getSourceFile(resolve(ROOT, entry)) as ts.SourceFile;
  const module = checker.getSymbolAtLocation(source) as ts.Symbol;
  expect(checker.getExportsOfModule(module).length).toBeGreaterThan(0);
  expect(undocumented(module, entry)).toEqual([]);
});

it("no declaration has the type any", () => {
  const found: string[] = [];
  let files = 0;
  program.emit(undefined, (name, text) => {
    if (!name.endsWith(".d.ts")) return;
    files++;
    const source = ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true);
    for (const statement of source.statements) {
      if (containsAny(statement)) found.push(`${name.slice(ROOT.length)}: ${statement.getText().split("\n")[0]}`);
    }
  });
  expect(files).toBeGreaterThan(ENTRIES.length);
  expect(found).toEqual([]);
});
