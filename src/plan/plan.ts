/**
 * The plan: everything that is decided before a program runs. From a graph through simplification, fusion, scheduling,
 * lowering, placement and encoding, in that order; there is no other way to a result.
 */

import { checking, debug, debugLevel } from "../graph/debug.js";
import type { DType } from "../graph/dtype.js";
import { printGraph } from "../graph/print.js";
import type { Shape } from "../graph/shape.js";
import { sizeOf } from "../graph/shape.js";
import { constantValue, simplify } from "../graph/simplify.js";
import type { Node } from "../graph/tensor.js";
import { verifyGraph } from "../graph/verify.js";
import { wholeView } from "../graph/view.js";
import { topological } from "../graph/walk.js";
import { type Buffer, type PlanOperand, paddedBytes, programBytes, type Step, stateBuffer } from "./buffer.js";
import { originalOf } from "./copy.js";
import { type Code, encode } from "./encode.js";
import { fuse, type Unit } from "./fuse.js";
import { type Lowered, lower, type Memo } from "./lower.js";
import { liveBytes, place } from "./place.js";
import { printArena, printSteps } from "./print.js";
import { schedule } from "./schedule.js";
import type { Targets } from "./updates.js";

/** A leaf that the host fills before a run. */
export interface Feed {
  readonly node: Node;
  readonly dtype: DType;
  readonly length: number;
  /** Byte offset: in the temporaries for inputs, in the pool for cells. */
  readonly offset: number;
}

/** A value that the host reads after a run. */
export interface Result {
  readonly shape: Shape;
  readonly dtype: DType;
  /** Byte offset in the temporaries. */
  readonly offset: number;
}

/** A state: memory that outlives the runs. */
export interface State {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** What a plan is made from. */
export interface Request {
  readonly results: readonly Node[];
  readonly states: readonly State[];
  /** Leaves that stand for the current value of a state, by slot. */
  readonly stateLeaves: ReadonlyMap<Node, number>;
  readonly updates: readonly { readonly slot: number; readonly node: Node }[];
  /** What backward passes started from; if none is given, the results. */
  readonly differentiated?: readonly Node[];
  /** Computes again what a policy, a budget and checkpoints ask for. Only checkpoints are kept to if not given. */
  readonly recompute?: Recompute;
}

/** A schedule that was lowered. */
export interface Program {
  readonly lowered: Lowered;
  readonly temporaries: readonly Buffer[];
  readonly programBytes: number;
}

/** A schedule, and its targets in it. */
export interface Scheduled {
  readonly units: readonly Unit[];
  readonly targets: Targets;
  /** The original of each value that is computed again. */
  readonly originals: ReadonlyMap<Node, Node>;
  /** All nodes that are computed again. */
  readonly copies: ReadonlySet<Node>;
  /** Gives its temporaries offsets, and returns what they take; if not given, they are placed in as little as can be found. */
  readonly place?: typeof place;
  /** By what it was lowered. */
  readonly memo?: Memo;
}

/** Lowers a schedule. All programs share the buffers of their arguments, whose lifetimes are those of the last one. */
export type LowerAll = (units: readonly Unit[], targets: Targets, memo?: Memo) => Program;

/**
 * Rewrites a schedule so that values are computed again instead of being kept.
 * @param forward the nodes that the forward pass ends in
 */
export type Recompute = (
  units: readonly Unit[],
  targets: Targets,
  lowerAll: LowerAll,
  forward: readonly Node[],
) => Scheduled;

let forCheckpoints: Recompute | null = null;

/** Sets how checkpoints are kept to where a request does not say. So a page without any loads no code for them. */
export function setCheckpointing(pass: Recompute): void {
  forCheckpoints = pass;
}

/** A program and all that a runtime needs for running it. */
export interface Plan {
  readonly code: Code;
  readonly steps: readonly Step[];
  readonly temporaries: readonly Buffer[];
  /** Bytes of the temporaries, placed. */
  readonly temporaryBytes: number;
  /** The program's own numbers, as they stand before any cell is written. */
  readonly pool: Uint32Array;
  readonly inputs: readonly Feed[];
  readonly cells: readonly Feed[];
  readonly results: readonly Result[];
  readonly states: readonly State[];
  /** The states that the program gives new values. */
  readonly updates: Targets["updates"];
  /** What the forward pass ends in, as the graph was before anything was computed again. */
  readonly forward: readonly Node[];
  /** The simplified graph, with what is computed again. */
  readonly roots: readonly Node[];
  /** The original of each value that is computed again. */
  readonly originals: ReadonlyMap<Node, Node>;
  /** All nodes that are computed again. */
  readonly copies: ReadonlySet<Node>;
}

/** Tells the nodes of the forward pass from those of the backward pass, which may compute them again, and of updates. */
export function forwardOf({ forward, copies }: Pick<Plan, "forward" | "copies">): (node: Node) => boolean {
  const nodes = new Set(topological(forward));
  return (node) => nodes.has(originalOf(node)) && !copies.has(node);
}

/** Bytes that a state takes in memory, with padding. */
export function stateBytes(state: State): number {
  return paddedBytes(stateBuffer(0, 4 * sizeOf(state.shape), null));
}

/** Where leaves are: constants and cells in the pool, states where they are kept, the rest among the temporaries. */
class Leaves {
  readonly inputs = new Map<Node, Buffer>();
  readonly cells: Feed[] = [];
  private readonly words: number[] = [];
  private readonly operands = new Map<Node, PlanOperand>();
  private readonly pool: Buffer = {
    region: { kind: "pool" },
    bytes: 0,
    node: null,
    first: -1,
    last: Number.POSITIVE_INFINITY,
    offset: 0,
    reuses: null,
  };

  constructor(private readonly stateLeaves: ReadonlyMap<Node, number>) {}

  operand(node: Node): PlanOperand {
    const known = this.operands.get(node);
    if (known !== undefined) return known;
    const operand = this.describe(node);
    this.operands.set(node, operand);
    return operand;
  }

  private describe(node: Node): PlanOperand {
    const { shape, dtype } = node;
    const slot = this.stateLeaves.get(node);
    if (slot !== undefined) return { buffer: stateBuffer(slot, 4 * sizeOf(shape), node), dtype, ...wholeView(shape) };
    const value = constantValue(node);
    if (value !== undefined) {
      this.words.push(bitsOf(value, dtype));
      return { buffer: this.pool, dtype, shape, strides: shape.map(() => 0), offset: this.words.length - 1 };
    }
    if (node.primitive.name === "cell") {
      // Random keys are read as whole vectors, so every cell starts at a multiple of four words.
      while (this.words.length % 4 !== 0) this.words.push(0);
      const offset = this.words.length;
      const length = sizeOf(shape);
      for (let i = 0; i < length; i++) this.words.push(0);
      this.cells.push({ node, dtype, length, offset: 4 * offset });
      return { buffer: this.pool, dtype, ...wholeView(shape), offset };
    }
    const buffer: Buffer = {
      region: { kind: "temporary" },
      bytes: 4 * sizeOf(shape),
      node,
      first: -1,
      last: -1,
      offset: 0,
      reuses: null,
    };
    this.inputs.set(node, buffer);
    return { buffer, dtype, ...wholeView(shape) };
  }

  poolWords(): Uint32Array {
    return Uint32Array.from(this.words);
  }
}

/** The word that holds a number. */
function bitsOf(value: number, dtype: DType): number {
  return dtype === "f32" ? (new Uint32Array(Float32Array.of(value).buffer)[0] as number) : value >>> 0;
}

let verifier: ((plan: Plan) => void) | null = null;

/** Has every plan that is made from now on verified; `check` throws where one is wrong. */
export function verifyPlans(check: (plan: Plan) => void): void {
  verifier = check;
}

/** Makes the plan for a request. */
export function compilePlan(request: Request): Plan {
  // Node loads its clock when it is first asked for, which takes a millisecond or two.
  const started = debugLevel >= 1 ? performance.now() : 0;
  const wanted = [...request.results, ...request.updates.map(({ node }) => node)];
  debug(2, () => `traced graph:\n${printGraph(wanted)}`);
  const differentiated = request.differentiated ?? [];
  const simplified = simplify([...wanted, ...differentiated]);
  const roots = simplified.slice(0, wanted.length);
  if (checking) verifyGraph("simplification", roots, wanted);
  debug(2, () => `simplified graph:\n${printGraph(roots)}`);
  const results = roots.slice(0, request.results.length);
  const forward = differentiated.length > 0 ? simplified.slice(wanted.length) : results;
  const updates = request.updates.map(({ slot }, i) => ({ slot, node: roots[results.length + i] as Node }));
  const leaves = new Leaves(request.stateLeaves);
  const lowerAll: LowerAll = (scheduled, targets, memo) => {
    for (const buffer of leaves.inputs.values()) buffer.last = -1;
    const lowered = lower(scheduled, targets, (node) => leaves.operand(node), memo);
    const words = lowered.steps.reduce((sum, step) => sum + step.words.length + 1, 1);
    const temporaries = [...leaves.inputs.values(), ...lowered.temporaries];
    return { lowered, temporaries, programBytes: programBytes(words, 4 * leaves.poolWords().length) };
  };
  const plain = schedule(fuse(topological(roots), new Set(roots)), { results, updates }, request.stateLeaves);
  const asItIs: Scheduled = { units: plain, targets: { results, updates }, originals: new Map(), copies: new Set() };
  const pass = request.recompute ?? forCheckpoints;
  const scheduled = pass === null ? asItIs : pass(plain, asItIs.targets, lowerAll, forward);
  const { units, targets, originals, copies, memo } = scheduled;
  const { lowered, temporaries } = lowerAll(units, targets, memo);
  const temporaryBytes = (scheduled.place ?? place)(temporaries);
  if (checking) verifyGraph("recomputation", targetNodes(targets), wanted);
  debug(1, () => {
    const nodes = units.reduce((sum, unit) => sum + unit.nodes.length, 0);
    const ms = (performance.now() - started).toFixed(1);
    const { length } = lowered.steps;
    return `plan: ${nodes} nodes, ${length} step${length === 1 ? "" : "s"}, ${temporaryBytes} bytes of temporaries (${liveBytes(temporaries)} alive at once), ${ms} ms`;
  });
  debug(3, () => `${printSteps(lowered.steps)}\narena:\n${printArena(temporaries)}`);

  const inputs = [...leaves.inputs].map(([node, { offset }]) => feed(node, offset));
  const plan: Plan = {
    code: encode(lowered.steps),
    steps: lowered.steps,
    temporaries,
    temporaryBytes,
    pool: leaves.poolWords(),
    inputs,
    cells: leaves.cells,
    results: lowered.results.map(({ shape, dtype, buffer, offset }) => ({
      shape,
      dtype,
      offset: buffer.offset + 4 * offset,
    })),
    states: request.states,
    updates: targets.updates,
    forward,
    roots: targetNodes(targets),
    originals,
    copies,
  };
  verifier?.(plan);
  return plan;
}

function targetNodes({ results, updates }: Targets): Node[] {
  return [...results, ...updates.map(({ node }) => node)];
}

function feed(node: Node, offset: number): Feed {
  return { node, dtype: node.dtype, length: sizeOf(node.shape), offset };
}
