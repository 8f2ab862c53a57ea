"""A checkpoint directory in the published layout, checked name by name before a tensor is used.

    model_config.json
    model.safetensors
    t5gemma-b-b-ul2/{config.json, model.safetensors, tokenizer.json}

Weights are read from safetensors only, never from pickles. A tensor that is missing, unexpected or misshapen is
an error that names it.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sa3_edge.files import sha256_of
from sa3_export.checkpoints.lora import AdapterFile, merge_adapters
from sa3_export.checkpoints.lora_files import read_adapter
from sa3_export.config.model import ModelConfig, read_model_config
from sa3_export.config.section import Reading, read_json
from sa3_export.config.t5gemma import TextEncoderConfig, read_text_encoder_config
from sa3_export.errors import CheckpointError, listed
from sa3_export.networks.conditioners import Conditioners
from sa3_export.networks.dit import DiffusionTransformer
from sa3_export.networks.layers import RotaryEmbedding
from sa3_export.networks.same import Autoencoder, fold_weight_norm
from sa3_export.networks.t5gemma import TextEncoder

Shapes = dict[str, tuple[int, ...]]

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


def _check(path: Path, stored: Shapes, expected: Shapes) -> None:
    problems = []
    if missing := sorted(expected.keys() - stored.keys()):
        problems.append(f"missing: {listed(missing)}")
    if unexpected := sorted(stored.keys() - expected.keys()):
        problems.append(f"unexpected: {listed(unexpected)}")
    misshapen = [
        f"{name} is {stored[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in stored and stored[name] != shape
    ]
    if misshapen:
        problems.append(f"misshapen: {listed(misshapen)}")
    if problems:
        raise CheckpointError(f"{path} does not fit its config; {'; '.join(problems)}")


class _Weights:
    """An open safetensors file: shapes at once, tensors when asked for."""

    def __init__(self, path: Path, ignored: tuple[str, ...] = ()):
        if not path.is_file():
            pickles = [p.name for p in sorted(path.parent.glob("*")) if p.suffix in {".ckpt", ".pt", ".bin", ".pth"}]
            hint = f" ({listed(pickles)} will not be read: only safetensors is safe to open)" if pickles else ""
            raise CheckpointError(f"{path} does not exist{hint}")
        self.path = path
        try:
            self._file = ExitStack().enter_context(safe_open(path, framework="pt", device="cpu"))
            names = [name for name in self._file.keys() if not name.startswith(ignored)]  # noqa: SIM118 - not a dict
            self.shapes: Shapes = {name: tuple(self._file.get_slice(name).get_shape()) for name in names}
            self.notes: dict[str, str] = self._file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from None

    def load_into(self, module: nn.Module, prefix: str, dtype: torch.dtype = torch.float32) -> None:
        """Give a module built without memory its tensors, as `dtype`."""
        state: dict[str, Tensor] = {}
        for name in module.state_dict():
            stored = prefix + name
            if stored in self.shapes:
                state[name] = self.tensor(stored).to(dtype)
            else:
                gain, direction = (self.tensor(f"{stored}_{part}").to(dtype) for part in ("g", "v"))
                state[name] = fold_weight_norm(gain, direction)
        self._check_rotary(module, prefix, state)
        module.load_state_dict(state, strict=True, assign=True)
        module.requires_grad_(False).eval()

    def tensor(self, name: str) -> Tensor:
        """One tensor as stored. Raises CheckpointError for one that holds anything but numbers."""
        tensor: Tensor = self._file.get_tensor(name)
        # A sum is finite only if every term is: one pass, no mask in memory.
        if not torch.isfinite(tensor.sum(dtype=torch.float64)):
            raise CheckpointError(f"{self.path}: {name} holds NaN or infinity")
        return tensor

    def _check_rotary(self, module: nn.Module, prefix: str, state: Mapping[str, Tensor]) -> None:
        for name, part in module.named_modules():
            if isinstance(part, RotaryEmbedding) and f"{name}.inv_freq" in state:
                stored = state[f"{name}.inv_freq"]
                if not torch.allclose(stored, part.inv_freq, rtol=1e-5, atol=0):
                    raise CheckpointError(
                        f"{self.path}: {prefix}{name}.inv_freq is not 1 / 10000^(2i/{2 * len(stored)}), "
                        "the only rotary base that is computed"
                    )


def identity(path: Path) -> tuple[str, str]:
    """A model's name and revision from its folder: a snapshot in a Hugging Face cache, or a plain one's weights."""
    path = path.resolve()
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return path.parent.parent.name.rsplit("--", 1)[-1].removeprefix("stable-audio-3-"), path.name
    return path.name.removeprefix("stable-audio-3-"), f"sha256:{sha256_of(path / 'model.safetensors')}"


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
        self._weights = _Weights(path / "model.safetensors")
        shapes = expected_shapes(self.config)
        _check(self._weights.path, self._weights.shapes, shapes)
        self._text_weights = _Weights(self.text_folder / "model.safetensors", ignored=_TEXT_IGNORED)
        _check(self._text_weights.path, self._text_weights.shapes, expected_text_encoder_shapes(self.text_config))

        adaptable = _adaptable(shapes)
        self.adapters = tuple(read_adapter(file, adaptable) for file in adapters)

    def _check_tokenizer(self) -> None:
        read = read_json(self.tokenizer_file)
        if not isinstance(read, dict) or "model" not in read:
            raise CheckpointError(f"{self.tokenizer_file} is not a tokenizer: it has no model")

    @property
    def licence(self) -> str | None:
        """What the weights' file says of itself under "licence", as the demo's does; published ones do not."""
        return self._weights.notes.get("licence")

    def dit(self) -> DiffusionTransformer:
        module = _dit(self.config)
        self._weights.load_into(module, _DIT)
        merge_adapters(module, _DIT, self.adapters)
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
        merge_adapters(module, _CONDITIONERS, self.adapters)
        return module

    def text_encoder(self) -> TextEncoder:
        """The encoder in fp32, its embedding table in the checkpoint's own bf16."""
        module = _text_encoder(self.text_config, self.config.conditioner.max_tokens)
        self._text_weights.load_into(module, _TEXT_PREFIX)
        table = self._text_weights.tensor(f"{_TEXT_PREFIX}embed_tokens.weight")
        module.embed_tokens.weight = nn.Parameter(table, requires_grad=False)
        return module
