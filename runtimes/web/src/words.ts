/** Values in messages, as the other hosts write them. */

/** A text in quotes; what cannot be seen is escaped. */
export function quoted(text: string): string {
  // eslint-disable-next-line no-control-regex
  const escaped = text.replace(/\\/g, '\\\\').replace(/[\u0000-\u001f\u007f-\u009f]/g, (unit) => `\\x${unit.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return `'${escaped}'`;
}

/** A shape as Python shows a tuple: (1, 'tokens'), (4,). */
export function shapeText(shape: readonly (number | string)[]): string {
  const sizes = shape.map((size) => (typeof size === 'string' ? quoted(size) : `${size}`));
  return `(${sizes.join(', ')}${sizes.length === 1 ? ',' : ''})`;
}
