/** Names of elements: what a replay keeps in memory in the place of numbers, and how it compares what is there. */
import { sizeOf } from "../graph/shape.js";
import { collapse, isContiguous, type Layout, reshapeView, wholeView } from "../graph/view.js";

/**
 * The names of a value's elements. Most are numbered one after the other; where they come from several values, a table
 * holds them. The layout is within the numbers or the table, whose places are the names' own if there is none. Names are
 * numbers modulo 2³², so that they fit the words that they stand for; 0 is none.
 */
export interface Elements extends Layout {
  readonly table: Int32Array | null;
}

/** The names from `first` on, row-major. */
export function numbered(first: number, shape: readonly number[]): Elements {
  return { table: null, ...wholeView(shape), offset: first };
}

/** Names as they lie in a table. */
export function tabled(table: Int32Array): Elements {
  return { table, ...wholeView([table.length]) };
}

/** Whether the names follow one another, so that a layout within their value is one within their numbers or table. */
export function isWhole(elements: Elements): boolean {
  return isContiguous(elements);
}

/** Calls `visit` with runs of evenly spaced places of two layouts of one shape: where each starts, and its step. */
function eachRun(
  a: Layout,
  b: Layout,
  visit: (a: number, aStep: number, b: number, bStep: number, count: number) => void,
): void {
  // What stands still in both is visited once.
  const shape = a.shape.map((size, d) => (a.strides[d] === 0 && b.strides[d] === 0 ? Math.min(size, 1) : size));
  if (shape.includes(0)) return;
  const dims = collapse(shape, [a.strides, b.strides]).map(({ size, strides: [aStep, bStep] }) => ({
    size,
    aStep: aStep as number,
    bStep: bStep as number,
  }));
  const inner = dims.pop() ?? { size: 1, aStep: 0, bStep: 0 };
  const walk = (depth: number, atA: number, atB: number): void => {
    const dim = dims[depth];
    if (dim === undefined) visit(atA, inner.aStep, atB, inner.bStep, inner.size);
    else for (let i = 0; i < dim.size; i++) walk(depth + 1, atA + i * dim.aStep, atB + i * dim.bStep);
  };
  walk(0, a.offset, b.offset);
}

/** The fewest dimensions that both shapes, of as many elements, are made of by joining neighbours; null if none are. */
function commonShape(a: readonly number[], b: readonly number[]): number[] | null {
  const behind = new Set<number>([1]);
  for (const shape of [a, b]) {
    let count = 1;
    for (const size of shape.toReversed()) {
      count *= size;
      behind.add(count);
    }
  }
  const counts = [...behind].sort((x, y) => x - y);
  const sizes = counts.slice(1).map((count, i) => count / (counts[i] as number));
  return sizes.every(Number.isInteger) ? sizes.reverse() : null;
}

/** A layout and names of as many elements, of one shape. */
function paired(layout: Layout, elements: Elements): readonly [Layout, Elements] {
  const shape = commonShape(layout.shape, elements.shape);
  const [seen, named] = [layout, elements].map((x) => (shape === null ? null : reshapeView(x, shape)));
  if (seen && named) return [seen, { table: elements.table, ...named }];
  return [layout, { ...tabled(tableOf(elements)), ...wholeView(layout.shape) }];
}

/** Writes names to where a layout says. */
export function assign(memory: Int32Array, layout: Layout, elements: Elements): void {
  if (layout.shape.includes(0)) return;
  const [to, { table, ...from }] = paired(layout, elements);
  eachRun(to, from, (at, step, name, next, count) => {
    if (table === null) for (let i = 0; i < count; i++) memory[at + i * step] = name + i * next;
    else for (let i = 0; i < count; i++) memory[at + i * step] = table[name + i * next] as number;
  });
}

/** The names one after the other, in row-major order. */
export function tableOf(elements: Elements): Int32Array {
  const { table, ...layout } = elements;
  const out = new Int32Array(sizeOf(layout.shape));
  const to = wholeView(layout.shape);
  eachRun(to, layout, (at, step, name, next, count) => {
    for (let i = 0; i < count; i++) {
      const place = name + i * next;
      out[at + i * step] = table === null ? place : (table[place] as number);
    }
  });
  return out;
}

/** Where memory, seen through a layout, holds other names: a place of it, and the name that ought to be there. */
export interface Difference {
  readonly at: number;
  readonly expected: number;
}

/**
 * The first difference between memory, seen through a layout, and names in row-major order; null if there is none.
 * Both have as many elements.
 */
export function differenceOf(memory: Int32Array, layout: Layout, elements: Elements): Difference | null {
  if (layout.shape.includes(0)) return null;
  const [seen, { table, ...named }] = paired(layout, elements);
  let found: Difference | null = null;
  eachRun(seen, named, (start, step, name, next, count) => {
    for (let i = 0; found === null && i < count; i++) {
      const place = name + i * next;
      const expected = table === null ? place | 0 : (table[place] as number);
      if (memory[start + i * step] !== expected) found = { at: start + i * step, expected };
    }
  });
  return found;
}
