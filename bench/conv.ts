/** Convolutions of training steps, each in its three directions, as a fraction of what the arithmetic units can do. */
import { convWeightWorkspaceBytes, convWorkspaceBytes, readsBefore, readsBehind } from "../src/conv-workspace.js";
import { ConvMode, Opcode } from "../src/isa.js";
import { availableBuilds, instruction, Kernels } from "./kernels.js";
import { type Candidate, interleave, type Measured, median, medianRatio } from "./measure.js";
import type { Report, Row } from "./report.js";

/** A layer with square images and kernels; padding keeps the size at stride 1. */
interface Layer {
  readonly batch: number;
  readonly channels: number;
  readonly outputs: number;
  readonly size: number;
  readonly kernel: number;
  readonly stride: number;
  readonly groups: number;
}

function layer(
  batch: number,
  channels: number,
  outputs: number,
  size: number,
  kernel: number,
  rest: Partial<Layer> = {},
) {
  return { batch, channels, outputs, size, kernel, stride: 1, groups: 1, ...rest };
}

const LAYERS: readonly Layer[] = [
  layer(8, 64, 64, 28, 3, { groups: 64 }),
  layer(8, 64, 64, 14, 3, { groups: 64 }),
  layer(32, 1, 16, 28, 3),
  layer(32, 16, 32, 14, 3),
  layer(8, 64, 64, 28, 3),
  layer(8, 64, 64, 28, 1),
  layer(8, 64, 128, 28, 3, { stride: 2 }),
  layer(8, 3, 32, 64, 7, { stride: 2 }),
  layer(4, 256, 256, 7, 3),
  layer(8, 64, 64, 28, 3, { groups: 64 }),
];

const DIRECTIONS = { output: ConvMode.Output, image: ConvMode.Image, weight: ConvMode.Weight };
const MEMORY_BYTES = 64 * 1024 * 1024;

function outputSize({ size, stride }: Layer): number {
  return Math.floor((size - 1) / stride) + 1;
}

function flopsOf(l: Layer): number {
  return (2 * l.batch * l.outputs * outputSize(l) ** 2 * l.channels * l.kernel ** 2) / l.groups;
}

function candidate(kernels: Kernels, l: Layer, name: keyof typeof DIRECTIONS): Candidate {
  const mode = DIRECTIONS[name];
  const output = outputSize(l);
  const [c, m] = [l.channels / l.groups, l.outputs / l.groups];
  const padding = (l.kernel - 1) >> 1;
  const image = mode === ConvMode.Image;
  const source = image ? output : l.size;
  const around =
    readsBefore(image, l.kernel, l.stride, padding, 1) +
    readsBehind(image, l.size, l.kernel, output, l.stride, padding, 1);
  const padded = around > 0 ? (source + around) ** 2 : 0;
  const taps = l.kernel ** 2;
  const bytes =
    mode === ConvMode.Weight
      ? convWeightWorkspaceBytes(m, c, taps, output ** 2, padded)
      : convWorkspaceBytes(
          image ? c : m,
          image ? m : c,
          taps,
          (image ? l.size : output) ** 2,
          padded,
          image,
          l.stride > 1,
        );
  const [x, y] = [l.channels * l.size ** 2, l.outputs * output ** 2].map((n) => kernels.floats(l.batch * n));
  const w = kernels.floats(l.outputs * c * taps);
  const bias = mode === ConvMode.Weight ? 0 : kernels.floats(Math.max(l.outputs, l.channels));
  const run = kernels.program([
    instruction(Opcode.Convolution, [
      ...[mode, x as number, w, y as number, bias, kernels.allocate(bytes), bytes, l.batch, l.groups, c, m],
      ...[1, l.size, l.size, 1, l.kernel, l.kernel, 1, output, output],
      ...[1, l.stride, l.stride, 0, padding, padding, 1, 1, 1],
    ]),
  ]);
  return { name, work: flopsOf(l), run };
}

function row(build: string, l: Layer, measured: Measured, ceilings: readonly Measured[]): Row {
  const rate = median(measured.rates);
  return {
    build,
    "batch × image": `${l.batch}×${l.channels}×${l.size}×${l.size}`,
    weight: `${l.outputs}×${l.channels / l.groups}×${l.kernel}×${l.kernel}${l.stride > 1 ? ` / ${l.stride}` : ""}`,
    computes: measured.name,
    "GFLOP/s": rate / 1e9,
    "% of ceiling": 100 * medianRatio(measured, ceilings),
    µs: (1e6 * flopsOf(l)) / rate,
  };
}

/** Measures every layer on every build that this engine accepts. */
export function conv(): Report {
  const rows: Row[] = [];
  for (const build of availableBuilds()) {
    for (const l of LAYERS) {
      const kernels = new Kernels(build, MEMORY_BYTES);
      const ceilings = kernels.arithmeticCeilings();
      const names = Object.keys(DIRECTIONS) as (keyof typeof DIRECTIONS)[];
      const all = interleave([...ceilings, ...names.map((name) => candidate(kernels, l, name))]);
      for (const measured of all.slice(ceilings.length))
        rows.push(row(build, l, measured, all.slice(0, ceilings.length)));
    }
  }
  return { title: "convolutions, one thread", rows };
}
