/** Whether chains that are computed within others are one instruction with them. Walks ask that again and again. */
import type { Node } from "../../graph/tensor.js";
import { Layout } from "../../isa.js";
import type { PlanOperand } from "../buffer.js";
import { fitsChain, type Nodes, readsByStrides } from "../chain.js";
import { inputsFirst, type Term, Terms } from "../terms.js";

/** What may be computed within something else, or something else within it. */
export interface Chained {
  /** Names it among all of them. */
  readonly id: number;
  /** Its elementwise nodes, in order, and which of its nodes go to memory. */
  readonly chain: readonly Node[];
  readonly stored: readonly Node[];
  /** How many nodes the chain has, and how many operands they have. */
  readonly operands: number;
}

/** A chain in terms, and those of its own that are stored. */
interface Chain {
  readonly terms: readonly Term[];
  readonly stored: readonly Term[];
}

/**
 * Whether the chains of hosts fit one instruction if chains of other values are computed within them, and some values that
 * they would store are not.
 * @param values by number
 * @param operands where values are
 * @param apart products that are rounded before they are added to something
 */
export function fitting(
  values: readonly Chained[],
  operands: ReadonlyMap<Node, PlanOperand>,
  apart: Nodes,
): (hosts: readonly Chained[], joined: readonly number[], deferred: readonly number[]) => boolean {
  const known = new Terms();
  const chains: Chain[] = [];
  const chainOf = ({ id, chain, stored }: Chained): Chain => {
    let found = chains[id];
    if (found === undefined) {
      found = { terms: known.chain(chain), stored: stored.map((node) => known.of(node)) };
      for (const term of found.terms) term.isApart = apart.has(term.node);
      chains[id] = found;
    }
    return found;
  };
  /** By shape and term. */
  const strided = new Map<string, Map<Term, boolean>>();
  const stridesIn = (shape: readonly number[]): ((term: Term) => boolean) => {
    const key = `${shape}`;
    const answers = strided.get(key) ?? new Map<Term, boolean>();
    strided.set(key, answers);
    return (term) => {
      let answer = answers.get(term);
      if (answer === undefined) {
        const operand = operands.get(term.node);
        answer = operand !== undefined && readsByStrides(operand, shape);
        answers.set(term, answer);
      }
      return answer;
    };
  };
  return (hosts, joined, deferred) => {
    let count = 0;
    for (const host of hosts) count += host.operands;
    for (const v of joined) count += (values[v] as Chained).operands;
    if (count <= Layout.MaxRegisters) return true;
    const all: Term[] = [];
    for (const v of joined) all.push(...chainOf(values[v] as Chained).terms);
    const own = hosts.map(chainOf);
    for (const { terms } of own) all.push(...terms);
    for (const { stored } of own) for (const term of stored) term.isStored = true;
    for (const v of deferred) for (const term of chainOf(values[v] as Chained).stored) term.isStored = false;
    const terms = inputsFirst(all);
    const fits = fitsChain(terms, stridesIn((terms[0] as Term).node.shape));
    for (const { stored } of own) for (const term of stored) term.isStored = false;
    return fits;
  };
}
