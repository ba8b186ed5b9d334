/** What a message calls a value that is not what was expected. */

/** The kind of a value and, where it is short, the value: `number 2`, `string "f64"`, `undefined`, `an array of 3`. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "function") return "a function";
  if (typeof value !== "object") return `${typeof value} ${JSON.stringify(value) ?? String(value)}`;
  if ("shape" in value && "dtype" in value) return "a tensor";
  const name = value.constructor?.name ?? "Object";
  // Minifiers rename the classes of modules, but not those that engines have.
  return name !== "Object" && name in globalThis ? `a ${name}` : "an object";
}
