/**
 * Compiled functions: traced once for each kind of arguments, planned once, then run as one program a call.
 */
import { debugLevel } from "../graph/debug.js";
import { describe } from "../graph/describe.js";
import type { TypedArray } from "../graph/dtype.js";
import { ArgumentError, TraceError } from "../graph/errors.js";
import { expectNames } from "../graph/names.js";
import { expectPolicy, type RecomputePolicy } from "../graph/policy.js";
import { printGraph } from "../graph/print.js";
import { formatShape, sameShape } from "../graph/shape.js";
import { memberName, type Origin, Sites } from "../graph/sites.js";
import { type CellAttrs, dataNode, dataPrimitive } from "../graph/sources.js";
import { type AnyPrimitive, mode, Node, Tensor } from "../graph/tensor.js";
import { leavesOf, mapTree, type Tree } from "../graph/tree.js";
import { topological } from "../graph/walk.js";
import { originalOf } from "../plan/copy.js";
import { type MemoryReport, memoryReport, statesBytes } from "../plan/memory.js";
import { compilePlan, type Plan, type Request } from "../plan/plan.js";
import { recompute } from "../plan/recompute/pass.js";
import { explainMemory, memoryMap } from "../plan/report.js";
import { type MeasuredMemory, PeakMeter } from "../runtime/peak.js";
import { type Bound, Program, Resident, type Runtime } from "../runtime/runtime.js";
import { readNode } from "./realize.js";
import { runtime } from "./session.js";
import { type Slot, Trace } from "./trace.js";

/** What a compiled function may return. */
// biome-ignore lint/suspicious/noConfusingVoidType: a function without a return statement returns void
export type Returned = Tree | undefined | null | void;

/** Options of {@link compile}. */
export interface CompileOptions {
  /**
   * What the arena may take while the function runs, `arenaBytes` in its memory report: bytes, or a text such as
   * `"48MB"` (10⁶ bytes) or `"64MiB"` (2²⁰). What does not fit is computed again when it is needed; results are the same
   * bits.
   */
  readonly memoryBudget?: number | string;
  /** Which values are computed again whatever the budget. What `checkpoint` marks is computed again besides. */
  readonly recompute?: RecomputePolicy;
}

const UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
};

/**
 * A number of bytes, from a number or a text such as `"48MB"`.
 * @throws ArgumentError where it is neither
 */
export function parseBytes(op: string, size: number | string): number {
  const [, digits, unit = "B"] = /^\s*([\d.]+)\s*([a-z]+)?\s*$/i.exec(String(size)) ?? [];
  const bytes = Math.floor(Number(digits) * (UNITS[unit.toUpperCase()] ?? Number.NaN));
  if (!(bytes > 0)) {
    const given = typeof size === "string" ? JSON.stringify(size) : String(size);
    throw new ArgumentError(
      `${op}: a size is a number of bytes above 0, or a text such as "48MB" or "64MiB" (in B, KB, MB, GB, KiB, MiB or GiB), not ${given}`,
    );
  }
  return bytes;
}

/** A function that runs as one program. */
export interface Compiled<Args extends readonly Tree[], Out extends Returned> {
  (...args: Args): Out;
  /**
   * The memory that a call needs, in bytes, known before it runs. Asked for before the first such call, with a memory
   * budget or with `LANEGRAD_DEBUG` set, it names the line of code and the module that made each value.
   * @param args arguments like those of the call: only shapes and dtypes matter. None: the last call's.
   */
  memory(...args: Args | []): MemoryReport;
  /** The same as text: what takes the memory, where most is alive, what is computed again and what that costs. */
  explainMemory(...args: Args | []): string;
  /** The map of the temporaries, steps × addresses, as SVG. */
  memoryMap(...args: Args | []): string;
  /**
   * Makes a call, as any other, on memory filled with a pattern, and says how far into it the call has written: what
   * `memory()` foretold, to the byte.
   * @param args as for a call
   * @throws TraceError within another compiled function, where nothing runs
   */
  measureMemory(...args: Args): MeasuredMemory;
  /** The graph of a call as text: one line a node, after simplification. */
  graph(...args: Args | []): string;
  /** How many different kinds of calls were traced. */
  readonly traces: number;
}

/** Kinds of calls whose programs are kept; the one unused for longest goes first. */
const MAX_SPECIALIZATIONS = 64;

/** A slot of the trace bound to memory. */
interface BoundSlot {
  readonly slot: Slot;
  resident: Resident | null;
  /** The node whose value the memory holds. */
  holds: Node | null;
}

/** The node that a slot names outside of traces, now. */
function currentNode({ kind, tensor }: Slot): Node | null {
  return kind === "tensor" ? tensor._node : (tensor._grad?._node ?? null);
}

/** A function traced and planned for one kind of arguments. */
class Specialization<Out extends Returned> {
  private readonly plan: Plan;
  private readonly trace = new Trace();
  /** Whether gradients were recorded where it was called. */
  readonly gradEnabled = mode.gradEnabled;
  /** Whether the arguments were tensors themselves, not trees of them. */
  private readonly flat: boolean;
  /** What the arguments' tensors were, in order. */
  private readonly placeholders: Node[] = [];
  private readonly out: Out;
  private readonly bound: readonly BoundSlot[];
  /** Which argument each of the plan's inputs is, and which of the trace's cells each of its cells. */
  private readonly argumentOf: readonly number[];
  private readonly cellOf: readonly number[];
  private program: Program | null = null;

  constructor(
    private readonly owner: Runtime,
    fn: (...args: readonly Tree[]) => Out,
    args: readonly Tree[],
    options: { readonly budget?: number; readonly policy?: RecomputePolicy },
    /** What made its values, where a report may be asked for. */
    private readonly sites: Sites | null,
  ) {
    const { trace, placeholders } = this;
    this.flat = args.every((arg) => arg instanceof Tensor);
    let results: Node[] = [];
    this.out = trace.record(() => {
      const stand = args.map((arg) =>
        mapTree("compile", arg, (x) => {
          const placeholder = trace.placeholder(x._node);
          placeholders.push(placeholder);
          return new Tensor(placeholder);
        }),
      );
      const out = fn(...stand);
      if (out != null) results = leavesOf("compile (the returned value)", out as Tree).map((x) => trace.nodeOf(x));
      trace.finish();
      return out;
    });
    // A gradient that is only cleared needs no memory.
    const slots = trace.slots.filter(({ placeholder, final }) => placeholder !== null || final != null);
    this.bound = slots.map((slot) => ({ slot, resident: null, holds: null }));
    const request = { ...requestFor(slots, results), differentiated: trace.differentiated };
    const { policy } = options;
    if (typeof policy === "object") {
      const { differentiated } = trace;
      expectNames("compile", policy, topological(differentiated.length > 0 ? differentiated : results));
    }
    const otherBytes = statesBytes(request.states) + owner.sharedBytes;
    this.plan = compilePlan({
      ...request,
      recompute: (units, targets, lowerAll, forward) =>
        recompute(units, targets, { ...options, otherBytes, forward, originOf: (x) => this.originOf(x) }, lowerAll),
    });
    this.argumentOf = this.plan.inputs.map(({ node }) => placeholders.indexOf(node));
    this.cellOf = this.plan.cells.map(({ node }) => trace.cells.indexOf(node));
  }

  /** Whether the trace holds for a call made now. */
  fits(): boolean {
    for (const holds of this.trace.guards) if (!holds()) return false;
    for (const { slot } of this.bound) {
      if (slot.kind === "tensor" && slot.tensor._node.requiresGrad !== slot.placeholder?.requiresGrad) return false;
    }
    return true;
  }

  /** Whether the arguments are plain tensors of the shapes and dtypes of this trace: a check without allocations. */
  matches(args: readonly Tree[]): boolean {
    if (!this.flat || args.length !== this.placeholders.length) return false;
    for (let i = 0; i < args.length; i++) {
      const arg = args[i];
      const placeholder = this.placeholders[i] as Node;
      if (!(arg instanceof Tensor) || arg._node.requiresGrad) return false;
      if (arg._node.dtype !== placeholder.dtype || !sameShape(arg._node.shape, placeholder.shape)) return false;
    }
    return true;
  }

  memory(): MemoryReport {
    const states = this.bound.map(({ slot: { kind, tensor, placeholder } }) => {
      const name = memberName(tensor);
      if (kind === "grad") return { kind: "gradient", name: name && `${name}.grad` } as const;
      return { kind: placeholder?.requiresGrad === true ? "parameter" : "other", name } as const;
    });
    return memoryReport(this.plan, this.owner.sharedBytes, states, (node) => this.originOf(node));
  }

  memoryMap(): string {
    return memoryMap(this.plan, (node) => this.originOf(node));
  }

  private originOf(node: Node): Origin {
    return this.sites?.originOf(originalOf(node)) ?? { source: null, module: null };
  }

  graph(): string {
    return printGraph(this.plan.roots);
  }

  run(args: readonly Tensor[]): Out {
    this.bind();
    this.program ??= new Program(this.owner, this.plan);
    for (const entry of this.bound) if (entry.slot.final != null) preserve(entry);
    const values = this.execute(this.program, args);
    for (const entry of this.bound) if (entry.slot.final != null) this.publish(entry);
    for (const { kind, tensor, final } of this.trace.slots) if (kind === "grad" && final === null) tensor._grad = null;
    const results = values.map((value, i) => {
      const { shape, dtype } = this.plan.results[i] as Plan["results"][number];
      return new Tensor(dataNode(value, shape, dtype));
    });
    if (this.out == null) return this.out;
    if (this.out instanceof Tensor) return results[0] as Tensor as Out;
    let next = 0;
    return mapTree("compile", this.out as Tree, () => results[next++] as Tensor) as Out;
  }

  /** Runs the program; where it stops at bad data, everything is as it was before. */
  private execute(program: Program, args: readonly Tensor[]): TypedArray[] {
    // First, for an argument that is not computed yet runs a program of its own, on the same temporaries.
    const inputs = this.argumentOf.map((argument) => readNode((args[argument] as Tensor)._node));
    const cells = this.trace.cells.map((cell) => cell.attrs as CellAttrs);
    const numbers = cells.map(({ read }) => read());
    const fed = this.cellOf.map((cell) => numbers[cell] as readonly number[]);
    try {
      return program.run(this.bound as readonly Bound[], inputs, fed);
    } catch (error) {
      for (const { undo } of cells) undo?.();
      throw error;
    }
  }

  /** Brings every slot's current value into the memory that the program reads. */
  private bind(): void {
    const { bound } = this;
    let stale = false;
    for (const entry of bound) stale ||= entry.resident === null || currentNode(entry.slot) !== entry.holds;
    if (!stale) return;
    const taken = new Set<Resident>();
    for (const entry of bound) {
      const node = currentNode(entry.slot);
      if (node !== entry.holds || entry.resident === null) this.attach(entry, node, taken);
      taken.add(entry.resident as Resident);
    }
  }

  private attach(entry: BoundSlot, node: Node | null, taken: ReadonlySet<Resident>): void {
    const own = node?.storage;
    if (node !== null && own instanceof Resident && own.runtime === this.owner && !taken.has(own)) {
      // Another compiled function has it in the arena already: use the same memory.
      entry.resident = own;
      entry.holds = node;
      return;
    }
    const { placeholder, final } = entry.slot;
    const { shape, dtype } = (placeholder ?? final) as Node;
    entry.resident ??= new Resident(this.owner, { shape, dtype });
    entry.holds = null;
    if (node === null || placeholder === null) return;
    entry.resident.write(readNode(node));
    entry.holds = node;
    if (node.storage !== null) return;
    // The value lives on in the arena; readers of the node find it there, or its copy once it is overwritten.
    node.storage = entry.resident;
    node.shared = true;
    if (final == null) node.value = null;
  }

  /** Names the memory's new value by the slot's tensor. */
  private publish(entry: BoundSlot): void {
    const { slot, holds, resident } = entry;
    if (holds !== null && holds.storage === resident && currentNode(slot) === holds) return;
    const { shape, dtype, requiresGrad } = slot.final as Node;
    const node = new Node(dataPrimitive as AnyPrimitive, [], null, shape, dtype, null);
    node.storage = resident;
    entry.holds = node;
    if (slot.kind === "tensor") {
      node.requiresGrad = requiresGrad;
      node.sink = requiresGrad ? slot.tensor : null;
      slot.tensor._node = node;
    } else {
      slot.tensor._grad = new Tensor(node);
    }
  }
}

/** Runs `fn` with lines of code noted in `sites`. */
function withSites<T>(sites: Sites | null, fn: (sites: Sites | null) => T): T {
  const before = mode.sites;
  mode.sites = sites;
  try {
    return fn(sites);
  } finally {
    mode.sites = before;
  }
}

/** The request for a program that delivers `results` and leaves every slot as the trace did. */
function requestFor(slots: readonly Slot[], results: readonly Node[]): Request {
  const stateLeaves = new Map<Node, number>();
  const updates: { slot: number; node: Node }[] = [];
  const states = slots.map(({ placeholder, final }, slot) => {
    if (placeholder !== null) stateLeaves.set(placeholder, slot);
    if (final != null) updates.push({ slot, node: final });
    const { shape, dtype } = (placeholder ?? final) as Node;
    return { shape, dtype };
  });
  return { results, states, stateLeaves, updates };
}

/** Copies out a value that is about to be overwritten, where something still refers to it. */
function preserve({ holds, resident }: BoundSlot): void {
  if (holds === null || resident === null || holds.storage !== resident || !holds.shared) return;
  holds.value ??= resident.read();
  holds.storage = null;
}

/** What distinguishes kinds of arguments: the trees' structure, and the leaves' dtypes and shapes. */
function signatureOf(args: readonly Tree[], leaves: Tensor[]): string {
  const describe = (tree: Tree): string => {
    if (tree instanceof Tensor) {
      leaves.push(tree);
      return `${tree._node.dtype}[${tree._node.shape}]`;
    }
    if (Array.isArray(tree)) return `[${tree.map(describe)}]`;
    if (typeof tree !== "object" || tree === null) {
      throw new ArgumentError(
        `compile: arguments must be tensors, or arrays and plain objects of tensors, not ${String(tree)}; capture other values, or make one compiled function for each`,
      );
    }
    return `{${Object.entries(tree).map(([key, value]) => `${key}:${describe(value)}`)}}`;
  };
  return args.map(describe).join(";");
}

/**
 * Compiles a function of tensors: the first call with arguments of new shapes runs it once on placeholders, plans the
 * graph that results (forward, backward and optimizer alike), and from then on a call is one run of that program.
 *
 * Tensors that the function captures keep their identity: parameters that it updates in place are updated by every
 * call, gradients that it leaves are readable after it. JavaScript in the function runs while it is traced and not
 * again; values cannot be read inside.
 *
 * @param fn takes tensors, or arrays and plain objects of them, and returns such or nothing
 * @param options.memoryBudget bytes that the arena may take, such as `"48MB"`
 * @param options.recompute which values are computed again whatever the budget, such as `{ saveOnly: ["attention"] }`
 * @throws TraceError where a value is read inside, or a gradient history would have to leave the function; ArenaError
 * where the memory budget is below what the function needs, saying how much that is
 * @example
 * const step = compile((x: Tensor, y: Tensor) => {
 *   const loss = mseLoss(model.forward(x), y);
 *   optimizer.zeroGrad();
 *   loss.backward();
 *   optimizer.step();
 *   return loss;
 * });
 * step(x, y).item();
 */
export function compile<Args extends readonly Tree[], Out extends Returned>(
  fn: (...args: Args) => Out,
  { memoryBudget, recompute }: CompileOptions = {},
): Compiled<Args, Out> {
  if (typeof fn !== "function") throw new ArgumentError(`compile: expected a function, not ${describe(fn)}`);
  if (recompute !== undefined) expectPolicy("compile: recompute", recompute);
  const options = {
    ...(memoryBudget === undefined ? {} : { budget: parseBytes("compile: memoryBudget", memoryBudget) }),
    ...(recompute === undefined ? {} : { policy: recompute }),
  };
  const kinds = new Map<string, Specialization<Out>[]>();
  let owner: Runtime | null = null;
  let last: Specialization<Out> | null = null;
  let traces = 0;

  // A budget that is too small is reported with the line that needs most.
  const told = debugLevel > 0 || options.budget !== undefined;
  const specialize = (args: readonly Tree[], leaves: Tensor[], report = told): Specialization<Out> => {
    if (owner !== runtime()) {
      owner = runtime();
      kinds.clear();
    }
    const signature = `${mode.gradEnabled};${signatureOf(args, leaves)}`;
    leaves.forEach((x, i) => {
      if (x._node.requiresGrad) {
        throw new TraceError(
          `compile: tensor ${i} among the arguments (${x.dtype}${formatShape(x.shape)}) requires gradients, and they do not flow through a compiled function; capture it instead, or pass detach(x)`,
        );
      }
    });
    const known = kinds.get(signature);
    const fitting = known?.find((candidate) => candidate.fits());
    if (fitting !== undefined) {
      last = fitting;
      return fitting;
    }
    traces++;
    const made = withSites(
      report ? new Sites() : null,
      (sites) =>
        new Specialization<Out>(owner as Runtime, fn as (...args: readonly Tree[]) => Out, args, options, sites),
    );
    kinds.delete(signature);
    kinds.set(signature, [...(known ?? []).slice(-7), made]);
    if (kinds.size > MAX_SPECIALIZATIONS) kinds.delete(kinds.keys().next().value as string);
    last = made;
    return made;
  };

  const planned = (args: readonly Tree[]): Specialization<Out> => {
    if (args.length > 0 || fn.length === 0) return specialize(args, [], true);
    if (last === null) {
      throw new ArgumentError(
        "the function has not been called yet, so its plan is not known: pass arguments like those of a call",
      );
    }
    return last;
  };

  const call = (...args: Args): Out => {
    // Within another trace the function is just its graph.
    if (mode.scope !== null) return fn(...args);
    if (last?.matches(args) && owner === runtime() && last.gradEnabled === mode.gradEnabled && last.fits()) {
      return last.run(args as readonly Tree[] as readonly Tensor[]);
    }
    const leaves: Tensor[] = [];
    return specialize(args, leaves).run(leaves);
  };
  return Object.defineProperties(
    Object.assign(call, {
      memory: (...args: Args | []) => planned(args).memory(),
      explainMemory: (...args: Args | []) => explainMemory(planned(args).memory()),
      memoryMap: (...args: Args | []) => planned(args).memoryMap(),
      measureMemory: (...args: Args) => {
        if (mode.scope !== null)
          throw new TraceError("measureMemory: a function is being traced, and nothing runs in it");
        const meter = new PeakMeter();
        const owner = runtime();
        const { guard } = owner;
        owner.guard = meter;
        try {
          call(...args);
        } finally {
          owner.guard = guard;
        }
        // The program of the call runs last, after those that its arguments may wait for.
        return meter.last as MeasuredMemory;
      },
      graph: (...args: Args | []) => planned(args).graph(),
    }),
    { traces: { get: () => traces } },
  ) as Compiled<Args, Out>;
}
