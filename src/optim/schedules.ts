/** Learning rate schedules: how the learning rate goes from step to step. */
import { describe } from "../graph/describe.js";
import { ArgumentError } from "../graph/errors.js";
import { cosPi, wholePower } from "../numeric.js";

/** What a schedule needs of an optimizer. */
export interface Schedulable {
  readonly paramGroups: readonly { lr: number }[];
}

/**
 * Sets the learning rate of every group by the number of steps. Call `step()` after the optimizer's, outside of the
 * compiled function.
 */
export abstract class LRScheduler {
  private readonly baseLrs: readonly number[];
  private count = 0;

  constructor(private readonly optimizer: Schedulable) {
    this.baseLrs = optimizer.paramGroups.map(({ lr }) => lr);
  }

  /** The learning rate after `step` steps of a group that started with `base`. */
  abstract lrAt(base: number, step: number): number;

  /** Counts a step and sets the learning rates for the next. */
  step(): void {
    this.count++;
    this.apply();
  }

  /** Sets the learning rates for the steps counted so far. */
  protected apply(): void {
    this.optimizer.paramGroups.forEach((group, i) => {
      group.lr = this.lrAt(this.baseLrs[i] as number, this.count);
    });
  }

  /** Steps counted so far: what a checkpoint needs. */
  stateDict(): { readonly step: number } {
    return { step: this.count };
  }

  /** Continues from a state that `stateDict` gave. */
  loadStateDict({ step }: { readonly step: number }): void {
    this.count = step;
    this.apply();
  }
}

function expectSteps(name: string, steps: Readonly<Record<string, number>>): void {
  for (const [argument, value] of Object.entries(steps)) {
    if (!Number.isInteger(value) || value < 1) {
      throw new ArgumentError(`${name}: ${argument} must be a whole number from 1 up, not ${describe(value)}`);
    }
  }
}

/** Times a factor that a function gives for the number of steps. */
export class LambdaLR extends LRScheduler {
  constructor(
    optimizer: Schedulable,
    private readonly lambda: (step: number) => number,
  ) {
    super(optimizer);
    this.apply();
  }

  override lrAt(base: number, step: number): number {
    return base * this.lambda(step);
  }
}

/** Times `gamma` every `stepSize` steps. */
export class StepLR extends LRScheduler {
  constructor(
    optimizer: Schedulable,
    private readonly stepSize: number,
    private readonly gamma = 0.1,
  ) {
    super(optimizer);
    expectSteps("StepLR", { stepSize });
    this.apply();
  }

  override lrAt(base: number, step: number): number {
    return base * wholePower(this.gamma, Math.floor(step / this.stepSize));
  }
}

/** Times `gamma` at each of the `milestones`, numbers of steps. */
export class MultiStepLR extends LRScheduler {
  constructor(
    optimizer: Schedulable,
    private readonly milestones: readonly number[],
    private readonly gamma = 0.1,
  ) {
    super(optimizer);
    milestones.forEach((milestone, i) => {
      expectSteps("MultiStepLR", { [`milestone ${i}`]: milestone });
    });
    this.apply();
  }

  override lrAt(base: number, step: number): number {
    return base * wholePower(this.gamma, this.milestones.filter((milestone) => milestone <= step).length);
  }
}

/** Times `gamma` every step. */
export class ExponentialLR extends LRScheduler {
  constructor(
    optimizer: Schedulable,
    private readonly gamma: number,
  ) {
    super(optimizer);
    this.apply();
  }

  override lrAt(base: number, step: number): number {
    return base * wholePower(this.gamma, step);
  }
}

/** Half a cosine from the start's learning rate down to `etaMin` in `tMax` steps, and up again in as many. */
export class CosineAnnealingLR extends LRScheduler {
  constructor(
    optimizer: Schedulable,
    private readonly tMax: number,
    private readonly etaMin = 0,
  ) {
    super(optimizer);
    expectSteps("CosineAnnealingLR", { tMax });
    this.apply();
  }

  override lrAt(base: number, step: number): number {
    return this.etaMin + (base - this.etaMin) * ((1 + cosPi(step / this.tMax)) / 2);
  }
}

/** Up in a line over `warmupSteps`, then half a cosine down to `etaMin` at `totalSteps`, and `etaMin` from there on. */
export class WarmupCosineLR extends LRScheduler {
  constructor(
    optimizer: Schedulable,
    private readonly warmupSteps: number,
    private readonly totalSteps: number,
    private readonly etaMin = 0,
  ) {
    super(optimizer);
    expectSteps("WarmupCosineLR", { warmupSteps, totalSteps, "totalSteps - warmupSteps": totalSteps - warmupSteps });
    this.apply();
  }

  /** The first step has `1 / warmupSteps` of the rate, so that it is not lost on a rate of 0. */
  override lrAt(base: number, step: number): number {
    if (step < this.warmupSteps) return (base * (step + 1)) / this.warmupSteps;
    const progress = Math.min(1, (step - this.warmupSteps) / (this.totalSteps - this.warmupSteps));
    return this.etaMin + (base - this.etaMin) * ((1 + cosPi(progress)) / 2);
  }
}
