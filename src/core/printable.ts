/**
 * Foreign text made fit for a terminal or a log line. Names inside an artifact are chosen by whoever made it:
 * printed raw they could move the cursor, hide text or imitate another line.
 */

/** Control, format (bidirectional overrides), line separators, half surrogates; and the escape sign itself. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\\]/gu;
const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\\': '\\\\',
};

/** The text with every character that does not print itself written as an escape; one line, reversible. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    if (Object.hasOwn(SHORT_ESCAPES, character)) return SHORT_ESCAPES[character] as string;
    const code = character.codePointAt(0) ?? 0;
    return code <= 0xff ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}

/** The text printable, in double quotes, and cut (with the full length named) past `maxCharacters`; words for none. */
export function quoted(text: string, maxCharacters = 80): string {
  if (text === '') return 'an empty text';
  if (text.length <= maxCharacters) return `"${printable(text)}"`;
  return `"${printable(text.slice(0, maxCharacters))}…" (${text.length} characters)`;
}

/** Whether a value may be stored and shown as one line: no control character, no half surrogate, no line separator. */
export function isOneLine(text: string): boolean {
  return !/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u.test(text);
}
