/** Products of matrices and vectors that are added to something, and contractions over any dimensions. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { broadcastShapes, formatShape, normalizeDim, type Shape, sizeOf } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import { add, mul, sub } from "./arithmetic.js";
import { roll } from "./arrange.js";
import type { OperatorTable } from "./define.js";
import { diagonal } from "./diagonal.js";
import { bmm, dot, matmul, mv, outer } from "./matmul.js";
import { expand, permute, reshape } from "./movement.js";
import { sum } from "./reduction.js";

// ── Added products ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Factors of a sum of two terms. */
export interface AddedProductOptions {
  /** Factor of the input, 1 if not given. With 0 the input is not read. */
  readonly beta?: number;
  /** Factor of the product, 1 if not given. */
  readonly alpha?: number;
}

/** `beta · input + alpha · product`, where the input expands to the product's shape. */
function addProduct(input: Tensor, product: Tensor, { beta = 1, alpha = 1 }: AddedProductOptions): Tensor {
  const scaled = alpha === 1 ? product : mul(product, alpha);
  const base = expand(input, product.shape);
  if (beta === 0) return scaled;
  return add(scaled, beta === 1 ? base : mul(base, beta));
}

/** `beta · input + alpha · mat × vec`. */
export function addmv(input: Tensor, mat: Tensor, vec: Tensor, options: AddedProductOptions = {}): Tensor {
  return addProduct(input, mv(mat, vec), options);
}

/** `beta · input + alpha · vec1 ⊗ vec2`, the outer product. */
export function addr(input: Tensor, vec1: Tensor, vec2: Tensor, options: AddedProductOptions = {}): Tensor {
  return addProduct(input, outer(vec1, vec2), options);
}

/** `beta · input + alpha · batch1 × batch2`, batch by batch. */
export function baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, options: AddedProductOptions = {}): Tensor {
  return addProduct(input, bmm(batch1, batch2), options);
}

/** `beta · input + alpha · Σ batch1 × batch2` over the batches. */
export function addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, options: AddedProductOptions = {}): Tensor {
  return addProduct(input, sum(bmm(batch1, batch2), 0), options);
}

/** The inner product of two vectors. */
export function vdot(input: Tensor, other: Tensor): Tensor {
  return dot(input, other);
}

/** Sums of products over the last dimensions of both; with a scalar, plain multiplication. */
export function inner(input: Tensor, other: Tensor): Tensor {
  if (input.ndim === 0 || other.ndim === 0) return mul(input, other);
  return tensordot(input, other, { dims: [[-1], [-1]] });
}

/**
 * The cross product of vectors of three elements along `dim`.
 * @param dim none: the first dimension of size 3
 */
export function cross(input: Tensor, other: Tensor, dim?: number | null): Tensor {
  const shape = broadcastShapes("cross", input.shape, other.shape);
  const d = dim == null ? shape.indexOf(3) : normalizeDim("cross", dim, shape.length);
  if (d < 0 || shape[d] !== 3) {
    throw new ShapeError(
      `cross: ${formatShape(shape)} must have size 3 in ${dim == null ? "a dimension" : `dim ${d}`}`,
    );
  }
  const [a, b] = [expand(input, shape), expand(other, shape)];
  return sub(mul(roll(a, -1, d), roll(b, -2, d)), mul(roll(a, -2, d), roll(b, -1, d)));
}

/**
 * Sums of products over pairs of dimensions; the result has the other dimensions of both.
 * @param options.dims how many of the last dimensions of `a` and the first of `b` (2 if not given); or the dimensions
 * of `a` and those of `b`
 */
export function tensordot(a: Tensor, b: Tensor, options: { dims?: number | readonly [Shape, Shape] } = {}): Tensor {
  const { dims = 2 } = options;
  const pairs: readonly [Shape, Shape] =
    typeof dims === "number"
      ? [Array.from({ length: dims }, (_, i) => a.ndim - dims + i), Array.from({ length: dims }, (_, i) => i)]
      : dims;
  const left = pairs[0].map((d) => normalizeDim("tensordot", d, a.ndim));
  const right = pairs[1].map((d) => normalizeDim("tensordot", d, b.ndim));
  const [stretchedA, stretchedB] = [[] as number[], [] as number[]];
  left.forEach((d, i) => {
    const e = right[i] ?? -1;
    const [m, n] = [a.shape[d], b.shape[e]];
    if (left.length !== right.length || (m !== n && m !== 1 && n !== 1)) {
      throw new ShapeError(
        `tensordot: dims ${formatShape(left)} of ${formatShape(a.shape)} do not match dims ${formatShape(right)} of ${formatShape(b.shape)}`,
      );
    }
    if (m !== n) (m === 1 ? stretchedB : stretchedA).push(m === 1 ? e : d);
  });
  // Against a dimension of size 1 that broadcasts, the sum of products is the product with the sum.
  if (stretchedA.length + stretchedB.length > 0) {
    const shrunk = (x: Tensor, ds: number[]): Tensor => (ds.length === 0 ? x : sum(x, ds, true));
    return tensordot(shrunk(a, stretchedA), shrunk(b, stretchedB), options);
  }
  const restOf = (x: Tensor, used: readonly number[]): number[] =>
    x.shape.map((_, d) => d).filter((d) => !used.includes(d));
  const [keptLeft, keptRight] = [restOf(a, left), restOf(b, right)];
  const sizes = (x: Tensor, ds: readonly number[]): number[] => ds.map((d) => x.shape[d] as number);
  const [rows, columns, shared] = [sizes(a, keptLeft), sizes(b, keptRight), sizes(a, left)];
  const product = matmul(
    reshape(permute(a, [...keptLeft, ...left]), [sizeOf(rows), sizeOf(shared)]),
    reshape(permute(b, [...right, ...keptRight]), [sizeOf(shared), sizeOf(columns)]),
  );
  return reshape(product, [...rows, ...columns]);
}

/**
 * `x1ᵀ · weight[o] · x2 + bias[o]` for every output o.
 * @param input1 `[..., in1]`
 * @param input2 `[..., in2]`
 * @param weight `[out, in1, in2]`
 * @param bias `[out]` or none
 */
export function bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias?: Tensor | null): Tensor {
  if (weight.ndim !== 3 || input1.shape.at(-1) !== weight.shape[1] || input2.shape.at(-1) !== weight.shape[2]) {
    throw new ShapeError(
      `bilinear: weight ${formatShape(weight.shape)} must be [out, in1, in2] for inputs ${formatShape(input1.shape)} and ${formatShape(input2.shape)}`,
    );
  }
  const out = einsum("...i,oij,...j->...o", [input1, weight, input2]);
  return bias == null ? out : add(out, bias);
}

// ── Einstein summation ──────────────────────────────────────────────────────────────────────────────────────────────

/** A tensor whose dimensions have labels. */
interface Labelled {
  readonly x: Tensor;
  readonly labels: readonly string[];
}

/** The labels of one operand; `...` stands for as many dimensions as are left, labelled from the right. */
function labelsOf(term: string, rank: number | null, spread: number): string[] {
  const [before = "", after] = term.split("...");
  const letters = (text: string): string[] => [...text];
  if (after === undefined) return letters(before);
  const count = rank === null ? spread : rank - before.length - after.length;
  const dots = Array.from({ length: Math.max(0, count) }, (_, i) => `.${count - 1 - i}`);
  return [...letters(before), ...dots, ...letters(after)];
}

function invalid(equation: string, why: string): never {
  throw new ArgumentError(`einsum: "${equation}": ${why}`);
}

/** Labels that one operand has twice become one, along the diagonal. */
function withoutRepeats({ x, labels }: Labelled): Labelled {
  const twice = labels.findIndex((label, i) => labels.indexOf(label) !== i);
  if (twice < 0) return { x, labels };
  const label = labels[twice] as string;
  const first = labels.indexOf(label);
  const rest = labels.filter((_, i) => i !== first && i !== twice);
  return withoutRepeats({ x: diagonal(x, 0, first, twice), labels: [...rest, label] });
}

/** Sums over the labels that nothing needs. */
function summed({ x, labels }: Labelled, needed: ReadonlySet<string>): Labelled {
  const dims = labels.map((_, i) => i).filter((i) => !needed.has(labels[i] as string));
  return dims.length === 0 ? { x, labels } : { x: sum(x, dims), labels: labels.filter((label) => needed.has(label)) };
}

/** The operand with its dimensions in the order of `labels`, and size 1 for those that it lacks. */
function aligned({ x, labels: own }: Labelled, labels: readonly string[]): Tensor {
  const ordered = permute(
    x,
    labels.filter((label) => own.includes(label)).map((label) => own.indexOf(label)),
  );
  return reshape(
    ordered,
    labels.map((label) => (own.includes(label) ? (x.shape[own.indexOf(label)] as number) : 1)),
  );
}

/** Contracts two operands over the labels that both have and nothing else needs, as one batched matrix product. */
function contract(a: Labelled, b: Labelled, needed: ReadonlySet<string>): Labelled {
  const sizes = new Map<string, number>();
  for (const { x, labels } of [a, b]) {
    labels.forEach((label, i) => {
      if ((sizes.get(label) ?? 1) === 1) sizes.set(label, x.shape[i] as number);
    });
  }
  // Where one of the two has size 1, the sizes broadcast: such a label belongs to the batch, and is summed afterwards.
  const sizeIn = ({ x, labels }: Labelled, label: string): number => x.shape[labels.indexOf(label)] as number;
  const shared = a.labels.filter((label) => b.labels.includes(label));
  const over = shared.filter((label) => !needed.has(label) && sizeIn(a, label) === sizeIn(b, label));
  const batch = shared.filter((label) => !over.includes(label));
  const rows = a.labels.filter((label) => !shared.includes(label));
  const columns = b.labels.filter((label) => !shared.includes(label));
  const size = (labels: readonly string[]): number => sizeOf(labels.map((label) => sizes.get(label) as number));
  const batchShape = (x: Tensor): Shape => x.shape.slice(0, batch.length);
  const left = aligned(a, [...batch, ...rows, ...over]);
  const right = aligned(b, [...batch, ...over, ...columns]);
  const product = matmul(
    reshape(left, [...batchShape(left), size(rows), size(over)]),
    reshape(right, [...batchShape(right), size(over), size(columns)]),
  );
  const labels = [...batch, ...rows, ...columns];
  return summed(
    {
      x: reshape(
        product,
        labels.map((label) => sizes.get(label) as number),
      ),
      labels,
    },
    needed,
  );
}

/** Checks that one label has one size, or 1, everywhere. */
function checkSizes(equation: string, terms: readonly Labelled[]): void {
  const sizes = new Map<string, number>();
  for (const { x, labels } of terms) {
    labels.forEach((label, i) => {
      const size = x.shape[i] as number;
      const before = sizes.get(label) ?? 1;
      if (before !== 1 && size !== 1 && size !== before) {
        invalid(equation, `dimension ${label} is ${before} in one operand and ${size} in another`);
      }
      if (before === 1) sizes.set(label, size);
    });
  }
}

/**
 * Sums of products in Einstein's notation: letters name dimensions, equal letters run together, and those that the
 * result lacks are summed over. Operands are contracted from left to right, two at a time, as matrix products.
 * @param equation as `"bij,bjk->bik"`; without `->` the result has the letters that occur once, in alphabetical order;
 * `...` stands for dimensions that broadcast
 * @param operands tensors, one by one or in a list
 */
export function einsum(equation: string, ...operands: readonly (Tensor | readonly Tensor[])[]): Tensor {
  const tensors = operands.flat() as readonly Tensor[];
  const compact = equation.replaceAll(" ", "");
  const [inputs = "", output] = compact.split("->");
  const terms = inputs.split(",");
  if (terms.length !== tensors.length)
    invalid(equation, `names ${terms.length} operands, and ${tensors.length} are given`);
  if (!/^([A-Za-z]*(\.\.\.)?[A-Za-z]*,?)*(->[A-Za-z]*(\.\.\.)?[A-Za-z]*)?$/.test(compact)) {
    invalid(equation, "only letters, commas, ... and one -> may appear");
  }
  const labelled = tensors.map((x, i): Labelled => {
    const labels = labelsOf(terms[i] as string, x.ndim, 0);
    if (labels.length !== x.ndim) {
      invalid(equation, `"${terms[i]}" names ${labels.length} dimensions, and operand ${i} is ${formatShape(x.shape)}`);
    }
    return { x, labels };
  });
  checkSizes(equation, labelled);
  const all = labelled.flatMap(({ labels }) => labels);
  const dots = [...new Set(all.filter((label) => label.startsWith(".")))].sort().reverse();
  const once = all.filter((label) => !label.startsWith(".") && all.filter((other) => other === label).length === 1);
  const result = output === undefined ? [...dots, ...once.sort()] : labelsOf(output, null, dots.length);
  const missing = result.find((label) => !all.includes(label));
  if (missing !== undefined) invalid(equation, `the result has a dimension ${missing} that no operand has`);

  const queue = labelled.map(withoutRepeats);
  let done = queue.shift() as Labelled;
  const neededAfter = (): Set<string> => new Set([...result, ...queue.flatMap(({ labels }) => labels)]);
  if (queue.length === 0) done = summed(done, neededAfter());
  while (queue.length > 0) {
    const next = queue.shift() as Labelled;
    const needed = neededAfter();
    done = contract(
      summed(done, new Set([...needed, ...next.labels])),
      summed(next, new Set([...needed, ...done.labels])),
      needed,
    );
  }
  return aligned(done, result);
}

/** The operators of this file. */
export default {
  addmv: {
    fn: addmv,
    params: ["input", "mat", "vec"],
    options: ["beta", "alpha"],
    samples: ['f32[3]; f32[3,4]; f32[4]; {"beta":0.5,"alpha":2}'],
  },
  addr: {
    fn: addr,
    params: ["input", "vec1", "vec2"],
    options: ["beta", "alpha"],
    samples: ['f32[3,4]; f32[3]; f32[4]; {"beta":0.5,"alpha":2}'],
  },
  baddbmm: {
    fn: baddbmm,
    params: ["input", "batch1", "batch2"],
    options: ["beta", "alpha"],
    samples: ['f32[4]; f32[2,3,5]; f32[2,5,4]; {"beta":0.5,"alpha":2}'],
  },
  addbmm: {
    fn: addbmm,
    params: ["input", "batch1", "batch2"],
    options: ["beta", "alpha"],
    samples: ['f32[3,4]; f32[2,3,5]; f32[2,5,4]; {"beta":0,"alpha":2}'],
  },
  vdot: { fn: vdot, params: ["input", "other"], samples: ["f32[5]; f32[5]"] },
  cross: { fn: cross, params: ["input", "other", "dim"], samples: ["f32[2,3]; f32[2,3]", "f32[3,1]; f32[3,4]; 0"] },
  inner: { fn: inner, params: ["input", "other"], samples: ["f32[2,4]; f32[3,4]", "f32[]; f32[3]"] },
  tensordot: {
    fn: tensordot,
    params: ["a", "b"],
    options: ["dims"],
    samples: ["f32[2,3,4]; f32[3,4,2]", 'f32[2,3,4]; f32[4,5,2]; {"dims":[[0,2],[2,0]]}'],
  },
  bilinear: {
    fn: bilinear,
    params: ["input1", "input2", "weight", "bias"],
    samples: ["f32[2,3]; f32[2,4]; f32[5,3,4]; f32[5]"],
  },
  einsum: {
    fn: einsum,
    params: ["equation", "...operands"],
    samples: [
      '"ij,jk->ik"; ["f32[2,3]","f32[3,4]"]',
      '"bij,bjk,k->bi"; ["f32[2,3,4]","f32[2,4,5]","f32[5]"]',
      '"ii->i"; ["f32[3,3]"]',
      '"...ij,...jk"; ["f32[2,3,4]","f32[4,2]"]',
      '"ij->"; ["f32[2,3]"]',
    ],
  },
} satisfies OperatorTable;
