/** How convolutions become instructions: which algorithm computes a product of image, weight and output, and with what. */

import type { KernelContext, Operand } from "../graph/primitive.js";
import { type Shape, sizeOf } from "../graph/shape.js";
import { ConvMode, Flag, Opcode } from "../isa.js";
import { convWeightWorkspaceBytes, convWorkspaceBytes, readsBefore, readsBehind } from "../workspace/conv.js";
import {
  Winograd,
  winogradFrequencies,
  winogradLines,
  winogradWeight,
  winogradWeightWorkspaceBytes,
  winogradWorkspaceBytes,
} from "../workspace/winograd.js";

/** How image, weight and output meet: output o and tap t at `o · stride − padding + t · dilation` of the image. */
export interface ConvGeometry {
  /** One number for each spatial dimension. */
  readonly stride: Shape;
  /** Before the image; behind it there is as much as the output needs. */
  readonly padding: Shape;
  readonly dilation: Shape;
  /** Channels of the image are dealt to so many groups, and those of the output. */
  readonly groups: number;
}

/** What a product of the three needs to know. */
export interface ConvAttrs extends ConvGeometry {
  /** Spatial size of the computed tensor. */
  readonly size: Shape;
}

/** Shapes of the three tensors: `[n, g·c, ...image]`, `[g·m, c, ...kernel]` and `[n, g·m, ...output]`. */
export interface ConvShapes {
  readonly image: Shape;
  readonly weight: Shape;
  readonly output: Shape;
}

/** Sizes of a problem, spatial ones with sizes 1 in front to make them three; channels are those of one group. */
export interface ConvProblem {
  readonly batch: number;
  readonly groups: number;
  readonly imageChannels: number;
  readonly outputChannels: number;
  readonly image: readonly number[];
  readonly kernel: readonly number[];
  readonly output: readonly number[];
  readonly stride: readonly number[];
  readonly padding: readonly number[];
  readonly dilation: readonly number[];
}

/** The sizes of a problem from shapes and attributes. */
export function convProblem({ image, weight, output }: ConvShapes, attrs: ConvGeometry): ConvProblem {
  const spatial = (list: Shape, fill: number): number[] => [...new Array(3 - list.length).fill(fill), ...list];
  return {
    batch: image[0] as number,
    groups: attrs.groups,
    imageChannels: weight[1] as number,
    outputChannels: (weight[0] as number) / attrs.groups,
    image: spatial(image.slice(2), 1),
    kernel: spatial(weight.slice(2), 1),
    output: spatial(output.slice(2), 1),
    stride: spatial(attrs.stride, 1),
    padding: spatial(attrs.padding, 0),
    dilation: spatial(attrs.dilation, 1),
  };
}

/** Which tensor is computed: not yet how. */
export type ConvTarget = ConvMode.Output | ConvMode.Image | ConvMode.Weight;

/** Channels of what is computed and of what it is computed from, and the planes of both, depth first. */
function directionOf(p: ConvProblem, target: ConvTarget) {
  return target === ConvMode.Image
    ? { rows: p.imageChannels, channels: p.outputChannels, source: p.output, plane: p.image }
    : { rows: p.outputChannels, channels: p.imageChannels, source: p.image, plane: p.output };
}

/** Bytes of workspace for each thread of an instruction that gathers windows. */
export function gatherWorkspaceBytes(p: ConvProblem, target: ConvTarget): number {
  const computesImage = target === ConvMode.Image;
  const { rows, channels, source, plane } = directionOf(p, target);
  const padded = source.map((size, d) => {
    const [image, kernel, output, stride, padding, dilation] = [
      ...[p.image, p.kernel, p.output, p.stride, p.padding, p.dilation],
    ].map((list) => list[d] as number) as [number, number, number, number, number, number];
    const before = readsBefore(computesImage, kernel, stride, padding, dilation);
    return size + before + readsBehind(computesImage, image, kernel, output, stride, padding, dilation);
  });
  const paddedPlane = padded.some((n, d) => n > (source[d] as number)) ? sizeOf(padded) : 0;
  const [taps, positions] = [sizeOf(p.kernel), sizeOf(plane)];
  if (target === ConvMode.Weight) return convWeightWorkspaceBytes(rows, channels, taps, positions, paddedPlane);
  const stride = computesImage ? p.stride : p.stride.map(() => 1);
  const phase = sizeOf(plane.map((n, d) => Math.ceil(n / (stride[d] as number))));
  return convWorkspaceBytes(rows, channels, taps, positions, paddedPlane, computesImage, sizeOf(stride), phase);
}

/** Elements of the side of a tile of Winograd's algorithm. */
export type WinogradTile = 2 | 4;

/** How Winograd's algorithm cuts a problem up. */
export interface WinogradBlocks {
  readonly tile: WinogradTile;
  /** Tile lines of a block. */
  readonly lines: number;
  /** Bytes of workspace for each thread. */
  readonly bytes: number;
  /** Floats of the transformed weight; 0 where the weight is computed. */
  readonly weight: number;
}

/** The blocks of a problem that Winograd's algorithm can compute; null if it cannot (see `assembly/winograd.ts`). */
export function winogradBlocks(p: ConvProblem, target: ConvTarget, tile: WinogradTile): WinogradBlocks | null {
  const is = (list: readonly number[], ...wanted: readonly number[]): boolean => wanted.every((x, d) => list[d] === x);
  if (!is(p.kernel, 1, 3, 3) || !is(p.stride, 1, 1, 1) || !is(p.dilation, 1, 1, 1) || p.groups !== 1) return null;
  if (p.image[0] !== 1 || p.output[0] !== 1 || p.padding.some((n, d) => n < 0 || n > (d === 0 ? 0 : 2))) return null;
  const { rows, channels, source, plane } = directionOf(p, target);
  const [down, across] = plane.slice(1).map((n) => Math.ceil(n / tile)) as [number, number];
  const width = source[2] as number;
  if (across < Winograd.Across || width < 4) return null;
  if (target === ConvMode.Weight) {
    const lines = winogradLines(tile, channels + rows, p.batch, down, across);
    return { tile, lines, bytes: winogradWeightWorkspaceBytes(tile, rows, channels, lines, across, width), weight: 0 };
  }
  const lines = winogradLines(tile, channels + Math.min(rows, Winograd.Rows), p.batch, down, across);
  const bytes = winogradWorkspaceBytes(tile, rows, channels, lines, across, width);
  return { tile, lines, bytes, weight: winogradWeight(tile, rows, channels) };
}

/** Fewer channels than this, and transforming tiles takes longer than it saves. */
const WINOGRAD_CHANNELS = 3;

/** Products by tiles of 4×4 for each by 2×2, at most: where there are more, too many are of what lies beyond the plane. */
const WINOGRAD_FOUR = 0.8;

/** The blocks of the algorithm that was measured to be fastest (`npm run bench -- conv`); null if that gathers windows. */
export function fastestBlocks(p: ConvProblem, target: ConvTarget): WinogradBlocks | null {
  if (Math.min(p.imageChannels, p.outputChannels) < WINOGRAD_CHANNELS) return null;
  const { plane } = directionOf(p, target);
  const products = (tile: WinogradTile): number =>
    winogradFrequencies(tile) * sizeOf(plane.slice(1).map((n) => Math.ceil(n / tile)));
  const four = products(4) <= WINOGRAD_FOUR * products(2) ? winogradBlocks(p, target, 4) : null;
  return four ?? winogradBlocks(p, target, 2);
}

/** The three tensors in memory, and perhaps a bias of the computed one's channels. */
interface ConvOperands {
  readonly image: Operand;
  readonly weight: Operand;
  readonly output: Operand;
  readonly bias: Operand | null;
}

/** The words from `ConvField.Batch` to the last size. */
export function convSizes(p: ConvProblem): number[] {
  return [
    ...[p.batch, p.groups, p.imageChannels, p.outputChannels],
    ...[...p.image, ...p.kernel, ...p.output, ...p.stride, ...p.padding, ...p.dilation],
  ];
}

/** Appends the instructions that compute one of the three tensors from the other two. */
export function emitConvolution(
  context: KernelContext<ConvGeometry>,
  target: ConvTarget,
  { image, weight, output, bias }: ConvOperands,
): void {
  const p = convProblem({ image: image.shape, weight: weight.shape, output: output.shape }, context.attrs);
  const computed = target === ConvMode.Image ? image : target === ConvMode.Output ? output : weight;
  if (sizeOf(computed.shape) === 0) return;
  const sizes = convSizes(p);
  const blocks = fastestBlocks(p, target);
  const modes = blocks === null ? GATHERING : WINOGRAD;
  let factor = weight;
  if (blocks !== null && target !== ConvMode.Weight) {
    factor = context.workspace(4 * blocks.weight);
    const mode = target === ConvMode.Image ? ConvMode.WinogradImageWeight : ConvMode.WinogradOutputWeight;
    const words = [mode, 0, weight, 0, 0, factor, 0, ...sizes, 0, blocks.tile];
    context.emit(Opcode.Convolution, Flag.None, words, { reads: [weight], writes: [factor] });
  }
  const bytes = blocks?.bytes ?? gatherWorkspaceBytes(p, target);
  const workspace = context.workspace(bytes);
  const addresses = [image, factor, output, bias ?? 0, workspace];
  const words = [modes[target], ...addresses, bytes, ...sizes, blocks?.lines ?? 0, blocks?.tile ?? 0];
  const reads = [image, factor, output].filter((x) => x !== computed);
  context.emit(Opcode.Convolution, context.epilogue.chain ? Flag.Epilogue : Flag.None, words, {
    reads: bias === null ? reads : [...reads, bias],
    writes: [computed, workspace],
  });
}

/** The modes by what they compute. */
const GATHERING = {
  [ConvMode.Output]: ConvMode.Output,
  [ConvMode.Image]: ConvMode.Image,
  [ConvMode.Weight]: ConvMode.Weight,
};
const WINOGRAD = {
  [ConvMode.Output]: ConvMode.WinogradOutput,
  [ConvMode.Image]: ConvMode.WinogradImage,
  [ConvMode.Weight]: ConvMode.WinogradWeight,
};
