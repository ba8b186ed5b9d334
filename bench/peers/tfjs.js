/**
 * The workloads on TensorFlow.js's wasm backend, in the best ways known for it. Products are fast only where nothing is
 * transposed, so matrices are transposed by hand first; weights are kept as [inputs, outputs]; queries, keys and values
 * have a matrix each; gradients that nothing reads are not computed. Where gradient kernels are missing, embeddings are
 * products with one-hot rows and a filter's gradient is a product with gathered patches.
 */
import { fileURLToPath } from "node:url";
import tf from "@tensorflow/tfjs";
import wasm from "@tensorflow/tfjs-backend-wasm";
import { valuesOf } from "./workloads.js";

/** Starts the backend. */
export async function start() {
  const entry = fileURLToPath(import.meta.resolve("@tensorflow/tfjs-backend-wasm"));
  wasm.setWasmPaths(entry.slice(0, entry.lastIndexOf("/") + 1));
  await tf.setBackend("wasm");
  await tf.ready();
}

function tensorOf(numbers) {
  return tf.tensor(valuesOf(numbers), numbers.shape, "below" in numbers ? "int32" : "float32");
}

/** A product whose gradients exchange dimensions before they multiply. */
const product = tf.customGrad((a, b, save) => {
  save([a, b]);
  return {
    value: tf.matMul(a, b),
    gradFunc: (g, [a, b]) => [tf.matMul(g, tf.transpose(b)), tf.matMul(tf.transpose(a), g)],
  };
});

/** A product with data, whose gradient nothing needs. */
function productWith(data) {
  const transposed = tf.transpose(data);
  return tf.customGrad((b) => ({ value: tf.matMul(data, b), gradFunc: (g) => tf.matMul(transposed, g) }));
}

/** Products of stacks of matrices [batch, heads, rows, columns]. Slicing them to multiply one by one is slower still. */
const stackedProduct = tf.customGrad((a, b, save) => {
  save([a, b]);
  return {
    value: tf.matMul(a, b),
    gradFunc: (g, [a, b]) => [tf.matMul(g, tf.transpose(b, [0, 1, 3, 2])), tf.matMul(tf.transpose(a, [0, 1, 3, 2]), g)],
  };
});

function crossEntropy(logits, oneHot) {
  return tf.neg(tf.mean(tf.sum(tf.mul(tf.logSoftmax(logits), oneHot), -1)));
}

function mlp({ loss, sizes }, task) {
  const parameters = task.parameters.map((numbers, i) => {
    const given = tensorOf(numbers);
    return tf.variable(i % 2 === 0 ? tf.transpose(given) : given);
  });
  const [x, y] = task.inputs.map(tensorOf);
  const target = loss === "mse" ? y : tf.oneHot(y, sizes.at(-1)).toFloat();
  const layers = parameters.length / 2;
  const first = productWith(x);
  return {
    parameters,
    loss: () => {
      let h = tf.add(first(parameters[0]), parameters[1]);
      for (let i = 1; i < layers; i++) h = tf.add(product(tf.relu(h), parameters[2 * i]), parameters[2 * i + 1]);
      return loss === "mse" ? tf.mean(tf.square(tf.sub(h, target))) : crossEntropy(h, target);
    },
  };
}

/** The patches of 3×3 that the outputs of a convolution see, one a row. */
function patchesOf(x) {
  const [batch, height, width, channels] = x.shape;
  const padded = tf.pad(x, [
    [0, 0],
    [1, 1],
    [1, 1],
    [0, 0],
  ]);
  const taps = [];
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) taps.push(tf.slice(padded, [0, i, j, 0], [batch, height, width, channels]));
  }
  return tf.reshape(tf.concat(taps, -1), [-1, 9 * channels]);
}

function filterGradient(g, patches, filter) {
  return tf.reshape(tf.matMul(tf.transpose(patches), tf.reshape(g, [-1, g.shape[3]])), filter.shape);
}

/** A 3×3 convolution that keeps the size: input [batch, height, width, channels], filter [3, 3, inputs, outputs]. */
const convolution = tf.customGrad((x, filter, save) => {
  save([x, filter]);
  return {
    value: tf.conv2d(x, filter, 1, "same"),
    gradFunc: (g, [x, filter]) => {
      const flipped = tf.transpose(tf.reverse(filter, [0, 1]), [0, 1, 3, 2]);
      return [tf.conv2d(g, flipped, 1, "same"), filterGradient(g, patchesOf(x), filter)];
    },
  };
});

/** The same of data, whose gradient nothing needs. */
function convolutionOf(data) {
  const patches = patchesOf(data);
  return tf.customGrad((filter) => ({
    value: tf.conv2d(data, filter, 1, "same"),
    gradFunc: (g) => filterGradient(g, patches, filter),
  }));
}

function cnn({ channels, image, classes }, task) {
  const given = task.parameters.map(tensorOf);
  const size = image / 4;
  const head = tf.transpose(tf.reshape(given[4], [classes, channels[2], size, size]), [2, 3, 1, 0]);
  const parameters = [
    tf.transpose(given[0], [2, 3, 1, 0]),
    given[1],
    tf.transpose(given[2], [2, 3, 1, 0]),
    given[3],
    tf.reshape(head, [-1, classes]),
    given[5],
  ].map((value) => tf.variable(value));
  const [images, labels] = task.inputs.map(tensorOf);
  const x = tf.transpose(images, [0, 2, 3, 1]);
  const target = tf.oneHot(labels, classes).toFloat();
  const [w1, b1, w2, b2, w3, b3] = parameters;
  const first = convolutionOf(x);
  const pooled = (h, bias) => tf.maxPool(tf.relu(tf.add(h, bias)), 2, 2, "valid");
  return {
    parameters,
    loss: () => {
      const h = pooled(convolution(pooled(first(w1), b1), w2), b2);
      return crossEntropy(tf.add(product(tf.reshape(h, [h.shape[0], -1]), w3), b3), target);
    },
  };
}

const SCALE = Math.sqrt(2 / Math.PI);

/** With a gradient by hand: that of the composition would take thirty kernels. */
const gelu = tf.customGrad((x, save) => {
  const squared = tf.square(x);
  const inner = tf.mul(tf.mul(x, SCALE), tf.add(tf.mul(squared, 0.044715), 1));
  const tanh = tf.tanh(inner);
  const half = tf.mul(tf.add(tanh, 1), 0.5);
  save([x, squared, tanh, half]);
  return {
    value: tf.mul(x, half),
    gradFunc: (g, [x, squared, tanh, half]) => {
      const slope = tf.mul(tf.sub(1, tf.square(tanh)), tf.add(tf.mul(squared, 1.5 * 0.044715 * SCALE), 0.5 * SCALE));
      return tf.mul(g, tf.add(half, tf.mul(x, slope)));
    },
  };
});

/** With a gradient by hand, for the same reason. */
const normalized = tf.customGrad((x, save) => {
  const centered = tf.sub(x, tf.mean(x, -1, true));
  const scale = tf.rsqrt(tf.add(tf.mean(tf.square(centered), -1, true), 1e-5));
  const value = tf.mul(centered, scale);
  save([value, scale]);
  return {
    value,
    gradFunc: (g, [value, scale]) => {
      const along = tf.mul(value, tf.mean(tf.mul(g, value), -1, true));
      return tf.mul(scale, tf.sub(tf.sub(g, tf.mean(g, -1, true)), along));
    },
  };
});

function gpt(spec, task) {
  const { width, heads, context, batch, vocabulary, layers } = spec;
  const size = width / heads;
  const given = task.parameters.map(tensorOf);
  const parameters = [];
  const make = (value) => {
    const variable = tf.variable(value);
    parameters.push(variable);
    return variable;
  };
  let at = 0;
  const vector = () => make(given[at++]);
  const dense = () => ({ weight: make(tf.transpose(given[at++])), bias: make(given[at++]) });
  const norm = () => ({ scale: vector(), shift: vector() });
  const thirds = () => {
    const [weights, biases] = [tf.split(tf.transpose(given[at++]), 3, 1), tf.split(given[at++], 3)];
    return weights.map((weight, i) => ({ weight: make(weight), bias: make(biases[i]) }));
  };
  const [table, positions] = [vector(), vector()];
  const blocks = Array.from({ length: layers }, () => ({
    norm1: norm(),
    attention: thirds(),
    joined: dense(),
    norm2: norm(),
    wide: dense(),
    narrow: dense(),
  }));
  const last = norm();

  const [tokens, targets] = task.inputs.map((numbers) =>
    tf.oneHot(tf.reshape(tensorOf(numbers), [-1]), vocabulary).toFloat(),
  );
  const embed = productWith(tokens);
  const above = Float32Array.from({ length: context ** 2 }, (_, i) =>
    i % context > Math.floor(i / context) ? -1e9 : 0,
  );
  const mask = tf.tensor(above, [context, context]);
  const affine = (x, { weight, bias }) => tf.add(product(x, weight), bias);
  const scaled = (x, { scale, shift }) => tf.add(tf.mul(normalized(x), scale), shift);
  const split = (x) => tf.transpose(tf.reshape(x, [batch, context, heads, size]), [0, 2, 1, 3]);
  const attend = (x, parts) => {
    const [q, k, v] = parts.map((part) => split(affine(x, part)));
    const scores = tf.add(tf.mul(stackedProduct(q, tf.transpose(k, [0, 1, 3, 2])), 1 / Math.sqrt(size)), mask);
    return tf.reshape(tf.transpose(stackedProduct(tf.softmax(scores), v), [0, 2, 1, 3]), [batch * context, width]);
  };
  return {
    parameters,
    loss: () => {
      const embedded = tf.add(tf.reshape(embed(table), [batch, context, width]), positions);
      let x = tf.reshape(embedded, [batch * context, width]);
      for (const block of blocks) {
        x = tf.add(x, affine(attend(scaled(x, block.norm1), block.attention), block.joined));
        x = tf.add(x, affine(gelu(affine(scaled(x, block.norm2), block.wide)), block.narrow));
      }
      return crossEntropy(product(scaled(x, last), tf.transpose(table)), targets);
    },
  };
}

function training({ optimizer }, { parameters, loss }) {
  const { kind, lr, betas, weightDecay } = optimizer;
  const updates = kind === "sgd" ? tf.train.sgd(lr) : tf.train.adam(lr, ...betas, 1e-8);
  return {
    step: () =>
      tf.tidy(() => {
        const { value, grads } = tf.variableGrads(loss, parameters);
        if (weightDecay) for (const x of parameters) x.assign(tf.mul(x, 1 - lr * weightDecay));
        updates.applyGradients(grads);
        return value.dataSync()[0];
      }),
  };
}

function adds({ count, gradient }, task) {
  const first = tensorOf(task.parameters[0]);
  const other = tensorOf(task.inputs[0]);
  const chain = (x) => {
    let y = x;
    for (let i = 0; i < count; i++) y = tf.add(y, other);
    return y;
  };
  const withGradient = tf.valueAndGrad((x) => tf.sum(chain(x)));
  return {
    step: () =>
      tf.tidy(() => {
        if (!gradient) return chain(first).dataSync()[0];
        const { value, grad } = withGradient(first);
        return grad.dataSync()[0] + value.dataSync()[0];
      }),
  };
}

const KERNELS = {
  mulAdd: (x, y) => tf.add(tf.mul(x, y), x),
  exp: (x) => tf.exp(x),
  tanh: (x) => tf.tanh(x),
  gelu: (x) => gelu(x),
  sigmoid: (x) => tf.sigmoid(x),
  sum: (x) => tf.sum(x),
  softmax: (x) => tf.softmax(x),
  layerNorm: (x) => normalized(x),
};

function kernel({ operator, gradient }, task) {
  const [x, y] = task.inputs.map(tensorOf);
  const apply = KERNELS[operator];
  const pulledBack = tf.valueAndGrad((x) => apply(x, y));
  const run = () => {
    if (!gradient) return [apply(x, y)];
    const { value, grad } = pulledBack(x, y);
    return [value, grad];
  };
  return {
    step: () => tf.tidy(() => void run()),
    values: () => tf.tidy(() => run().flatMap((result) => [...result.dataSync().slice(0, 6)])),
  };
}

/** Prepares a workload. */
export function prepare(task) {
  const { spec } = task;
  switch (spec.kind) {
    case "mlp":
      return training(spec, mlp(spec, task));
    case "cnn":
      return training(spec, cnn(spec, task));
    case "gpt":
      return training(spec, gpt(spec, task));
    case "adds":
      return adds(spec, task);
    case "kernel":
      return kernel(spec, task);
  }
}
