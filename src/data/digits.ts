/** Draws handwritten-looking digits, the same on every engine, so that there is always something to train on. */

import { ArgumentError } from "../graph/errors.js";
import type { LabelledImages } from "./dataset.js";
import { type GlyphStroke, glyphs } from "./glyphs.js";
import { Random } from "./random.js";

/** Rows and columns of a drawn digit, in pixels. */
const side = 28;
/** Line segments that a curve between two points of a glyph is drawn as. */
const curveSegments = 6;

/** What `digits` draws. */
export interface DigitsOptions {
  /** Number of images. */
  count: number;
  /** An integer from 0 up: the same seed gives the same images, and a smaller count the first of them. Default 0. */
  seed?: number;
}

/**
 * Draws grey images of the digits 0 to 9 in several handwritings: strokes with jittered points under random affine
 * maps and a random bend, drawn by a pen of random width, pressure and softness, with a little noise.
 *
 * Every ten images from the first on hold each digit once, in random order. The images are bit-identical on every
 * engine: the drawing uses no function whose rounding the language leaves open.
 *
 * @returns images `[count, 28, 28]` from 0 (paper) to 1 (ink), and labels `[count]`.
 * @throws ArgumentError for a count or a seed that is not an integer from 0 up.
 */
export function digits({ count, seed = 0 }: DigitsOptions): LabelledImages {
  if (!Number.isInteger(count) || count < 0)
    throw new ArgumentError(`digits: count must be an integer from 0 up, not ${count}`);
  const images = new Float32Array(count * side * side);
  const labels = new Int32Array(count);
  const field = new Float64Array(side * side);
  const order = new Random(seed);
  let ten: number[] = [];
  for (let i = 0; i < count; i++) {
    if (i % 10 === 0) ten = order.shuffle([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const digit = ten[i % 10] as number;
    labels[i] = digit;
    drawDigit(digit, new Random(seed, i + 1), field, images.subarray(i * side * side, (i + 1) * side * side));
  }
  return { images: { shape: [count, side, side], data: images }, labels: { shape: [count], data: labels } };
}

/** Draws one digit into `pixels`. `field` is scratch: the distance of each pixel's centre from the pen's edge. */
function drawDigit(digit: number, random: Random, field: Float64Array, pixels: Float32Array): void {
  const variants = glyphs[digit] as readonly GlyphStroke[][];
  const glyph = variants[random.below(variants.length)] as GlyphStroke[];
  const place = randomPlacement(random);
  const jitter = random.uniform(2.5, 6);
  const width = random.uniform(0.7, 2);
  const softness = random.uniform(0.8, 1.7);
  const ink = random.uniform(0.8, 1.1);
  const noise = random.uniform(0, 0.12);

  field.fill(side);
  for (const stroke of glyph) {
    const points: PenPoint[] = [];
    for (const [index, point] of stroke.entries()) {
      const last = points.at(-1);
      if (last !== undefined && point === stroke[index - 1]) {
        // A corner is a repeated point: its two copies must stay together.
        points.push(last);
      } else {
        const x = point.x + jitter * random.bell();
        const y = point.y + jitter * random.bell();
        points.push(place(x, y, width * random.uniform(0.8, 1.2)));
      }
    }
    drawStroke(field, points);
  }
  for (let i = 0; i < pixels.length; i++) {
    const coverage = Math.min(Math.max(0.5 - (field[i] as number) / softness, 0), 1);
    const grain = noise * (random.uniform() - 0.5);
    pixels[i] = Math.min(Math.max(ink * coverage + grain, 0), 1);
  }
}

/** A point of a stroke in pixels, and half the width of the pen there. */
interface PenPoint {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
}

/** A random map from a glyph's coordinates to pixels: shear, bend, scale, rotation, then translation. */
function randomPlacement(random: Random): (x: number, y: number, radius: number) => PenPoint {
  const scaleX = random.uniform(0.14, 0.23);
  const scaleY = random.uniform(0.155, 0.22);
  const shear = 0.22 * random.bell();
  const bend = 0.002 * random.bell();
  // A rotation by θ from t = tan(θ/2) needs no sine: cos θ = (1 - t²)/(1 + t²), sin θ = 2t/(1 + t²).
  const t = 0.075 * random.bell();
  const cos = (1 - t * t) / (1 + t * t);
  const sin = (2 * t) / (1 + t * t);
  const centreX = side / 2 + 1.1 * random.bell();
  const centreY = side / 2 + 1.1 * random.bell();
  return (x, y, radius) => {
    const down = y - 50;
    const right = x - 50 - shear * down + bend * down * down;
    const u = scaleX * right;
    const v = scaleY * down;
    return { x: centreX + cos * u - sin * v, y: centreY + sin * u + cos * v, radius };
  };
}

/** Draws the smooth curve through `points` (Catmull and Rom) as line segments. */
function drawStroke(field: Float64Array, points: readonly PenPoint[]): void {
  for (let i = 0; i + 1 < points.length; i++) {
    const p1 = points[i] as PenPoint;
    const p2 = points[i + 1] as PenPoint;
    if (p1 === p2) continue;
    const p0 = points[i - 1] ?? p1;
    const p3 = points[i + 2] ?? p2;
    let from = p1;
    for (let step = 1; step <= curveSegments; step++) {
      const t = step / curveSegments;
      const to = {
        x: catmullRom(p0.x, p1.x, p2.x, p3.x, t),
        y: catmullRom(p0.y, p1.y, p2.y, p3.y, t),
        radius: p1.radius + (p2.radius - p1.radius) * t,
      };
      drawSegment(field, from, to);
      from = to;
    }
  }
}

function catmullRom(p0: number, p1: number, p2: number, p3: number, t: number): number {
  return p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)));
}

/** Lowers the distances in `field` near the segment to those from the pen's edge along it (negative inside). */
function drawSegment(field: Float64Array, from: PenPoint, to: PenPoint): void {
  // Past this distance from the edge even the softest pen leaves nothing.
  const reach = Math.max(from.radius, to.radius) + 1;
  const left = Math.max(Math.floor(Math.min(from.x, to.x) - reach), 0);
  const right = Math.min(Math.floor(Math.max(from.x, to.x) + reach), side - 1);
  const top = Math.max(Math.floor(Math.min(from.y, to.y) - reach), 0);
  const bottom = Math.min(Math.floor(Math.max(from.y, to.y) + reach), side - 1);
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  const length2 = dx * dx + dy * dy;
  for (let row = top; row <= bottom; row++) {
    for (let column = left; column <= right; column++) {
      const x = column + 0.5 - from.x;
      const y = row + 0.5 - from.y;
      const along = length2 === 0 ? 0 : Math.min(Math.max((x * dx + y * dy) / length2, 0), 1);
      const offX = x - along * dx;
      const offY = y - along * dy;
      const radius = from.radius + (to.radius - from.radius) * along;
      const distance = Math.sqrt(offX * offX + offY * offY) - radius;
      const index = row * side + column;
      if (distance < (field[index] as number)) field[index] = distance;
    }
  }
}
