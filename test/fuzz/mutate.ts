/** How an input is changed at random: as bytes, as words, as a tree of JSON, and by crossing it with another. */
export interface Mutator {
  readonly random: () => number;
  readonly dictionary: readonly Buffer[];
  readonly isJson: boolean;
  readonly maxBytes: number;
}

const BYTES = [0x00, 0x01, 0x0a, 0x20, 0x22, 0x2d, 0x2f, 0x30, 0x5c, 0x7b, 0x7d, 0x7f, 0x80, 0xc0, 0xff];
const NUMBERS = [
  '0',
  '-1',
  '1e999',
  '-0',
  '2147483648',
  '9007199254740993',
  '18446744073709551616',
  '0.1',
  '1e-9',
];

export function mutate(input: Uint8Array, other: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  let bytes: Uint8Array = input;
  const rounds = 1 + Math.floor(random() ** 2 * 6);
  for (let round = 0; round < rounds; round += 1) {
    bytes =
      mutator.isJson && random() < 0.6 ? mutateJson(bytes, mutator) : mutateBytes(bytes, other, mutator);
  }
  return bytes.subarray(0, mutator.maxBytes);
}

function mutateBytes(input: Uint8Array, other: Uint8Array, { random, dictionary }: Mutator): Uint8Array {
  const at = below(random, input.length + 1);
  const length = Math.min(input.length - at, 1 + Math.floor(random() ** 3 * 64));
  const head = input.subarray(0, at);
  const tail = input.subarray(at);
  switch (below(random, 8)) {
    case 0: {
      const changed = Uint8Array.from(input);
      if (at < changed.length) changed[at] = changed[at]! ^ (1 << below(random, 8));
      return changed;
    }
    case 1: {
      const changed = Uint8Array.from(input);
      if (at < changed.length) changed[at] = pick(random, BYTES);
      return changed;
    }
    case 2:
      return Buffer.concat([head, tail.subarray(length)]);
    case 3:
      return Buffer.concat([head, input.subarray(at, at + length), tail]);
    case 4: {
      const from = below(random, other.length + 1);
      return Buffer.concat([
        head,
        other.subarray(from, from + 1 + below(random, 512)),
        tail.subarray(length),
      ]);
    }
    case 5:
      return head;
    case 6: {
      const word = dictionary.length > 0 ? pick(random, dictionary) : Buffer.from(pick(random, NUMBERS));
      return Buffer.concat([head, word, random() < 0.5 ? tail : tail.subarray(word.length)]);
    }
    default: {
      const word = Buffer.from(Array.from({ length: 1 + below(random, 8) }, () => pick(random, BYTES)));
      return Buffer.concat([head, word, tail]);
    }
  }
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Changes one place of the tree; what is no JSON stays as it is. */
function mutateJson(input: Uint8Array, mutator: Mutator): Uint8Array {
  const { random } = mutator;
  let tree: Json;
  try {
    tree = JSON.parse(Buffer.from(input).toString('utf8')) as Json;
  } catch {
    return input;
  }
  const places: { readonly holder: Json[] | { [key: string]: Json }; readonly key: string | number }[] = [];
  const walk = (value: Json): void => {
    if (typeof value !== 'object' || value === null || places.length > 2_000) return;
    for (const key of Object.keys(value)) {
      places.push({ holder: value, key });
      walk((value as { [key: string]: Json })[key]!);
    }
  };
  walk(tree);
  if (places.length === 0) return Buffer.from(JSON.stringify(strange(mutator)));
  const { holder, key } = pick(random, places);
  const table = holder as { [key: string]: Json };
  switch (below(random, 5)) {
    case 0:
      table[key] = strange(mutator);
      break;
    case 1:
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete table[key];
      break;
    case 2:
      if (Array.isArray(holder))
        holder.push(...Array.from({ length: 1 + below(random, 3) }, () => table[key]!));
      else own(table, text(mutator), table[key]!);
      break;
    case 3: {
      const from = pick(random, places);
      table[key] = structuredClone((from.holder as { [key: string]: Json })[from.key]!);
      break;
    }
    default:
      if (typeof table[key] === 'number') table[key] = Number(pick(random, NUMBERS));
      else if (typeof table[key] === 'string') table[key] = text(mutator);
      else table[key] = [table[key]!];
  }
  // A second member of the same name, which JSON.stringify cannot write.
  const written = JSON.stringify(tree);
  const doubled =
    random() < 0.1 && written.startsWith('{"') ? `{${written.slice(1, -1)},${written.slice(1)}` : written;
  return Buffer.from(doubled);
}

/** `__proto__` too is only a key. */
function own(table: { [key: string]: Json }, key: string, value: Json): void {
  Object.defineProperty(table, key, { value, enumerable: true, configurable: true, writable: true });
}

function strange(mutator: Mutator): Json {
  const { random } = mutator;
  const values: readonly Json[] = [
    null,
    true,
    false,
    0,
    -1,
    2 ** 53,
    1e308,
    0.5,
    '',
    [],
    {},
    [[]],
    { '': null },
  ];
  return random() < 0.4 ? text(mutator) : structuredClone(pick(random, values));
}

function text({ random, dictionary }: Mutator): string {
  if (dictionary.length > 0 && random() < 0.6) return pick(random, dictionary).toString('utf8');
  return pick(random, [
    '',
    '..',
    '/',
    '\0',
    '\ud800',
    '__proto__',
    'constructor',
    'a'.repeat(5_000),
    '\u202e',
    ' x ',
    'é',
    '1',
  ]);
}

function below(random: () => number, limit: number): number {
  return Math.floor(random() * limit);
}

function pick<T>(random: () => number, values: readonly T[]): T {
  return values[below(random, values.length)] as T;
}
