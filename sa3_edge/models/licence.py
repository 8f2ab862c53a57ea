"""Under which terms the published models' weights are given, for people to accept before they are fetched."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Licence:
    """A licence's name, its page, and its main terms, a line each; the licence itself is what counts."""

    name: str
    page: str
    terms: tuple[str, ...]

    def accepted(self) -> dict[str, str]:
        """What the manifest records of an acceptance, now."""
        return {"licence accepted": f"{self.name}, {datetime.now(UTC).date().isoformat()}"}


WEIGHTS = Licence(
    "Stability AI Community License",
    "https://stability.ai/license",
    (
        "free for research, for non-commercial use, and for commercial use by people and organisations that earn less "
        "than 1 000 000 USD a year; commercial users register, others need a licence from Stability AI",
        "what you make is yours, within the Acceptable Use Policy",
        'who passes the model on, or a product with it, passes the licence on and says "Powered by Stability AI"',
        "the text encoder comes under the Gemma Terms of Use: https://ai.google.dev/gemma/terms",
    ),
)
