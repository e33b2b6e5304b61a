import { UpdateError } from '../../core/errors.ts';

/**
 * A strict reader for the little XML that introspection data is: elements, attributes, comments, one document type
 * without internal subset. Text is allowed only as white space. Anything else is an error with its line.
 */
export interface XmlElement {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly XmlElement[];
}

interface OpenElement extends XmlElement {
  readonly children: XmlElement[];
}

const TOKEN =
  /<\?xml[^>]*\?>|<!DOCTYPE[^[>]*>|<!--(?:(?!--)[^])*-->|<\/([\w.:-]+)\s*>|<([\w.:-]+)((?:\s+[\w.:-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>|\s+/gy;
const ATTRIBUTE = /([\w.:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g;
const ENTITIES: ReadonlyMap<string, string> = new Map([
  ['lt', '<'],
  ['gt', '>'],
  ['amp', '&'],
  ['quot', '"'],
  ['apos', "'"],
]);

/** The root element. Throws kind `config`. */
export function parseXml(text: string): XmlElement {
  const token = new RegExp(TOKEN);
  const open: OpenElement[] = [];
  let root: XmlElement | null = null;
  let position = 0;
  while (position < text.length) {
    token.lastIndex = position;
    const match = token.exec(text);
    if (match === null) throw malformed(text, position, text.slice(position, position + 40));
    const [whole, closing, opening, attributes = '', selfClosing] = match;
    if (opening !== undefined) {
      if (root !== null && open.length === 0) throw malformed(text, position, 'a second root element');
      const element: OpenElement = {
        name: opening,
        attributes: readAttributes(attributes, text, position),
        children: [],
      };
      open.at(-1)?.children.push(element);
      root ??= element;
      if (selfClosing === '') open.push(element);
    } else if (closing !== undefined) {
      const element = open.pop();
      if (element?.name !== closing) {
        throw malformed(text, position, `</${closing}>, expected ${element ? `</${element.name}>` : 'none'}`);
      }
    }
    position += whole.length;
  }
  const [unclosed] = open;
  if (unclosed !== undefined) throw malformed(text, position, `the end inside <${unclosed.name}>`);
  if (root === null) throw malformed(text, position, 'no element');
  return root;
}

function readAttributes(source: string, text: string, position: number): ReadonlyMap<string, string> {
  const attributes = new Map<string, string>();
  for (const [, name = '', doubleQuoted, singleQuoted] of source.matchAll(ATTRIBUTE)) {
    if (attributes.has(name)) throw malformed(text, position, `attribute ${name} twice`);
    const raw = doubleQuoted ?? singleQuoted ?? '';
    const value = raw.replaceAll(/&([^;]*);|&/g, (reference, entity: string | undefined) => {
      const character = ENTITIES.get(entity ?? '');
      if (character === undefined) throw malformed(text, position, `"${reference}" in an attribute`);
      return character;
    });
    attributes.set(name, value);
  }
  return attributes;
}

function malformed(text: string, position: number, found: string): UpdateError {
  const line = text.slice(0, position).split('\n').length;
  return new UpdateError('config', `introspection XML, line ${line}: found ${found}`);
}
