/**
 * Convolutions of training steps, each in its three directions, as a fraction of what the arithmetic units and the memory
 * can do: the larger one says what binds. All count the operations of the definition, so Winograd's algorithm, which needs
 * fewer, may reach more than 100 %. A star marks the algorithm that is chosen.
 */
import { ConvMode, Opcode } from "../src/isa.js";
import {
  type ConvProblem,
  type ConvTarget,
  convSizes,
  fastestBlocks,
  gatherWorkspaceBytes,
  type WinogradTile,
  winogradBlocks,
} from "../src/ops/convolution-lowering.js";
import { availableBuilds, instruction, Kernels } from "./kernels.js";
import { type Candidate, interleave, type Measured, median, medianRatio } from "./measure.js";
import type { Report, Row } from "./report.js";

/** A layer with square images and odd square kernels; padding keeps the size at stride 1. */
interface Layer {
  readonly batch: number;
  readonly channels: number;
  readonly outputs: number;
  readonly size: number;
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
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
  return { batch, channels, outputs, size, kernel, stride: 1, dilation: 1, groups: 1, ...rest };
}

const LAYERS: readonly Layer[] = [
  layer(32, 1, 16, 28, 3),
  layer(16, 4, 8, 28, 3),
  layer(32, 16, 32, 14, 3),
  layer(8, 64, 64, 28, 3),
  layer(8, 64, 64, 28, 1),
  layer(8, 64, 128, 28, 3, { stride: 2 }),
  layer(8, 3, 32, 64, 7, { stride: 2 }),
  layer(4, 256, 256, 7, 3),
  layer(8, 64, 64, 28, 3, { groups: 64 }),
  layer(8, 64, 64, 14, 3, { groups: 64 }),
  layer(8, 64, 64, 28, 3, { groups: 64, stride: 2 }),
  layer(8, 64, 64, 28, 3, { groups: 64, dilation: 2 }),
  layer(8, 64, 64, 28, 5, { groups: 64 }),
  layer(8, 64, 64, 28, 5, { groups: 64, stride: 2 }),
];

interface Direction {
  readonly name: string;
  readonly target: ConvTarget;
  readonly winograd: ConvMode;
  /** The mode that transforms the weight, if one does. */
  readonly weight: ConvMode | null;
}

const DIRECTIONS: readonly Direction[] = [
  {
    name: "output",
    target: ConvMode.Output,
    winograd: ConvMode.WinogradOutput,
    weight: ConvMode.WinogradOutputWeight,
  },
  { name: "image", target: ConvMode.Image, winograd: ConvMode.WinogradImage, weight: ConvMode.WinogradImageWeight },
  { name: "weight", target: ConvMode.Weight, winograd: ConvMode.WinogradWeight, weight: null },
];
const TILES: readonly WinogradTile[] = [2, 4];
const MEMORY_BYTES = 64 * 1024 * 1024;
/** The stream reads two floats and writes one. */
const BYTES_OF_STREAMED = 12;

function outputSize({ size, stride }: Layer): number {
  return Math.floor((size - 1) / stride) + 1;
}

function flopsOf(l: Layer): number {
  return (2 * l.batch * l.outputs * outputSize(l) ** 2 * l.channels * l.kernel ** 2) / l.groups;
}

/** Of all three tensors, each counted once. */
function bytesOf(l: Layer): number {
  const image = l.batch * l.channels * l.size ** 2;
  const output = l.batch * l.outputs * outputSize(l) ** 2;
  const weight = (l.outputs * l.channels * l.kernel ** 2) / l.groups;
  return Float32Array.BYTES_PER_ELEMENT * (image + output + weight);
}

function problemOf(l: Layer): ConvProblem {
  const output = outputSize(l);
  const padding = ((l.kernel - 1) >> 1) * l.dilation;
  return {
    batch: l.batch,
    groups: l.groups,
    imageChannels: l.channels / l.groups,
    outputChannels: l.outputs / l.groups,
    image: [1, l.size, l.size],
    kernel: [1, l.kernel, l.kernel],
    output: [1, output, output],
    stride: [1, l.stride, l.stride],
    padding: [0, padding, padding],
    dilation: [1, l.dilation, l.dilation],
  };
}

/** The algorithms that can compute one direction of a layer, on the same operands; the one that is chosen has a star. */
function candidates(kernels: Kernels, l: Layer, { name, target, winograd, weight }: Direction): Candidate[] {
  const p = problemOf(l);
  const sizes = convSizes(p);
  const [x, y] = [l.channels * l.size ** 2, l.outputs * outputSize(l) ** 2].map((n) => kernels.floats(l.batch * n)) as [
    number,
    number,
  ];
  const w = kernels.floats((l.outputs * l.channels * l.kernel ** 2) / l.groups);
  const bias = target === ConvMode.Weight ? 0 : kernels.floats(Math.max(l.outputs, l.channels));
  const convolution = (mode: ConvMode, factor: number, bytes: number, lines: number, tile: number): number[] =>
    instruction(Opcode.Convolution, [
      ...[mode, x, factor, y, bias, kernels.allocate(bytes), bytes, ...sizes, lines, tile],
    ]);
  const chosen = fastestBlocks(p, target)?.tile;
  const gather = kernels.program([convolution(target, w, gatherWorkspaceBytes(p, target), 0, 0)]);
  const found = [{ name: `${name}${chosen === undefined ? " *" : ""}`, work: flopsOf(l), run: gather }];
  for (const tile of TILES) {
    const blocks = winogradBlocks(p, target, tile);
    if (blocks === null) continue;
    const transformed = kernels.allocate(4 * blocks.weight);
    const words = [...[weight ?? 0, 0, w, 0, 0, transformed, 0], ...sizes, 0, tile];
    const first = weight === null ? [] : [instruction(Opcode.Convolution, words)];
    const factor = weight === null ? w : transformed;
    const run = kernels.program([...first, convolution(winograd, factor, blocks.bytes, blocks.lines, tile)]);
    found.push({ name: `${name}, F(${tile}×${tile})${chosen === tile ? " *" : ""}`, work: flopsOf(l), run });
  }
  return found;
}

function row(build: string, l: Layer, measured: Measured, arithmetic: readonly Measured[], streaming: Measured): Row {
  const rate = median(measured.rates);
  const kernel = `${l.kernel}×${l.kernel}`;
  return {
    build,
    "batch × image": `${l.batch}×${l.channels}×${l.size}×${l.size}`,
    weight: `${l.outputs}×${l.channels / l.groups}×${kernel}`,
    "stride, dilation": `${l.stride}, ${l.dilation}`,
    computes: measured.name,
    "GFLOP/s": rate / 1e9,
    "% of arithmetic": 100 * medianRatio(measured, arithmetic),
    "% of memory": (100 * bytesOf(l) * medianRatio(measured, [streaming])) / flopsOf(l),
    µs: (1e6 * flopsOf(l)) / rate,
  };
}

/** Measures every layer on every build that this engine accepts. */
export function conv(): Report {
  const rows: Row[] = [];
  for (const build of availableBuilds()) {
    for (const l of LAYERS) {
      const kernels = new Kernels(build, MEMORY_BYTES);
      const streaming = kernels.streamingCeiling(Math.ceil(bytesOf(l) / BYTES_OF_STREAMED / 8) * 8);
      const products = DIRECTIONS.flatMap((direction) => candidates(kernels, l, direction));
      const [stream, ...all] = interleave([streaming, ...products, ...kernels.arithmeticCeilings()]);
      const arithmetic = all.splice(products.length);
      for (const measured of all) rows.push(row(build, l, measured, arithmetic, stream as Measured));
    }
  }
  return { title: "convolutions, one thread", rows };
}
