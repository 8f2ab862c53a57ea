/** Arrays with a shape, as they go through graphs. */

/** fp32 values, or token ids; C order. */
export interface Tensor {
  readonly data: Float32Array | BigInt64Array;
  readonly dims: readonly number[];
}

/** By the names that the manifest gives them. */
export type Tensors = Readonly<Record<string, Tensor>>;

/** An fp32 tensor. */
export function tensor(data: Float32Array | readonly number[], dims: readonly number[]): Tensor {
  return { data: data instanceof Float32Array ? data : Float32Array.from(data), dims };
}

/** The fp32 values of the tensor called `name`. */
export function values(tensors: Tensors, name: string): Float32Array {
  const found = tensors[name];
  if (!(found?.data instanceof Float32Array)) throw new TypeError(`there is no fp32 tensor called ${name}`);
  return found.data;
}

/** Columns [start, stop) of a (rows, columns) array; beyond the last column, the last is repeated. */
export function columns(array: Float32Array, rows: number, start: number, stop: number): Float32Array {
  const width = array.length / rows;
  const wanted = stop - start;
  const there = Math.max(0, Math.min(stop, width) - start);
  const out = new Float32Array(rows * wanted);
  for (let row = 0; row < rows; row++) {
    out.set(array.subarray(row * width + start, row * width + start + there), row * wanted);
    out.fill(array[(row + 1) * width - 1]!, row * wanted + there, (row + 1) * wanted);
  }
  return out;
}
