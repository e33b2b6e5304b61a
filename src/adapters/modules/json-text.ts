/**
 * Lays out valid JSON text by two blanks, as both Mender clients do in `header/*`: modules without a JSON parser
 * search it line by line. Works on the text, so that numbers, key order and escapes stay as the artifact has them.
 */
export function indentJson(text: string): string {
  const out: string[] = [];
  let depth = 0;
  const newLine = (): string => `\n${'  '.repeat(depth)}`;
  for (let at = 0; at < text.length;) {
    const end = tokenEnd(text, at);
    const token = text.slice(at, end);
    at = end;
    if (token === '{' || token === '[') {
      while (isBlank(text[at])) at++;
      if (text[at] === '}' || text[at] === ']') {
        out.push(token, text[at]!);
        at++;
      } else {
        depth++;
        out.push(token, newLine());
      }
    } else if (token === '}' || token === ']') {
      depth = Math.max(0, depth - 1);
      out.push(newLine(), token);
    } else if (token === ',') {
      out.push(token, newLine());
    } else if (token === ':') {
      out.push(': ');
    } else if (!isBlank(token[0])) {
      out.push(token);
    }
  }
  return out.join('');
}

function isBlank(char: string | undefined): boolean {
  return char === ' ' || char === '\n' || char === '\r' || char === '\t';
}

/** A string, a run of blanks, a sign, or a literal. */
function tokenEnd(text: string, start: number): number {
  const first = text[start]!;
  if (first === '"') {
    for (let at = start + 1; at < text.length; at++) {
      if (text[at] === '\\') at++;
      else if (text[at] === '"') return at + 1;
    }
    return text.length;
  }
  if ('{}[],:'.includes(first)) return start + 1;
  const isInside = isBlank(first)
    ? isBlank
    : (char: string | undefined): boolean => !isBlank(char) && !'{}[],:"'.includes(char!);
  let end = start + 1;
  while (end < text.length && isInside(text[end])) end++;
  return end;
}
