"""A checkpoint directory in the published layout, checked name by name before a tensor is used.

    model_config.json
    model.safetensors
    t5gemma-b-b-ul2/{config.json, model.safetensors, tokenizer.json}

or with the weights in NumPy's files, see optimized.py. Weights are never read from pickles. A tensor that is missing,
unexpected or misshapen is an error that names it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from sa3_edge.adapters.lora import AdapterFile, adapted_weight, adapts
from sa3_edge.adapters.lora_files import read_adapter
from sa3_edge.files import sha256_of
from sa3_export.checkpoints.optimized import SOURCE, is_optimized, open_optimized, weights_file
from sa3_export.checkpoints.weights import SafetensorsWeights, Shapes, Weights, check_shapes
from sa3_export.config.model import ModelConfig, read_model_config
from sa3_export.config.section import Reading, read_json
from sa3_export.config.t5gemma import TextEncoderConfig, read_text_encoder_config
from sa3_export.errors import CheckpointError
from sa3_export.networks.conditioners import Conditioners
from sa3_export.networks.dit import DiffusionTransformer
from sa3_export.networks.same import Autoencoder
from sa3_export.networks.t5gemma import TextEncoder

_DIT, _AUTOENCODER, _CONDITIONERS = "model.model.", "pretransform.model.", "conditioner."
_TEXT_PREFIX = "model.encoder."
_TEXT_IGNORED = ("model.decoder.", "lm_head.")  # the half of T5Gemma that we do not run


# Networks are built without memory for their weights, which come from the file.


def _dit(config: ModelConfig) -> DiffusionTransformer:
    with torch.device("meta"):
        return DiffusionTransformer(config.dit, config.max_frames)


def _autoencoder(config: ModelConfig) -> Autoencoder:
    with torch.device("meta"):
        return Autoencoder(config.autoencoder)


def _conditioners(config: ModelConfig) -> Conditioners:
    with torch.device("meta"):
        return Conditioners(config.conditioner)


def _text_encoder(config: TextEncoderConfig, max_tokens: int) -> TextEncoder:
    with torch.device("meta"):
        return TextEncoder(config, max_tokens)


def _stored_shapes(module: nn.Module) -> Shapes:
    """The tensors a module is loaded from; convolutions in SAME are stored with weight norm."""
    shapes: Shapes = {}
    for name, tensor in module.state_dict().items():
        shape = tuple(tensor.shape)
        if name.endswith(".mapping.weight"):
            shapes[f"{name}_g"] = (shape[0],) + (1,) * (len(shape) - 1)
            shapes[f"{name}_v"] = shape
        else:
            shapes[name] = shape
    return shapes


def expected_shapes(config: ModelConfig) -> Shapes:
    """Names and shapes of every tensor that `model.safetensors` must hold for this config."""
    networks = {_DIT: _dit(config), _AUTOENCODER: _autoencoder(config), _CONDITIONERS: _conditioners(config)}
    return {
        prefix + name: shape for prefix, network in networks.items() for name, shape in _stored_shapes(network).items()
    }


def _adaptable(shapes: Shapes) -> Shapes:
    """Weights that adapters may change, by layer: the Linear and Conv1d of the transformer and the conditioners."""
    return {
        name.removesuffix(".weight"): shape
        for name, shape in shapes.items()
        if name.startswith((_DIT, _CONDITIONERS)) and name.endswith(".weight") and len(shape) > 1
    }


def expected_text_encoder_shapes(config: TextEncoderConfig) -> Shapes:
    """Names and shapes of the encoder's tensors in the text encoder's `model.safetensors`."""
    module = _text_encoder(config, max_tokens=1)
    return {_TEXT_PREFIX + name: shape for name, shape in _stored_shapes(module).items()}


def identity(path: Path) -> tuple[str, str]:
    """A model's name and revision from its folder: a snapshot in a Hugging Face cache, or a plain one's weights."""
    path = path.resolve()
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return path.parent.parent.name.rsplit("--", 1)[-1].removeprefix("stable-audio-3-"), path.name
    weights = weights_file(path) if is_optimized(path) else path / "model.safetensors"
    return path.name.removeprefix("stable-audio-3-"), f"sha256:{sha256_of(weights)}"


class Checkpoint:
    """A checked checkpoint. Networks are loaded one at a time, by the caller's need, adapters merged into them.

    `accept`: values of the configs, "KEY=VALUE", that are not computed and are read as the usual ones.
    `unknown_keys`: keys of the config that nothing here knows, and the accepted values: none has an effect.

    Raises CheckpointError if a file, a config key or a tensor is not what the published layout says, or if an adapter
    does not fit.
    """

    def __init__(self, path: Path, adapters: Sequence[AdapterFile] = (), accept: Sequence[str] = ()):
        self.path = path
        if not path.is_dir():
            raise CheckpointError(f"{path} is not a directory with a checkpoint")
        reading = Reading(accept)
        self.config = read_model_config(path / "model_config.json", reading)
        self.text_folder = path / self.config.conditioner.text_encoder_folder
        max_tokens = self.config.conditioner.max_tokens
        unknown = tuple(reading.unknown)  # the text encoder's config is full of keys that are not for us
        self.text_config = read_text_encoder_config(self.text_folder / "config.json", max_tokens, reading)
        reading.close()
        self.unknown_keys = (*unknown, *accept)
        if self.text_config.hidden_size != self.config.conditioner.text_dim:
            raise CheckpointError(
                f"the text encoder is {self.text_config.hidden_size} wide, "
                f"model.conditioning.cond_dim is {self.config.conditioner.text_dim}; no projection is computed"
            )
        self.tokenizer_file = self.text_folder / "tokenizer.json"
        self._check_tokenizer()
        shapes = expected_shapes(self.config)
        self._weights, self._text_weights = self._open(shapes, expected_text_encoder_shapes(self.text_config))

        self._adaptable = _adaptable(shapes)
        self.adapters = tuple(read_adapter(file, self._adaptable) for file in adapters)

    def _open(self, shapes: Shapes, text_shapes: Shapes) -> tuple[Weights, Weights]:
        """The model's and the text encoder's weights, of these names and shapes."""
        if is_optimized(self.path):
            return open_optimized(self.path, shapes, text_shapes, self.text_config)
        model = SafetensorsWeights(self.path / "model.safetensors")
        check_shapes(model.path, model.shapes, shapes)
        text = SafetensorsWeights(self.text_folder / "model.safetensors", ignored=_TEXT_IGNORED)
        check_shapes(text.path, text.shapes, text_shapes)
        return model, text

    @property
    def source(self) -> dict[str, str]:
        """What the manifest says of weights that are not as published; nothing of those that are."""
        return SOURCE if is_optimized(self.path) else {}

    def _check_tokenizer(self) -> None:
        read = read_json(self.tokenizer_file)
        if not isinstance(read, dict) or "model" not in read:
            raise CheckpointError(f"{self.tokenizer_file} is not a tokenizer: it has no model")

    @property
    def licence(self) -> str | None:
        """What the weights' file says of itself under "licence", as the demo's does; published ones do not."""
        return self._weights.notes.get("licence")

    def adaptable_parameters(self, **networks: str) -> dict[str, str]:
        """Parameters that adapters may change, of a module that has networks under these prefixes, and their layers."""
        stored = {"dit": _DIT, "conditioners": _CONDITIONERS}
        return {
            f"{prefix}{layer.removeprefix(stored[network])}.weight": layer
            for network, prefix in networks.items()
            for layer in self._adaptable
            if layer.startswith(stored[network])
        }

    def dit(self) -> DiffusionTransformer:
        module = _dit(self.config)
        self._weights.load_into(module, _DIT)
        self._merge_adapters(module, _DIT)
        return module

    def autoencoder(self, half: Literal["encoder", "decoder"] | None = None) -> Autoencoder:
        """SAME; of its two halves only one, if that is named."""
        module = _autoencoder(self.config)
        if half is not None:
            setattr(module, "decoder" if half == "encoder" else "encoder", nn.Identity())
        self._weights.load_into(module, _AUTOENCODER)
        return module

    def conditioners(self) -> Conditioners:
        module = _conditioners(self.config)
        self._weights.load_into(module, _CONDITIONERS)
        self._merge_adapters(module, _CONDITIONERS)
        return module

    def _merge_adapters(self, module: nn.Module, prefix: str) -> None:
        """Replace the weights of `module`, which the checkpoint stores under `prefix`, by adapted ones."""
        for name, layer in module.named_modules():
            if adapts(self.adapters, prefix + name):
                weight = layer.get_parameter("weight").detach().numpy()
                merged = torch.from_numpy(adapted_weight(prefix + name, weight, self.adapters))
                layer.weight = nn.Parameter(merged, requires_grad=False)

    def text_encoder(self) -> TextEncoder:
        """The encoder in fp32, its embedding table in the checkpoint's own bf16."""
        module = _text_encoder(self.text_config, self.config.conditioner.max_tokens)
        self._text_weights.load_into(module, _TEXT_PREFIX)
        table = self._text_weights.tensor(f"{_TEXT_PREFIX}embed_tokens.weight")
        module.embed_tokens.weight = nn.Parameter(table, requires_grad=False)
        return module
