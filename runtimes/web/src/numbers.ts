/** Numbers in messages and records, written as the other hosts write them. */

/** A float as Python shows it: 5.0, 0.1, 1e-05. */
export function repr(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e16 || size < 1e-4)) return exponential(value.toExponential());
  return Number.isInteger(value) ? `${Object.is(value, -0) ? '-0' : value}.0` : `${value}`;
}

/** At most six significant digits and no zeros behind them, as C's %g. */
export function general(value: number): string {
  if (!Number.isFinite(value)) return repr(value);
  if (value === 0) return '0';
  const exponent = Number(value.toExponential(5).split('e')[1]);
  if (exponent < -4 || exponent >= 6) {
    return exponential(value.toExponential(5).replace(/\.?0+e/, 'e'));
  }
  const text = value.toFixed(5 - exponent);
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

/** To the nearest integer, halves to the even one. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** C writes two digits of an exponent at least. */
function exponential(text: string): string {
  return text.replace(/e([+-])(\d)$/, 'e$10$2');
}

const buffer = new DataView(new ArrayBuffer(8));

/** The next larger fp64 number; `value` is positive. */
export function nextUp(value: number): number {
  buffer.setFloat64(0, value);
  buffer.setBigUint64(0, buffer.getBigUint64(0) + 1n);
  return buffer.getFloat64(0);
}
