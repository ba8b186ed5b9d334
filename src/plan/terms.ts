/** Nodes with room for what passes over a few of them work out: fields, where maps took most of the time. */
import type { Node } from "../graph/tensor.js";
import type { MicroOp } from "../micro-op.js";

/** A node and what is known of it in the chain that is looked at. What a pass reads it has set before. */
export class Term {
  /** None where no chain has the node. */
  inputs: readonly Term[] = [];
  /** The micro-operation of the node alone. */
  micro: MicroOp | undefined = undefined;
  /** Whether it is one of the chain's nodes, and whether it has its place among them. */
  isOwn = false;
  isPlaced = false;
  /** Whether its result is needed outside of the chain, and whether it is a product that is rounded in any case. */
  isStored = false;
  isApart = false;
  /** How many inputs in the chain it is. */
  uses = 0;
  /** Whether an operation ends in it, as which micro-operation and on what: others are parts of one. */
  isResult = false;
  op = 0 as MicroOp;
  operands: readonly Term[] = [];
  /** Where its value is while the chain runs, and the last operation that reads it; -1 for none. */
  slot = -1;
  lastUse = -1;

  constructor(readonly node: Node) {}
}

/** Terms by their nodes. */
export class Terms {
  private readonly known = new Map<Node, Term>();

  /** The term of a node. */
  of(node: Node): Term {
    let term = this.known.get(node);
    if (term === undefined) {
      term = new Term(node);
      this.known.set(node, term);
    }
    return term;
  }

  /** The terms of a chain's nodes, with their inputs. */
  chain(nodes: readonly Node[]): Term[] {
    return nodes.map((node) => {
      const term = this.of(node);
      if (term.inputs.length < node.inputs.length) term.inputs = node.inputs.map((x) => this.of(x));
      return term;
    });
  }
}

/** Some terms, each once, inputs before their users. */
export function inputsFirst(terms: readonly Term[]): Term[] {
  for (const term of terms) {
    for (const x of term.inputs) x.isOwn = false;
    term.isPlaced = false;
  }
  for (const term of terms) term.isOwn = true;
  const order: Term[] = [];
  const stack: Term[] = [];
  for (const term of terms) {
    if (term.isPlaced) continue;
    stack.push(term);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const missing = missingOf(top);
      if (missing !== null) {
        stack.push(missing);
        continue;
      }
      stack.pop();
      if (top.isPlaced) continue;
      top.isPlaced = true;
      order.push(top);
    }
  }
  return order;
}

/** The first input that must stand before a term and does not. */
function missingOf({ inputs }: Term): Term | null {
  for (const x of inputs) if (x.isOwn && !x.isPlaced) return x;
  return null;
}
