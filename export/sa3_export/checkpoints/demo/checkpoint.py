"""The demo's weights as a checkpoint in the published layout, which the exporter reads like any other."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from sa3_export.checkpoints.demo.codec import write_codec
from sa3_export.checkpoints.demo.network import DemoNetworks
from sa3_export.checkpoints.demo.sizes import TEXT_FOLDER, model_config, text_encoder_config
from sa3_export.checkpoints.demo.vocabulary import in_any_case
from sa3_export.networks.same import Autoencoder

LICENCE = "CC0-1.0; trained by this project on synthesized music"


def _named(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """State of `module` under the checkpoint's names; convolutions as direction and length (weight norm)."""
    named = {}
    for name, value in module.state_dict().items():
        value = value.detach().clone().contiguous()
        if name.endswith("mapping.weight"):
            named[f"{prefix}{name}_g"] = value.flatten(1).norm(dim=1).view(-1, 1, 1)
            named[f"{prefix}{name}_v"] = value
        else:
            named[prefix + name] = value
    return named


def write_checkpoint(folder: Path, networks: DemoNetworks, tokenizer: Tokenizer) -> None:
    """Write `networks` and the codec into `folder`, in the published layout."""
    text_folder = folder / TEXT_FOLDER
    text_folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_config.json").write_text(json.dumps(model_config(), indent=1), encoding="utf-8")
    words, source = in_any_case(tokenizer)
    words.save(str(text_folder / "tokenizer.json"))
    described = text_encoder_config()
    described["encoder"]["vocab_size"] = len(source)
    (text_folder / "config.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
    codec = Autoencoder(networks.config.autoencoder)
    write_codec(codec)
    weights = {
        **_named("model.model.", networks.dit),
        **_named("pretransform.model.", codec),
        **_named("conditioner.", networks.conditioners),
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt", "licence": LICENCE})
    text_weights = networks.text.state_dict()
    text_weights["embed_tokens.weight"] = text_weights["embed_tokens.weight"][source]
    text = {f"model.encoder.{name}": value.bfloat16() for name, value in text_weights.items()}
    save_file({name: value.contiguous() for name, value in text.items()}, text_folder / "model.safetensors")


def read_checkpoint(folder: Path, networks: DemoNetworks, tokenizer: Tokenizer) -> None:
    """Put the weights of a checkpoint into `networks`; words that its tokenizer lacks keep what they have."""
    weights = load_file(folder / "model.safetensors")
    for prefix, module in (("model.model.", networks.dit), ("conditioner.", networks.conditioners)):
        module.load_state_dict({name: weights[prefix + name] for name in module.state_dict()})
    text_folder = folder / TEXT_FOLDER
    text = {
        name.removeprefix("model.encoder."): value.float()
        for name, value in load_file(text_folder / "model.safetensors").items()
    }
    known = Tokenizer.from_file(str(text_folder / "tokenizer.json")).get_vocab()
    embeddings = networks.text.state_dict()["embed_tokens.weight"].clone()
    for token, row in tokenizer.get_vocab().items():
        if token in known:
            embeddings[row] = text["embed_tokens.weight"][known[token]]
    networks.text.load_state_dict(text | {"embed_tokens.weight": embeddings})


def load_networks(state: Path, networks: DemoNetworks) -> int:
    """Put the averaged weights of a training state into `networks` -> steps trained."""
    found = torch.load(state, weights_only=True)
    networks.load_state_dict(found["model"])
    with torch.no_grad():
        for name, parameter in networks.named_parameters():
            parameter.copy_(found["average"][name])
    networks.settle()
    steps: int = found["done"]
    return steps
