"""Whether a machine can run a model is said before gigabytes are fetched."""

import pytest

from sa3_edge.models import needs
from sa3_edge.models.catalog import PUBLISHED
from tests.conftest import RunCli

GB = 10**9


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(needs, "memory", lambda: 64 * GB)
    monkeypatch.setattr(needs, "free_disk", lambda: 500 * GB)
    return monkeypatch


@pytest.mark.parametrize("model", PUBLISHED)
def test_a_large_machine_lacks_nothing(machine: pytest.MonkeyPatch, model: str) -> None:
    assert needs.shortage(model) is None


def test_medium_on_a_small_machine_says_what_is_short_and_suggests_small(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(needs, "memory", lambda: 8 * GB)
    said = needs.shortage("medium")
    assert said is not None
    assert "14.0 GB of memory, of which this machine has 8.0 GB" in said
    assert "small-music takes 5.1 GB" in said
    assert needs.shortage("small-music") is None


def test_a_full_disk_is_reported(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(needs, "free_disk", lambda: 3 * GB)
    assert "7.0 GB of disk, of which 3.0 GB are free" in (needs.shortage("small-sfx") or "")


def test_a_system_that_does_not_tell_is_not_warned(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(needs, "memory", lambda: None)
    assert needs.shortage("medium") is None


def test_doctor_says_it(run_cli: RunCli, machine: pytest.MonkeyPatch) -> None:
    machine.setattr(needs, "memory", lambda: 8 * GB)
    code, out, _ = run_cli("doctor")
    assert code == 0
    assert "exporting medium takes about 14.0 GB of memory" in " ".join(out.split())
    assert "small-music can be pulled: 3.5 GB to download" in " ".join(out.split())
