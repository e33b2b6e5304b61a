/**
 * Received values that nobody can change any more. What is judged by one part and carried out by another, with a pause
 * for a password in between, must stay the same. Byte arrays stay as they are: they cannot be frozen.
 */
export function frozen<T extends readonly unknown[]>(values: T): T {
  freeze(values);
  return values;
}

function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
  if (value instanceof Map) {
    for (const [key, entry] of value) {
      freeze(key);
      freeze(entry);
    }
    // Freezing a map leaves its entries open.
    Object.defineProperties(value, { set: REFUSED, delete: REFUSED, clear: REFUSED });
  } else {
    for (const entry of Object.values(value)) freeze(entry);
  }
  Object.freeze(value);
}

const REFUSED: PropertyDescriptor = {
  value: () => {
    throw new TypeError('the arguments of a call cannot be changed');
  },
};
