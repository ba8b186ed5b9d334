/**
 * What every system is asked to do: workloads in words that no system is favoured by, with initial values and data by
 * formula, so that all of them start from the same numbers.
 */

/** Numbers by formula: `shift + scale · u(seed)` with u uniform in [-1, 1), or whole numbers below `below`. */
export type Numbers =
  | { readonly shape: readonly number[]; readonly seed: number; readonly scale: number; readonly shift: number }
  | { readonly shape: readonly number[]; readonly seed: number; readonly below: number };

export type OptimizerSpec =
  | { readonly kind: "sgd"; readonly lr: number }
  | {
      readonly kind: "adam";
      readonly lr: number;
      readonly betas: readonly [number, number];
      readonly weightDecay: number;
    };

/** Dense layers with ReLU between them. */
export interface MlpSpec {
  readonly kind: "mlp";
  readonly sizes: readonly number[];
  readonly batch: number;
  readonly loss: "mse" | "crossEntropy";
  readonly optimizer: OptimizerSpec;
}

/** 28×28 images; twice a 3×3 convolution (same size), ReLU and max-pooling by 2; one dense layer; cross entropy. */
export interface CnnSpec {
  readonly kind: "cnn";
  readonly channels: readonly [number, number, number];
  readonly image: number;
  readonly classes: number;
  readonly batch: number;
  readonly optimizer: OptimizerSpec;
}

/** A decoder with norms before each part, packed queries, keys and values, GELU (tanh) and the embedding as its head. */
export interface GptSpec {
  readonly kind: "gpt";
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly context: number;
  readonly vocabulary: number;
  readonly batch: number;
  readonly optimizer: OptimizerSpec;
}

/** `count` additions one after the other, on few elements and without a compiler: what an operator costs by itself. */
export interface AddsSpec {
  readonly kind: "adds";
  readonly count: number;
  readonly elements: number;
  readonly gradient: boolean;
}

/** One operator on a matrix; with its gradient, it and then its pullback of the second input. */
export interface KernelSpec {
  readonly kind: "kernel";
  readonly operator: "mulAdd" | "exp" | "tanh" | "gelu" | "sigmoid" | "sum" | "softmax" | "layerNorm";
  readonly rows: number;
  readonly columns: number;
  readonly gradient: boolean;
}

export type Spec = MlpSpec | CnnSpec | GptSpec | AddsSpec | KernelSpec;

/** A workload with all its numbers, as it is sent to a system. */
export interface Task {
  readonly spec: Spec;
  /** Trained numbers, in the order in which `parametersOf` lists them; matrices are [outputs, inputs]. */
  readonly parameters: readonly Numbers[];
  readonly inputs: readonly Numbers[];
}

const ADAM: OptimizerSpec = { kind: "adam", lr: 1e-3, betas: [0.9, 0.999], weightDecay: 0 };

function kernel(operator: KernelSpec["operator"], gradient = false): KernelSpec {
  return { kind: "kernel", operator, rows: 1024, columns: 1024, gradient };
}

/** Every workload, by its name. */
export const WORKLOADS: Readonly<Record<string, Spec>> = {
  "tiny MLP": {
    kind: "mlp",
    sizes: [10, 32, 32, 1],
    batch: 16,
    loss: "mse",
    optimizer: { kind: "sgd", lr: 0.05 },
  },
  "MNIST MLP": { kind: "mlp", sizes: [784, 256, 128, 10], batch: 64, loss: "crossEntropy", optimizer: ADAM },
  "big MLP": { kind: "mlp", sizes: [784, 1024, 1024, 10], batch: 128, loss: "crossEntropy", optimizer: ADAM },
  CNN: { kind: "cnn", channels: [1, 16, 32], image: 28, classes: 10, batch: 32, optimizer: ADAM },
  GPT: {
    kind: "gpt",
    layers: 4,
    width: 128,
    heads: 4,
    context: 64,
    vocabulary: 65,
    batch: 16,
    optimizer: { kind: "adam", lr: 1e-3, betas: [0.9, 0.95], weightDecay: 0.1 },
  },
  "1,000 adds": { kind: "adds", count: 1000, elements: 4, gradient: false },
  "1,000 adds with gradient": { kind: "adds", count: 1000, elements: 4, gradient: true },
  "x·y + x": kernel("mulAdd"),
  exp: kernel("exp"),
  tanh: kernel("tanh"),
  gelu: kernel("gelu"),
  sigmoid: kernel("sigmoid"),
  sum: kernel("sum"),
  softmax: kernel("softmax"),
  "softmax with gradient": kernel("softmax", true),
  "layer norm": kernel("layerNorm"),
  "layer norm with gradient": kernel("layerNorm", true),
};

function uniform(shape: readonly number[], seed: number, scale = 1, shift = 0): Numbers {
  return { shape, seed, scale, shift };
}

/** Weight and bias of a layer whose outputs each see `fan` inputs. */
function affine(weight: readonly number[], fan: number): readonly [readonly number[], number][] {
  return [
    [weight, 1 / Math.sqrt(fan)],
    [[weight[0] as number], 0.1],
  ];
}

/** Shapes and scales of a workload's parameters; null marks the scale of a norm's weight, which starts near 1. */
function parametersOf(spec: Spec): readonly (readonly [readonly number[], number | null])[] {
  switch (spec.kind) {
    case "mlp":
      return spec.sizes
        .slice(1)
        .flatMap((outputs, i) => affine([outputs, spec.sizes[i] as number], spec.sizes[i] as number));
    case "cnn": {
      const [a, b, c] = spec.channels;
      const features = c * (spec.image / 4) ** 2;
      return [
        ...affine([b, a, 3, 3], 9 * a),
        ...affine([c, b, 3, 3], 9 * b),
        ...affine([spec.classes, features], features),
      ];
    }
    case "gpt": {
      const { width: d, vocabulary, context, layers } = spec;
      const norm = [
        [[d], null],
        [[d], 0.1],
      ] as const;
      const block = [
        ...norm,
        ...affine([3 * d, d], d),
        ...affine([d, d], d),
        ...norm,
        ...affine([4 * d, d], d),
        ...affine([d, 4 * d], 4 * d),
      ];
      const tables = [
        [[vocabulary, d], 1 / Math.sqrt(d)],
        [[context, d], 1 / Math.sqrt(d)],
      ] as const;
      return [...tables, ...Array.from({ length: layers }, () => block).flat(), ...norm];
    }
    case "adds":
      return [[[spec.elements], 1]];
    case "kernel":
      return [];
  }
}

function inputsOf(spec: Spec): readonly Numbers[] {
  switch (spec.kind) {
    case "mlp": {
      const [inputs, outputs] = [spec.sizes[0] as number, spec.sizes.at(-1) as number];
      const target =
        spec.loss === "mse" ? uniform([spec.batch, outputs], 501) : { shape: [spec.batch], seed: 501, below: outputs };
      return [uniform([spec.batch, inputs], 500), target];
    }
    case "cnn":
      return [
        uniform([spec.batch, spec.channels[0], spec.image, spec.image], 500),
        { shape: [spec.batch], seed: 501, below: spec.classes },
      ];
    case "gpt":
      return [500, 501].map((seed) => ({ shape: [spec.batch, spec.context], seed, below: spec.vocabulary }));
    case "adds":
      return [uniform([spec.elements], 500)];
    case "kernel":
      return [500, 501].map((seed) => uniform([spec.rows, spec.columns], seed, 4));
  }
}

/** The workload with its numbers. */
export function taskOf(spec: Spec): Task {
  const parameters = parametersOf(spec).map(([shape, scale], seed) =>
    scale === null ? uniform(shape, seed, 0.1, 1) : uniform(shape, seed, scale),
  );
  return { spec, parameters, inputs: inputsOf(spec) };
}

function hash(x: number): number {
  const z = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  const y = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return (y ^ (y >>> 15)) >>> 0;
}

/** The numbers that a formula stands for, row-major. */
export function valuesOf(numbers: Numbers): Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> {
  const length = numbers.shape.reduce((product, size) => product * size, 1);
  const at = (i: number): number => hash((i + Math.imul(numbers.seed, 0x9e3779b9)) | 0);
  if ("below" in numbers) return Int32Array.from({ length }, (_, i) => at(i) % numbers.below);
  const { scale, shift } = numbers;
  return Float32Array.from({ length }, (_, i) => shift + scale * ((at(i) / 2 ** 32) * 2 - 1));
}
