/** Takes one member out of a JSON text without changing a byte of it: duplicates and forms of numbers are kept. */

const BLANK = /\s/;

/**
 * The text of the member `name` of the object that `text` holds; of several the last, as JSON.parse has it. null = there
 * is none, or it is null. `text` must have passed JSON.parse as an object.
 */
export function rawMember(text: string, name: string): string | null {
  let found: string | null = null;
  let at = skipBlanks(text, text.indexOf('{') + 1);
  while (text[at] === '"') {
    const keyEnd = endOfString(text, at);
    const key = JSON.parse(text.slice(at, keyEnd)) as string;
    const valueStart = skipBlanks(text, skipBlanks(text, keyEnd) + 1);
    const valueEnd = endOfValue(text, valueStart);
    if (key === name) found = text.slice(valueStart, valueEnd);
    at = skipBlanks(text, skipBlanks(text, valueEnd) + 1);
  }
  return found === 'null' ? null : found;
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (at < text.length && BLANK.test(text[at]!)) at += 1;
  return at;
}

/** Index after the closing quote of the string that begins at `from`. */
function endOfString(text: string, from: number): number {
  for (let at = from + 1; at < text.length; at++) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '"') return at + 1;
  }
  return text.length;
}

function endOfValue(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    const character = text[at]!;
    if (character === '"') {
      at = endOfString(text, at) - 1;
      if (depth === 0) return at + 1;
    } else if (character === '{' || character === '[') {
      depth += 1;
    } else if (character === '}' || character === ']') {
      // Depth 0: the end of the object around a number or word.
      if (depth === 0) return at;
      depth -= 1;
      if (depth === 0) return at + 1;
    } else if (depth === 0 && (character === ',' || BLANK.test(character))) {
      return at;
    }
  }
  return text.length;
}
