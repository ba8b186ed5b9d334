/** A step of Adam as one micro-operation: on its own each of the three in it would wait for memory or a division. */
import { divRoot } from "./operations";
import { mulAdd } from "./simd";
import { pointerOf, slotOf, stepOf } from "./slots";

/** Bytes of the three micro-operations that `adamStep` runs. */
export const ADAM_STEP_BYTES: usize = 24;

/**
 * The AdamStep at `pc` in one loop, where all that it reads once a block is a scalar and the rest is not; returns whether
 * it is so. Results may take the place of any operand of the same vector.
 */
export function adamStep(pc: usize, slots: usize, vectors: i32): bool {
  const average = slotOf(slots, pc, 1);
  const square = slotOf(slots, pc, 9);
  const result = slotOf(slots, pc, 17);
  const gradient = slotOf(slots, pc, 2);
  const oldAverage = slotOf(slots, pc, 3);
  const oldSquare = slotOf(slots, pc, 10);
  const old = slotOf(slots, pc, 23);
  const share = slotOf(slots, pc, 4);
  const kept = slotOf(slots, pc, 11);
  const squareShare = slotOf(slots, pc, 14);
  const correction = slotOf(slots, pc, 20);
  const epsilon = slotOf(slots, pc, 21);
  const rate = slotOf(slots, pc, 22);
  const scalars = stepOf(share) | stepOf(kept) | stepOf(squareShare) | stepOf(correction) | stepOf(epsilon) | stepOf(rate);
  const blocks = stepOf(gradient) & stepOf(oldAverage) & stepOf(oldSquare) & stepOf(old);
  const same =
    load<u8>(pc, 3) == load<u8>(pc, 5) && load<u8>(pc, 2) == load<u8>(pc, 12) && load<u8>(pc, 2) == load<u8>(pc, 13);
  if (!same || scalars != 0 || blocks != 16) return false;

  let m = pointerOf(oldAverage);
  let v = pointerOf(oldSquare);
  let p = pointerOf(old);
  let g = pointerOf(gradient);
  let toM = pointerOf(average);
  let toV = pointerOf(square);
  let to = pointerOf(result);
  const a = v128.load(pointerOf(share));
  const b = v128.load(pointerOf(kept));
  const c = v128.load(pointerOf(squareShare));
  const d = v128.load(pointerOf(correction));
  const e = v128.load(pointerOf(epsilon));
  const f = v128.load(pointerOf(rate));
  for (const end = to + (<usize>vectors << 4); to < end; to += 16) {
    const x = v128.load(g);
    const y = v128.load(m);
    const z = v128.load(p);
    const newM = mulAdd(f32x4.sub(x, y), a, y);
    const newV = mulAdd(v128.load(v), b, f32x4.mul(f32x4.mul(x, x), c));
    v128.store(toM, newM);
    v128.store(toV, newV);
    v128.store(to, mulAdd(divRoot(newM, newV, d, e), f, z));
    g += 16;
    m += 16;
    v += 16;
    p += 16;
    toM += 16;
    toV += 16;
  }
  return true;
}
