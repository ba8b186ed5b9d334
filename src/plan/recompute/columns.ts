/** The values of a model in columns: what walks look at for every value, again and again, lies side by side. */
import type { Model } from "./model.js";

/** What is known of each value, by its number. Lists lie one behind the other, that of value `v` from `From[v]` to `From[v + 1]`. */
export interface Columns {
  readonly bytes: Float64Array;
  readonly workspace: Float64Array;
  readonly cost: Float64Array;
  readonly until: Float64Array;
  readonly kept: Uint8Array;
  readonly inputs: Int32Array;
  readonly inputsFrom: Int32Array;
  /** Values that have it among their inputs. */
  readonly dependents: Int32Array;
  readonly dependentsFrom: Int32Array;
  readonly uses: Int32Array;
  readonly usesFrom: Int32Array;
}

const known = new WeakMap<Model, Columns>();

/** The columns of a model, made once. */
export function columnsOf(model: Model): Columns {
  let columns = known.get(model);
  if (columns === undefined) {
    const { values } = model;
    const startsOf = (lists: readonly (readonly number[])[]): Int32Array => {
      const from = new Int32Array(lists.length + 1);
      for (const [i, { length }] of lists.entries()) from[i + 1] = (from[i] as number) + length;
      return from;
    };
    const [inputs, uses] = [values.map((value) => value.inputs), values.map((value) => value.uses)];
    const dependents: number[][] = values.map(() => []);
    for (const [v, list] of inputs.entries()) for (const x of list) dependents[x]?.push(v);
    columns = {
      bytes: Float64Array.from(values, ({ bytes }) => bytes),
      workspace: Float64Array.from(values, ({ workspace }) => workspace),
      cost: Float64Array.from(values, ({ cost }) => cost),
      until: Float64Array.from(values, ({ until }) => until),
      kept: Uint8Array.from(values, ({ kept }) => (kept ? 1 : 0)),
      inputs: Int32Array.from(inputs.flat()),
      inputsFrom: startsOf(inputs),
      dependents: Int32Array.from(dependents.flat()),
      dependentsFrom: startsOf(dependents),
      uses: Int32Array.from(uses.flat()),
      usesFrom: startsOf(uses),
    };
    known.set(model, columns);
  }
  return columns;
}
