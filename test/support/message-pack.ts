/** As much of MessagePack as the messages of deviceconnect use. Source: the MessagePack specification. */
type Packed =
  string | number | boolean | null | Buffer | readonly Packed[] | { readonly [key: string]: Packed };

/** Numbers from 0 to 65535; texts and bytes of at most 65535 bytes; at most 15 members. */
export function pack(value: Packed): Buffer {
  if (value === null) return Buffer.from([0xc0]);
  if (typeof value === 'boolean') return Buffer.from([value ? 0xc3 : 0xc2]);
  if (typeof value === 'number') {
    return value < 128 ? Buffer.from([value]) : Buffer.from([0xcd, value >> 8, value & 255]);
  }
  if (typeof value === 'string') {
    const bytes = Buffer.from(value);
    return Buffer.concat([Buffer.from([0xda, bytes.length >> 8, bytes.length & 255]), bytes]);
  }
  if (Buffer.isBuffer(value)) {
    return Buffer.concat([Buffer.from([0xc5, value.length >> 8, value.length & 255]), value]);
  }
  if (Array.isArray(value)) {
    const items = value as readonly Packed[];
    return Buffer.concat([Buffer.from([0x90 | items.length]), ...items.map(pack)]);
  }
  const members = Object.entries(value as { readonly [key: string]: Packed });
  return Buffer.concat([
    Buffer.from([0x80 | members.length]),
    ...members.flatMap(([key, item]) => [pack(key), pack(item)]),
  ]);
}

export function unpack(data: Buffer): unknown {
  let at = 0;
  const take = (bytes: number): Buffer => data.subarray(at, (at += bytes));
  const size = (bytes: number): number => take(bytes).readUIntBE(0, bytes);
  const list = (length: number): unknown[] => Array.from({ length }, () => next());
  const map = (length: number): unknown =>
    Object.fromEntries(Array.from({ length }, () => [String(next()), next()]));
  function next(): unknown {
    const type = size(1);
    if (type < 0x80) return type;
    if (type < 0x90) return map(type & 15);
    if (type < 0xa0) return list(type & 15);
    if (type < 0xc0) return take(type & 31).toString();
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return Buffer.from(take(size(2 ** (type - 0xc4))));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return size(2 ** (type - 0xcc));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return take(size(2 ** (type - 0xd9))).toString();
      case 0xdc:
        return list(size(2));
      case 0xde:
        return map(size(2));
      case 0xd0:
        return take(1).readInt8();
      case 0xd1:
        return take(2).readInt16BE();
      case 0xd2:
        return take(4).readInt32BE();
      case 0xcf:
        return Number(take(8).readBigUInt64BE());
      case 0xd3:
        return Number(take(8).readBigInt64BE());
      default:
        throw new Error(`MessagePack type ${type} is not known here`);
    }
  }
  return next();
}
