/** How much work a search may do, counted and not timed: so a plan is the same on every machine. */

/** The most that one thing of many may take, as a share of what is left; and of all, where little is. */
const [MOST, LEAST] = [1 / 4, 1 / 16];

/**
 * Work that may be done. It is counted in what takes about ten nanoseconds: looking at a value, say. Who spends it stops
 * when it is spent, with the best found so far; so somewhat more may be spent than there is.
 */
export class Effort {
  private left: number;

  constructor(private readonly total: number) {
    this.left = total;
  }

  /** Whether nothing is left. */
  isSpent(): boolean {
    return this.left <= 0;
  }

  /** How often so much work can still be done. */
  times(work: number): number {
    return Math.floor(this.left / work);
  }

  /** Takes off work that was done. */
  spend(work: number): void {
    this.left -= work;
  }

  /**
   * A share of all that there was, for a part of the search. What other parts spent does not matter to it: what is found
   * for one budget to be the least must be found for another one, too.
   */
  share(share: number): Effort {
    return new Effort(share * this.total);
  }

  /** What one thing of many may take, for the others to have a chance as well. */
  forOne(): number {
    return Math.max(this.left * MOST, this.total * LEAST);
  }
}

/** For a search that is bounded in other ways. */
export function unbounded(): Effort {
  return new Effort(Number.POSITIVE_INFINITY);
}
