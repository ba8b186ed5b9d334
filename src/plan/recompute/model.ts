/**
 * What recomputation decides on: the values that wait in memory between the units of a schedule, what each would cost
 * to compute again, and from what.
 */
import { sameShape, sizeOf } from "../../graph/shape.js";
import type { Node } from "../../graph/tensor.js";
import { isLeaf } from "../../graph/walk.js";
import { type Buffer, paddedBytes } from "../buffer.js";
import { MULTIPLY_ADD, operationsOf } from "../chain.js";
import type { Unit } from "../fuse.js";
import type { Lowered } from "../lower.js";
import { Terms, inputsFirst as termsInOrder } from "../terms.js";
import { type Chained, fitting } from "./fits.js";

/** What reads values: a unit, or the nodes that compute a value again. */
export interface Host extends Chained {
  /** Values that it reads. */
  readonly inputs: readonly number[];
  /** Of these, chains over its own shape that only its chain reads: they can be computed within it. */
  readonly joins: readonly number[];
}

function operandsOf(chain: readonly Node[]): number {
  return chain.reduce((sum, { inputs }) => sum + 1 + inputs.length, 0);
}

/** A value that one unit computes and others read. */
export interface Value extends Host {
  readonly node: Node;
  readonly unit: number;
  readonly bytes: number;
  /** The units that read it, rising. */
  readonly uses: readonly number[];
  /** The nodes of its unit that compute it again, in order. */
  readonly clone: readonly Node[];
  /** Whether these are elementwise, all of them. */
  readonly elementwise: boolean;
  /** Bytes that computing it again needs while it runs. */
  readonly workspace: number;
  /** Floating-point operations and bytes moved for computing it again, in one number. */
  readonly cost: number;
  /** Of that, what its unit spares if it does not compute this value. */
  readonly ownCost: number;
  readonly flops: number;
  /** Values of which it takes over the memory of one, if that dies as this is written. */
  readonly reuses: readonly number[];
  /** Whether the host reads it, so that it must stay. */
  readonly kept: boolean;
  /** The states and arguments from which it is computed, as far as they pass. */
  readonly passing: readonly Passing[];
  /** The first unit that overwrites such a state; Infinity if none does. */
  readonly until: number;
}

/**
 * A state that a unit overwrites, or an argument that a unit is the last to read. To read it again after that takes memory
 * until the end of the program: the argument's own, or that in which the state's new value waits elsewhere.
 */
export interface Passing {
  readonly unit: number;
  readonly bytes: number;
}

/** What a unit does to memory. */
export interface Work extends Host {
  /** Values that it computes. */
  readonly outputs: readonly number[];
  /** Bytes that it needs only while it runs. */
  readonly workspace: number;
}

/** A lowered schedule, as recomputation sees it. */
export interface Model {
  readonly values: readonly Value[];
  readonly work: readonly Work[];
  /** Bytes of the program's arguments, which are there from the start, and those that units are the last to read. */
  readonly argumentBytes: number;
  readonly passingArguments: readonly Passing[];
  /** As {@link Value.cost}, of the whole program. */
  readonly cost: number;
  /**
   * Whether the chains of hosts are one instruction still if chains of other values are computed within them, and some
   * values that they would store are not.
   */
  fits(hosts: readonly Host[], joined: readonly number[], deferred: readonly number[]): boolean;
}

/** A model and the units that it was made from. */
export interface UnitModel extends Model {
  readonly units: readonly Unit[];
  /** The nodes of each unit that go to memory, or to a state. */
  readonly stored: readonly (readonly Node[])[];
  /** Products of elements that are rounded before they are added to something. */
  readonly apart: ReadonlySet<Node>;
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
 * The copy must round like the original. Whether a bias is the seed of a matrix product depends on what else reads the
 * product, so all its readers come along. (For products of elements see {@link UnitModel.apart}.)
 */
function cloneOf(node: Node, { nodes, head }: Unit, inMemory: (x: Node) => boolean): Node[] {
  const own = new Set(nodes);
  // Only what comes before is read from memory, so that no two values of a unit wait for one another.
  const before = new Set(nodes.slice(0, nodes.indexOf(node)));
  const isRead = (x: Node): boolean => before.has(x) && inMemory(x);
  const wanted = new Set([node]);
  for (const member of wanted) {
    for (const input of member.inputs) if (own.has(input) && !isRead(input)) wanted.add(input);
    if (member === head && member !== node)
      for (const user of nodes) if (user.inputs.includes(member)) wanted.add(user);
  }
  return nodes.filter((member) => wanted.has(member));
}

/** Some nodes, each once, inputs before their users. */
export function inputsFirst(nodes: readonly Node[]): Node[] {
  return termsInOrder(new Terms().chain(nodes)).map(({ node }) => node);
}

function isElementwise(node: Node): boolean {
  return !isLeaf(node) && node.primitive.lowering.kind === "elementwise";
}

/** Products of elements that their chains do not make one multiply-add with what they are added to. */
function roundedApart(units: readonly Unit[], stored: readonly (readonly Node[])[]): Set<Node> {
  const apart = new Set<Node>();
  units.forEach(({ nodes }, i) => {
    const products = nodes.filter((node) => isElementwise(node) && node.primitive.name === "mul");
    if (products.length === 0) return;
    const operations = operationsOf(nodes.filter(isElementwise), new Set(stored[i]), undefined, MULTIPLY_ADD);
    const alone = new Set(operations.map(({ node }) => node));
    for (const product of products) if (alone.has(product)) apart.add(product);
  });
  return apart;
}

/**
 * Builds the model of a schedule that has been lowered.
 * @param inputs the buffers of its arguments
 */
export function modelOf(units: readonly Unit[], lowered: Lowered, inputs: readonly Buffer[]): UnitModel {
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

  /** The values that a host's chain reads as they lie, and nothing else of it does. */
  const joinsOf = (nodes: readonly Node[], inputs: readonly number[]): number[] => {
    const others = new Set<number>();
    for (const member of nodes) {
      const isChain = isElementwise(member);
      for (const x of member.inputs) {
        const v = numbers.get(bufferOf(x) as Buffer);
        if (v === undefined) continue;
        const { node } = basic[v] as (typeof basic)[number];
        if (x !== node || !isChain || !sameShape(member.shape, node.shape)) others.add(v);
      }
    }
    return inputs.filter((v) => basic[v]?.elementwise === true && !others.has(v));
  };
  const stored = units.map(({ nodes, head }) => nodes.filter((node) => node !== head && lowered.values.has(node)));

  // A product whose only reader is the chain behind it is no workspace: the chain writes over it.
  const takenOver = new Set(
    lowered.temporaries.flatMap(
      ({ reuses }) => reuses?.from.filter(({ last }) => last === reuses.step).slice(0, 1) ?? [],
    ),
  );
  const workspaces = units.map(() => 0);
  for (const buffer of lowered.temporaries) {
    if (numbers.has(buffer) || takenOver.has(buffer) || buffer.first < 0) continue;
    (workspaces[unitAt(buffer.first)] as number) += paddedBytes(buffer);
  }
  const outputs: number[][] = units.map(() => []);
  const basic = [...numbers.keys()].map((buffer, v) => {
    const node = nodeOf.get(buffer) as Node;
    const unit = unitAt(buffer.first);
    const clone = cloneOf(node, units[unit] as Unit, inMemory);
    (outputs[unit] as number[]).push(v);
    return { buffer, node, unit, clone, elementwise: clone.every(isElementwise) };
  });
  const slotOf = (node: Node): number | undefined => {
    const region = lowered.values.get(node)?.buffer.region;
    return region?.kind === "state" ? region.slot : undefined;
  };
  const written = new Map<number, Passing>();
  units.forEach(({ nodes }, i) => {
    for (const node of nodes) {
      const slot = isLeaf(node) || node.primitive.lowering.kind === "view" ? undefined : slotOf(node);
      const buffer = lowered.values.get(node)?.buffer;
      if (slot !== undefined) written.set(slot, { unit: i, bytes: paddedBytes(buffer as Buffer) });
    }
  });
  const argumentsRead = new Map<Buffer, Passing>();
  for (const buffer of inputs) {
    if (buffer.last >= 0) argumentsRead.set(buffer, { unit: unitAt(buffer.last), bytes: paddedBytes(buffer) });
  }
  // How many of the values of its unit need a node.
  const needs = new Map<Node, number>();
  for (const { clone } of basic) for (const node of clone) needs.set(node, (needs.get(node) ?? 0) + 1);
  const values = basic.map(({ buffer, node, unit, clone, elementwise }, v): Value => {
    const members = new Set(clone);
    const reads = [...new Set(clone.flatMap(({ inputs }) => inputs))].filter((x) => !members.has(x));
    const inputs = valuesRead(reads);
    const own = clone.filter((member) => needs.get(member) === 1);
    const chain = clone.filter(isElementwise);
    const states = reads.map((x) => written.get(slotOf(x) ?? -1)).filter((state) => state !== undefined);
    const given = reads.map((x) => argumentsRead.get(lowered.values.get(x)?.buffer as Buffer));
    return {
      id: units.length + v,
      node,
      unit,
      bytes: paddedBytes(buffer),
      uses: [...(readersOf.get(buffer) ?? [])].sort((a, b) => a - b),
      clone,
      elementwise,
      inputs,
      joins: joinsOf(clone, inputs),
      chain,
      operands: operandsOf(chain),
      stored: [node],
      workspace: elementwise ? 0 : (workspaces[unit] as number),
      cost: costOf(clone, reads, [node]),
      ownCost: costOf(own, [], [node]),
      flops: flopsOf(clone),
      reuses: (buffer.reuses?.from ?? []).map((from) => numbers.get(from)).filter((x) => x !== undefined),
      kept: buffer.last === Number.POSITIVE_INFINITY,
      passing: [...new Set([...states, ...given.filter((argument) => argument !== undefined)])],
      until: Math.min(...states.map((state) => state.unit)),
    };
  });
  const work = units.map(({ nodes }, i): Work => {
    const inputs = valuesRead(read[i] as Node[]);
    const chain = nodes.filter(isElementwise);
    return {
      id: i,
      inputs,
      joins: joinsOf(nodes, inputs),
      chain,
      operands: operandsOf(chain),
      stored: stored[i] as Node[],
      outputs: outputs[i] as number[],
      workspace: workspaces[i] as number,
    };
  });
  const apart = roundedApart(units, stored);
  const computed = units.filter(({ nodes: [first] }) => first !== undefined && !isLeaf(first));
  return {
    units,
    stored,
    apart,
    values,
    work,
    argumentBytes: [...argumentsRead.values()].reduce((sum, { bytes }) => sum + bytes, 0),
    passingArguments: [...argumentsRead.values()],
    cost: computed.reduce((sum, { nodes }) => sum + costOf(nodes, [], nodes.slice(-1)), 0),
    fits: fitting(values, lowered.values, apart),
  };
}
