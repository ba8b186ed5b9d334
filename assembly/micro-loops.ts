/**
 * The loops that carry an operation over a block, by its number of operands.
 *
 * An operand is (pointer, step), see elementwise.ts; those from the third on are read from the slot table. A destination
 * may be an operand's block (in place): every loop loads what it needs of a group of vectors before it stores the first
 * of them.
 */
import { Layout } from "../src/isa";
import { ZERO } from "./math-constants";
import { Binary, Copy, Guarded, Quaternary, Senary, Ternary, Unary } from "./operations";
import { pointerOf, slotOf, stepOf } from "./slots";

/** Long bodies: one vector at a time, the processor overlaps them by itself. */
// @ts-ignore: decorator
@inline
export function map1<Op extends Unary>(to: usize, a: usize, aStep: usize, end: usize): void {
  while (to < end) {
    v128.store(to, changetype<Op>(0).apply(v128.load(a)));
    to += 16;
    a += aStep;
  }
}

/** A call of its own: what is rare should not take registers from what is not. */
function mapRare<Op extends Guarded>(to: usize, a: usize, aStep: usize, end: usize): void {
  map1<Op>(to, a, aStep, end);
}

/**
 * Takes the block for ordinary, and does it again where it was not: from a copy, if it is to take its operand's place.
 *
 * One vector after the other, eight before the loop ends: an engine keeps the constants in registers meanwhile. exp takes
 * 0.95 of what a loop of one vector takes, sigmoid 0.93. (A test of four vectors at a time, before they are computed,
 * took 1.1 times as long.)
 */
// @ts-ignore: decorator
@inline
export function mapGuarded<Op extends Guarded>(to: usize, a: usize, aStep: usize, end: usize, scratch: usize): void {
  if (aStep == 0) {
    mapRare<Op>(to, a, aStep, end);
    return;
  }
  const op = changetype<Op>(0);
  if (a == to) {
    a = scratch + Layout.ScratchSpare;
    stream1<Copy>(a, to, 16, a + (end - to));
  }
  let seen = ZERO;
  let x = a;
  let y = to;
  for (; y + 128 <= end; y += 128) {
    const x0 = v128.load(x);
    const begun0 = op.begin(x0);
    seen = v128.or(seen, op.peculiarity(begun0));
    v128.store(y, op.finish(x0, begun0));
    const x1 = v128.load(x, 16);
    const begun1 = op.begin(x1);
    seen = v128.or(seen, op.peculiarity(begun1));
    v128.store(y, op.finish(x1, begun1), 16);
    const x2 = v128.load(x, 32);
    const begun2 = op.begin(x2);
    seen = v128.or(seen, op.peculiarity(begun2));
    v128.store(y, op.finish(x2, begun2), 32);
    const x3 = v128.load(x, 48);
    const begun3 = op.begin(x3);
    seen = v128.or(seen, op.peculiarity(begun3));
    v128.store(y, op.finish(x3, begun3), 48);
    const x4 = v128.load(x, 64);
    const begun4 = op.begin(x4);
    seen = v128.or(seen, op.peculiarity(begun4));
    v128.store(y, op.finish(x4, begun4), 64);
    const x5 = v128.load(x, 80);
    const begun5 = op.begin(x5);
    seen = v128.or(seen, op.peculiarity(begun5));
    v128.store(y, op.finish(x5, begun5), 80);
    const x6 = v128.load(x, 96);
    const begun6 = op.begin(x6);
    seen = v128.or(seen, op.peculiarity(begun6));
    v128.store(y, op.finish(x6, begun6), 96);
    const x7 = v128.load(x, 112);
    const begun7 = op.begin(x7);
    seen = v128.or(seen, op.peculiarity(begun7));
    v128.store(y, op.finish(x7, begun7), 112);
    x += 128;
  }
  for (; y < end; y += 16) {
    const lanes = v128.load(x);
    const begun = op.begin(lanes);
    seen = v128.or(seen, op.peculiarity(begun));
    v128.store(y, op.finish(lanes, begun));
    x += 16;
  }
  if (op.isPeculiar(seen)) mapRare<Op>(to, a, aStep, end);
}

// @ts-ignore: decorator
@inline
export function map2<Op extends Binary>(to: usize, a: usize, aStep: usize, b: usize, bStep: usize, end: usize): void {
  while (to < end) {
    v128.store(to, changetype<Op>(0).apply(v128.load(a), v128.load(b)));
    to += 16;
    a += aStep;
    b += bStep;
  }
}

/** A long body of many constants: four vectors one after the other, for which an engine reads the constants once. */
// @ts-ignore: decorator
@inline
export function mapFours<Op extends Binary>(
  to: usize,
  a: usize,
  aStep: usize,
  b: usize,
  bStep: usize,
  end: usize,
): void {
  const op = changetype<Op>(0);
  for (; to + 64 <= end; to += 64) {
    v128.store(to, op.apply(v128.load(a), v128.load(b)));
    a += aStep;
    b += bStep;
    v128.store(to, op.apply(v128.load(a), v128.load(b)), 16);
    a += aStep;
    b += bStep;
    v128.store(to, op.apply(v128.load(a), v128.load(b)), 32);
    a += aStep;
    b += bStep;
    v128.store(to, op.apply(v128.load(a), v128.load(b)), 48);
    a += aStep;
    b += bStep;
  }
  map2<Op>(to, a, aStep, b, bStep, end);
}

/** Short bodies: four vectors at a time, so that the loop's own instructions do not count. */
// @ts-ignore: decorator
@inline
export function stream1<Op extends Unary>(to: usize, a: usize, aStep: usize, end: usize): void {
  while (to + 64 <= end) {
    const x0 = v128.load(a);
    a += aStep;
    const x1 = v128.load(a);
    a += aStep;
    const x2 = v128.load(a);
    a += aStep;
    const x3 = v128.load(a);
    a += aStep;
    v128.store(to, changetype<Op>(0).apply(x0));
    v128.store(to, changetype<Op>(0).apply(x1), 16);
    v128.store(to, changetype<Op>(0).apply(x2), 32);
    v128.store(to, changetype<Op>(0).apply(x3), 48);
    to += 64;
  }
  map1<Op>(to, a, aStep, end);
}

// @ts-ignore: decorator
@inline
export function stream2<Op extends Binary>(to: usize, a: usize, aStep: usize, b: usize, bStep: usize, end: usize): void {
  while (to + 64 <= end) {
    const x0 = v128.load(a);
    const y0 = v128.load(b);
    a += aStep;
    b += bStep;
    const x1 = v128.load(a);
    const y1 = v128.load(b);
    a += aStep;
    b += bStep;
    const x2 = v128.load(a);
    const y2 = v128.load(b);
    a += aStep;
    b += bStep;
    const x3 = v128.load(a);
    const y3 = v128.load(b);
    a += aStep;
    b += bStep;
    v128.store(to, changetype<Op>(0).apply(x0, y0));
    v128.store(to, changetype<Op>(0).apply(x1, y1), 16);
    v128.store(to, changetype<Op>(0).apply(x2, y2), 32);
    v128.store(to, changetype<Op>(0).apply(x3, y3), 48);
    to += 64;
  }
  map2<Op>(to, a, aStep, b, bStep, end);
}

// @ts-ignore: decorator
@inline
export function stream3<Op extends Ternary>(
  to: usize,
  a: usize,
  aStep: usize,
  b: usize,
  bStep: usize,
  slots: usize,
  pc: usize,
  end: usize,
): void {
  const cSlot = slotOf(slots, pc, 4);
  let c = pointerOf(cSlot);
  const cStep = stepOf(cSlot);
  while (to + 32 <= end) {
    const x0 = v128.load(a);
    const y0 = v128.load(b);
    const z0 = v128.load(c);
    a += aStep;
    b += bStep;
    c += cStep;
    const x1 = v128.load(a);
    const y1 = v128.load(b);
    const z1 = v128.load(c);
    a += aStep;
    b += bStep;
    c += cStep;
    v128.store(to, changetype<Op>(0).apply(x0, y0, z0));
    v128.store(to, changetype<Op>(0).apply(x1, y1, z1), 16);
    to += 32;
  }
  if (to < end) v128.store(to, changetype<Op>(0).apply(v128.load(a), v128.load(b), v128.load(c)));
}

// @ts-ignore: decorator
@inline
export function stream4<Op extends Quaternary>(
  to: usize,
  a: usize,
  aStep: usize,
  b: usize,
  bStep: usize,
  slots: usize,
  pc: usize,
  end: usize,
): void {
  const cSlot = slotOf(slots, pc, 4);
  let c = pointerOf(cSlot);
  const cStep = stepOf(cSlot);
  const dSlot = slotOf(slots, pc, 5);
  let d = pointerOf(dSlot);
  const dStep = stepOf(dSlot);
  while (to + 32 <= end) {
    const x0 = v128.load(a);
    const y0 = v128.load(b);
    const z0 = v128.load(c);
    const u0 = v128.load(d);
    a += aStep;
    b += bStep;
    c += cStep;
    d += dStep;
    const x1 = v128.load(a);
    const y1 = v128.load(b);
    const z1 = v128.load(c);
    const u1 = v128.load(d);
    a += aStep;
    b += bStep;
    c += cStep;
    d += dStep;
    v128.store(to, changetype<Op>(0).apply(x0, y0, z0, u0));
    v128.store(to, changetype<Op>(0).apply(x1, y1, z1, u1), 16);
    to += 32;
  }
  if (to < end) v128.store(to, changetype<Op>(0).apply(v128.load(a), v128.load(b), v128.load(c), v128.load(d)));
}

// @ts-ignore: decorator
@inline
export function map6<Op extends Senary>(
  to: usize,
  a: usize,
  aStep: usize,
  b: usize,
  bStep: usize,
  slots: usize,
  pc: usize,
  end: usize,
): void {
  const cSlot = slotOf(slots, pc, 4);
  let c = pointerOf(cSlot);
  const cStep = stepOf(cSlot);
  const dSlot = slotOf(slots, pc, 5);
  let d = pointerOf(dSlot);
  const dStep = stepOf(dSlot);
  const eSlot = slotOf(slots, pc, 6);
  let e = pointerOf(eSlot);
  const eStep = stepOf(eSlot);
  const fSlot = slotOf(slots, pc, 7);
  let f = pointerOf(fSlot);
  const fStep = stepOf(fSlot);
  while (to < end) {
    const x = changetype<Op>(0).apply(
      v128.load(a),
      v128.load(b),
      v128.load(c),
      v128.load(d),
      v128.load(e),
      v128.load(f),
    );
    v128.store(to, x);
    to += 16;
    a += aStep;
    b += bStep;
    c += cStep;
    d += dStep;
    e += eStep;
    f += fStep;
  }
}
