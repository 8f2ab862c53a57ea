"""Stand-in weights for the tiny checkpoints. Every tensor has its own NumPy stream, seeded by (seed, crc32(name)),
so the same names and shapes give the same values on any machine. GAINS make the outputs depend strongly on the inputs:
without them a random codec answers almost the same whatever it is given, and a test of it tests nothing.

usage: python synth.py tiny|tiny_medium OUT [rectified_flow]
writes OUT as a checkpoint folder: model.safetensors, model_config.json, t5gemma-b-b-ul2/ (as a base model if asked)
"""

import json
import re
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np

GAINS = [
    (r"encoder\.layers\.0\.mapping\.weight_g$", 60.0),
    (r"encoder\.layers\.2\.weight$", 3.0),
    (r"pretransform.*new_tokens$", 0.5),
    (r"pretransform.*self_attn\.[qk]_norm\.gamma$", 3.0),
    (r"pretransform.*self_attn\.to_out\.weight$", 3.0),
    (r"model\.model.*(self|cross)_attn\.[qk]_norm\.gamma$", 1.5),
    (r"model\.model.*(self|cross)_attn\.to_out\.weight$", 2.0),
]


def tensor(name: str, sizes: list[int], seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    shape = tuple(sizes)
    leaf = name.rsplit(".", 1)[-1]

    def normal(scale: float) -> np.ndarray:
        return rng.standard_normal(shape) * scale

    if leaf == "inv_freq":
        return (1.0 / 10000.0 ** (np.arange(shape[0]) / shape[0])).astype(np.float32)
    if leaf == "running_std":
        return np.full(shape, 1.37, np.float32)
    if leaf in ("scaling_factor", "gamma"):
        out = 1 + normal(0.1)
    elif leaf == "alpha":
        out = 0.7 + normal(0.05)
    elif leaf == "weight_g":
        out = 0.08 * np.abs(1 + normal(0.2))
    elif leaf in ("memory_tokens", "new_tokens", "padding_embedding"):
        out = normal(0.5)
    elif leaf == "to_scale_shift_gate":
        out = normal(0.2)
    elif len(shape) <= 1 or leaf in ("beta", "bias"):
        out = normal(0.05)
    else:
        small = ".to_out." in name or ".ff.ff.2." in name or "conv" in name
        out = normal((0.5 if small else 1.0) / max(int(np.prod(shape[1:])), 1) ** 0.5)
    for pattern, factor in GAINS:
        if re.search(pattern, name):
            out = out * factor
    return out.astype(np.float32)


def state_dict(keys: dict[str, list[int]], seed: int) -> dict[str, np.ndarray]:
    return {name: tensor(name, shape, seed) for name, shape in keys.items()}


def main(name: str, out: Path, objective: str | None = None) -> None:
    from safetensors.numpy import save_file

    data = Path(__file__).resolve().parent
    here = data / name
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((here / "model_config.json").read_text())
    if objective:
        config["model"]["diffusion"]["diffusion_objective"] = objective
    (out / "model_config.json").write_text(json.dumps(config, indent=1))
    # Both have the same text encoder.
    shutil.copytree(data / "tiny" / "t5gemma-b-b-ul2", out / "t5gemma-b-b-ul2", dirs_exist_ok=True)
    seed = json.loads((here / "golden.json").read_text())["weights_seed"]
    save_file(state_dict(json.loads((here / "keys.json").read_text()), seed), str(out / "model.safetensors"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:4])
