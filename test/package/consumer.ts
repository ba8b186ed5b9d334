/** A user's program, checked and run against the package as it is installed: see package.test.ts. */
import { compile, crossEntropy, grad, init, nn, noGrad, optim, type Tensor, tensor } from "lanegrad";
import { batches, digits } from "lanegrad/data";
import { decodeSafetensors, encodeSafetensors } from "lanegrad/io";
import { Linear } from "lanegrad/nn";
import { SGD } from "lanegrad/optim";

await init();

const model = new nn.Sequential(new Linear(784, 32), new nn.ReLU(), new nn.Linear(32, 10));
const adam = new optim.AdamW(model.parameters(), { lr: 1e-3 });
const step = compile((images: Tensor, labels: Tensor) => {
  const loss = crossEntropy(model.forward(images.flatten(1)), labels);
  adam.zeroGrad();
  loss.backward();
  adam.step();
  return loss;
});

const dataset = digits({ count: 640, seed: 1 });
const losses: number[] = [];
for (const { images, labels } of batches(dataset, { batch: 64, seed: 0 })) losses.push(step(images, labels).item());
if (!((losses.at(-1) as number) < (losses[0] as number))) throw new Error(`the loss does not fall: ${losses}`);

const saved = decodeSafetensors(encodeSafetensors(model.stateDict())).tensors;
model.loadStateDict(saved);
noGrad(() => new SGD(model.parameters(), { lr: 0.1 }).zeroGrad());
const cube: (x: Tensor) => Tensor = grad((x: Tensor) => x.pow(3).sum());
console.log(`${step.memory().arenaBytes} ${String(cube(tensor([1, 2])))}`);

// @ts-expect-error: shapes are numbers
() => tensor([1]).reshape("2");
// @ts-expect-error: a compiled function takes what its function takes
() => step(model);
// @ts-expect-error: a loss has no such option
() => crossEntropy(tensor([1]), tensor([1]), { smoothing: 1 });
