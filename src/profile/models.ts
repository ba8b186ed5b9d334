/** Training steps to profile when there is no model at hand, of the sizes that `npm run bench:peers` compares. */
import type { Tensor } from "../graph/tensor.js";
import { GELU, ReLU } from "../nn/activations.js";
import { Conv2d, MaxPool2d } from "../nn/convolution.js";
import { normal_ } from "../nn/init.js";
import { Embedding, Flatten, LayerNorm, Linear, Sequential } from "../nn/layers.js";
import { Module } from "../nn/module.js";
import { scaledDotProductAttention } from "../ops/attention.js";
import { unbind } from "../ops/join.js";
import { crossEntropy } from "../ops/loss.js";
import { matmul } from "../ops/matmul.js";
import { permute, reshape, transpose } from "../ops/movement.js";
import { manualSeed, randn } from "../ops/random.js";
import { Adam, AdamW } from "../optim/adam.js";
import type { Optimizer } from "../optim/optimizer.js";
import { compile } from "../tensor/compile.js";
import { tensor } from "../tensor/creation.js";

/** A training step with its data: one call trains once. */
export type StepFunction = () => unknown;

/** Whole numbers from 0 up, each below `below`, in an order without a pattern that matters. */
function labels(count: number, below: number): Tensor {
  return tensor(Int32Array.from({ length: count }, (_, i) => (i * 7919) % below));
}

/**
 * Steps so small that the model hardly learns: it would soon know its one batch by heart, and then gradients become
 * denormal numbers, which processors compute a hundred times more slowly.
 */
const LEARNING_RATE = 1e-6;

function trainingStep(optimizer: Pick<Optimizer<never>, "step" | "zeroGrad">, loss: () => Tensor): StepFunction {
  return compile(() => {
    const value = loss();
    value.backward();
    optimizer.step();
    optimizer.zeroGrad();
    return value;
  });
}

/** 784 → 256 → 128 → 10 with ReLU, a batch of 64, cross entropy, Adam. */
function mlp(): StepFunction {
  const [batch, inputs, classes] = [64, 784, 10];
  const model = new Sequential(
    new Linear(inputs, 256),
    new ReLU(),
    new Linear(256, 128),
    new ReLU(),
    new Linear(128, classes),
  );
  const x = randn([batch, inputs]);
  const y = labels(batch, classes);
  return trainingStep(new Adam(model.parameters(), { lr: LEARNING_RATE }), () => crossEntropy(model.forward(x), y));
}

/** 28×28 images, twice a 3×3 convolution, ReLU and max-pooling, one linear layer; a batch of 32, cross entropy, Adam. */
function cnn(): StepFunction {
  const [batch, size, classes] = [32, 28, 10];
  const model = new Sequential(
    new Conv2d(1, 16, 3, { padding: 1 }),
    new ReLU(),
    new MaxPool2d(2),
    new Conv2d(16, 32, 3, { padding: 1 }),
    new ReLU(),
    new MaxPool2d(2),
    new Flatten(),
    new Linear(32 * (size / 4) ** 2, classes),
  );
  const x = randn([batch, 1, size, size]);
  const y = labels(batch, classes);
  const optimizer = new Adam(model.parameters(), { lr: LEARNING_RATE });
  return trainingStep(optimizer, () => crossEntropy(model.forward(x), y));
}

/** Attention of every position to those before it. */
class Attention extends Module {
  private readonly packed: Linear;
  private readonly joined: Linear;

  constructor(
    width: number,
    private readonly heads: number,
  ) {
    super();
    this.packed = new Linear(width, 3 * width);
    this.joined = new Linear(width, width);
  }

  override forward(x: Tensor): Tensor {
    const [batch, context, width] = x.shape as [number, number, number];
    const packed = reshape(this.packed.forward(x), [batch, context, 3, this.heads, width / this.heads]);
    const [q, k, v] = unbind(permute(packed, [2, 0, 3, 1, 4])) as [Tensor, Tensor, Tensor];
    const mixed = scaledDotProductAttention(q, k, v, { isCausal: true });
    return this.joined.forward(reshape(transpose(mixed, 1, 2), [batch, context, width]));
  }
}

/** A block of a decoder: attention and a wide layer, each behind a norm and beside a shortcut. */
class Block extends Module {
  private readonly attention: Sequential;
  private readonly wide: Sequential;

  constructor(width: number, heads: number) {
    super();
    this.attention = new Sequential(new LayerNorm(width), new Attention(width, heads));
    this.wide = new Sequential(
      new LayerNorm(width),
      new Linear(width, 4 * width),
      new GELU({ approximate: "tanh" }),
      new Linear(4 * width, width),
    );
  }

  override forward(x: Tensor): Tensor {
    const attended = x.add(this.attention.forward(x));
    return attended.add(this.wide.forward(attended));
  }
}

/** A decoder whose last layer is its embedding of tokens, transposed. */
class Decoder extends Module {
  private readonly tokens: Embedding;
  private readonly positions: Embedding;
  private readonly blocks: Sequential;
  private readonly norm: LayerNorm;

  constructor(
    layers: number,
    private readonly width: number,
    heads: number,
    context: number,
    vocabulary: number,
  ) {
    super();
    this.tokens = new Embedding(vocabulary, width);
    this.positions = new Embedding(context, width);
    for (const { weight } of [this.tokens, this.positions]) normal_(weight, 0, 0.02);
    this.blocks = new Sequential(...Array.from({ length: layers }, () => new Block(width, heads)));
    this.norm = new LayerNorm(width);
  }

  /** @param x `[batch, context]`; the result is `[batch · context, vocabulary]` */
  override forward(x: Tensor): Tensor {
    const states = this.blocks.forward(this.tokens.forward(x).add(this.positions.weight));
    const rows = reshape(this.norm.forward(states), [x.numel, this.width]);
    return matmul(rows, transpose(this.tokens.weight, 0, 1));
  }
}

/** 4 blocks of width 128 with 4 heads, 16 contexts of 64 out of a vocabulary of 65, cross entropy, AdamW. */
function gpt(): StepFunction {
  const [layers, width, heads, context, vocabulary, batch] = [4, 128, 4, 64, 65, 16];
  const model = new Decoder(layers, width, heads, context, vocabulary);
  const x = reshape(labels(batch * context, vocabulary), [batch, context]);
  const y = labels(batch * context, vocabulary);
  return trainingStep(new AdamW(model.parameters(), { lr: LEARNING_RATE }), () => crossEntropy(model.forward(x), y));
}

/** The models by their names. Each starts from the same weights every time. */
export const MODELS: Readonly<Record<string, () => StepFunction>> = {
  mlp: () => seeded(mlp),
  cnn: () => seeded(cnn),
  gpt: () => seeded(gpt),
};

function seeded(make: () => StepFunction): StepFunction {
  manualSeed(0);
  return make();
}
