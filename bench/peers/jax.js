/**
 * The workloads on jax-js's wasm backend: each step is one `jit`, gradients and optimizer included. Operators consume
 * their arguments, so that every value that is used again is passed as `.ref`. Where a compiled gradient is missing,
 * embeddings and losses are products with one-hot rows.
 */
import { defaultDevice, init, jit, lax, nn, numpy as np, valueAndGrad, vjp } from "@jax-js/jax";
import { valuesOf } from "./workloads.js";

/** Starts the backend. */
export async function start() {
  await init("wasm");
  defaultDevice("wasm");
}

function arrayOf(numbers) {
  return np.array(valuesOf(numbers), { shape: numbers.shape, dtype: "below" in numbers ? np.int32 : np.float32 });
}

function oneHotOf(numbers, classes) {
  const labels = valuesOf(numbers);
  const rows = new Float32Array(labels.length * classes);
  labels.forEach((label, i) => {
    rows[i * classes + label] = 1;
  });
  return np.array(rows, { shape: [labels.length, classes] });
}

function crossEntropy(logits, oneHot) {
  return np.sum(nn.logSoftmax(logits, -1).mul(oneHot), -1).mean().neg();
}

/** x · weightᵀ + bias */
function dense(x, weight, bias) {
  return np.matmul(x, np.matrixTranspose(weight)).add(bias);
}

function mlp({ loss, sizes }, task) {
  const [x, y] = task.inputs;
  return {
    inputs: [arrayOf(x), loss === "mse" ? arrayOf(y) : oneHotOf(y, sizes.at(-1))],
    loss: (parameters, x, target) => {
      let h = x;
      for (let i = 0; i < parameters.length; i += 2) {
        if (i > 0) h = nn.relu(h);
        h = dense(h, parameters[i], parameters[i + 1]);
      }
      return loss === "mse" ? np.square(h.sub(target)).mean() : crossEntropy(h, target);
    },
  };
}

function cnn({ classes, batch }, task) {
  const [x, y] = task.inputs;
  const layer = (h, filter, bias) => {
    const sum = lax.convGeneralDilated(h, filter, [1, 1], "SAME").add(np.reshape(bias, [-1, 1, 1]));
    const [n, channels, height, width] = sum.shape;
    return np.max(np.reshape(nn.relu(sum), [n, channels, height / 2, 2, width / 2, 2]), [3, 5]);
  };
  return {
    inputs: [arrayOf(x), oneHotOf(y, classes)],
    loss: ([w1, b1, w2, b2, w3, b3], x, target) =>
      crossEntropy(dense(np.reshape(layer(layer(x, w1, b1), w2, b2), [batch, -1]), w3, b3), target),
  };
}

function gelu(x) {
  return nn.gelu(x, { approximate: true });
}

function normalized(x) {
  const centered = x.ref.sub(np.mean(x, -1, { keepdims: true }));
  const variance = np.mean(np.square(centered.ref), -1, { keepdims: true });
  return centered.mul(np.reciprocal(np.sqrt(variance.add(1e-5))));
}

function gpt({ width, heads, context, batch, vocabulary, layers }, task) {
  const size = width / heads;
  const above = Float32Array.from({ length: context ** 2 }, (_, i) =>
    i % context > Math.floor(i / context) ? -1e9 : 0,
  );
  const mask = np.array(above, { shape: [context, context] });
  return {
    inputs: task.inputs.map((numbers) => oneHotOf(numbers, vocabulary)),
    loss: (parameters, tokens, targets) => {
      let at = 0;
      const next = () => parameters[at++];
      const norm = (x) => normalized(x).mul(next()).add(next());
      const affine = (x) => dense(x, next(), next());
      const table = next();
      const embedded = np.matmul(tokens, table.ref);
      let x = np.reshape(np.reshape(embedded, [batch, context, width]).add(next()), [batch * context, width]);
      const attend = (h) => {
        const packed = np.transpose(np.reshape(affine(h), [batch, context, 3, heads, size]), [2, 0, 3, 1, 4]);
        const [q, k, v] = [packed.ref.slice(0), packed.ref.slice(1), packed.slice(2)];
        const scores = np
          .matmul(q, np.matrixTranspose(k))
          .mul(1 / Math.sqrt(size))
          .add(mask.ref);
        const mixed = np.matmul(nn.softmax(scores, -1), v);
        return affine(np.reshape(np.transpose(mixed, [0, 2, 1, 3]), [batch * context, width]));
      };
      for (let layer = 0; layer < layers; layer++) {
        x = x.ref.add(attend(norm(x)));
        x = x.ref.add(affine(gelu(affine(norm(x)))));
      }
      return crossEntropy(np.matmul(norm(x), np.matrixTranspose(table)), targets);
    },
  };
}

function training({ optimizer }, { inputs, loss }, task) {
  const { kind, lr, betas = [0, 0], weightDecay = 0 } = optimizer;
  const [beta1, beta2] = betas;
  const gradients = valueAndGrad(loss);
  let parameters = task.parameters.map(arrayOf);
  if (kind === "sgd") {
    const update = jit((parameters, x, y) => {
      const [value, gradient] = gradients(
        parameters.map((p) => p.ref),
        x,
        y,
      );
      return [value, parameters.map((p, i) => p.sub(gradient[i].mul(lr)))];
    });
    return {
      step: () => {
        const [value, updated] = update(parameters, ...inputs.map((x) => x.ref));
        parameters = updated;
        return value.item();
      },
    };
  }
  let moments = [1, 2].map(() => task.parameters.map(({ shape }) => np.zeros(shape)));
  const update = jit((parameters, means, squares, rate, correction, x, y) => {
    const [value, gradient] = gradients(
      parameters.map((p) => p.ref),
      x,
      y,
    );
    const m = means.map((old, i) => old.mul(beta1).add(gradient[i].ref.mul(1 - beta1)));
    const v = squares.map((old, i) => old.mul(beta2).add(np.square(gradient[i]).mul(1 - beta2)));
    const updated = parameters.map((p, i) => {
      const denominator = np.sqrt(v[i].ref).mul(correction.ref).add(1e-8);
      return p.mul(1 - lr * weightDecay).sub(m[i].ref.div(denominator).mul(rate.ref));
    });
    return [value, updated, m, v];
  });
  let steps = 0;
  return {
    step: () => {
      steps++;
      const rate = np.array(lr / (1 - beta1 ** steps));
      const correction = np.array(1 / Math.sqrt(1 - beta2 ** steps));
      const [value, updated, m, v] = update(parameters, ...moments, rate, correction, ...inputs.map((x) => x.ref));
      parameters = updated;
      moments = [m, v];
      return value.item();
    },
  };
}

function adds({ count, gradient }, task) {
  const first = arrayOf(task.parameters[0]);
  const other = arrayOf(task.inputs[0]);
  const chain = (x) => {
    let y = x;
    for (let i = 0; i < count; i++) y = y.add(other.ref);
    return y;
  };
  const withGradient = valueAndGrad((x) => chain(x).sum());
  return {
    step: () => {
      if (!gradient) return chain(first.ref).dataSync()[0];
      const [value, grad] = withGradient(first.ref);
      return grad.dataSync()[0] + value.item();
    },
  };
}

const KERNELS = {
  mulAdd: (x, y) => x.ref.mul(y).add(x),
  exp: (x) => np.exp(x),
  tanh: (x) => np.tanh(x),
  gelu,
  sigmoid: (x) => nn.sigmoid(x),
  sum: (x) => np.sum(x),
  softmax: (x) => nn.softmax(x, -1),
  layerNorm: normalized,
};

function pulledBack(operator) {
  return (x, y) => {
    const [value, pull] = vjp(KERNELS[operator], [x]);
    const [gradient] = pull(y);
    pull.dispose();
    return [value, gradient];
  };
}

function kernel({ operator, gradient }, task) {
  const [x, y] = task.inputs.map(arrayOf);
  const two = gradient || operator === "mulAdd";
  const apply = jit(gradient ? pulledBack(operator) : KERNELS[operator]);
  const run = () => [two ? apply(x.ref, y.ref) : apply(x.ref)].flat();
  return {
    // Nothing is computed before something waits for it.
    step: async () => {
      for (const result of run()) (await result.blockUntilReady()).dispose();
    },
    values: () => run().flatMap((result) => [...result.dataSync().slice(0, 6)]),
  };
}

/** Prepares a workload. */
export function prepare(task) {
  const { spec } = task;
  switch (spec.kind) {
    case "mlp":
      return training(spec, mlp(spec, task), task);
    case "cnn":
      return training(spec, cnn(spec, task), task);
    case "gpt":
      return training(spec, gpt(spec, task), task);
    case "adds":
      return adds(spec, task);
    case "kernel":
      return kernel(spec, task);
  }
}
