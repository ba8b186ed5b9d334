/** A compiled function does what its body does eagerly: to what it returns, to the state it changes, and to gradients. */
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { detach, noGrad, type Tensor } from "../../src/graph/tensor.js";
import { where } from "../../src/ops/arithmetic.js";
import { gather } from "../../src/ops/indexing.js";
import { cat } from "../../src/ops/join.js";
import { tanh } from "../../src/ops/unary.js";
import { compile } from "../../src/tensor/compile.js";
import { full, ones, tensor, zeros } from "../../src/tensor/creation.js";
import { BUILDS, start } from "../support/builds.js";

type Body = (...args: Tensor[]) => Tensor | Tensor[] | undefined;

interface Case {
  /** Tensors that the body captures; their values and gradients are compared after every call. */
  readonly state: readonly Tensor[];
  readonly body: Body;
  readonly args?: () => Tensor[];
}

const CALLS = 3;

function numbers(x: Tensor | null): number[] {
  // Adding 0 makes -0 0: which of the two a kernel gives may depend on what it is fused with.
  return x === null ? [] : Array.from(x.data(), (value) => value + 0);
}

/** What every call returned and left behind. */
function observe(make: () => Case, compiles: boolean): number[][] {
  const { state, body, args = () => [] } = make();
  const call = compiles ? compile(body) : body;
  return Array.from({ length: CALLS }, () => {
    const out = call(...args()) ?? [];
    const returned = Array.isArray(out) ? out : [out];
    return [...returned, ...state, ...state.map(({ grad }) => grad)].map(numbers);
  }).flat();
}

const variable = (values: number[]): Tensor => tensor(values, { requiresGrad: true });

const CASES: Record<string, () => Case> = {
  "two states that swap": () => {
    const [a, b] = [tensor([1, 2]), tensor([3, 4])];
    const body = (): undefined => {
      const before = detach(a);
      a.copy_(b);
      b.copy_(before);
    };
    return { state: [a, b], body };
  },
  "two states that swap, of which one is read and the other changed after that": () => {
    const [a, b, total] = [tensor([1, 2]), tensor([3, 4]), tensor([0, 0])];
    const body = (): undefined => {
      const before = detach(b);
      b.copy_(a);
      a.copy_(before);
      total.add_(b);
      a.mul_(2);
    };
    return { state: [a, b, total], body };
  },
  "three states that rotate": () => {
    const [a, b, c] = [tensor([1]), tensor([2]), tensor([3])];
    const body = (): Tensor => {
      const before = detach(a);
      a.copy_(b);
      b.copy_(c);
      c.copy_(before.add(0));
      return before;
    };
    return { state: [a, b, c], body };
  },
  "a state copied to another and then changed": () => {
    const [a, b] = [tensor([1, 2]), tensor([3, 4, 5])];
    const body = (): Tensor => {
      a.copy_(b.narrow(0, 1, 2));
      b.add_(1);
      return b.narrow(0, 0, 2);
    };
    return { state: [a, b], body };
  },
  "a state returned as it was before it changed": () => {
    const a = tensor([1, 2, 3]);
    const body = (): Tensor[] => {
      const [before, part] = [a.mul(1), a.narrow(0, 1, 2)];
      a.add_(1);
      return [before, part, a];
    };
    return { state: [a], body };
  },
  "a state overwritten by its own mirror image, transpose and product": () => {
    const [a, m] = [
      tensor([1, 2, 3]),
      tensor([
        [1, 2],
        [3, 4],
      ]),
    ];
    const body = (): Tensor => {
      a.copy_(a.flip([0]));
      m.copy_(m.t().add(m.matmul(m).mul(0.25)));
      return m.sum(0);
    };
    return { state: [a, m], body };
  },
  "a chain that reads states after it has written them": () => {
    const [a, b] = [tensor([1, 2]), tensor([3, 4])];
    const body = (): Tensor => {
      const old = a.mul(2);
      a.add_(b);
      b.add_(old);
      a.add_(b);
      return a.sub(old);
    };
    return { state: [a, b], body };
  },
  "states that depend on sums of themselves": () => {
    const [a, b] = [tensor([1]), tensor([1, 2, 3])];
    const body = (): undefined => {
      b.div_(b.sum());
      b.add_(b.max());
      b.mul_(a);
      a.add_(b.sum());
    };
    return { state: [a, b], body };
  },
  "two tensors that start as one value and part": () => {
    const a = tensor([1, 2]);
    const b = detach(a);
    const body = (): Tensor[] => {
      a.add_(1);
      b.mul_(3);
      return [a, b, a.add(b)];
    };
    return { state: [a, b], body };
  },
  "two states that get one value": () => {
    const [a, b] = [tensor([1]), tensor([1])];
    const body = (x: Tensor): Tensor => {
      const both = x.mul(2);
      a.copy_(both);
      b.copy_(both);
      return both;
    };
    return { state: [a, b], body, args: () => [tensor([3])] };
  },
  "arguments returned, and one tensor as two arguments": () => {
    const x = tensor([1, 2]);
    return {
      state: [],
      body: (a, b) => [a as Tensor, (a as Tensor).sub((b as Tensor).mul(2)), b as Tensor],
      args: () => [x, x],
    };
  },
  "arguments that are not computed yet": () => {
    const [a, b] = [tensor([1, 2]), tensor([3, 4])];
    const body: Body = (x, y, z) => (x as Tensor).add((y as Tensor).mul(10)).sub(z as Tensor);
    return { state: [], body, args: () => [a, b.mul(b), cat([a, b]).narrow(0, 1, 2)] };
  },
  "an argument that is not computed yet, from a state that changes": () => {
    const a = tensor([1, 2]);
    const body = (x: Tensor): Tensor => {
      a.add_(x);
      return x.sub(a);
    };
    return { state: [a], body, args: () => [a.mul(2)] };
  },
  "constants returned and stored": () => {
    const a = tensor([1, 2]);
    const body = (): Tensor[] => {
      const old = a.mul(1);
      a.fill_(3);
      return [old, full([], 4), ones([2])];
    };
    return { state: [a], body };
  },
  "states of integers and of booleans": () => {
    const [count, flags] = [tensor(Int32Array.of(1, 2)), tensor([true, false])];
    const body = (x: Tensor): Tensor => {
      count.add_(2);
      flags.copy_(x.gt(0));
      return where(flags, count, 0);
    };
    return { state: [count, flags], body, args: () => [tensor([0, 1])] };
  },
  "states of no elements": () => {
    const a = zeros([0, 3]);
    const body = (x: Tensor): Tensor => {
      a.add_(x);
      return a.sum();
    };
    return { state: [a], body, args: () => [tensor([1, 2, 3])] };
  },
  "gradients that add up over calls": () => {
    const [v, w] = [variable([1, 2]), variable([3, 4])];
    return {
      state: [v, w],
      body: (x) => {
        w.mul(x as Tensor)
          .sum()
          .backward();
        return undefined;
      },
      args: () => [tensor([1, 5])],
    };
  },
  "gradients changed in place, read and cleared": () => {
    const w = variable([1, 2]);
    const body = (): Tensor => {
      w.mul(w).sum().backward();
      const gradient = w.grad as Tensor;
      gradient.mul_(0.5);
      noGrad(() => w.sub_(gradient.mul(0.1)));
      w.grad = null;
      return gradient;
    };
    return { state: [w], body };
  },
  "a gradient that is another tensor, which changes": () => {
    const [w, other] = [variable([1, 2]), tensor([7, 8])];
    const body = (): Tensor => {
      w.grad = other;
      other.add_(1);
      return w.grad as Tensor;
    };
    return { state: [w, other], body };
  },
  "gradients of gradients": () => {
    const w = variable([2, 3]);
    const body = (): Tensor[] => {
      w.mul(w).mul(w).sum().backward(undefined, { createGraph: true });
      const first = w.grad as Tensor;
      w.grad = null;
      first.mul(first).sum().backward();
      const second = w.grad as Tensor | null;
      w.grad = null;
      return [detach(first), second as Tensor];
    };
    return { state: [w], body };
  },
  "a leaf made inside": () => {
    const body = (x: Tensor): Tensor => {
      const leaf = detach(x).requiresGrad_();
      leaf.mul(leaf).sum().backward();
      return leaf.grad as Tensor;
    };
    return { state: [], body, args: () => [tensor([1, 2])] };
  },
  "rows gathered from a parameter and summed back into its gradient": () => {
    const w = variable([1, 2, 3]);
    const body = (index: Tensor): undefined => {
      gather(w, 0, index).mul(3).sum().backward();
      noGrad(() => w.sub_((w.grad as Tensor).mul(0.5)));
    };
    return { state: [w], body, args: () => [tensor(Int32Array.of(0, 2, 2))] };
  },
  "a compiled function within another": () => {
    const a = zeros([2]);
    const inner = compile((x: Tensor) => {
      a.add_(x);
      return x.mul(2);
    });
    return { state: [a], body: (x) => inner(inner(x as Tensor)), args: () => [tensor([1, 2])] };
  },
};

/** One statement of a random program: acts on a growing pool of values, two states and two variables. */
interface Statement {
  readonly kind: number;
  readonly a: number;
  readonly b: number;
}

const KINDS: readonly ((
  pool: Tensor[],
  at: (tensors: readonly Tensor[], i: number) => Tensor,
  s: Statement,
  state: Tensor[],
  variables: Tensor[],
) => void)[] = [
  (pool, at, { a, b }) => pool.push(at(pool, a).add(at(pool, b))),
  (pool, at, { a, b }) => pool.push(at(pool, a).mul(at(pool, b))),
  (pool, at, { a, b }) => pool.push(at(pool, a).matmul(at(pool, b).mul(0.25))),
  (pool, at, { a }) => pool.push(at(pool, a).t()),
  (pool, at, { a }) => pool.push(at(pool, a).flip([1])),
  (pool, at, { a }) => pool.push(tanh(at(pool, a))),
  (pool, at, { a }) => pool.push(at(pool, a).sum(0, true).expand([3, 3])),
  (pool, at, { a }) => pool.push(at(pool, a).amax(1, true).expand([3, 3])),
  (pool, at, { a, b }) => pool.push(where(at(pool, a).gt(0), at(pool, b), 0.5)),
  (pool, at, { a, b }) => pool.push(cat([at(pool, a).narrow(0, 1, 2), at(pool, b).narrow(0, 0, 1)])),
  (pool, at, { a, b }, state) => void noGrad(() => at(state, a).copy_(tanh(at(pool, b)))),
  (pool, at, { a, b }, state) => void noGrad(() => at(state, a).add_(at(pool, b))),
  (_, at, { a, b }, state) => void noGrad(() => at(state, a).copy_(at(state, b).t())),
  (pool, at, { a }, state) => pool.push(at(state, a).mul(1)),
  (_, at, { a, b }, state) => void noGrad(() => at(state, a).mul_((b % 9) / 4 - 1)),
  (_, at, { a, b }, state) =>
    noGrad(() => {
      const before = detach(at(state, a));
      at(state, a).copy_(at(state, b));
      at(state, b).copy_(before);
    }),
  (pool, at, { a, b }, _, variables) =>
    at(variables, a)
      .mul(tanh(at(pool, b)))
      .sum()
      .backward(),
  (_, at, { a }, __, variables) => {
    const w = at(variables, a);
    const { grad } = w;
    if (grad !== null) noGrad(() => w.sub_(grad.mul(0.25)));
  },
  (_, at, { a }, __, variables) => {
    at(variables, a).grad = null;
  },
];

const statement = fc.record({ kind: fc.nat(KINDS.length - 1), a: fc.nat(99), b: fc.nat(99) });

function randomCase(statements: readonly Statement[]): Case {
  const matrix = (seed: number): Float32Array =>
    Float32Array.from({ length: 9 }, (_, i) => ((i * 7 + seed * 5) % 11) / 8 - 0.6);
  const state = [1, 2].map((seed) => tensor(matrix(seed), [3, 3]));
  const variables = [3, 4].map((seed) => tensor(matrix(seed), { shape: [3, 3], requiresGrad: true }));
  const at = (tensors: readonly Tensor[], i: number): Tensor => tensors[i % tensors.length] as Tensor;
  const body = (x: Tensor): Tensor[] => {
    const pool = [x, ...state, ...variables];
    for (const s of statements) KINDS[s.kind]?.(pool, at, s, state, variables);
    return pool.slice(-3).map(detach);
  };
  return { state: [...state, ...variables], body: body as Body, args: () => [tensor(matrix(5), [3, 3])] };
}

describe.each(BUILDS)("compiled and eager agree on the %s build", (build) => {
  beforeAll(() => start(build));

  it.each(Object.entries(CASES))("about %s", (_, make) => {
    expect(observe(make, true)).toEqual(observe(make, false));
  });

  it("about random programs", () => {
    const property = fc.property(fc.array(statement, { maxLength: 40 }), (statements) => {
      const [eager, compiled] = [false, true].map((compiles) => observe(() => randomCase(statements), compiles));
      compiled?.forEach((values, i) => {
        values.forEach((value, k) => {
          const expected = eager?.[i]?.[k] as number;
          // Sums may associate otherwise where a value lies in memory in another order.
          if (Object.is(value, expected)) return;
          expect(Math.abs(value - expected)).toBeLessThan(1e-3 * Math.max(1, Math.abs(expected)));
        });
      });
    });
    fc.assert(property, { numRuns: 150, seed: 1 });
  }, 60_000);
});
