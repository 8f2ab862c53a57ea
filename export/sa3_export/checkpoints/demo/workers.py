"""One process of a training run."""

import os
from pathlib import Path

import torch
import torch.distributed as distributed

from sa3_export.checkpoints.demo.checkpoint import load_networks, write_checkpoint
from sa3_export.checkpoints.demo.network import DemoNetworks
from sa3_export.checkpoints.demo.sizes import read_configs
from sa3_export.checkpoints.demo.training import Recipe, train
from sa3_export.checkpoints.demo.vocabulary import make_tokenizer


def work(rank: int, recipe: Recipe, folder: Path, meeting: str, threads: int, begin_with: Path | None) -> None:
    torch.set_num_threads(threads)
    if recipe.workers > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        distributed.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=recipe.workers)
    tokenizer = make_tokenizer()
    if rank == 0:
        tokenizer.save(str(folder / "tokenizer.json"))
    train(
        recipe,
        tokenizer,
        folder / "state.pt",
        folder / "log.jsonl",
        rank,
        say=lambda line: print(line, flush=True),
        begin_with=begin_with,
    )
    if rank == 0:
        networks = DemoNetworks(*read_configs())
        load_networks(folder / "state.pt", networks)
        write_checkpoint(folder / "checkpoint", networks, tokenizer)
    if recipe.workers > 1:
        distributed.destroy_process_group()
