/** Modules: layers and models, and the tensors that belong to them. */
import { ArgumentError } from "../graph/errors.js";
import { formatShape, sameShape } from "../graph/shape.js";
import { nameMember } from "../graph/sites.js";
import { assign, detach, mode, nodeOf, noGrad, Tensor } from "../graph/tensor.js";
import { to } from "../ops/conversion.js";

/** A tensor that training changes: a field that holds one makes it a parameter of the module. */
export class Parameter extends Tensor {
  /**
   * @param data the initial value
   * @param requiresGrad false for a parameter that is frozen
   */
  constructor(data: Tensor, requiresGrad = true) {
    super(nodeOf(detach(data)));
    this.requiresGrad = requiresGrad;
  }
}

/** A tensor that belongs to a module and is saved with it, but that no optimizer changes: a running mean, a mask. */
export class Buffer extends Tensor {
  /** @param data the initial value */
  constructor(data: Tensor) {
    super(nodeOf(detach(data)));
  }
}

/** A name, dotted as the fields nest, and what it stands for. */
export type Named<T> = readonly [name: string, value: T];

function join(prefix: string, name: string): string {
  return prefix === "" ? name : `${prefix}.${name}`;
}

/** The first of each value. */
function once<T>(named: Iterable<Named<T>>): Named<T>[] {
  const seen = new Set<T>();
  return [...named].filter(([, value]) => !seen.has(value) && seen.add(value));
}

/** What belongs to a module. */
type Member = Module | Parameter | Buffer;

function isContainer(value: unknown): value is object {
  return (
    Array.isArray(value) ||
    (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype)
  );
}

/** The members that the value of a field is or, where it is an array or a plain object, holds. */
function* membersIn(name: string, value: unknown, path: readonly object[] = []): Generator<Named<Member>> {
  if (value instanceof Module || value instanceof Parameter || value instanceof Buffer) yield [name, value];
  else if (isContainer(value) && !path.includes(value)) {
    for (const [key, item] of Object.entries(value)) yield* membersIn(join(name, key), item, [...path, value]);
  }
}

const announced = new WeakSet<object>();

/**
 * Has the class of a module tell whoever takes down where values are made that its `forward` runs. Users define `forward`
 * and call it themselves, so there is no other place to notice it.
 */
function announceForward(module: Module): void {
  let owner: object = Object.getPrototypeOf(module);
  while (!Object.hasOwn(owner, "forward") && owner !== Module.prototype) owner = Object.getPrototypeOf(owner);
  if (announced.has(owner) || owner === Module.prototype) return;
  announced.add(owner);
  const prototype = owner as { forward(...inputs: never[]): unknown };
  const { forward } = prototype;
  prototype.forward = function (this: Module, ...inputs: never[]): unknown {
    const { sites } = mode;
    return sites === null ? forward.apply(this, inputs) : sites.within(this, () => forward.apply(this, inputs));
  };
}

/**
 * A layer or a model. Subclasses hold parameters, buffers and other modules in fields (also in arrays and plain objects
 * of them) and define `forward`. Private `#fields` are not looked into.
 * @example
 * class Net extends nn.Module {
 *   hidden = new nn.Linear(784, 128);
 *   out = new nn.Linear(128, 10);
 *   forward(x: Tensor): Tensor {
 *     return this.out.forward(relu(this.hidden.forward(x)));
 *   }
 * }
 */
export abstract class Module {
  #training = true;

  constructor() {
    announceForward(this);
  }

  /** Computes the output. */
  abstract forward(...inputs: never[]): unknown;

  /** Whether layers that act differently in training, such as dropout, do so. See {@link train} and {@link eval}. */
  get training(): boolean {
    const training = this.#training;
    mode.scope?.addGuard(() => this.#training === training);
    return training;
  }

  /** Puts this module and all within it into training mode, or out of it. */
  train(training = true): this {
    for (const module of this.modules()) module.#training = training;
    return this;
  }

  /** Puts this module and all within it out of training mode: what inference wants. */
  eval(): this {
    return this.train(false);
  }

  /** The fields, by the names that go into {@link stateDict}. */
  protected fields(): Iterable<Named<unknown>> {
    return Object.entries(this);
  }

  private own(): Named<Member>[] {
    return [...this.fields()].flatMap(([name, value]) => [...membersIn(name, value)]);
  }

  /** All members at any depth, under every name that they have. */
  private *all(prefix = "", ancestors: readonly Module[] = []): Generator<Named<Member>> {
    const path = [...ancestors, this];
    if (prefix === "") nameMember(this, "");
    for (const [name, member] of this.own()) {
      nameMember(member, join(prefix, name));
      yield [join(prefix, name), member];
      // A child may hold a reference to its parent.
      if (member instanceof Module && !path.includes(member)) yield* member.all(join(prefix, name), path);
    }
  }

  private *tensors(): Generator<Named<Parameter | Buffer>> {
    for (const [name, member] of this.all()) if (!(member instanceof Module)) yield [name, member];
  }

  /** This module and all within it, each once, with their names; this one's is empty. */
  namedModules(): Named<Module>[] {
    return once<Member>([["", this], ...this.all()]).filter(
      (entry): entry is Named<Module> => entry[1] instanceof Module,
    );
  }

  /** This module and all within it, each once. */
  modules(): Module[] {
    return this.namedModules().map(([, module]) => module);
  }

  /** The modules that are directly within this one, each once. */
  children(): Module[] {
    return once(this.own()).flatMap(([, member]) => (member instanceof Module ? [member] : []));
  }

  /** The parameters of this module and all within it, each once, with names such as `hidden.weight`. */
  namedParameters(): Named<Parameter>[] {
    return once<Member>(this.tensors()).filter((entry): entry is Named<Parameter> => entry[1] instanceof Parameter);
  }

  /** The parameters of this module and all within it, each once: what an optimizer takes. */
  parameters(): Parameter[] {
    return this.namedParameters().map(([, parameter]) => parameter);
  }

  /** The buffers of this module and all within it, each once, with their names. */
  namedBuffers(): Named<Buffer>[] {
    return once<Member>(this.tensors()).filter((entry): entry is Named<Buffer> => entry[1] instanceof Buffer);
  }

  /** The buffers of this module and all within it, each once. */
  buffers(): Buffer[] {
    return this.namedBuffers().map(([, buffer]) => buffer);
  }

  /** Clears the gradient of every parameter. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.grad = null;
  }

  /** Makes every parameter require gradients, or freezes it. */
  requiresGrad_(requiresGrad = true): this {
    for (const parameter of this.parameters()) parameter.requiresGrad = requiresGrad;
    return this;
  }

  /**
   * The values of all parameters and buffers by name. Training that goes on does not change them. A tensor with
   * several names is listed under each.
   */
  stateDict(): Record<string, Tensor> {
    return Object.fromEntries([...this.tensors()].map(([name, value]) => [name, detach(value)]));
  }

  /**
   * Sets all parameters and buffers from values by name, converted to their dtypes.
   * @param options.strict false: names that only one side has are passed over
   * @throws ArgumentError where a name is missing (a tensor with several names needs one of them), unexpected or of
   * another shape; nothing is changed then
   */
  loadStateDict(state: Readonly<Record<string, Tensor>>, { strict = true }: { strict?: boolean } = {}): void {
    const own = [...this.tensors()];
    const names = new Set(own.map(([name]) => name));
    const given = own.filter(([name]) => Object.hasOwn(state, name));
    const found = new Set(given.map(([, value]) => value));
    const list = (title: string, items: readonly string[]): string[] =>
      items.length > 0 ? [`${title} ${items.join(", ")}`] : [];
    const missing = own.filter(([, value]) => !found.has(value)).map(([name]) => name);
    const unexpected = Object.keys(state).filter((name) => !names.has(name));
    const misshapen = given
      .map(([name, value]) => ({ name, has: (state[name] as Tensor).shape, wants: value.shape }))
      .filter(({ has, wants }) => !sameShape(has, wants))
      .map(({ name, has, wants }) => `${name} is ${formatShape(has)} and must be ${formatShape(wants)}`);
    const wrong = [
      ...(strict ? [...list("missing:", missing), ...list("unexpected:", unexpected)] : []),
      ...list("wrong shape:", misshapen),
    ];
    if (wrong.length > 0) throw new ArgumentError(`loadStateDict: ${wrong.join("; ")}`);
    noGrad(() => {
      for (const [name, value] of given) assign("loadStateDict", value, to(state[name] as Tensor, value.dtype));
    });
  }
}
