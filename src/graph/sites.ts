/**
 * Where in the user's code values were made. Recorded only where it is asked for: taking down a stack costs several
 * times what making a node does.
 */

/** What an engine may need to be told: how many frames of a stack it keeps. */
const engine = Error as typeof Error & { stackTraceLimit?: number };
/** Enough to get from an operator through layers within layers to the code that called them. */
const FRAMES = 50;

/** The folder of lanegrad's own code, whichever way it is bundled. */
const OWN = new URL("..", import.meta.url).href;

/** The places of one trace's nodes. */
export class Sites {
  /** The node whose gradient is being computed: what its rule makes is put down to its line. */
  origin: object | null = null;
  private readonly stacks = new WeakMap<object, Error>();

  /** Notes where a node is made. Stacks are turned into text only when they are asked for. */
  note(node: object): void {
    const known = this.origin === null ? undefined : this.stacks.get(this.origin);
    const before = engine.stackTraceLimit;
    engine.stackTraceLimit = FRAMES;
    this.stacks.set(node, known ?? new Error("made here"));
    engine.stackTraceLimit = before as number;
  }

  /** Puts a node that stands for another one down to its line. */
  inherit(node: object, from: object): void {
    const stack = this.stacks.get(from);
    if (stack !== undefined) this.stacks.set(node, stack);
  }

  /** The innermost line outside of lanegrad and of installed packages from which a node was made, as `file:line`, or null where none is known. */
  lineOf(node: object): string | null {
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
