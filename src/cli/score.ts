/** Scores a classifier's outputs, and prints the score for people. */

import pc from "picocolors";

/** What a classifier did on images whose labels are known. */
export interface Score {
  readonly count: number;
  readonly correct: number;
  /** Mean cross-entropy, in nats. */
  readonly loss: number;
  /** `confusion[truth][guess]`: how many images of one class were taken for another. */
  readonly confusion: readonly (readonly number[])[];
  /** The class that each image was taken for, and the probability given to it. */
  readonly guesses: readonly { readonly label: number; readonly probability: number }[];
}

/**
 * Scores logits `[count, classes]`, row after row, against labels below `classes`. In float64, so that the score adds
 * no rounding of its own.
 */
export function scoreLogits(logits: ArrayLike<number>, labels: ArrayLike<number>, classes: number): Score {
  const confusion = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
  const guesses: { label: number; probability: number }[] = [];
  let correct = 0;
  let loss = 0;
  for (let i = 0; i < labels.length; i++) {
    const row = Array.from({ length: classes }, (_, j) => logits[i * classes + j] as number);
    const largest = Math.max(...row);
    const guess = row.indexOf(largest);
    const normalizer = row.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
    const truth = labels[i] as number;
    const counts = confusion[truth] as number[];
    counts[guess] = (counts[guess] ?? 0) + 1;
    guesses.push({ label: guess, probability: 1 / normalizer });
    if (guess === truth) correct++;
    loss += Math.log(normalizer) + largest - (row[truth] as number);
  }
  return { count: labels.length, correct, loss: loss / labels.length, confusion, guesses };
}

/** A share as a percentage with two decimals. */
export function percent(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(2)} %`;
}

/** The confusion table: a row for each true class, a column for each class it was taken for, and the share found. */
export function confusionTable({ confusion }: Score): string {
  const width = Math.max(4, ...confusion.flat().map((count) => String(count).length + 1));
  const header = `  true ╲ taken for ${confusion.map((_, label) => String(label).padStart(width)).join("")}     found`;
  const rows = confusion.map((counts, truth) => {
    const cells = counts.map((count, guess) => {
      const cell = (count === 0 ? "·" : String(count)).padStart(width);
      if (count === 0) return pc.dim(cell);
      return guess === truth ? pc.green(cell) : pc.red(cell);
    });
    const total = counts.reduce((sum, count) => sum + count, 0);
    const found = total === 0 ? "–" : percent(counts[truth] as number, total);
    return `${String(truth).padStart(18)} ${cells.join("")} ${found.padStart(10)}`;
  });
  return [pc.dim(header), ...rows].join("\n");
}
