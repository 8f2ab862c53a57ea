"""`sa3-edge prompts`."""

import json

from sa3_edge.cli.prompts import PROMPTS
from sa3_edge.clips.choices import all_of
from sa3_edge.models.catalog import PUBLISHED
from tests.conftest import RunCli


def test_prompts_are_shown_by_kind_and_found_by_words(run_cli: RunCli) -> None:
    code, out, _ = run_cli("prompts")
    assert code == 0
    assert all(prompt in out for _, _, prompts in PROMPTS for prompt in prompts)
    _, out, _ = run_cli("prompts", "rain", "--json")
    (found,) = [each for each in json.loads(out)["prompts"] if each["kind"] == "nature"]
    assert found == {"model": "small-sfx", "kind": "nature", "prompts": [found["prompts"][0]]}
    code, out, err = run_cli("prompts", "bagpipe", "army")
    assert (code, out) == (2, "")
    assert err == "error: no prompt here has bagpipe and army; sa3-edge prompts shows all\n"


def test_they_are_of_models_that_can_be_pulled_and_every_choice_is_one() -> None:
    assert {model for model, _, _ in PROMPTS} <= set(PUBLISHED)
    expanded = [each for _, _, prompts in PROMPTS for prompt in prompts for each in all_of(prompt)]
    assert len(expanded) == len(set(expanded))
    assert not [each for each in expanded if set(each) & set("{}|")]
