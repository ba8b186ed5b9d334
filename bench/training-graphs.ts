/** Training steps of many architectures, to be planned and not run: what placement and recomputation are judged by. */
import type { Shape } from "../src/graph/shape.js";
import { constant } from "../src/graph/sources.js";
import type { Tensor } from "../src/graph/tensor.js";
import { Parameter } from "../src/nn/module.js";
import { gelu, relu } from "../src/ops/activation.js";
import { scaledDotProductAttention } from "../src/ops/attention.js";
import { conv2d } from "../src/ops/convolution.js";
import { embedding } from "../src/ops/indexing.js";
import { cat, chunk, unbind } from "../src/ops/join.js";
import { crossEntropy, mseLoss } from "../src/ops/loss.js";
import { linear } from "../src/ops/matmul.js";
import { permute, reshape, select, transpose } from "../src/ops/movement.js";
import { batchNorm, layerNorm } from "../src/ops/norm.js";
import { avgPool2d, maxPool2d } from "../src/ops/pooling.js";
import { dropout, randn } from "../src/ops/random.js";
import { mean } from "../src/ops/reduction.js";
import { sigmoid, tanh } from "../src/ops/unary.js";
import { Adam } from "../src/optim/adam.js";
import { SGD } from "../src/optim/sgd.js";
import { type Compiled, type CompileOptions, compile } from "../src/tensor/compile.js";
import { zeros } from "../src/tensor/creation.js";
import "../src/tensor/methods.js";

/** A training step and arguments of the shapes that it takes. */
export interface TrainingGraph {
  readonly name: string;
  readonly family: "mlp" | "cnn" | "u-net" | "densenet" | "lstm" | "gpt";
  /** Compiles the step anew. */
  step(options?: CompileOptions): Compiled<readonly [Tensor, Tensor], Tensor>;
  readonly args: readonly [Tensor, Tensor];
}

/** Parameters that are made as layers ask for them, the same ones in every trace. */
class Weights {
  private readonly made: Parameter[] = [];
  private next = 0;

  get(...shape: number[]): Parameter {
    this.made[this.next] ??= new Parameter(shape.length > 1 ? randn(shape).mul(0.02) : constant(1, shape));
    return this.made[this.next++] as Parameter;
  }

  all(): readonly Parameter[] {
    return this.made;
  }

  rewind(): this {
    this.next = 0;
    return this;
  }
}

type Loss = (weights: Weights, x: Tensor, y: Tensor) => Tensor;

function graph(
  name: string,
  family: TrainingGraph["family"],
  x: Tensor,
  y: Tensor,
  loss: Loss,
  optimizer: "adam" | "sgd" = "adam",
): TrainingGraph {
  const step = (options?: CompileOptions): Compiled<readonly [Tensor, Tensor], Tensor> => {
    const weights = new Weights();
    loss(weights, x, y);
    const update = optimizer === "adam" ? new Adam(weights.all()) : new SGD(weights.all(), { lr: 0.01 });
    return compile((x: Tensor, y: Tensor) => {
      const value = loss(weights.rewind(), x, y);
      value.backward();
      update.step();
      update.zeroGrad();
      return value;
    }, options);
  };
  return { name, family, step, args: [x, y] };
}

function labels(...shape: number[]): Tensor {
  return zeros(shape, { dtype: "i32" });
}

function dense(weights: Weights, x: Tensor, features: number): Tensor {
  return linear(x, weights.get(features, x.shape.at(-1) as number), weights.get(features));
}

function conv(weights: Weights, x: Tensor, channels: number, size = 3, stride = 1): Tensor {
  const weight = weights.get(channels, x.shape[1] as number, size, size);
  return conv2d(x, weight, null, { stride, padding: (size - 1) / 2 });
}

function norm(weights: Weights, x: Tensor): Tensor {
  const channels = x.shape[1] as number;
  return batchNorm(x, null, null, weights.get(channels), weights.get(channels), true);
}

function classify(weights: Weights, x: Tensor, y: Tensor): Tensor {
  return crossEntropy(dense(weights, mean(x, [2, 3]), 10), y);
}

function mlp(depth: number, width: number, batch: number, optimizer: "adam" | "sgd" = "adam"): TrainingGraph {
  return graph(
    `mlp ${depth}×${width} ${optimizer}`,
    "mlp",
    zeros([batch, width]),
    labels(batch),
    (weights, x, y) => {
      for (let i = 0; i < depth; i++) x = relu(dense(weights, x, width));
      return crossEntropy(dense(weights, x, 10), y);
    },
    optimizer,
  );
}

/** Residual blocks in three stages (He et al. 2016). */
function residual(blocks: number, channels: number, size: number, batch: number): TrainingGraph {
  return graph(`resnet-${6 * blocks + 2}`, "cnn", zeros([batch, 3, size, size]), labels(batch), (weights, x, y) => {
    x = relu(norm(weights, conv(weights, x, channels)));
    for (let stage = 0; stage < 3; stage++) {
      for (let i = 0; i < blocks; i++) {
        const stride = stage > 0 && i === 0 ? 2 : 1;
        const width = channels << stage;
        const inner = relu(norm(weights, conv(weights, x, width, 3, stride)));
        const skip = width === x.shape[1] ? x : conv(weights, x, width, 1, stride);
        x = relu(norm(weights, conv(weights, inner, width)).add(skip));
      }
    }
    return classify(weights, x, y);
  });
}

/** Convolutions and pooling one after the other (Simonyan and Zisserman 2015). */
function plainConvolutions(stages: number, each: number, channels: number): TrainingGraph {
  return graph(`vgg ${stages}×${each}`, "cnn", zeros([16, 3, 32, 32]), labels(16), (weights, x, y) => {
    for (let stage = 0; stage < stages; stage++) {
      for (let i = 0; i < each; i++) x = relu(norm(weights, conv(weights, x, channels << stage)));
      x = maxPool2d(x, 2);
    }
    return classify(weights, x, y);
  });
}

/** Ronneberger, Fischer and Brox 2015, with steps of two by plain copies on the way up. */
function unet(depth: number, channels: number, size: number): TrainingGraph {
  const twice = (weights: Weights, x: Tensor, width: number): Tensor =>
    relu(norm(weights, conv(weights, relu(norm(weights, conv(weights, x, width))), width)));
  const widen = (x: Tensor): Tensor => {
    const [n, c, h, w] = x.shape as [number, number, number, number];
    return reshape(x.reshape([n, c, h, 1, w, 1]).expand([n, c, h, 2, w, 2]), [n, c, 2 * h, 2 * w]);
  };
  const shape: Shape = [4, 3, size, size];
  return graph(`u-net ${depth}`, "u-net", zeros(shape), zeros([4, 1, size, size]), (weights, x, y) => {
    const skips: Tensor[] = [];
    for (let i = 0; i < depth; i++) {
      x = twice(weights, x, channels << i);
      skips.push(x);
      x = maxPool2d(x, 2);
    }
    x = twice(weights, x, channels << depth);
    for (let i = depth - 1; i >= 0; i--) {
      x = cat([skips[i] as Tensor, conv(weights, widen(x), channels << i, 1)], 1);
      x = twice(weights, x, channels << i);
    }
    return mseLoss(conv(weights, x, 1, 1), y);
  });
}

/** Every layer reads all before it (Huang et al. 2017). */
function densely(blocks: number, layers: number, growth: number): TrainingGraph {
  return graph(`densenet ${blocks}×${layers}`, "densenet", zeros([8, 3, 32, 32]), labels(8), (weights, x, y) => {
    x = conv(weights, x, 2 * growth);
    for (let block = 0; block < blocks; block++) {
      for (let i = 0; i < layers; i++) {
        const narrow = conv(weights, relu(norm(weights, x)), 4 * growth, 1);
        x = cat([x, conv(weights, relu(norm(weights, narrow)), growth)], 1);
      }
      if (block < blocks - 1) {
        x = conv(weights, relu(norm(weights, x)), (x.shape[1] as number) >> 1, 1);
        x = avgPool2d(x, 2);
      }
    }
    return classify(weights, relu(norm(weights, x)), y);
  });
}

/** One LSTM cell, unrolled. */
function lstm(steps: number, width: number, batch: number, layers = 1): TrainingGraph {
  return graph(
    `lstm ${layers}×${steps}×${width}`,
    "lstm",
    zeros([steps, batch, width]),
    labels(batch),
    (weights, x, y) => {
      let inputs = unbind(x, 0);
      for (let layer = 0; layer < layers; layer++) {
        const [wx, wh, b] = [weights.get(4 * width, width), weights.get(4 * width, width), weights.get(4 * width)];
        let [h, c] = [constant(0, [batch, width]), constant(0, [batch, width])];
        inputs = inputs.map((input) => {
          const [i, f, g, o] = chunk(linear(input, wx, b).add(linear(h, wh)), 4, 1) as [Tensor, Tensor, Tensor, Tensor];
          c = sigmoid(f)
            .mul(c)
            .add(sigmoid(i).mul(tanh(g)));
          h = sigmoid(o).mul(tanh(c));
          return h;
        });
      }
      return crossEntropy(dense(weights, inputs.at(-1) as Tensor, 10), y);
    },
  );
}

/** A decoder (Radford et al. 2019). */
export function gpt(
  layers: number,
  width: number,
  context: number,
  { batch = 8, heads = 4, vocabulary = 256, p = 0 } = {},
): TrainingGraph {
  const attention = (weights: Weights, x: Tensor): Tensor => {
    const packed = reshape(dense(weights, x, 3 * width), [batch, context, 3, heads, width / heads]);
    const [q, k, v] = unbind(permute(packed, [2, 0, 3, 1, 4])) as [Tensor, Tensor, Tensor];
    const mixed = scaledDotProductAttention(q, k, v, { isCausal: true });
    return dense(weights, reshape(transpose(mixed, 1, 2), [batch, context, width]), width);
  };
  const normal = (weights: Weights, x: Tensor): Tensor => layerNorm(x, [width], weights.get(width), weights.get(width));
  const name = `gpt ${layers}×${width}×${context}${p > 0 ? " dropout" : ""}`;
  return graph(name, "gpt", labels(batch, context), labels(batch * context), (weights, x, y) => {
    const tokens = weights.get(vocabulary, width);
    let h = embedding(x, tokens).add(weights.get(context, width));
    for (let i = 0; i < layers; i++) {
      h = h.add(dropout(attention(weights, normal(weights, h)), p));
      const wide = gelu(dense(weights, normal(weights, h), 4 * width), { approximate: "tanh" });
      h = h.add(dropout(dense(weights, wide, width), p));
    }
    return crossEntropy(linear(reshape(normal(weights, h), [batch * context, width]), tokens), y);
  });
}

/** A sequence of tokens through an LSTM and out again, a loss at every step. */
function languageModel(steps: number, width: number): TrainingGraph {
  return graph(`char-lstm ${steps}`, "lstm", labels(steps, 16), labels(steps, 16), (weights, x, y) => {
    const [table, wx, wh, out] = [
      weights.get(64, width),
      weights.get(4 * width, width),
      weights.get(4 * width, width),
      weights.get(64, width),
    ];
    let [h, c] = [constant(0, [16, width]), constant(0, [16, width])];
    let loss = constant(0);
    for (let t = 0; t < steps; t++) {
      const mixed = linear(embedding(select(x, 0, t), table), wx).add(linear(h, wh));
      const [i, f, g, o] = chunk(mixed, 4, 1) as [Tensor, Tensor, Tensor, Tensor];
      c = sigmoid(f)
        .mul(c)
        .add(sigmoid(i).mul(tanh(g)));
      h = sigmoid(o).mul(tanh(c));
      loss = loss.add(crossEntropy(linear(h, out), select(y, 0, t)));
    }
    return loss;
  });
}

/** The graphs, by growing size within each family. */
export const TRAINING_GRAPHS: readonly (() => TrainingGraph)[] = [
  () => mlp(2, 256, 64),
  () => mlp(4, 256, 256),
  () => mlp(8, 512, 64),
  () => mlp(16, 128, 512),
  () => mlp(32, 128, 512, "sgd"),
  () => mlp(64, 64, 1024),
  () => plainConvolutions(2, 1, 16),
  () => plainConvolutions(3, 2, 16),
  () => plainConvolutions(4, 3, 16),
  () => residual(1, 16, 32, 16),
  () => residual(3, 16, 32, 16),
  () => residual(5, 16, 32, 16),
  () => residual(9, 16, 32, 8),
  () => unet(2, 8, 64),
  () => unet(3, 8, 64),
  () => unet(4, 16, 128),
  () => densely(2, 4, 8),
  () => densely(3, 6, 12),
  () => densely(3, 12, 12),
  () => densely(4, 16, 12),
  () => lstm(16, 64, 32),
  () => lstm(64, 64, 32),
  () => lstm(64, 128, 16),
  () => lstm(64, 64, 16, 2),
  () => languageModel(32, 64),
  () => languageModel(64, 128),
  () => gpt(2, 64, 64),
  () => gpt(2, 128, 128),
  () => gpt(4, 128, 64),
  () => gpt(4, 128, 256),
  () => gpt(6, 192, 128),
  () => gpt(8, 128, 128),
  () => gpt(6, 128, 128, { p: 0.1 }),
  () => gpt(12, 128, 128),
  () => gpt(12, 256, 256),
];
