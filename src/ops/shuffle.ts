/** Shuffles of channels among themselves and into pixels. */
import { ArgumentError, ShapeError } from "../graph/errors.js";
import { formatShape } from "../graph/shape.js";
import type { Tensor } from "../graph/tensor.js";
import type { OperatorTable } from "./define.js";
import { permute, reshape } from "./movement.js";

/** Dimension numbers in front of the last three, and the last three. */
function imageDims(op: string, input: Tensor): { lead: number[]; sizes: [number, number, number] } {
  if (input.ndim < 3) throw new ShapeError(`${op}: input must be [..., C, H, W], not ${formatShape(input.shape)}`);
  const sizes = input.shape.slice(-3) as [number, number, number];
  return { lead: input.shape.slice(0, -3).map((_, i) => i), sizes };
}

function expectFactor(op: string, factor: number): void {
  if (!Number.isInteger(factor) || factor < 1)
    throw new ArgumentError(`${op}: the factor must be 1 or more, not ${factor}`);
}

/**
 * Channels laid out as pixels: `[..., C·r², H, W]` to `[..., C, H·r, W·r]` (Shi et al. 2016).
 * @param upscaleFactor r
 */
export function pixelShuffle(input: Tensor, upscaleFactor: number): Tensor {
  expectFactor("pixelShuffle", upscaleFactor);
  const { lead, sizes } = imageDims("pixelShuffle", input);
  const [channels, height, width] = sizes;
  const r = upscaleFactor;
  if (channels % (r * r) !== 0) {
    throw new ShapeError(`pixelShuffle: ${channels} channels do not divide by ${r}² = ${r * r}`);
  }
  const front = input.shape.slice(0, -3);
  const k = lead.length;
  const split = reshape(input, [...front, channels / (r * r), r, r, height, width]);
  const ordered = permute(split, [...lead, k, k + 3, k + 1, k + 4, k + 2]);
  return reshape(ordered, [...front, channels / (r * r), height * r, width * r]);
}

/**
 * Pixels laid out as channels, the inverse of {@link pixelShuffle}: `[..., C, H·r, W·r]` to `[..., C·r², H, W]`.
 * @param downscaleFactor r
 */
export function pixelUnshuffle(input: Tensor, downscaleFactor: number): Tensor {
  expectFactor("pixelUnshuffle", downscaleFactor);
  const { lead, sizes } = imageDims("pixelUnshuffle", input);
  const [channels, height, width] = sizes;
  const r = downscaleFactor;
  if (height % r !== 0 || width % r !== 0) {
    throw new ShapeError(`pixelUnshuffle: ${height} × ${width} pixels do not divide by ${r}`);
  }
  const front = input.shape.slice(0, -3);
  const k = lead.length;
  const split = reshape(input, [...front, channels, height / r, r, width / r, r]);
  const ordered = permute(split, [...lead, k, k + 2, k + 4, k + 1, k + 3]);
  return reshape(ordered, [...front, channels * r * r, height / r, width / r]);
}

/** Channels `[N, C, ...]` dealt out like cards: those of `groups` groups take turns (Zhang et al. 2018). */
export function channelShuffle(input: Tensor, groups: number): Tensor {
  expectFactor("channelShuffle", groups);
  if (input.ndim < 3)
    throw new ShapeError(`channelShuffle: input must be [N, C, ...], not ${formatShape(input.shape)}`);
  const [batch, channels, ...rest] = input.shape as [number, number, ...number[]];
  if (channels % groups !== 0) {
    throw new ShapeError(`channelShuffle: ${channels} channels do not divide into ${groups} groups`);
  }
  const split = reshape(input, [batch, groups, channels / groups, ...rest]);
  return reshape(permute(split, [0, 2, 1, ...rest.map((_, i) => i + 3)]), input.shape);
}

/** The operators of this file. */
export default {
  pixelShuffle: { fn: pixelShuffle, params: ["input", "upscaleFactor"], samples: ["f32[2,8,2,3]; 2", "f32[4,1,2]; 2"] },
  pixelUnshuffle: { fn: pixelUnshuffle, params: ["input", "downscaleFactor"], samples: ["f32[2,2,4,6]; 2"] },
  channelShuffle: { fn: channelShuffle, params: ["input", "groups"], samples: ["f32[2,6,3]; 3"] },
} satisfies OperatorTable;
