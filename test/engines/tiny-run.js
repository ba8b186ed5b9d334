/**
 * A training run that any engine can do: 200 steps of the 10-32-32-1 network with dropout, GELU, Adam, clipping and a
 * cosine schedule, so that every kind of arithmetic takes part. The same file runs in Node and in a page.
 */

/** FNV-1a over the bits of floats, as eight hexadecimal digits. */
function hashBits(arrays) {
  let hash = 0x811c9dc5;
  for (const array of arrays) {
    for (const word of new Uint32Array(array.buffer, array.byteOffset, array.length)) {
      hash = Math.imul(hash ^ word, 0x01000193) >>> 0;
    }
  }
  return hash.toString(16).padStart(8, "0");
}

/** @param lanegrad the package, initialized */
export function train({ compile, crossEntropy, manualSeed, mseLoss, nn, optim, randn }) {
  manualSeed(7);
  const model = new nn.Sequential(
    new nn.Linear(10, 32),
    new nn.ReLU(),
    new nn.Dropout(0.1),
    new nn.Linear(32, 32),
    new nn.GELU(),
    new nn.Linear(32, 1),
  );
  const adam = new optim.AdamW(model.parameters(), { lr: 1e-2, weightDecay: 0.01 });
  const schedule = new optim.CosineAnnealingLR(adam, 200);
  const step = compile((x, y) => {
    const out = model.forward(x);
    const loss = mseLoss(out, y).add(crossEntropy(out.reshape([2, 8]), y.reshape([2, 8]).softmax(1)).mul(0.1));
    adam.zeroGrad();
    loss.backward();
    nn.utils.clipGradNorm_(model.parameters(), 1);
    adam.step();
    return loss;
  });
  const losses = new Float32Array(200);
  for (let i = 0; i < losses.length; i++) {
    const x = randn([16, 10]);
    losses[i] = step(x, x.sum(1, true).sin()).item();
    schedule.step();
  }
  return {
    losses: hashBits([losses]),
    weights: hashBits(model.parameters().map((p) => p.data())),
    first: losses[0],
    last: losses[199],
  };
}
