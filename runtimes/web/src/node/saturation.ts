/** Whether this processor's int8 products saturate: x86 without VNNI adds pairs of them in 16 bits. */

import type { OrtModule } from '../engines/onnxruntime.js';

// One MatMulInteger, (2, 4) uint8 by (4, 16) int8 of 127 each; 161 bytes of ONNX.
const MODEL =
  'CAgSADqUAQoYCgFhCgF3EgF5Ig1NYXRNdWxJbnRlZ2VyEgFwKksIBAgQEANCAXdKQH9/f39/f39/f39/f39/f39/f39/f39/f39/' +
  'f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39/f39aEwoBYRIOCgwIAhIICgIIAgoCCARiEwoBeRIOCgwIBhIICgIIAgoCCBBCBAoAEAo=';

/** Runs four products of 255 x 127, whose sum no 16 bits hold. */
export async function productsSaturate(ort: OrtModule): Promise<boolean> {
  const session = await ort.InferenceSession.create(Buffer.from(MODEL, 'base64'), { intraOpNumThreads: 1 });
  try {
    const a = new ort.Tensor('uint8', new Uint8Array(8).fill(255), [2, 4]);
    const sums = (await session.run({ a }))['y']!.data as Int32Array;
    return !sums.every((sum) => sum === 4 * 255 * 127);
  } finally {
    await session.release();
  }
}
