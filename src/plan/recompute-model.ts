/**
 * What recomputation decides on: the values that wait in memory between the units of a schedule, what each would cost
 * to compute again, and from what.
 */
import { sizeOf } from "../graph/shape.js";
import type { Node } from "../graph/tensor.js";
import { isLeaf } from "../graph/walk.js";
import { type Buffer, paddedBytes } from "./buffer.js";
import type { Unit } from "./fuse.js";
import type { Lowered } from "./lower.js";

/** A value that one unit computes and others read. */
export interface Value {
  readonly node: Node;
  readonly unit: number;
  readonly bytes: number;
  /** The units that read it, rising. */
  readonly uses: readonly number[];
  /** The nodes of its unit that compute it again, in order. */
  readonly clone: readonly Node[];
  /** Values that these read. */
  readonly inputs: readonly number[];
  /** Floating-point operations and bytes moved for computing it again, in one number. */
  readonly cost: number;
  readonly flops: number;
  /** The value whose memory it takes over, if that dies as this is written; -1 if none. */
  readonly reuses: number;
  /** Whether the host reads it, so that it must stay. */
  readonly kept: boolean;
}

/** What a unit does to memory. */
export interface Work {
  /** Values that it reads. */
  readonly inputs: readonly number[];
  /** Values that it computes. */
  readonly outputs: readonly number[];
  /** Bytes that it needs only while it runs. */
  readonly workspace: number;
}

/** A lowered schedule, as recomputation sees it. */
export interface Model {
  readonly units: readonly Unit[];
  readonly values: readonly Value[];
  readonly work: readonly Work[];
  /** Bytes of the program's arguments, which are there from the start. */
  readonly argumentBytes: number;
  /** As {@link Value.cost}, of the whole program. */
  readonly cost: number;
  readonly flops: number;
}

/** Arithmetic that takes as long as moving a byte: both ceilings of a core are near 64 GFLOP/s and 64 GB/s. */
const FLOPS_A_BYTE = 1;

/** Floating-point operations of some nodes. */
export function flopsOf(nodes: readonly Node[]): number {
  return nodes.reduce((sum, node) => sum + node.primitive.flops(node.inputs, node, node.attrs), 0);
}

function costOf(nodes: readonly Node[], reads: readonly Node[], writes: readonly Node[]): number {
  const bytes = [...reads, ...writes].reduce((sum, node) => sum + 4 * sizeOf(node.shape), 0);
  return flopsOf(nodes) / FLOPS_A_BYTE + bytes;
}

/**
 * The nodes of a unit that compute `node` again from what is in memory.
 *
 * The copy must round like the original. Whether a product and the addition behind it are one multiply-add, and whether
 * a bias is the seed of a matrix product, depends on what else reads the product; so all its readers come along.
 */
function cloneOf(node: Node, { nodes, head }: Unit, inMemory: (x: Node) => boolean): Node[] {
  const own = new Set(nodes);
  const at = nodes.indexOf(node);
  // Only what comes before is read from memory, so that no two values of a unit wait for one another.
  const isRead = (x: Node): boolean => inMemory(x) && nodes.indexOf(x) < at;
  const wanted = new Set([node]);
  for (const member of wanted) {
    for (const input of member.inputs) if (own.has(input) && !isRead(input)) wanted.add(input);
    if (member !== head && member.primitive.name !== "mul") continue;
    if (member !== node) for (const user of nodes) if (user.inputs.includes(member)) wanted.add(user);
  }
  return nodes.filter((member) => wanted.has(member));
}

/** Builds the model of a schedule that has been lowered. */
export function modelOf(units: readonly Unit[], lowered: Lowered, argumentBytes: number): Model {
  const unitAt = (step: number): number => {
    let [low, high] = [0, units.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((lowered.starts[middle] as number) <= step) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const own = new Set(lowered.temporaries);
  const bufferOf = (node: Node): Buffer | undefined => {
    const buffer = lowered.values.get(node)?.buffer;
    return buffer !== undefined && own.has(buffer) ? buffer : undefined;
  };

  const readersOf = new Map<Buffer, Set<number>>();
  const nodeOf = new Map<Buffer, Node>();
  const outerInputs = units.map(({ nodes }) => {
    const members = new Set(nodes);
    return [...new Set(nodes.flatMap((node) => (isLeaf(node) ? [] : node.inputs)))].filter((x) => !members.has(x));
  });
  // A view that moves nothing hands its buffer on: its users are the readers.
  const read = outerInputs.map((inputs, i) => {
    const [first] = (units[i] as Unit).nodes as [Node];
    const steps = (lowered.starts[i + 1] ?? lowered.steps.length) - (lowered.starts[i] as number);
    return first.primitive.lowering.kind === "view" && steps === 0 ? [] : inputs;
  });
  units.forEach(({ nodes }, i) => {
    for (const node of nodes) {
      const buffer = bufferOf(node);
      // A product and the bias that moved into it have one buffer: it holds the sum, which comes last.
      if (buffer !== undefined && unitAt(buffer.first) === i) nodeOf.set(buffer, node);
    }
    for (const input of read[i] as Node[]) {
      const buffer = bufferOf(input);
      if (buffer === undefined) continue;
      const readers = readersOf.get(buffer) ?? new Set();
      readersOf.set(buffer, readers.add(i));
    }
  });

  const numbers = new Map<Buffer, number>();
  for (const buffer of lowered.temporaries) {
    const waits = (readersOf.get(buffer)?.size ?? 0) > 0 || buffer.last === Number.POSITIVE_INFINITY;
    if (waits && nodeOf.has(buffer)) numbers.set(buffer, numbers.size);
  }
  const valuesRead = (nodes: readonly Node[]): number[] => [
    ...new Set(nodes.map((x) => numbers.get(bufferOf(x) as Buffer)).filter((x) => x !== undefined)),
  ];
  const inMemory = (node: Node): boolean => {
    const buffer = bufferOf(node);
    return buffer !== undefined && numbers.has(buffer) && nodeOf.get(buffer) === node;
  };

  const values = [...numbers.keys()].map((buffer): Value => {
    const node = nodeOf.get(buffer) as Node;
    const unit = unitAt(buffer.first);
    const clone = cloneOf(node, units[unit] as Unit, inMemory);
    const members = new Set(clone);
    const reads = [...new Set(clone.flatMap(({ inputs }) => inputs))].filter((x) => !members.has(x));
    return {
      node,
      unit,
      bytes: paddedBytes(buffer),
      uses: [...(readersOf.get(buffer) ?? [])].sort((a, b) => a - b),
      clone,
      inputs: valuesRead(reads),
      cost: costOf(clone, reads, [node]),
      flops: flopsOf(clone),
      reuses: buffer.reuses === null ? -1 : (numbers.get(buffer.reuses.from) ?? -1),
      kept: buffer.last === Number.POSITIVE_INFINITY,
    };
  });
  const outputs: number[][] = units.map(() => []);
  for (const [v, { unit }] of values.entries()) (outputs[unit] as number[]).push(v);
  const workspace = units.map(() => 0);
  for (const buffer of lowered.temporaries) {
    if (!numbers.has(buffer) && buffer.first >= 0) (workspace[unitAt(buffer.first)] as number) += paddedBytes(buffer);
  }
  const work = units.map((_, i) => ({
    inputs: valuesRead(read[i] as Node[]),
    outputs: outputs[i] as number[],
    workspace: workspace[i] as number,
  }));
  const computed = units.filter(({ nodes: [first] }) => first !== undefined && !isLeaf(first));
  return {
    units,
    values,
    work,
    argumentBytes,
    cost: computed.reduce((sum, { nodes }) => sum + costOf(nodes, [], nodes.slice(-1)), 0),
    flops: flopsOf(computed.flatMap(({ nodes }) => nodes)),
  };
}
