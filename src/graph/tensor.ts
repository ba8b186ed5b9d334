/**
 * Tensors and the graph nodes that they name.
 *
 * A node is a value: immutable, made once by an operator from other nodes. A tensor is a name for a node: the handle
 * that users hold, which in-place operators bind to another node. So overwriting a tensor never changes a value that
 * something else has saved, and nothing here needs to be freed.
 */
import { describe } from "./describe.js";
import type { DType, TypedArray } from "./dtype.js";
import { ArgumentError, GradError, TraceError } from "./errors.js";
import type { RecomputePolicy } from "./policy.js";
import type { Aval, Primitive } from "./primitive.js";
import { formatShape, type Shape, sameShape, sizeOf } from "./shape.js";
import type { Sites } from "./sites.js";

/** A primitive with attributes of whatever type. */
export type AnyPrimitive = Primitive<Tensor, unknown>;

/** Where the value of a resident node is: a region of the arena that programs update. */
export interface Storage {
  /** Copies the value out. */
  read(): TypedArray;
}

/** A trace being recorded: it answers for tensors instead of the tensors themselves. */
export interface Scope {
  /** The node that `tensor` names within the trace. */
  nodeOf(tensor: Tensor): Node;
  /** Names `node` by `tensor`, from here on in the trace and after every run of it. */
  bind(tensor: Tensor, node: Node): void;
  gradOf(tensor: Tensor): Tensor | null;
  setGrad(tensor: Tensor, grad: Tensor | null): void;
  /** Notes a cell: its numbers are asked for before every run. */
  addCell(cell: Node): void;
  /** Notes a condition outside of tensors that the trace has relied on; a run for which it fails is traced anew. */
  addGuard(holds: () => boolean): void;
  /** Notes what a backward pass starts from: all that these are computed from is the forward pass. */
  addDifferentiated(outputs: readonly Node[]): void;
}

/** The values that one call of `checkpoint` makes: they are not kept for the backward pass. */
export interface Region {
  /** The call that it is within. */
  readonly parent: Region | null;
  /** Which of the values are kept after all; none without it. */
  readonly policy?: RecomputePolicy;
}

/** Whether `region` is `outer` or within it. */
export function isWithin(region: Region | null, outer: Region): boolean {
  for (let at = region; at !== null; at = at.parent) if (at === outer) return true;
  return false;
}

let nextId = 0;

/** A value of the graph: an operator, its inputs and what is known of the result. */
export class Node implements Aval {
  /** Rises with creation, so an input's id is below those of its users. What replaces a node in a graph takes its id. */
  id = nextId++;
  /** Whether a gradient can reach this node. */
  requiresGrad = false;
  /** The tensor whose `.grad` receives this node's gradient: its own if it is a leaf, or one that retains it. */
  sink: Tensor | null = null;
  /** The value, once it was computed: never changed afterwards. */
  value: TypedArray | null = null;
  /** For a resident value: where it is. */
  storage: Storage | null = null;
  /** Whether something besides its tensor refers to this resident node, so that its value must outlive an update. */
  shared = false;
  /** The region that the node was made in. */
  region: Region | null = mode.region;
  /** The region at whose end its value is given up: that of its making, or one around it that the value was returned to. */
  holder: Region | null = mode.region;
  /** Numbering during a walk over the graph; valid while `walk` is that walk's number. */
  walk = 0;
  index = 0;

  constructor(
    public primitive: AnyPrimitive,
    public inputs: readonly Node[],
    public attrs: unknown,
    readonly shape: Shape,
    readonly dtype: DType,
    /** The trace that made this node, or null in eager use. */
    readonly scope: Scope | null,
  ) {}
}

let walks = 0;

/** A number for a new walk over the graph, for marking nodes through `Node.walk`. */
export function newWalk(): number {
  return ++walks;
}

/** What the current code runs under: the trace being recorded, and whether operators record gradients. */
export const mode = {
  scope: null as Scope | null,
  gradEnabled: true,
  /** The innermost `checkpoint` that is running. */
  region: null as Region | null,
  /** Where lines of code are noted, if they are. */
  sites: null as Sites | null,
};

/** Eager state that is waiting to be computed. */
export const eager = {
  /**
   * Tensors bound in place to values not computed yet: state, computed with whatever is read next. With each the node
   * that it named when state was last computed, to which it returns if computing fails; null for a new gradient.
   */
  pending: new Map<Tensor, Node | null>(),
  /** Takes back what the host counted for updates that wait, where computing them fails. */
  undo: [] as (() => void)[],
  /** Values on which `backward` was called: their readers are likely to come, and their graph is at hand. */
  roots: new Set<Node>(),
  /** Nodes made since state was last computed. */
  nodes: 0,
  /** Computes everything pending; installed by the layer that can run programs. */
  flush: (): void => {},
};

/** In-place updates pile up unread until this many nodes wait; then they are computed. Bounds memory of endless loops. */
const MAX_PENDING_NODES = 2000;

/**
 * A tensor: an n-dimensional array whose value is computed when it is read.
 *
 * Tensors come from {@link tensor} and its kin and from operators. There is nothing to dispose.
 */
export class Tensor {
  /** @internal */
  _node: Node;
  /** @internal */
  _grad: Tensor | null = null;

  /** @internal */
  constructor(node: Node) {
    this._node = node;
  }

  /** Sizes of each dimension, outermost first; empty for a scalar. */
  get shape(): Shape {
    return this._node.shape;
  }

  /** The element type. */
  get dtype(): DType {
    return this._node.dtype;
  }

  /** Number of dimensions. */
  get ndim(): number {
    return this._node.shape.length;
  }

  /** Number of elements. */
  get numel(): number {
    return sizeOf(this._node.shape);
  }

  /** Whether gradients flow to this tensor. Setting it makes a tensor that has no history a leaf that receives `.grad`. */
  get requiresGrad(): boolean {
    return nodeOf(this).requiresGrad;
  }

  set requiresGrad(value: boolean) {
    const node = nodeOf(this);
    if (value === node.requiresGrad) return;
    if (!value && !this.isLeaf) {
      throw new GradError("requiresGrad: only a leaf can be told to stop requiring gradients; use detach()");
    }
    if (value && this.dtype !== "f32") {
      throw new GradError(`requiresGrad: only f32 tensors have gradients, and this one is ${this.dtype}`);
    }
    const relabelled = (x: Node): Node => (value ? leafNode(x, this) : plainNode(x));
    const before = eager.pending.get(this);
    if (before) eager.pending.set(this, relabelled(before));
    if (mode.scope !== null) mode.scope.bind(this, relabelled(node));
    else this._node = relabelled(node);
  }

  /** Whether this tensor has no recorded history: made by the user, or by operators that recorded none. */
  get isLeaf(): boolean {
    return !hasHistory(nodeOf(this));
  }

  /** The accumulated gradient, of this tensor's shape, or null before a `backward` reached it. */
  get grad(): Tensor | null {
    if (mode.scope !== null) return mode.scope.gradOf(this);
    // Whoever asks may keep it, and then it must keep its value when a compiled function writes the next gradient.
    if (this._grad !== null) this._grad._node.shared = true;
    return this._grad;
  }

  set grad(grad: Tensor | null) {
    if (grad !== null && (!sameShape(grad.shape, this.shape) || grad.dtype !== this.dtype)) {
      throw new GradError(
        `grad: a gradient must be ${this.dtype}${formatShape(this.shape)} like its tensor, not ${grad.dtype}${formatShape(grad.shape)}`,
      );
    }
    if (mode.scope !== null) {
      mode.scope.setGrad(this, grad);
      return;
    }
    // A gradient that is given up is state no more: it is computed if somebody reads it.
    if (this._grad !== null) eager.pending.delete(this._grad);
    this._grad = grad;
  }

  /** Tells a tensor that is not a leaf to receive `.grad` too. */
  retainGrad(): void {
    const node = nodeOf(this);
    if (!node.requiresGrad) throw new GradError("retainGrad: this tensor does not require gradients");
    node.sink = this;
  }
}

/**
 * The node that a tensor names, here and now.
 * @throws ArgumentError where it is no tensor, TraceError where one of a finished trace is used outside of it
 */
export function nodeOf(tensor: Tensor): Node {
  if (!(tensor instanceof Tensor)) throw new ArgumentError(`expected a tensor, not ${describe(tensor)}`);
  if (mode.scope !== null) return mode.scope.nodeOf(tensor);
  const node = tensor._node;
  if (node.scope !== null) {
    throw new TraceError(
      `a ${node.dtype}${formatShape(node.shape)} tensor (${node.primitive.name}) that was made while a function was traced, by compile or vmap, has no value outside of it; return it from the function`,
    );
  }
  return node;
}

/** Runs `fn` with what it makes belonging to `region`. */
export function inRegion<T>(region: Region | null, fn: () => T): T {
  const before = mode.region;
  mode.region = region;
  try {
    return fn();
  } finally {
    mode.region = before;
  }
}

/**
 * Has a value that was made in `region` kept until the end of `holder`. A view has no memory of its own: what it shows
 * is kept.
 */
export function keepFor(node: Node, region: Region, holder: Region | null): void {
  for (let at: Node | undefined = node; at !== undefined; ) {
    if (at.holder === region) at.holder = holder;
    at = at.primitive.lowering.kind === "view" ? at.inputs[0] : undefined;
  }
}

/** Applies an operator: one new node, and a tensor that names it. */
export function apply<A>(primitive: Primitive<Tensor, A>, inputs: readonly Tensor[], attrs: A): Tensor {
  const nodes = new Array<Node>(inputs.length);
  let requiresGrad = false;
  for (let i = 0; i < inputs.length; i++) {
    const input = inputs[i] as Tensor;
    if (!(input instanceof Tensor)) {
      throw new ArgumentError(`${primitive.name}: expected a tensor, not ${describe(input)}`);
    }
    const node = nodeOf(input);
    nodes[i] = node;
    requiresGrad ||= node.requiresGrad;
    if (node.storage !== null) node.shared = true;
  }
  const aval = primitive.infer(nodes, attrs);
  const node = new Node(primitive as AnyPrimitive, nodes, attrs, aval.shape, aval.dtype, mode.scope);
  node.requiresGrad = requiresGrad && mode.gradEnabled && primitive.vjp !== null && aval.dtype === "f32";
  eager.nodes++;
  mode.sites?.note(node);
  return new Tensor(node);
}

/** Makes `tensor` name `node`. In eager use the new value is state: it is computed with whatever is read next. */
export function bind(tensor: Tensor, node: Node): void {
  if (mode.scope !== null) {
    mode.scope.bind(tensor, node);
    return;
  }
  if (eager.nodes > MAX_PENDING_NODES && eager.pending.has(tensor)) eager.flush();
  if (node.value === null && node.storage === null && !eager.pending.has(tensor)) {
    eager.pending.set(tensor, tensor._node);
  }
  tensor._node = node;
}

/**
 * Overwrites `target` in place with `value`, of the same shape and dtype. Recorded for gradients like any operator;
 * under `noGrad` the target stays what it was, a leaf or not, with the new value.
 */
export function assign(op: string, target: Tensor, value: Tensor): Tensor {
  const before = nodeOf(target);
  const after = nodeOf(value);
  if (!sameShape(before.shape, after.shape) || before.dtype !== after.dtype) {
    throw new GradError(
      `${op}: the result is ${after.dtype}${formatShape(after.shape)} and cannot overwrite ${before.dtype}${formatShape(before.shape)}`,
    );
  }
  if (before.requiresGrad && !mode.gradEnabled) bind(target, leafNode(after, target));
  else if (before.requiresGrad && !after.requiresGrad) {
    throw new GradError(
      `${op}: this would overwrite a tensor that requires gradients with one that does not, and cut its gradient off silently; wrap the assignment in noGrad(() => ...)`,
    );
  } else bind(target, after);
  return target;
}

/** The same value without history. */
export const detachPrimitive: Primitive<Tensor, null> = {
  name: "detach",
  infer: ([x]) => x as Aval,
  reference: ([x]) => (x as { data: Float64Array }).data,
  vjp: null,
  batch: ({ inputs: [x] }) => detach(x as Tensor),
  lowering: { kind: "view", view: (input) => input },
  forwards: () => 0,
  flops: () => 0,
};

/** Whether a gradient that reaches this node flows on to what it was computed from. */
export function hasHistory(node: Node): boolean {
  return node.requiresGrad && node.inputs.length > 0 && node.primitive !== detachPrimitive;
}

function plainNode(node: Node): Node {
  if (node.storage !== null) node.shared = true;
  else if (node.inputs.length === 0 && node.scope === null) {
    const same = new Node(node.primitive, [], node.attrs, node.shape, node.dtype, null);
    same.value = node.value;
    return same;
  }
  return new Node(detachPrimitive as AnyPrimitive, [node], null, node.shape, node.dtype, mode.scope);
}

/** The same value as a leaf of the gradient graph whose gradient goes to `sink`. */
export function leafNode(node: Node, sink: Tensor): Node {
  const leaf = plainNode(node);
  leaf.requiresGrad = true;
  leaf.sink = sink;
  return leaf;
}

/** The same value outside of the gradient graph: no gradient flows through the result. */
export function detach(input: Tensor): Tensor {
  return new Tensor(plainNode(nodeOf(input)));
}

/**
 * Runs `fn` without recording gradients, as `with torch.no_grad():` does.
 * @example
 * noGrad(() => weight.sub_(weight.grad!.mul(0.1)));
 */
export function noGrad<T>(fn: () => T): T {
  const before = mode.gradEnabled;
  mode.gradEnabled = false;
  try {
    return fn();
  } finally {
    mode.gradEnabled = before;
  }
}
