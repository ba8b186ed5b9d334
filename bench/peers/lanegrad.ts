/** The workloads on lanegrad: what the other systems are compared with. */
import {
  add,
  type Build,
  compile,
  conv2d,
  crossEntropy,
  embedding,
  exp,
  flatten,
  gelu,
  init,
  layerNorm,
  linear,
  maxPool2d,
  mseLoss,
  mul,
  noGrad,
  optim,
  relu,
  reshape,
  scaledDotProductAttention,
  sigmoid,
  softmax,
  sum,
  type Tensor,
  tanh,
  tensor,
  vjp,
} from "../../src/index.js";
import type { Runner } from "./worker.js";
import {
  type AddsSpec,
  type GptSpec,
  type KernelSpec,
  type Numbers,
  type OptimizerSpec,
  type Task,
  valuesOf,
} from "./workloads.js";

/** Loads the kernels of one build. */
export async function start(build: string): Promise<void> {
  await init({ build: build as Build, wasm: new URL("../../build/wasm/", import.meta.url) });
}

function tensorOf(numbers: Numbers, requiresGrad = false): Tensor {
  return tensor(valuesOf(numbers), { shape: numbers.shape, requiresGrad });
}

function optimizerOf(spec: OptimizerSpec, parameters: readonly Tensor[]): Pick<optim.SGD, "step" | "zeroGrad"> {
  if (spec.kind === "sgd") return new optim.SGD(parameters, { lr: spec.lr });
  const { lr, betas, weightDecay } = spec;
  return weightDecay === 0
    ? new optim.Adam(parameters, { lr, betas })
    : new optim.AdamW(parameters, { lr, betas, weightDecay });
}

type Loss = (parameters: readonly Tensor[], x: Tensor, y: Tensor) => Tensor;

function mlp(loss: "mse" | "crossEntropy"): Loss {
  return (parameters, x, y) => {
    let h = x;
    for (let i = 0; i < parameters.length; i += 2) {
      if (i > 0) h = relu(h);
      h = linear(h, parameters[i] as Tensor, parameters[i + 1] as Tensor);
    }
    return loss === "mse" ? mseLoss(h, y) : crossEntropy(h, y);
  };
}

function cnn(parameters: readonly Tensor[], x: Tensor, y: Tensor): Tensor {
  const [w1, b1, w2, b2, w3, b3] = parameters as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
  const layer = (h: Tensor, weight: Tensor, bias: Tensor): Tensor =>
    maxPool2d(relu(conv2d(h, weight, bias, { padding: 1 })), 2);
  return crossEntropy(linear(flatten(layer(layer(x, w1, b1), w2, b2), 1), w3, b3), y);
}

function gpt({ width, heads, context, batch, vocabulary, layers }: GptSpec): Loss {
  return (parameters, tokens, targets) => {
    let at = 0;
    const next = (): Tensor => parameters[at++] as Tensor;
    const norm = (x: Tensor): Tensor => layerNorm(x, [width], next(), next());
    const dense = (x: Tensor): Tensor => linear(x, next(), next());
    const [table, positions] = [next(), next()];
    let x = embedding(tokens, table).add(positions);
    for (let layer = 0; layer < layers; layer++) {
      const packed = reshape(dense(norm(x)), [batch, context, 3, heads, width / heads]).permute([2, 0, 3, 1, 4]);
      const [q, k, v] = packed.unbind(0) as [Tensor, Tensor, Tensor];
      const mixed = scaledDotProductAttention(q, k, v, { isCausal: true }).transpose(1, 2);
      x = x.add(dense(reshape(mixed, [batch, context, width])));
      x = x.add(dense(gelu(dense(norm(x)), { approximate: "tanh" })));
    }
    const logits = linear(norm(x), table);
    return crossEntropy(reshape(logits, [batch * context, vocabulary]), reshape(targets, [batch * context]));
  };
}

function training(task: Task, optimizer: OptimizerSpec, loss: Loss): Runner {
  const parameters = task.parameters.map((numbers) => tensorOf(numbers, true));
  const [x, y] = task.inputs.map((numbers) => tensorOf(numbers)) as [Tensor, Tensor];
  const updates = optimizerOf(optimizer, parameters);
  const step = compile((x: Tensor, y: Tensor) => {
    const value = loss(parameters, x, y);
    value.backward();
    updates.step();
    updates.zeroGrad();
    return value;
  });
  return { step: () => step(x, y).item() };
}

/** Eagerly: a graph is built in every step, and its plan found by its structure. */
function adds({ count, gradient }: AddsSpec, task: Task): Runner {
  const start = tensorOf(task.parameters[0] as Numbers, gradient);
  const other = tensorOf(task.inputs[0] as Numbers);
  return {
    step: () => {
      start.grad = null;
      let y = start;
      for (let i = 0; i < count; i++) y = add(y, other);
      if (!gradient) return y.data()[0] as number;
      const total = sum(y);
      total.backward();
      return ((start.grad as Tensor | null)?.data()[0] as number) + total.item();
    },
  };
}

const KERNELS: Readonly<Record<KernelSpec["operator"], (x: Tensor, y: Tensor) => Tensor>> = {
  mulAdd: (x, y) => add(mul(x, y), x),
  exp,
  tanh,
  gelu: (x) => gelu(x, { approximate: "tanh" }),
  sigmoid,
  sum: (x) => sum(x),
  softmax: (x) => softmax(x, -1),
  layerNorm: (x) => layerNorm(x, [x.shape.at(-1) as number]),
};

/** The results stay in the arena, as tensors' new values, like the other systems' results stay in theirs. */
function kernel({ operator, gradient }: KernelSpec, task: Task): Runner {
  const [x, y] = task.inputs.map((numbers) => tensorOf(numbers)) as [Tensor, Tensor];
  const results = (): Tensor[] => {
    if (!gradient) return [KERNELS[operator](x, y)];
    const [value, pull] = vjp((x: Tensor) => KERNELS[operator](x, y), x);
    return [value, ...pull(y)];
  };
  const kept = noGrad(() => results().map((result) => result.mul(0)));
  const run = compile(() => {
    results().forEach((result, i) => {
      kept[i]?.copy_(result);
    });
  });
  return { step: run, values: () => kept.flatMap((result) => [...result.data().slice(0, 6)]) };
}

/** Prepares a workload. */
export function prepare(task: Task): Runner {
  const { spec } = task;
  switch (spec.kind) {
    case "mlp":
      return training(task, spec.optimizer, mlp(spec.loss));
    case "gpt":
      return training(task, spec.optimizer, gpt(spec));
    case "cnn":
      return training(task, spec.optimizer, cnn);
    case "adds":
      return adds(spec, task);
    case "kernel":
      return kernel(spec, task);
  }
}
