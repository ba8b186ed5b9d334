/**
 * What `train-mlp.js` does, on TensorFlow.js's wasm backend: for the `startup` suite, which bundles it, since its packages as
 * they are installed take twice as long. The argument is the folder of the backend's Wasm.
 */
import "@tensorflow/tfjs-core/dist/register_all_gradients";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import * as tf from "@tensorflow/tfjs-core";

async function train() {
  setWasmPaths(process.argv[2]);
  await tf.setBackend("wasm");
  const sizes = [10, 32, 32, 1];
  const parameters = sizes.slice(1).flatMap((outputs, i) => {
    const bound = 1 / Math.sqrt(sizes[i]);
    const shapes = [[sizes[i], outputs], [outputs]];
    return shapes.map((shape) => tf.variable(tf.randomUniform(shape, -bound, bound)));
  });
  const optimizer = tf.train.sgd(0.05);
  const x = tf.tensor(
    Float32Array.from({ length: 160 }, (_, i) => (i % 7) / 7),
    [16, 10],
  );
  const y = tf.tensor(
    Float32Array.from({ length: 16 }, (_, i) => i / 16),
    [16, 1],
  );
  const loss = () => {
    let h = x;
    for (let i = 0; i < parameters.length; i += 2) {
      h = tf.add(tf.matMul(i > 0 ? tf.relu(h) : h, parameters[i]), parameters[i + 1]);
    }
    return tf.mean(tf.square(tf.sub(h, y)));
  };
  const { value, grads } = tf.variableGrads(loss);
  optimizer.applyGradients(grads);
  console.log(value.dataSync()[0]);
}
train();
