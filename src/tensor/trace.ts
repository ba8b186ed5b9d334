/**
 * Tracing: running a function once on placeholders, to learn the graph that it computes and the state that it changes.
 *
 * Tensors from outside that the function reads become placeholders too; those that it overwrites in place, and
 * gradients that it leaves, are its updates. The tensors themselves are not touched.
 */
import { TraceError } from "../graph/errors.js";
import { formatShape } from "../graph/shape.js";
import { inputPrimitive } from "../graph/sources.js";
import { type AnyPrimitive, hasHistory, mode, Node, type Scope, Tensor } from "../graph/tensor.js";

/** A tensor from outside of the trace, or the gradient of one, that the function reads or changes. */
export interface Slot {
  readonly kind: "tensor" | "grad";
  readonly tensor: Tensor;
  /** Stands for the value at the start of a run; null for a gradient that is not read. */
  placeholder: Node | null;
  /** What the slot holds at the end: a node, null for a gradient that was cleared, undefined if it is unchanged. */
  final: Node | null | undefined;
}

/** The gradient that a tensor from outside has in the trace. */
interface GradEntry {
  readonly slot: Slot;
  current: Tensor | null;
  /** Whether the function set it, to another tensor or to none. */
  written: boolean;
}

/** One run of a function on placeholders. */
export class Trace implements Scope {
  /** In the order in which the function met them. */
  readonly slots: Slot[] = [];
  /** Every cell that the function made, in order. */
  readonly cells: Node[] = [];
  /** What the function found outside of tensors; a later run must find the same. */
  readonly guards: (() => boolean)[] = [];
  /** What backward passes started from. */
  readonly differentiated: Node[] = [];
  private readonly tensors = new Map<Tensor, Slot>();
  private readonly grads = new Map<Tensor, GradEntry>();

  /** Runs `fn` in this trace. */
  record<T>(fn: () => T): T {
    const before = mode.scope;
    mode.scope = this;
    try {
      return fn();
    } finally {
      mode.scope = before;
    }
  }

  /** A placeholder for a value of the shape and dtype of `like`. */
  placeholder(like: Node): Node {
    return new Node(inputPrimitive as AnyPrimitive, [], null, like.shape, like.dtype, this);
  }

  nodeOf(tensor: Tensor): Node {
    if (tensor._node.scope === this) return tensor._node;
    const slot = this.slotOf(tensor);
    return slot.final ?? (slot.placeholder as Node);
  }

  bind(tensor: Tensor, node: Node): void {
    if (tensor._node.scope === this) tensor._node = node;
    else this.slotOf(tensor).final = node;
  }

  gradOf(tensor: Tensor): Tensor | null {
    if (tensor._node.scope === this) return tensor._grad;
    return this.gradEntry(tensor, true).current;
  }

  setGrad(tensor: Tensor, grad: Tensor | null): void {
    if (tensor._node.scope === this) tensor._grad = grad;
    else {
      const entry = this.gradEntry(tensor, false);
      entry.current = grad;
      entry.written = true;
    }
  }

  addCell(node: Node): void {
    this.cells.push(node);
  }

  addGuard(holds: () => boolean): void {
    this.guards.push(holds);
  }

  addDifferentiated(outputs: readonly Node[]): void {
    this.differentiated.push(...outputs);
  }

  /** Closes the trace: works out what every slot holds at the end. */
  finish(): void {
    for (const { slot, current, written } of this.grads.values()) {
      const node = current === null ? null : this.nodeOf(current);
      slot.final = written || node !== slot.placeholder ? node : undefined;
    }
    for (const { kind, final } of this.slots) {
      if (kind === "tensor" && final != null && final.requiresGrad && final.sink === null) {
        throw new TraceError(
          `a ${final.dtype}${formatShape(final.shape)} tensor from outside of the compiled function was overwritten with a value that has a gradient history, which cannot outlive a run; use noGrad or detach`,
        );
      }
    }
  }

  private slotOf(tensor: Tensor): Slot {
    const known = this.tensors.get(tensor);
    if (known !== undefined) return known;
    const outer = tensor._node;
    if (outer.scope !== null) {
      throw new TraceError(
        `a ${outer.dtype}${formatShape(outer.shape)} tensor (${outer.primitive.name}) made in the trace of one compiled function is used in that of another; return it from the first`,
      );
    }
    if (hasHistory(outer)) {
      throw new TraceError(
        `a ${outer.dtype}${formatShape(outer.shape)} tensor (${outer.primitive.name}) computed outside of the compiled function has a gradient history, and gradients do not flow out of a compiled function; compute it inside, or pass detach(x)`,
      );
    }
    const placeholder = this.placeholder(outer);
    placeholder.requiresGrad = outer.requiresGrad;
    placeholder.sink = outer.requiresGrad ? tensor : null;
    const slot: Slot = { kind: "tensor", tensor, placeholder, final: undefined };
    this.tensors.set(tensor, slot);
    this.slots.push(slot);
    return slot;
  }

  private gradEntry(tensor: Tensor, read: boolean): GradEntry {
    let entry = this.grads.get(tensor);
    if (entry === undefined) {
      const outer = tensor._grad;
      const placeholder = read && outer !== null ? this.placeholder(outer._node) : null;
      const slot: Slot = { kind: "grad", tensor, placeholder, final: undefined };
      if (read) this.guards.push(() => (tensor._grad === null) === (placeholder === null));
      entry = { slot, current: placeholder === null ? null : new Tensor(placeholder), written: false };
      this.grads.set(tensor, entry);
      this.slots.push(slot);
    }
    return entry;
  }
}
