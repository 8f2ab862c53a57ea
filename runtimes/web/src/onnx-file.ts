/**
 * Looks at an ONNX file before a runtime does: is it a graph as our exporter writes them, and no more than that.
 *
 * A bundle may come from a stranger. What is not listed here is refused: other fields, operators and domains, graphs
 * inside graphs, functions, weights in files that the manifest does not name, and sizes beyond reason. The Python host's
 * `onnx_file.py` is the same, word for word; `limits.json` of the vectors has its tables.
 */

import type { Bundle } from './bundle.js';
import { EngineError } from './errors.js';
import type { Artifact, GraphName, TensorInfo } from './manifest.js';
import { quoted, shapeText } from './words.js';

/** Limits of a graph: bytes without its weights, operators, elements of a tensor whose shape is stated, its axes. */
export const MOST = { bytes: 64 * 2 ** 20, nodes: 50_000, elements: 2 ** 31, axes: 8 } as const;

/** Versions of operators by domain, the last one not included. */
export const OPSETS: Readonly<Record<string, readonly [number, number]>> = { '': [21, 25], 'com.microsoft': [1, 2] };

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/));

/** What our exporter writes, and its near kin, by domain: pure functions of their inputs. */
export const OPERATORS: Readonly<Record<string, ReadonlySet<string>>> = {
  '': words(`Abs Add And Attention AveragePool Cast Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos CumSum
    DequantizeLinear Div DynamicQuantizeLinear Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND
    Gelu Gemm Greater GreaterOrEqual Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual
    Log LogSoftmax MatMul MatMulInteger Max Min Mod Mul Neg Not Or Pad Pow Range Reciprocal ReduceMax ReduceMean
    ReduceMin ReduceSum Relu Reshape RMSNormalization RotaryEmbedding Round ScatterND Shape Sigmoid Sign Sin Slice
    Softmax Softplus Split Sqrt Squeeze Sub Sum Swish Tanh Tile Transpose Unsqueeze Where`),
  'com.microsoft': words('MultiHeadAttention RotaryEmbedding SkipSimplifiedLayerNormalization'),
};

/** By TensorProto.DataType. */
export const ELEMENT_BYTES: Readonly<Record<number, number>> = {
  1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2,
};
const DTYPES: Readonly<Record<number, string>> = { 1: 'float32', 10: 'float16', 6: 'int32', 7: 'int64' };
const INT64 = 7;
/** The input that says how large the result is. */
const SHAPE_INPUT: Readonly<Record<string, number>> = { Expand: 1, ConstantOfShape: 0, Tile: 1, Reshape: 1 };

type Known = Readonly<Record<number, string>>;

/** Fields of onnx.proto by message. A name in capitals may be repeated. */
export const FIELDS = {
  model: {
    1: 'ir_version', 2: 'producer_name', 3: 'producer_version', 4: 'domain', 5: 'model_version', 6: 'doc_string',
    7: 'graph', 8: 'OPSETS', 14: 'METADATA',
  },
  graph: { 1: 'NODES', 2: 'name', 5: 'INITIALIZERS', 10: 'doc_string', 11: 'INPUTS', 12: 'OUTPUTS', 13: 'VALUES' },
  node: { 1: 'INPUTS', 2: 'OUTPUTS', 3: 'name', 4: 'operator', 5: 'ATTRIBUTES', 6: 'doc_string', 7: 'domain' },
  attribute: { 1: 'name', 2: 'f', 3: 'i', 4: 's', 5: 'tensor', 7: 'FLOATS', 8: 'INTS', 13: 'doc_string', 20: 'type' },
  tensor: {
    1: 'DIMS', 2: 'dtype', 4: 'FLOATS', 5: 'INT32S', 7: 'INT64S', 8: 'name', 9: 'raw', 12: 'doc_string', 13: 'EXTERNAL',
    14: 'location',
  },
  value: { 1: 'name', 2: 'type', 3: 'doc_string' },
  type: { 1: 'tensor', 6: 'denotation' },
  tensor_type: { 1: 'element', 2: 'shape' },
  shape: { 1: 'DIMS' },
  dimension: { 1: 'size', 2: 'axis', 3: 'denotation' },
  entry: { 1: 'key', 2: 'value' },
  opset: { 1: 'domain', 2: 'version' },
} as const satisfies Readonly<Record<string, Known>>;

type MessageOf<N extends keyof typeof FIELDS> = Message<(typeof FIELDS)[N]>;

/** Why a file is no graph of ours. */
class Refusal extends Error {}

/** Throws EngineError unless `data`, the file at `place`, is a graph as the manifest and our exporter have it. */
export function checkOnnx(bundle: Bundle, name: GraphName, artifact: Artifact, place: string, data: Uint8Array): void {
  const bytesOf = new Map(artifact.files.map((file) => [file.path, file.bytes]));
  const folder = artifact.files[0]!.path.split('/').slice(0, -1).join('/');
  const described = bundle.manifest.graphs[name]!;
  try {
    if (data.length > MOST.bytes) throw new Refusal(`it has ${data.length} bytes, at most ${MOST.bytes} are allowed`);
    const { inputs, outputs, stored } = readGraph(data);
    compare('input', inputs, described.inputs);
    compare('output', outputs, described.outputs);
    for (const { name: tensor, path, end } of stored) {
      if (path === null) continue;
      const weights = `the weights ${quoted(tensor)} lie`;
      const size = bytesOf.get(folder ? `${folder}/${path}` : path);
      if (/[/\\]/.test(path) || size === undefined) {
        throw new Refusal(`${weights} in ${quoted(path)}, which the manifest does not name`);
      }
      if (end > size) throw new Refusal(`${weights} beyond the end of ${path}`);
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    throw new EngineError(`${place} is no ${name} graph of sa3-edge: ${error.message}`);
  }
}

/** A tensor with a value; `path` is the file that its bytes lie in, null for this one. */
interface Stored {
  readonly name: string;
  readonly path: string | null;
  readonly end: number;
  /** Those of a small one. */
  readonly integers: readonly number[] | null;
}

interface Value {
  readonly name: string;
  readonly element: number;
  readonly shape: readonly (number | string)[];
}

function readGraph(data: Uint8Array): { inputs: Value[]; outputs: Value[]; stored: Stored[] } {
  const model = new Message(data, FIELDS.model, 'model');
  const domains = new Set<string>();
  for (const opset of model.messages('OPSETS', FIELDS.opset, 'opset')) {
    const domain = domainOf(opset);
    const version = opset.number('version');
    const [first, end] = Object.hasOwn(OPSETS, domain) ? OPSETS[domain]! : [0, 0];
    if (version < first || version >= end) {
      throw new Refusal(`it uses version ${version} of the operators ${quoted(domain || 'ai.onnx')}`);
    }
    domains.add(domain);
  }
  const graph = model.message('graph', FIELDS.graph, 'graph');
  const nodes = graph.messages('NODES', FIELDS.node, 'node');
  if (nodes.length < 1 || nodes.length > MOST.nodes) {
    throw new Refusal(`it has ${nodes.length} operators, 1 to ${MOST.nodes} are allowed`);
  }
  const stored = graph.messages('INITIALIZERS', FIELDS.tensor, 'tensor').map(storedTensor);
  const constants = new Map(stored.map(({ name, integers }) => [name, integers ?? []]));
  for (const node of nodes) stored.push(...checkNode(node, domains, constants));
  graph.messages('VALUES', FIELDS.value, 'value').forEach(valueOf);
  const [inputs, outputs] = (['INPUTS', 'OUTPUTS'] as const).map((key) => graph.messages(key, FIELDS.value, 'value').map(valueOf));
  return { inputs: inputs!, outputs: outputs!, stored };
}

function domainOf(message: MessageOf<'node'> | MessageOf<'opset'>): string {
  return message.text('domain').replace(/^ai\.onnx$/, '');
}

function checkNode(
  node: MessageOf<'node'>,
  domains: ReadonlySet<string>,
  constants: ReadonlyMap<string, readonly number[]>,
): Stored[] {
  const operator = node.text('operator');
  const domain = domainOf(node);
  if (!domains.has(domain) || !OPERATORS[domain]?.has(operator)) {
    throw new Refusal(`it has the operator ${domain ? `${domain}.` : ''}${operator}, which no export writes`);
  }
  const inputs = node.allData('INPUTS').map((name) => utf8(name));
  const place = Object.hasOwn(SHAPE_INPUT, operator) ? SHAPE_INPUT[operator]! : inputs.length;
  const said = inputs[place];
  if (said !== undefined) countOf(said, (constants.get(said) ?? []).map((size) => Math.max(1, size)));
  return node.messages('ATTRIBUTES', FIELDS.attribute, `attribute of ${operator}`).flatMap((attribute) => {
    if (!attribute.has('tensor')) return [];
    const tensor = storedTensor(attribute.message('tensor', FIELDS.tensor, 'tensor'));
    if (tensor.path !== null) throw new Refusal(`a constant of ${operator} lies in another file`);
    return [tensor];
  });
}

function storedTensor(tensor: MessageOf<'tensor'>): Stored {
  const name = tensor.text('name');
  const elements = countOf(name, tensor.numbers('DIMS'));
  const dtype = tensor.number('dtype');
  const width = ELEMENT_BYTES[dtype];
  if (width === undefined) throw new Refusal(`${quoted(name)} is of the type ${dtype}, which no export writes`);
  const size = elements * width;
  const refuseLength = (length: number): never => {
    throw new Refusal(`${quoted(name)} is of ${size} bytes, and ${length} are stored`);
  };
  if (tensor.number('location') === 1) {
    if ((['raw', 'FLOATS', 'INT32S', 'INT64S'] as const).some((field) => tensor.has(field))) {
      throw new Refusal(`${quoted(name)} has its value twice`);
    }
    const entries = tensor.messages('EXTERNAL', FIELDS.entry, 'place of weights');
    const where = new Map(entries.map((entry) => [entry.text('key'), entry.text('value')]));
    const known = ['location', 'offset', 'length', 'checksum'];
    if (where.size !== entries.length || ![...where.keys()].every((key) => known.includes(key))) {
      throw new Refusal(`${quoted(name)} lies elsewhere in an unknown way`);
    }
    const offset = integerIn(where.get('offset') ?? '0');
    const length = integerIn(where.get('length') ?? `${size}`);
    if (offset < 0) throw new Refusal(`${quoted(name)} lies before the start of its file`);
    if (length !== size) refuseLength(length);
    return { name, path: where.get('location') ?? '', end: offset + length, integers: null };
  }
  if (tensor.has('EXTERNAL')) throw new Refusal(`${quoted(name)} lies here and elsewhere`);
  if (tensor.has('raw')) {
    const raw = tensor.data('raw');
    if (raw.length !== size) refuseLength(raw.length);
    const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
    const read = (_: unknown, index: number): number => Number(view.getBigInt64(8 * index, true));
    const integers = dtype === INT64 && elements <= MOST.axes ? Array.from({ length: elements }, read) : null;
    return { name, path: null, end: size, integers };
  }
  const floats = tensor.allData('FLOATS').reduce((sum, value) => sum + value.length, 0) / 4;
  const held = Math.floor(floats) + tensor.numbers('INT32S').length + tensor.numbers('INT64S').length;
  if (elements !== held) throw new Refusal(`${quoted(name)} has ${elements} elements, and ${held} are stored`);
  return { name, path: null, end: size, integers: null };
}

function integerIn(text: string): number {
  if (!/^[+-]?\d{1,19}$/.test(text)) throw new Refusal(`it is damaged (${quoted(text.slice(0, 20))} is no integer)`);
  return Number(text);
}

function valueOf(value: MessageOf<'value'>): Value {
  const name = value.text('name');
  const tensor = value.message('type', FIELDS.type, 'type').message('tensor', FIELDS.tensor_type, 'type of a tensor');
  const dimensions = tensor.message('shape', FIELDS.shape, 'shape').messages('DIMS', FIELDS.dimension, 'dimension');
  const shape = dimensions.map((each) => (each.has('axis') ? each.text('axis') : each.number('size')));
  countOf(name, shape.filter((size) => typeof size === 'number'));
  return { name, element: tensor.number('element'), shape };
}

/** Throws Refusal unless a graph's inputs or outputs are those of the manifest, in any order. */
function compare(kind: string, values: readonly Value[], tensors: readonly TensorInfo[]): void {
  const there = new Map(values.map((value) => [value.name, value]));
  const named = tensors.map(({ name }) => name);
  if (values.length !== tensors.length || there.size !== new Set(named).size || !named.every((name) => there.has(name))) {
    throw new Refusal(`its ${kind}s are ${[...there.keys()].join(', ') || 'none'}, not ${named.join(', ')}`);
  }
  for (const { name, dtype, shape } of tensors) {
    const value = there.get(name)!;
    const equal = value.shape.length === shape.length && value.shape.every((size, axis) => size === shape[axis]);
    if (DTYPES[value.element] !== dtype || !equal) {
      throw new Refusal(`its ${kind} ${name} is not ${dtype} ${shapeText(shape)} as the manifest says`);
    }
  }
}

/** Elements of a shape within the limits. */
function countOf(name: string, shape: readonly number[]): number {
  let count = 1;
  for (const size of shape) {
    if (size < 0) throw new Refusal(`${quoted(name)} has a negative size`);
    count *= size;
    if (count > MOST.elements) throw new Refusal(`${quoted(name)} is larger than any tensor of a model`);
  }
  if (shape.length > MOST.axes) throw new Refusal(`${quoted(name)} has ${shape.length} axes`);
  return count;
}

// Protobuf (protobuf.dev/programming-guides/encoding): a message is fields in any order, each a number, a wire type and
// a value, which is a varint, 4 or 8 bytes, or a length and bytes.

type Name<K extends Known> = K[keyof K] & string;

/** A message by the names of its fields; `what` is said of it. Throws Refusal for fields that are not known. */
class Message<K extends Known> {
  private readonly fields = new Map<string, (number | Uint8Array)[]>();

  constructor(
    data: Uint8Array,
    known: K,
    private readonly what: string,
  ) {
    for (const [field, value] of fieldsOf(data)) {
      const name = Object.hasOwn(known, field) ? known[field] : undefined;
      if (name === undefined) throw new Refusal(`its ${what} has a field (${field}) that no export writes`);
      const values = this.fields.get(name);
      if (values && name !== name.toUpperCase()) throw new Refusal(`its ${what} has the ${name} twice`);
      if (values) values.push(value);
      else this.fields.set(name, [value]);
    }
  }

  has(name: Name<K>): boolean {
    return this.fields.has(name);
  }

  allData(name: Name<K>): Uint8Array[] {
    return (this.fields.get(name) ?? []).map((value) => {
      if (typeof value === 'number') throw new Refusal(`its ${this.what} has a number for the ${name.toLowerCase()}`);
      return value;
    });
  }

  data(name: Name<K>): Uint8Array {
    return this.allData(name)[0] ?? new Uint8Array();
  }

  text(name: Name<K>): string {
    return utf8(this.data(name));
  }

  /** Integers, one a field or many packed in one. */
  numbers(name: Name<K>): number[] {
    return (this.fields.get(name) ?? []).flatMap((value) => {
      if (typeof value === 'number') return [value];
      const numbers: number[] = [];
      for (let at = 0; at < value.length; ) {
        const [number, next] = varint(value, at);
        numbers.push(number);
        at = next;
      }
      return numbers;
    });
  }

  number(name: Name<K>): number {
    const value = this.fields.get(name)?.[0] ?? 0;
    if (typeof value !== 'number') throw new Refusal(`its ${this.what} has no number for the ${name}`);
    return value;
  }

  message<L extends Known>(name: Name<K>, known: L, what: string): Message<L> {
    return new Message(this.data(name), known, what);
  }

  messages<L extends Known>(name: Name<K>, known: L, what: string): Message<L>[] {
    return this.allData(name).map((data) => new Message(data, known, what));
  }
}

function utf8(data: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw new Refusal('it is damaged (a text is not UTF-8)');
  }
}

function* fieldsOf(data: Uint8Array): Generator<readonly [number, number | Uint8Array]> {
  for (let at = 0; at < data.length; ) {
    const [tag, start] = varint(data, at);
    const wire = ((tag % 8) + 8) % 8;
    const field = Math.floor(tag / 8);
    if (wire === 0) {
      const [value, next] = varint(data, start);
      yield [field, value];
      at = next;
      continue;
    }
    if (wire !== 1 && wire !== 2 && wire !== 5) throw new Refusal(`it is no protobuf (wire type ${wire})`);
    const [length, from] = wire === 2 ? varint(data, start) : [wire === 1 ? 8 : 4, start];
    if (length < 0 || from + length > data.length) throw new Refusal('it ends within a field');
    yield [field, data.subarray(from, from + length)];
    at = from + length;
  }
}

/** A signed number of 64 bits, and where the next value begins. */
function varint(data: Uint8Array, at: number): readonly [number, number] {
  let value = 0n;
  for (let index = 0; index < 10; index++) {
    const byte = data[at + index];
    if (byte === undefined) throw new Refusal('it ends within a number');
    value |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if (byte < 0x80) return [Number(BigInt.asIntN(64, value)), at + index + 1];
  }
  throw new Refusal('a number in it does not end');
}
