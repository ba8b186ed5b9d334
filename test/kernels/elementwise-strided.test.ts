/** Inputs of chains that do not lie in memory as the space runs: gathered block by block, or read where they lie. */
import { describe, expect, test } from "vitest";
import { InputKind, Layout } from "../../src/isa.js";
import { MicroOp } from "../../src/micro-op.js";
import { BUILDS, elementwise, instantiate, type Operation } from "./support.js";
import { offsets } from "./views.js";

const ramp = (length: number, start = 0): number[] => Array.from({ length }, (_, i) => start + i);

describe.each(BUILDS)("strided inputs of chains on the %s build", (build) => {
  const layouts: [string, number[], number[], number][] = [
    ["a row repeated", [3, 300], [0, 1], 0],
    ["a column repeated", [300, 3], [1, 0], 0],
    ["a transpose", [33, 37], [1, 33], 0],
    ["every third element", [700], [3], 0],
    ["a reversed vector", [1025], [-1], 1024],
    ["reversed rows", [9, 65], [-65, 1], 8 * 65],
    ["a reversed matrix", [17, 63], [-63, -1], 17 * 63 - 1],
    ["one element", [5, 7], [0, 0], 0],
    ["a permuted cube", [7, 11, 13], [1, 91, 7], 0],
    ["a cube repeated along its middle", [5, 6, 40], [40, 0, 1], 0],
    ["a window of four dimensions", [3, 4, 5, 20], [2000, 300, 40, 2], 7],
    ["a long row repeated", [3, 1300], [0, 1], 0],
    ["long rows of a wider matrix", [4, 700], [900, 1], 3],
    ["long rows, the last one first", [3, 1024], [-1024, 1], 2 * 1024],
    ["eight dimensions", [2, 3, 1, 2, 3, 2, 2, 5], [1, 2, 0, 6, -12, 36, 72, 144], 24],
  ];
  test.each(layouts)("%s is gathered from its strides", (_name, sizes, strides, offset) => {
    const machine = instantiate(build);
    const dims = sizes.map((size, k) => ({ size, stride: strides[k] as number }));
    const index = offsets(dims).map((at) => offset + at);
    const count = index.length;
    const source = machine.ints(ramp(Math.max(...index) + 1, 1000));
    const plain = machine.ints(ramp(count));
    const outputs = [machine.ints(count), machine.ints(count)] as const;
    const address = source.address + offset * Layout.ElementBytes;
    machine.run([
      elementwise({
        count,
        sizes,
        inputs: [
          { kind: InputKind.Strided, address, strides },
          { kind: InputKind.Contiguous, address: plain.address },
        ],
        outputs: [outputs[0].address, outputs[1].address],
        operations: [
          [MicroOp.AddI, 2, 0, 1],
          [MicroOp.Copy, 3, 0],
        ],
      }),
    ]);
    expect(Array.from(outputs[1].view)).toEqual(index.map((i) => 1000 + i));
    expect(Array.from(outputs[0].view)).toEqual(index.map((i, k) => 1000 + i + k));
  });

  test("as many strided inputs as there are registers are gathered side by side", () => {
    const machine = instantiate(build);
    const sizes = [19, 31];
    const count = 19 * 31;
    const operands = Layout.MaxRegisters - 1;
    const sources = Array.from({ length: operands }, (_, k) => machine.ints(ramp(count, k * 10000)));
    const out = machine.ints(count);
    const register = operands + 1;
    machine.run([
      elementwise({
        count,
        sizes,
        inputs: sources.map(({ address }) => ({ kind: InputKind.Strided, address, strides: [1, 19] })),
        outputs: [out.address],
        registers: 1,
        operations: [
          [MicroOp.Copy, register, 0],
          ...ramp(operands - 1, 1).map((k): Operation => [MicroOp.AddI, register, register, k]),
          [MicroOp.Copy, operands, register],
        ],
      }),
    ]);
    const base = ramp(operands).reduce((sum, k) => sum + k * 10000, 0);
    const across = offsets([
      { size: 19, stride: 1 },
      { size: 31, stride: 19 },
    ]);
    expect(Array.from(out.view)).toEqual(across.map((at) => base + operands * at));
  });
});
