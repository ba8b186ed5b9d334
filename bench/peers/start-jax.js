/** What `train-mlp.js` does, on jax-js's wasm backend: for the `startup` suite. */
import { defaultDevice, init, nn, numpy as np, valueAndGrad } from "@jax-js/jax";

await init("wasm");
defaultDevice("wasm");
const sizes = [10, 32, 32, 1];
const parameters = sizes.slice(1).flatMap((outputs, i) => {
  const bound = 1 / Math.sqrt(sizes[i]);
  const uniform = (length) => np.array(Float32Array.from({ length }, () => bound * (2 * Math.random() - 1)));
  return [np.reshape(uniform(sizes[i] * outputs), [sizes[i], outputs]), uniform(outputs)];
});
const x = np.array(
  Float32Array.from({ length: 160 }, (_, i) => (i % 7) / 7),
  { shape: [16, 10] },
);
const y = np.array(
  Float32Array.from({ length: 16 }, (_, i) => i / 16),
  { shape: [16, 1] },
);
const loss = (parameters) => {
  let h = x;
  for (let i = 0; i < parameters.length; i += 2) {
    h = np.matmul(i > 0 ? nn.relu(h) : h, parameters[i]).add(parameters[i + 1]);
  }
  return np.square(h.sub(y)).mean();
};
const [value, gradients] = valueAndGrad(loss)(parameters.map((parameter) => parameter.ref));
parameters.map((parameter, i) => parameter.sub(gradients[i].mul(0.05)).dataSync());
console.log(value.dataSync()[0]);
