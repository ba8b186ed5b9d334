/** The smallest program that trains: what `startup` runs and `size` bundles. It ends with its first gradient. */
import { init, mseLoss, tensor } from "lanegrad";
import { Linear, ReLU, Sequential } from "lanegrad/nn";
import { SGD } from "lanegrad/optim";

await init();
const model = new Sequential(new Linear(10, 32), new ReLU(), new Linear(32, 32), new ReLU(), new Linear(32, 1));
const optimizer = new SGD(model.parameters(), { lr: 0.05 });
const x = tensor(
  Float32Array.from({ length: 160 }, (_, i) => (i % 7) / 7),
  [16, 10],
);
const y = tensor(
  Float32Array.from({ length: 16 }, (_, i) => i / 16),
  [16, 1],
);
const loss = mseLoss(model.forward(x), y);
loss.backward();
optimizer.step();
optimizer.zeroGrad();
console.log(loss.item());
