/** Analysis: from times of instructions to rates, to the ceiling that binds each, and to the phases of a training step. */
import { constantValue } from "../graph/simplify.js";
import type { Node } from "../graph/tensor.js";
import { isLeaf, topological } from "../graph/walk.js";
import { Opcode } from "../isa.js";
import type { PlanOperand, Step } from "../plan/buffer.js";
import { forwardOf, type Plan } from "../plan/plan.js";
import { opcodeName } from "../plan/print.js";
import type { Ceilings } from "./ceilings.js";
import type { Part, Recording } from "./record.js";

/** The parts of a training step. */
const PHASES = ["forward", "backward", "optimizer"] as const;
type Phase = (typeof PHASES)[number];

/** What takes a time, and how near it comes to what the machine can do. */
interface Rates {
  readonly milliseconds: number;
  /** Of the sum of all instructions. */
  readonly share: number;
  /**
   * What the ceiling allows, over what was measured; above 1 where data stays in a faster cache, or an algorithm needs less
   * arithmetic than the definition that is counted: 3×3 convolutions by Winograd do.
   */
  readonly fraction: number;
}

/** Times and rates of one instruction, or of all of one kind. */
export interface Entry extends Rates {
  /** What is computed: names of primitives. */
  readonly operator: string;
  readonly instruction: string;
  /**
   * Forward, backward or optimizer; several, where they are fused: a product of the backward pass may update a
   * parameter as it ends.
   */
  readonly phase: string;
  /** Sizes of the result; several phases or shapes are left out where kinds are summed. */
  readonly shape: string;
  readonly calls: number;
  readonly flops: number;
  readonly bytes: number;
  /** Which ceiling is reached first at this ratio of arithmetic to traffic. */
  readonly bound: "arithmetic" | "memory";
}

/** A profile of one program. */
export interface Profile {
  readonly ceilings: Ceilings;
  /** Of a whole run. */
  readonly milliseconds: number;
  /** The sum of all instructions, timed one by one. */
  readonly cutMilliseconds: number;
  readonly runs: number;
  /** What arithmetic should bind: products of matrices, convolutions and attention, with what is fused to them. */
  readonly products: Rates;
  /** In the program's order. */
  readonly instructions: readonly Entry[];
  /** By operator and instruction, the costliest first. */
  readonly operators: readonly Entry[];
  readonly phases: Readonly<Record<string, number>>;
}

/** Instructions that do what a model is made of; the others are to take little beside them. */
const PRODUCTS: readonly number[] = [Opcode.Gemm, Opcode.Convolution, Opcode.Attention];

/** Names that a chain may show before it is cut. */
const SHOWN_NAMES = 4;

function isOperand(word: number | PlanOperand): word is PlanOperand {
  return typeof word !== "number";
}

/** Bytes that a part reads and writes, each element once, workspaces aside. */
function bytesOf(steps: readonly Step[]): number {
  const seen = new Map<string, number>();
  const ids = new Map<object, number>();
  for (const word of steps.flatMap(({ words }) => words)) {
    if (!isOperand(word) || (word.buffer.node === null && word.buffer.region.kind === "temporary")) continue;
    const { buffer, offset, shape, strides } = word;
    const id = ids.get(buffer) ?? ids.size;
    ids.set(buffer, id);
    const elements = shape.reduce((product, size, d) => (strides[d] === 0 ? product : product * size), 1);
    const key = `${id}+${offset}`;
    seen.set(key, Math.max(seen.get(key) ?? 0, 4 * elements));
  }
  return [...seen.values()].reduce((sum, bytes) => sum + bytes, 0);
}

/** Floating-point operations of a part. Copies that make room for a kernel belong to its node and compute nothing. */
function flopsOf({ opcode, nodes }: Step): number {
  if (opcode === Opcode.Copy || opcode === Opcode.Fill) return 0;
  return nodes.reduce((sum, node) => sum + node.primitive.flops(node.inputs, node, node.attrs), 0);
}

/**
 * The phase of every node. Forward is what a gradient was asked of, and all that it is computed from. What reads numbers that the
 * forward pass does not, and that are no constants (the optimizer's states, its learning rate), is the optimizer's;
 * the rest is backward.
 */
function phasesOf(plan: Plan): (node: Node) => Phase {
  const isForward = forwardOf(plan);
  const optimizer = new Set<Node>();
  for (const node of topological(plan.roots)) {
    if (isForward(node)) continue;
    const own = isLeaf(node) ? constantValue(node) === undefined : node.inputs.some((x) => optimizer.has(x));
    if (own) optimizer.add(node);
  }
  return (node) => (isForward(node) ? "forward" : optimizer.has(node) ? "optimizer" : "backward");
}

function phaseOf(nodes: readonly Node[], phase: (node: Node) => Phase): string {
  const own = new Set(nodes.map(phase));
  return PHASES.filter((name) => own.has(name)).join(" + ");
}

/** The names of what a part computes: the first ones, for a chain may be long. */
function nameOf(nodes: readonly Node[]): string {
  const names = nodes.map((node) => node.primitive.name);
  const rest = names.length - SHOWN_NAMES;
  return rest > 1 ? `${names.slice(0, SHOWN_NAMES).join("+")}+${rest} more` : names.join("+");
}

function rated(entry: Omit<Entry, "share" | "bound" | "fraction">, total: number, ceilings: Ceilings): Entry {
  const { flops, bytes, milliseconds } = entry;
  const [arithmetic, memory] = [flops / ceilings.flops, bytes / ceilings.bytes];
  // An instruction that is shorter than measuring it has no rate.
  const fraction = milliseconds === 0 ? 0 : (1000 * Math.max(arithmetic, memory)) / milliseconds;
  return {
    ...entry,
    share: milliseconds / total,
    bound: arithmetic > memory ? "arithmetic" : "memory",
    fraction,
  };
}

/** Entries of the same operator and phase as one. */
function summed(entries: readonly Entry[], total: number, ceilings: Ceilings): Entry[] {
  const groups = new Map<string, Entry[]>();
  for (const entry of entries) {
    const key = `${entry.instruction}/${entry.operator}/${entry.phase}`;
    groups.set(key, [...(groups.get(key) ?? []), entry]);
  }
  const sums = [...groups.values()].map((group) => {
    const sum = (of: (entry: Entry) => number): number => group.reduce((all, entry) => all + of(entry), 0);
    const shapes = [...new Set(group.map(({ shape }) => shape))];
    return rated(
      {
        ...(group[0] as Entry),
        shape: shapes.length > 2 ? `${shapes.length} shapes` : shapes.join(" "),
        calls: group.length,
        milliseconds: sum(({ milliseconds }) => milliseconds),
        flops: sum(({ flops }) => flops),
        bytes: sum(({ bytes }) => bytes),
      },
      total,
      ceilings,
    );
  });
  return sums.sort((x, y) => y.milliseconds - x.milliseconds);
}

/** The time of some instructions, and how near they come to the arithmetic ceiling together. */
function together(entries: readonly Entry[], total: number, ceilings: Ceilings): Rates {
  const milliseconds = entries.reduce((sum, entry) => sum + entry.milliseconds, 0);
  const flops = entries.reduce((sum, entry) => sum + entry.flops, 0);
  const fraction = milliseconds === 0 ? 0 : (1000 * flops) / ceilings.flops / milliseconds;
  return { milliseconds, share: milliseconds / total, fraction };
}

/** Works out what a recording says. */
export function analyse({ plan, parts, milliseconds, runs }: Recording, ceilings: Ceilings): Profile {
  const total = parts.reduce((sum, part) => sum + part.milliseconds, 0);
  const phase = phasesOf(plan);
  const entryOf = ({ steps, milliseconds }: Part): Entry => {
    const [first] = steps as [Step];
    const { nodes } = first;
    const [head] = nodes as [Node];
    return rated(
      {
        operator: nameOf(nodes),
        instruction: opcodeName(first.opcode),
        phase: phaseOf(nodes, phase),
        shape: `[${head.shape}]`,
        calls: 1,
        milliseconds,
        flops: flopsOf(first),
        bytes: bytesOf(steps),
      },
      total,
      ceilings,
    );
  };
  const instructions = parts.map(entryOf);
  const phases: Record<string, number> = {};
  for (const entry of instructions) phases[entry.phase] = (phases[entry.phase] ?? 0) + entry.milliseconds;
  return {
    ceilings,
    milliseconds,
    cutMilliseconds: total,
    runs,
    products: together(
      instructions.filter((_, i) => PRODUCTS.includes(parts[i]?.steps[0]?.opcode as number)),
      total,
      ceilings,
    ),
    instructions,
    operators: summed(instructions, total, ceilings),
    phases,
  };
}
