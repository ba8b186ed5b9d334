/**
 * Where values come from: the line of the user's code and the module that made them. Recorded only where it is asked for:
 * taking down a stack costs several times what making a node does.
 */

const members = new WeakMap<object, string>();

/** Notes by which name a model knows one of its modules or tensors, or an optimizer its state: the longest is the whole. */
export function nameMember(member: object, name: string): void {
  if (name.length > (members.get(member)?.length ?? -1)) members.set(member, name);
}

/** The name by which the largest model that was asked for its parameters or modules knows this one; null if none does. */
export function memberName(member: object): string | null {
  return members.get(member) ?? null;
}

/** What an engine may need to be told: how many frames of a stack it keeps. */
const engine = Error as typeof Error & { stackTraceLimit?: number };
/** Enough to get from an operator through layers within layers to the code that called them. */
const FRAMES = 50;

/** The folder of lanegrad's own code, whichever way it is bundled. */
const OWN = new URL("..", import.meta.url).href;

/** What made a value. */
export interface Origin {
  /** The user's line, as `file:line`; null where none is known. */
  readonly source: string | null;
  /**
   * The innermost module in whose `forward` it was made, by its name in the model, such as `blocks.0.attention`, which is
   * empty for the model itself. Null outside of modules, and in those that nobody asked for their parameters.
   */
  readonly module: string | null;
}

/** The places of one trace's nodes. */
export class Sites {
  /** The node whose gradient is being computed: what its rule makes is put down to its line and module. */
  origin: object | null = null;
  private module: object | null = null;
  private readonly stacks = new WeakMap<object, Error>();
  private readonly modules = new WeakMap<object, object>();

  /** Runs the `forward` of a module. */
  within<T>(module: object, forward: () => T): T {
    const outer = this.module;
    this.module = module;
    try {
      return forward();
    } finally {
      this.module = outer;
    }
  }

  /** Notes where a node is made. Stacks are turned into text only when they are asked for. */
  note(node: object): void {
    const module = this.origin === null ? this.module : this.modules.get(this.origin);
    if (module != null) this.modules.set(node, module);
    const known = this.origin === null ? undefined : this.stacks.get(this.origin);
    const before = engine.stackTraceLimit;
    engine.stackTraceLimit = FRAMES;
    this.stacks.set(node, known ?? new Error("made here"));
    engine.stackTraceLimit = before as number;
  }

  /** Puts a node that stands for another one down to its line and module. */
  inherit(node: object, from: object): void {
    const stack = this.stacks.get(from);
    if (stack !== undefined) this.stacks.set(node, stack);
    const module = this.modules.get(from);
    if (module !== undefined) this.modules.set(node, module);
  }

  originOf(node: object): Origin {
    const module = this.modules.get(node);
    return {
      source: this.lineOf(node),
      module: module === undefined ? null : memberName(module),
    };
  }

  /** The innermost line outside of lanegrad and of installed packages from which a node was made. */
  private lineOf(node: object): string | null {
    const frames = this.stacks.get(node)?.stack?.split("\n") ?? [];
    for (const frame of frames) {
      const [, file, line] = /((?:[a-z]+:\/\/)?[^\s(@]+?):(\d+)(?::\d+)?\)?$/.exec(frame) ?? [];
      if (file === undefined || file.startsWith("node:") || file.includes("/node_modules/") || isOwn(file)) continue;
      return `${file.replace(/^file:\/\//, "")}:${line}`;
    }
    return null;
  }
}

function isOwn(file: string): boolean {
  return file.startsWith(OWN) || file.startsWith(OWN.replace(/^file:\/\//, ""));
}
