/** Where the sums of a block of channels start: at a bias, or at 0. */
import { ConvBlock } from "../src/workspace/conv";

/** A row of `ConvBlock.Seed` equal floats for each of `rows` channels: from `bias` on, or zeros if that is 0. */
export function fillSeeds(rows: i32, bias: usize, to: usize): void {
  for (let i = 0; i < rows; i++) {
    const seed = bias === 0 ? f32x4.splat(0) : v128.load32_splat(bias + ((<usize>i) << 2));
    for (const end = to + (ConvBlock.Seed << 2); to < end; to += 16) v128.store(to, seed);
  }
}
