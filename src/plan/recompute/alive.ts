/** The bytes alive in the course of a walk, put right as it comes to light what need not have been there, or must have. */
export class Alive {
  private readonly noted: number[] = [];
  /** By action: how much less is alive from there on than was noted. */
  private readonly less: number[] = [];

  /** Notes the bytes alive while an action runs. */
  note(action: number, bytes: number): void {
    this.noted[action] = bytes;
  }

  /** Adds bytes to what was noted for the actions from one up to another. */
  correct(from: number, to: number, bytes: number): void {
    const { less } = this;
    less[from] = (less[from] ?? 0) - bytes;
    less[to] = (less[to] ?? 0) + bytes;
  }

  /** The most bytes alive at once, and the action during which they first are. */
  peak(): { readonly action: number; readonly bytes: number } {
    let [most, action, less] = [0, 0, 0];
    for (const [i, noted] of this.noted.entries()) {
      less += this.less[i] ?? 0;
      if (noted - less <= most) continue;
      [most, action] = [noted - less, i];
    }
    return { action, bytes: most };
  }
}
