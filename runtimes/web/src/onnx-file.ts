/** Looks at an ONNX file before a runtime does: a bundle may come from a stranger. What no export writes is refused. */

import type { Bundle } from './bundle.js';
import { EngineError } from './errors.js';
import type { Artifact, GraphName } from './manifest.js';

const LONGEST_FILE = 64 * 2 ** 20; // a graph without its weights; the published denoiser's has 0.3 MB
const OPERATORS = new Set(
  `Abs Add And Attention AveragePool Cast Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos CumSum
  DequantizeLinear Div DynamicQuantizeLinear Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND
  Gelu Gemm Greater GreaterOrEqual Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual
  Log LogSoftmax MatMul MatMulInteger Max Min Mod Mul Neg Not Or Pad Pow Range Reciprocal ReduceMax ReduceMean
  ReduceMin ReduceSum Relu Reshape RMSNormalization RotaryEmbedding Round ScatterND Shape Sigmoid Sign Sin Slice
  Softmax Softplus Split Sqrt Squeeze Sub Sum Swish Tanh Tile Transpose Unsqueeze Where`.split(/\s+/),
);
const CONTRIBUTED = new Set(['MultiHeadAttention', 'RotaryEmbedding', 'SkipSimplifiedLayerNormalization']);

// Fields of onnx.proto that an export writes, by message.
const MODEL = { graph: 7, known: [1, 2, 3, 4, 5, 6, 7, 8, 14] };
const GRAPH = { nodes: 1, initializers: 5, inputs: 11, outputs: 12, known: [1, 2, 5, 10, 11, 12, 13] };
const NODE = { operator: 4, attributes: 5, domain: 7, known: [1, 2, 3, 4, 5, 6, 7] };
const ATTRIBUTE = { tensor: 5, known: [1, 2, 3, 4, 5, 7, 8, 13, 20] };
const TENSOR = { name: 8, external: 13, known: [1, 2, 4, 5, 7, 8, 9, 12, 13, 14] };

type Fields = ReadonlyMap<number, readonly (number | Uint8Array)[]>;

/** Throws EngineError unless `data`, the file at `place`, is a graph as the manifest and our exporter have it. */
export function checkOnnx(bundle: Bundle, name: GraphName, artifact: Artifact, place: string, data: Uint8Array): void {
  const refuse = (what: string): never => {
    throw new EngineError(`${place} is no ${name} graph of sa3-edge: ${what}`);
  };
  if (data.length > LONGEST_FILE) refuse(`it has ${data.length} bytes, at most ${LONGEST_FILE} are allowed`);
  const bytesOf = new Map(artifact.files.map((file) => [file.path, file.bytes]));
  const folder = artifact.files[0]!.path.split('/').slice(0, -1).join('/');
  const read = (message: Uint8Array, known: readonly number[], what: string): Fields => {
    const fields = fieldsOf(message) ?? refuse('it is damaged');
    for (const field of fields.keys()) {
      if (!known.includes(field)) refuse(`a ${what} has a field (${field}) that no export writes`);
    }
    return fields;
  };
  const tensor = (message: Uint8Array): void => {
    const fields = read(message, TENSOR.known, 'tensor');
    const entries = messages(fields, TENSOR.external).map((entry) => fieldsOf(entry) ?? refuse('it is damaged'));
    if (!entries.length) return;
    const where = new Map(entries.map((entry) => [text(entry, 1), text(entry, 2)]));
    const location = where.get('location') ?? '';
    const weights = `the weights '${text(fields, TENSOR.name)}' lie`;
    const size = bytesOf.get(folder ? `${folder}/${location}` : location);
    if (size === undefined || /[/\\]/.test(location)) refuse(`${weights} in '${location}', which the manifest does not name`);
    const [offset, length] = ['offset', 'length'].map((key) => Number(where.get(key) ?? 0)) as [number, number];
    if (!(offset >= 0 && length >= 0 && offset + length <= size!)) refuse(`${weights} beyond the end of ${location}`);
  };
  const graph = read(messages(read(data, MODEL.known, 'model'), MODEL.graph)[0] ?? refuse('it is empty'), GRAPH.known, 'graph');
  messages(graph, GRAPH.initializers).forEach(tensor);
  for (const message of messages(graph, GRAPH.nodes)) {
    const node = read(message, NODE.known, 'node');
    const [operator, domain] = [text(node, NODE.operator), text(node, NODE.domain).replace(/^ai\.onnx$/, '')];
    const known = domain === '' ? OPERATORS : domain === 'com.microsoft' ? CONTRIBUTED : null;
    if (!known?.has(operator)) refuse(`it has the operator ${domain ? `${domain}.` : ''}${operator}, which no export writes`);
    for (const attribute of messages(node, NODE.attributes)) {
      messages(read(attribute, ATTRIBUTE.known, `attribute of ${operator}`), ATTRIBUTE.tensor).forEach(tensor);
    }
  }
  const described = bundle.manifest.graphs[name]!;
  for (const [kind, field, tensors] of [['inputs', GRAPH.inputs, described.inputs], ['outputs', GRAPH.outputs, described.outputs]] as const) {
    const there = messages(graph, field).map((value) => text(fieldsOf(value) ?? refuse('it is damaged'), 1));
    const wanted = tensors.map((each) => each.name);
    if ([...there].sort().join() !== [...wanted].sort().join()) refuse(`its ${kind} are ${there.join(', ')}, not ${wanted.join(', ')}`);
  }
}

function messages(fields: Fields, field: number): Uint8Array[] {
  return (fields.get(field) ?? []).filter((value) => value instanceof Uint8Array);
}

function text(fields: Fields, field: number): string {
  return new TextDecoder().decode(messages(fields, field)[0] ?? new Uint8Array());
}

/** A protobuf message's values by field: numbers, or bytes; null if it is none. */
function fieldsOf(data: Uint8Array): Fields | null {
  const fields = new Map<number, (number | Uint8Array)[]>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 10; shift++) {
      const byte = data[at++];
      if (byte === undefined) return NaN;
      value += (byte & 0x7f) * 2 ** (7 * shift); // beyond 2^53 only what is not looked at: negative numbers
      if (byte < 0x80) return value;
    }
    return NaN;
  };
  while (at < data.length) {
    const tag = varint();
    const wire = tag % 8;
    let value: number | Uint8Array = NaN;
    if (wire === 0) value = varint();
    else if (wire === 1 || wire === 2 || wire === 5) {
      const length = wire === 2 ? varint() : wire === 1 ? 8 : 4;
      if (!(length <= data.length - at)) return null;
      value = data.subarray(at, at + length);
      at += length;
    }
    if (Number.isNaN(value)) return null;
    const field = Math.floor(tag / 8);
    const values = fields.get(field) ?? [];
    values.push(value);
    fields.set(field, values);
  }
  return fields;
}
