/** As much of protobuf's wire format as the health checks speak: a string or message field to send, a number to read. */

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

/** A field that holds text. */
export function stringField(field: number, text: string): Uint8Array {
  return messageField(field, Buffer.from(text));
}

/** A field that holds another message. */
export function messageField(field: number, message: Uint8Array): Uint8Array {
  return Buffer.concat([varint((field << 3) | LENGTH_DELIMITED), varint(message.length), message]);
}

/**
 * The number in `field`, 0 when the message does not have it, as protobuf has it; of several the last one counts.
 * @throws RangeError when this is not a protobuf message
 */
export function readVarintField(message: Uint8Array, field: number): number {
  let found = 0;
  let at = 0;
  const read = (): number => {
    const { value, next } = readVarint(message, at);
    at = next;
    return value;
  };
  while (at < message.length) {
    const tag = read();
    const wireType = tag % 8;
    if (wireType === VARINT) {
      const value = read();
      if (Math.floor(tag / 8) === field) found = value;
    } else if (wireType === LENGTH_DELIMITED) {
      const length = read();
      at += length;
    } else if (wireType === FIXED64 || wireType === FIXED32) {
      at += wireType === FIXED64 ? 8 : 4;
    } else {
      throw new RangeError(`wire type ${wireType} is no protobuf`);
    }
  }
  if (at !== message.length) throw new RangeError('a protobuf message that ends in the middle of a field');
  return found;
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

/** Arithmetic instead of bit operations, which end at 32 bits; 64-bit values lose precision and nothing else. */
function readVarint(bytes: Uint8Array, start: number): { value: number; next: number } {
  let value = 0;
  for (let index = 0; index < 10; index += 1) {
    const byte = bytes[start + index];
    if (byte === undefined) throw new RangeError('a protobuf message that ends in the middle of a number');
    value += (byte & 0x7f) * 2 ** (7 * index);
    if (byte < 0x80) return { value, next: start + index + 1 };
  }
  throw new RangeError('a protobuf number of more than ten bytes');
}
