"""The goldens hear every part of the model: each part made wrong is refused by the golden tests."""

from pathlib import Path
from typing import Any

import pytest

from sa3_edge import Pipeline
from sa3_export.checkpoints.published import Checkpoint
from tests.conftest import Golden
from tests.goldens import RUN_TOLERANCE, Networks, tolerance_of
from tests.mutations import MUTATIONS, RUN_MUTATIONS, Mutation, RunMutation, errors, run_mutation_errors

_MARGIN = 10  # how far beyond its tolerance a golden must be missed: what is just refused is refused by luck


@pytest.fixture(scope="module")
def networks(tiny_checkpoint: Path) -> Networks:
    return Networks.of(Checkpoint(tiny_checkpoint))


def test_every_part_is_made_wrong_in_some_way() -> None:
    parts = {mutation.part for mutation in MUTATIONS}
    assert parts >= {"encoder", "decoder", "text", "seconds", "cross", "local", "self", "memory tokens", "RoPE"}
    assert {mutation.part for mutation in RUN_MUTATIONS} >= {"encoder", "decoder", "text", "seconds", "cross", "local"}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.part}: {mutation.what}")
def test_a_network_with_a_part_made_wrong_is_refused(networks: Networks, golden: Golden, mutation: Mutation) -> None:
    made = errors(networks, golden, mutation)
    assert made
    assert {name: error for name, error in made.items() if not error > _MARGIN * tolerance_of(name)} == {}


@pytest.mark.parametrize("mutation", RUN_MUTATIONS, ids=lambda mutation: f"{mutation.part}: {mutation.what}")
def test_a_run_with_a_part_made_wrong_is_refused(
    pipeline: Pipeline, golden: Golden, golden_arguments: dict[str, Any], mutation: RunMutation
) -> None:
    made = run_mutation_errors(pipeline, golden, golden_arguments["runs"], mutation)
    assert len(made) >= len(mutation.hears)
    assert {name: error for name, error in made.items() if not error > _MARGIN * RUN_TOLERANCE} == {}
