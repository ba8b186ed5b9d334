/** What the sources say of the operators: their families, and how each is called. */
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** The operators of one file of `src/ops`. */
export interface Family {
  /** The file's name without its extension. */
  readonly name: string;
  /** The comment at the head of the file, on one line. */
  readonly about: string;
  readonly operators: readonly string[];
}

const INDEX = fileURLToPath(new URL("../src/ops/index.ts", import.meta.url));
const TABLE = fileURLToPath(new URL("../src/ops/table.ts", import.meta.url));
const CONFIG = fileURLToPath(new URL("../tsconfig.json", import.meta.url));

/** Characters of the longest line of a signature. */
const WIDTH = 110;

function plain(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

/** Everything within `node` that `pick` gives something for. */
function collect<T>(node: ts.Node, pick: (node: ts.Node) => T | undefined): T[] {
  const found: T[] = [];
  const visit = (child: ts.Node): void => {
    const picked = pick(child);
    if (picked !== undefined) found.push(picked);
    ts.forEachChild(child, visit);
  };
  visit(node);
  return found;
}

function isLiteral(node: ts.Expression): boolean {
  if (ts.isPrefixUnaryExpression(node)) return isLiteral(node.operand);
  if (ts.isArrayLiteralExpression(node)) return node.elements.every(isLiteral);
  return (
    ts.isNumericLiteral(node) ||
    ts.isStringLiteral(node) ||
    [ts.SyntaxKind.TrueKeyword, ts.SyntaxKind.FalseKeyword, ts.SyntaxKind.NullKeyword].includes(node.kind)
  );
}

/** The expressions that a function's body puts in place of missing options. */
type Defaults = ReadonlyMap<string, ts.Expression>;

/** A list between brackets: on one line, or with one part a line where that would be too long. */
function braced(open: string, parts: readonly string[], close: string, indent = ""): string {
  const line = `${open}${parts.join(", ")}${close}`;
  if (indent.length + line.length <= WIDTH && !line.includes("\n")) return line;
  return `${open.trim()}\n${parts.map((part) => `${indent}  ${part},\n`).join("")}${indent}${close.trim()}`;
}

/** Reads `src/ops`; made once for all operators. */
export class OperatorSources {
  /** In the order of `src/ops/table.ts`. */
  readonly families: readonly Family[];
  private readonly checker: ts.TypeChecker;
  private readonly exported: ReadonlyMap<string, ts.Symbol>;

  constructor() {
    const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(CONFIG, ts.sys.readFile).config, ts.sys, "");
    const program = ts.createProgram([INDEX, TABLE], options);
    this.checker = program.getTypeChecker();
    const index = program.getSourceFile(INDEX) as ts.SourceFile;
    const module = this.checker.getSymbolAtLocation(index) as ts.Symbol;
    this.exported = new Map(this.checker.getExportsOfModule(module).map((symbol) => [symbol.name, symbol]));
    const tables = collect(program.getSourceFile(TABLE) as ts.SourceFile, (node) => {
      return ts.isSpreadAssignment(node) ? node.expression : undefined;
    });
    this.families = tables.map((table) => this.family(this.checker.getSymbolAtLocation(table) as ts.Symbol));
  }

  /** How an operator is called. Parameters without a type are tensors, or of the type of what they are by default. */
  signature(operator: string): string {
    const declaration = this.functionOf(operator);
    const bounds = new Map((declaration.typeParameters ?? []).map(({ name, constraint }) => [name.text, constraint]));
    const parts = declaration.parameters.map(({ name, type, initializer, dotDotDotToken, questionToken }) => {
      const named = type && (bounds.get(type.getText()) ?? type);
      const label = name.getText().replace(/^_/, "");
      if (label === "options" && named) {
        return braced("{ ", this.options(named, this.defaultsOf(declaration, name.getText())), " }", "  ");
      }
      const rest = dotDotDotToken ? "..." : "";
      return rest + this.parameter(label, named, initializer, questionToken !== undefined);
    });
    return braced(`${operator}(`, parts, ")");
  }

  private parameter(
    name: string,
    type: ts.TypeNode | undefined,
    initializer: ts.Expression | undefined,
    optional: boolean,
  ): string {
    const value = initializer && isLiteral(initializer) ? ` = ${initializer.getText()}` : "";
    const mark = (optional || initializer) && value === "" ? "?" : "";
    const text = type === undefined ? "" : this.typeText(type);
    const obvious = value === "" ? ["", "Tensor"] : ["", "number", "boolean", "string"];
    return `${name}${mark}${obvious.includes(text) ? "" : `: ${text}`}${value}`;
  }

  private typeText(type: ts.TypeNode): string {
    const text = plain(type.getText()).replace(/^readonly /, "");
    if (!text.includes("typeof")) return text;
    const flags = ts.TypeFormatFlags.NoTruncation | ts.TypeFormatFlags.InTypeAlias;
    return this.checker.typeToString(this.checker.getTypeFromTypeNode(type), undefined, flags);
  }

  private options(type: ts.TypeNode, defaults: Defaults): string[] {
    return this.checker.getPropertiesOfType(this.checker.getTypeFromTypeNode(type)).map((property) => {
      const declared = (property.valueDeclaration as ts.PropertySignature).type as ts.TypeNode;
      const value = defaults.get(property.name);
      // A fallback of another type is what the function uses inside, not what a caller could have given.
      const fits =
        value && this.checker.isTypeAssignableTo(this.checker.getTypeAtLocation(value), this.typeOf(property));
      const optional = (property.flags & ts.SymbolFlags.Optional) !== 0;
      return this.parameter(property.name, declared, fits ? value : undefined, optional);
    });
  }

  private typeOf(symbol: ts.Symbol): ts.Type {
    return this.checker.getTypeOfSymbol(symbol);
  }

  /**
   * What a function puts in place of missing options: as in `const { alpha = 1 } = options` or `options.eps ?? 1e-5`, or
   * as a function does that it passes its options on to.
   */
  private defaultsOf(declaration: ts.FunctionDeclaration, options: string): Defaults {
    const { body } = declaration;
    if (body === undefined) return new Map();
    const isOptions = (node: ts.Node | undefined): boolean => node?.getText() === options;
    const own = collect(body, (node): (readonly [string, ts.Expression])[] | undefined => {
      if (ts.isVariableDeclaration(node) && ts.isObjectBindingPattern(node.name) && isOptions(node.initializer)) {
        return node.name.elements.flatMap(({ name, propertyName, initializer }) =>
          initializer ? [[(propertyName ?? name).getText(), initializer] as const] : [],
        );
      }
      if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.QuestionQuestionToken) return;
      if (!ts.isPropertyAccessExpression(node.left) || !isOptions(node.left.expression)) return;
      return [[node.left.name.text, node.right] as const];
    });
    const passedOn = collect(body, (node) => {
      if (!ts.isCallExpression(node)) return;
      const place = node.arguments.findIndex(isOptions);
      const callee = this.checker.getResolvedSignature(node)?.declaration;
      if (place < 0 || !callee || !ts.isFunctionDeclaration(callee) || callee === declaration) return;
      return [...this.defaultsOf(callee, callee.parameters[place]?.name.getText() ?? "")];
    });
    return new Map([...passedOn.flat(), ...own.flat()]);
  }

  private family(table: ts.Symbol): Family {
    const { expression } = this.declarationOf(table) as ts.ExportAssignment;
    const { properties } = (expression as ts.SatisfiesExpression).expression as ts.ObjectLiteralExpression;
    const source = expression.getSourceFile();
    const [comment] = ts.getLeadingCommentRanges(source.text, 0) ?? [];
    const head = comment ? source.text.slice(comment.pos, comment.end) : "";
    return {
      name: (source.fileName.split("/").at(-1) as string).replace(".ts", ""),
      about: plain(head.replace(/^\/\*\*|\*\/$/g, "").replace(/^\s*\*/gm, "")),
      operators: properties.map((property) => (property.name as ts.Identifier).text),
    };
  }

  private declarationOf(symbol: ts.Symbol): ts.Declaration {
    const { flags } = symbol;
    const original = flags & ts.SymbolFlags.Alias ? this.checker.getAliasedSymbol(symbol) : symbol;
    return (original.declarations ?? []).at(-1) as ts.Declaration;
  }

  private exportOf(name: string): ts.Declaration {
    const symbol = this.exported.get(name);
    if (symbol === undefined) throw new Error(`src/ops/index.ts does not export ${name}`);
    return this.declarationOf(symbol);
  }

  /** The function that an operator's name stands for, by whichever name it was declared. */
  private functionOf(operator: string): ts.FunctionDeclaration {
    const declaration = this.exportOf(operator);
    if (!ts.isVariableDeclaration(declaration)) return declaration as ts.FunctionDeclaration;
    return this.functionOf((declaration.initializer as ts.Identifier).text);
  }
}
