/** Finds keys that a JSON text gives twice to one object: `JSON.parse` keeps the last without a word. */

/**
 * The first key that appears twice in one object of `json`, or null.
 * @param json a text that `JSON.parse` accepts
 */
export function findDuplicateKey(json: string): string | null {
  const open: Set<string>[] = [];
  let text = "";
  for (let at = 0; at < json.length; at++) {
    const character = json[at];
    if (character === '"') {
      const start = at;
      do {
        at += json[at] === "\\" ? 2 : 1;
      } while (json[at] !== '"');
      text = json.slice(start, at + 1);
    } else if (character === ":") {
      // A colon outside of a string follows a key, and the key belongs to the innermost object.
      const keys = open.at(-1) as Set<string>;
      const key = JSON.parse(text) as string;
      if (keys.has(key)) return key;
      keys.add(key);
    } else if (character === "{") {
      open.push(new Set());
    } else if (character === "}") {
      open.pop();
    }
  }
  return null;
}
