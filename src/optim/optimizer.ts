/** What optimizers share: groups of parameters, state, and how their numbers reach a compiled step. */
import { describe } from "../graph/describe.js";
import { ArgumentError } from "../graph/errors.js";
import { formatShape, sameShape } from "../graph/shape.js";
import { memberName, nameMember } from "../graph/sites.js";
import { cell, constant } from "../graph/sources.js";
import { assign, detach, mode, noGrad, Tensor } from "../graph/tensor.js";
import { add, mul, neg } from "../ops/arithmetic.js";
import { select } from "../ops/movement.js";

/** Options that every optimizer has. */
export interface CommonOptions {
  /** The learning rate. May be changed at any time. */
  lr: number;
  /** Step so as to maximize. */
  maximize: boolean;
}

/** Parameters with options of their own; those left out are the optimizer's. */
export type ParamGroupInput<Options> = { readonly params: Iterable<Tensor> } & {
  readonly [K in keyof Options]?: Options[K];
};

/** Parameters with their options. `lr` may be changed at any time; changing another one traces compiled steps anew. */
export type ParamGroup<Options> = Options & { readonly params: readonly Tensor[] };

/** What {@link Optimizer.stateDict} gives: tensors, and the rest as plain JSON. */
export interface OptimizerState<Options> {
  /** The state tensors, named by the number of their parameter, such as `0.expAvg`. */
  readonly tensors: Readonly<Record<string, Tensor>>;
  /** How many steps each parameter has taken. */
  readonly steps: readonly number[];
  /** The options of each group. */
  readonly groups: readonly Options[];
}

/** What an optimizer keeps for one parameter. */
export interface ParamState {
  readonly param: Tensor;
  /** Steps taken: those for which there was a gradient. */
  step: number;
  readonly tensors: Readonly<Record<string, Tensor>>;
}

/**
 * Updates parameters from their gradients. A parameter without a gradient is left as it is.
 *
 * A step is made of tensor operators and belongs inside of the compiled function. What changes from step to step
 * (the learning rate, corrections that depend on the number of steps) is computed in float64 on the host, without
 * functions whose result depends on the engine, and handed to every run.
 */
export abstract class Optimizer<Options extends CommonOptions> {
  /** Parameters with their options; one group if none were given. */
  readonly paramGroups: readonly ParamGroup<Options>[];
  private readonly states: ReadonlyMap<Tensor, ParamState>;

  /**
   * @param params parameters, or groups of them with options of their own
   * @param options options of the groups that do not give their own
   * @param defaults every option's value where none is given
   * @throws ArgumentError where there are no parameters, one comes twice or was computed from others, or an option is
   * unknown or out of its range
   */
  constructor(
    private readonly name: string,
    params: Iterable<Tensor> | Iterable<ParamGroupInput<Options>>,
    options: Partial<Options>,
    defaults: Options,
  ) {
    if (typeof (params as Partial<Iterable<unknown>>)?.[Symbol.iterator] !== "function") {
      throw new ArgumentError(`${name}: expected a list of parameters, as model.parameters(), not ${describe(params)}`);
    }
    const items: readonly (Tensor | ParamGroupInput<Options>)[] = [...params];
    const loose = items.filter((item) => item instanceof Tensor);
    const groups = loose.length === items.length ? [{ params: loose }] : items;
    this.paramGroups = groups.map((group) => {
      if (group instanceof Tensor)
        throw new ArgumentError(`${name}: pass either parameters or groups of them, not both`);
      return { ...defaults, ...options, ...group, params: [...group.params] };
    });
    const all = this.paramGroups.flatMap((group) => group.params);
    if (all.length === 0) throw new ArgumentError(`${name}: there are no parameters`);
    all.forEach((param, i) => {
      if (!(param instanceof Tensor))
        throw new ArgumentError(`${name}: parameter ${i} is not a tensor but ${String(param)}`);
      if (!param.isLeaf)
        throw new ArgumentError(
          `${name}: parameter ${i} (${formatShape(param.shape)}) was computed from others: pass those`,
        );
      if (all.indexOf(param) !== i)
        throw new ArgumentError(`${name}: parameter ${i} is also parameter ${all.indexOf(param)}`);
    });
    for (const group of this.paramGroups) {
      const known = new Set(["params", ...Object.keys(defaults)]);
      for (const option of Object.keys(group))
        if (!known.has(option)) throw new ArgumentError(`${name}: there is no option ${option}`);
      this.check("lr", group.lr, group.lr >= 0, "0 or more");
      this.checkOptions(group);
    }
    this.states = new Map(
      this.paramGroups.flatMap((group) =>
        group.params.map((param): [Tensor, ParamState] => [
          param,
          { param, step: 0, tensors: this.stateOf(param, group) },
        ]),
      ),
    );
    all.forEach((param, i) => {
      const { tensors } = this.states.get(param) as ParamState;
      for (const [key, value] of Object.entries(tensors)) nameMember(value, `${memberName(param) ?? i}.${key}`);
    });
  }

  /** Throws where an option is out of its range. */
  protected abstract checkOptions(options: Options): void;

  /** The state of a parameter at the start. */
  protected abstract stateOf(param: Tensor, options: Options): Readonly<Record<string, Tensor>>;

  /** How many numbers each parameter's step takes. */
  protected abstract readonly width: number;

  /** The numbers of a parameter's step; `state.step` counts it already. */
  protected abstract numbers(state: ParamState, options: Options): readonly number[];

  /** Updates a parameter, with the `numbers` of this step. */
  protected abstract update(state: ParamState, gradient: Tensor, numbers: readonly Tensor[], options: Options): void;

  protected check(option: string, value: number, holds: boolean, range: string): void {
    if (!holds) throw new ArgumentError(`${this.name}: ${option} must be ${range}, not ${value}`);
  }

  /** The learning rate of the first group; setting it sets that of all groups. */
  get lr(): number {
    return (this.paramGroups[0] as ParamGroup<Options>).lr;
  }

  set lr(lr: number) {
    for (const group of this.paramGroups) group.lr = lr;
  }

  /**
   * Clears the gradient of every parameter. In a compiled function gradients that are still there at its end take
   * memory of their own, so clear them after the step rather than before `backward` where nothing reads them.
   */
  zeroGrad(): void {
    for (const param of this.states.keys()) param.grad = null;
  }

  /** Updates every parameter that has a gradient. */
  step(): void {
    noGrad(() => {
      for (const group of this.paramGroups) this.stepGroup(group);
    });
  }

  private stepGroup(group: ParamGroup<Options>): void {
    const { params: _, lr: __, ...traced } = group;
    const fixed = Object.entries(traced);
    mode.scope?.addGuard(() => fixed.every(([option, value]) => group[option as keyof Options] === value));
    const active = group.params
      .filter((param) => param.grad !== null)
      .map((param) => this.states.get(param) as ParamState);
    if (active.length === 0) return;
    const { width } = this;
    const values: number[] = [];
    const all = cell(
      () => {
        let at = 0;
        for (const state of active) {
          state.step++;
          for (const number of this.numbers(state, group)) values[at++] = number;
        }
        return values;
      },
      [active.length * width],
      "f32",
      () => {
        for (const state of active) state.step--;
      },
    );
    active.forEach((state, i) => {
      const numbers = Array.from({ length: width }, (_, k) => select(all, 0, i * width + k));
      const gradient = state.param.grad as Tensor;
      this.update(state, group.maximize ? neg(gradient) : gradient, numbers, group);
    });
  }

  /** Overwrites a parameter or a state. */
  protected set(target: Tensor, value: Tensor): void {
    assign(`${this.name}.step`, target, value);
  }

  /** State and options, for a checkpoint. Training that goes on does not change them. */
  stateDict(): OptimizerState<Options> {
    const states = [...this.states.values()];
    const tensors = states.flatMap((state, i) =>
      Object.entries(state.tensors).map(([key, value]): [string, Tensor] => [`${i}.${key}`, detach(value)]),
    );
    return {
      tensors: Object.fromEntries(tensors),
      steps: states.map(({ step }) => step),
      groups: this.paramGroups.map(({ params: _, ...options }) => ({ ...options }) as unknown as Options),
    };
  }

  /**
   * Continues from a state that `stateDict` gave, of the same kind of optimizer over parameters of the same shapes in
   * the same order.
   * @throws ArgumentError where it does not fit; nothing is changed then
   */
  loadStateDict(saved: OptimizerState<Options>): void {
    const states = [...this.states.values()];
    const own = states.flatMap((state, i) =>
      Object.entries(state.tensors).map(([key, value]) => ({ name: `${i}.${key}`, value })),
    );
    const wrong = own.flatMap(({ name, value }) => {
      const given = saved.tensors[name];
      if (given === undefined) return [`${name} is missing`];
      return sameShape(given.shape, value.shape)
        ? []
        : [`${name} is ${formatShape(given.shape)} and must be ${formatShape(value.shape)}`];
    });
    if (saved.steps.length !== states.length)
      wrong.push(`it is for ${saved.steps.length} parameters, and there are ${states.length}`);
    if (saved.groups.length !== this.paramGroups.length) {
      wrong.push(`it has ${saved.groups.length} groups, and there are ${this.paramGroups.length}`);
    }
    if (wrong.length > 0) throw new ArgumentError(`${this.name}.loadStateDict: ${wrong.join("; ")}`);
    noGrad(() => {
      for (const { name, value } of own) this.set(value, saved.tensors[name] as Tensor);
    });
    states.forEach((state, i) => {
      state.step = saved.steps[i] as number;
    });
    for (const [i, group] of this.paramGroups.entries()) Object.assign(group, saved.groups[i]);
  }
}

/** Zeros of a parameter's shape: what moving averages start from. */
export function zeroState(param: Tensor): Tensor {
  return constant(0, param.shape);
}

/** The gradient with the pull towards 0 that an L2 penalty adds to it. */
export function withWeightDecay(gradient: Tensor, param: Tensor, weightDecay: number): Tensor {
  return weightDecay === 0 ? gradient : add(gradient, mul(param, weightDecay));
}
