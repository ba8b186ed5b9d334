/**
 * Eager use: computing values when they are read.
 *
 * A graph goes through the same planner as a compiled function. Plans are cached by the graph's structure, so that a
 * loop which builds the same graph again and again plans it once.
 */
import type { TypedArray } from "../graph/dtype.js";
import { TraceError } from "../graph/errors.js";
import { formatShape } from "../graph/shape.js";
import { constant, constantPrimitive, dataPrimitive, inputPrimitive } from "../graph/sources.js";
import { type AnyPrimitive, eager, mode, Node, nodeOf, type Region, type Tensor } from "../graph/tensor.js";
import { isLeaf, topological } from "../graph/walk.js";
import { compilePlan } from "../plan/plan.js";
import { Program, type Runtime } from "../runtime/runtime.js";
import { runtime } from "./session.js";

/** A cached program, and which leaf of the graph (in walking order) each of its inputs is. */
interface Entry {
  readonly key: Int32Array;
  readonly program: Program;
  readonly leaves: readonly number[];
  /** When it was last looked up. */
  used: number;
}

/** Programs that are kept; the one unused for longest goes first. */
const MAX_ENTRIES = 256;

let lookups = 0;

const caches = new WeakMap<Runtime, Map<number, Entry[]>>();

/** Small numbers for things that keys contain. */
class Interner<T> {
  private readonly numbers = new Map<T, number>();

  number(value: T): number {
    let n = this.numbers.get(value);
    if (n === undefined) {
      n = this.numbers.size;
      this.numbers.set(value, n);
    }
    return n;
  }
}

const primitives = new Interner<AnyPrimitive>();
const texts = new Interner<string>();

/** What the next words of a key are, so that keys of different graphs never read the same. */
const enum Tag {
  Leaf = -1,
  Constant = -2,
  Region = -3,
  Null = -4,
  Integer = -5,
  Float = -6,
  Text = -7,
  List = -8,
  Record = -9,
  End = -10,
}

/** Grows to the longest key seen; keys are built in it, without other allocations, and copied only into new entries. */
let scratch = new Int32Array(1024);
let length = 0;

function push(word: number): void {
  if (length === scratch.length) {
    const longer = new Int32Array(2 * scratch.length);
    longer.set(scratch);
    scratch = longer;
  }
  scratch[length++] = word;
}

const float = new Float64Array(1);
const halves = new Int32Array(float.buffer);

/** Attributes: numbers, texts, booleans, and lists and records of them. */
function pushAttrs(attrs: unknown): void {
  if (typeof attrs === "number") {
    float[0] = attrs;
    const integer = attrs === (attrs | 0) && !Object.is(attrs, -0);
    push(integer ? Tag.Integer : Tag.Float);
    push(integer ? attrs : (halves[0] as number));
    if (!integer) push(halves[1] as number);
  } else if (attrs === null) {
    push(Tag.Null);
  } else if (Array.isArray(attrs)) {
    push(Tag.List);
    push(attrs.length);
    for (let i = 0; i < attrs.length; i++) pushAttrs(attrs[i]);
  } else if (typeof attrs === "object") {
    push(Tag.Record);
    for (const name in attrs) {
      push(texts.number(name));
      pushAttrs(attrs[name as keyof typeof attrs]);
    }
    push(Tag.End);
  } else {
    // A function among the attributes builds graph, of which this graph is the result, and leaves no trace in a plan.
    push(Tag.Text);
    push(texts.number(typeof attrs === "function" ? "" : String(attrs)));
  }
}

/**
 * Writes what distinguishes one graph's plan from another's into `scratch`: for each node its operator, attributes and
 * inputs; for leaves shape and dtype, and the number if it is a constant.
 */
function buildKey(order: readonly Node[], roots: readonly Node[]): void {
  length = 0;
  let regions: Map<Region, number> | null = null;
  for (const node of order) {
    if (isLeaf(node)) {
      const constant = node.primitive === (constantPrimitive as AnyPrimitive);
      push(constant ? Tag.Constant : Tag.Leaf);
      push(texts.number(node.dtype));
      push(node.shape.length);
      for (let i = 0; i < node.shape.length; i++) push(node.shape[i] as number);
      if (constant) pushAttrs(node.attrs);
    } else {
      push(primitives.number(node.primitive));
      pushAttrs(node.attrs);
      push(node.inputs.length);
      for (let i = 0; i < node.inputs.length; i++) push((node.inputs[i] as Node).index);
    }
    if (node.region !== null) {
      push(Tag.Region);
      regions ??= new Map();
      for (const region of [node.region, node.holder]) push(region === null ? -1 : regionNumber(region, regions));
    }
  }
  for (const root of roots) push(root.index);
}

/** A number for a checkpoint's region, and for those around it, by their first appearance. */
function regionNumber(region: Region, known: Map<Region, number>): number {
  const number = known.get(region);
  if (number !== undefined) return number;
  push(region.parent === null ? -1 : regionNumber(region.parent, known));
  pushAttrs(region.policy ?? null);
  known.set(region, known.size);
  return known.size - 1;
}

/** FNV-1a over the key's words. */
function hashKey(): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ (scratch[i] as number), 0x01000193);
  return hash;
}

function matches(key: Int32Array): boolean {
  if (key.length !== length) return false;
  for (let i = 0; i < length; i++) if (key[i] !== scratch[i]) return false;
  return true;
}

function cacheOf(owner: Runtime): Map<number, Entry[]> {
  let cache = caches.get(owner);
  if (cache === undefined) {
    cache = new Map();
    caches.set(owner, cache);
  }
  return cache;
}

function find(owner: Runtime, order: readonly Node[], roots: readonly Node[]): Entry {
  buildKey(order, roots);
  const hash = hashKey();
  const cache = cacheOf(owner);
  const bucket = cache.get(hash);
  const known = bucket?.find(({ key }) => matches(key));
  if (known !== undefined) {
    known.used = ++lookups;
    return known;
  }
  const key = scratch.slice(0, length);
  const copies = withoutValues(order);
  const results = roots.map((root) => copies[root.index] as Node);
  const plan = compilePlan({ results, states: [], stateLeaves: new Map(), updates: [] });
  const leaves = plan.inputs.map(({ node }) => copies.indexOf(node));
  const entry = { key, program: new Program(owner, plan), leaves, used: ++lookups };
  cache.set(hash, [...(bucket ?? []), entry]);
  if (cache.size > MAX_ENTRIES) forgetOldest(cache);
  return entry;
}

function forgetOldest(cache: Map<number, Entry[]>): void {
  const lastUse = (entries: readonly Entry[]): number => Math.max(...entries.map(({ used }) => used));
  const [[hash, entries]] = [...cache].sort(([, x], [, y]) => lastUse(x) - lastUse(y)) as [[number, Entry[]]];
  cache.delete(hash);
  for (const { program } of entries) program.release();
}

/** Copies of a graph's nodes that hold no values: a cached plan must not keep alive what its first graph was fed. */
function withoutValues(order: readonly Node[]): Node[] {
  const copies: Node[] = [];
  for (const node of order) {
    const leaf = node.value !== null || node.storage !== null;
    const primitive = leaf ? (inputPrimitive as AnyPrimitive) : node.primitive;
    const inputs = leaf ? [] : node.inputs.map((x) => copies[x.index] as Node);
    copies.push(new Node(primitive, inputs, leaf ? null : node.attrs, node.shape, node.dtype, null));
  }
  return copies;
}

/** The value of a leaf. */
function leafValue(node: Node): TypedArray {
  const value = node.value ?? node.storage?.read();
  if (value == null) {
    throw new TraceError(
      `a ${node.primitive.name} ${node.dtype}${formatShape(node.shape)} has no value outside of its trace`,
    );
  }
  return value;
}

/** Keeps a computed value, and lets go of what it was computed from unless a gradient may be asked for. */
function settle(node: Node, value: TypedArray): void {
  node.value = value;
  const history = node.requiresGrad && node.primitive.vjp !== null;
  if (!history) {
    node.primitive = dataPrimitive as AnyPrimitive;
    node.inputs = [];
    node.attrs = null;
  }
}

/**
 * Computes the values of `nodes`, and of all state that waits, in one program. Where that fails, the state is again
 * what it was when it last was computed: bad data costs the updates that were made from it and nothing else.
 */
export function realize(nodes: readonly Node[]): void {
  const { pending, undo } = eager;
  const roots = new Set(nodes);
  for (const tensor of pending.keys()) roots.add(tensor._node);
  for (const root of eager.roots) roots.add(root);
  // New ones: one that is cleared goes on pointing, in V8, from its old table to its new one. The first table to grow old
  // would keep alive the tables, and so the graphs, of all later steps, until a full collection.
  eager.pending = new Map();
  eager.roots = new Set();
  eager.undo = [];
  eager.nodes = 0;
  const wanted = [...roots].filter((node) => node.value === null && node.storage === null && node.scope === null);
  if (wanted.length === 0) return;
  try {
    const order = topological(wanted);
    const { program, leaves } = find(runtime(), order, wanted);
    const inputs = leaves.map((place) => leafValue(order[place] as Node));
    const values = program.run([], inputs, []);
    for (const [i, node] of wanted.entries()) settle(node, values[i] as TypedArray);
  } catch (error) {
    for (const [tensor, before] of pending) {
      tensor._node = before ?? nodeOf(constant(0, tensor.shape, tensor.dtype));
    }
    for (const takeBack of undo) takeBack();
    throw error;
  }
}

eager.flush = () => realize([]);

/** The value of a tensor, computed if it has not been yet. The array must not be written to. */
export function readTensor(tensor: Tensor, op: string): TypedArray {
  if (mode.scope !== null) {
    throw new TraceError(
      `${op}: a function is being traced, by compile or vmap, and its values are not known until it runs; return the tensor and read it outside`,
    );
  }
  return readNode(nodeOf(tensor));
}

/** The value of a node, computed if it has not been yet. */
export function readNode(node: Node): TypedArray {
  if (node.value === null && node.storage === null) realize([node]);
  return leafValue(node);
}
