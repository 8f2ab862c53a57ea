"""`make audit`: licences of what the runtime brings, by what is installed, and known holes in it, by pip-audit.

Fails for a licence that whoever ships an app with the runtime would have to open their own code for, for one that is
not stated, and for a hole that is known. What could not be asked, as without a network, is said loudly: no failure.
"""

import re
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)([^;]*)(?:;(.*))?$")
# GPL and AGPL, and not LGPL: whose terms end at the library.
_DENIED = re.compile(r"(?<![A-Za-z])A?GPL|Affero|GNU General Public", re.IGNORECASE)


def licence_of(described: metadata.PackageMetadata) -> str:
    """What a distribution says of its licence, in the words that it has; "" if it says nothing."""
    fields = ("License-Expression", "License", "Classifier")
    said = {name: [str(each) for each in described.get_all(name) or []] for name in fields}
    stated = [*said["License-Expression"], *(each.strip().split("\n")[0] for each in said["License"])]
    stated += [each for each in said["Classifier"] if each.startswith("License ::")]
    return "; ".join(filter(None, stated))


def is_denied(licence: str) -> bool:
    """Whether the licence reaches beyond its own code."""
    return bool(_DENIED.search(licence.replace("Lesser General Public", "")))


def closure(name: str) -> dict[str, str]:
    """Licences of a distribution's requirements and theirs, as far as they are installed, without extras."""
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        distribution = metadata.distribution(waiting.pop())
        for text in distribution.requires or []:
            match = _REQUIREMENT.match(text)
            if match is None or "extra ==" in (match[3] or ""):
                continue
            key = re.sub(r"[-_.]+", "-", match[1]).lower()
            try:
                described = metadata.metadata(key)
            except metadata.PackageNotFoundError:
                continue  # for another system
            if key not in found:
                found[key] = licence_of(described)
                waiting.append(key)
    return found


def _holes(names: list[str]) -> int:
    """1 if pip-audit knows of any in these versions."""
    if find_spec("pip_audit") is None:
        print("SKIPPED: pip-audit is not installed, so known holes were not looked for", file=sys.stderr)
        return 0
    pinned = "\n".join(f"{name}=={metadata.version(name)}" for name in names)
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "-r", "/dev/stdin"]
    done = subprocess.run(command, input=pinned, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode and re.search(r"Connection|resolve|timed out|ServiceError|HTTPError|could not be audited", said):
        print(f"SKIPPED: pip-audit could not ask its database: {said.strip().splitlines()[-1][:200]}", file=sys.stderr)
        return 0
    print(said.strip())
    return done.returncode


def main() -> int:
    """0 if nothing is wrong that could be looked at."""
    licences = closure("sa3-edge")
    for name, licence in sorted(licences.items()):
        print(f"{name:22} {metadata.version(name):12} {licence[:80] or '-'}")
    wrong = [name for name, licence in licences.items() if not licence or is_denied(licence)]
    for name in wrong:
        print(f"{name}: {licences[name] or 'states no licence'}", file=sys.stderr)
    return int(bool(wrong)) or _holes(sorted(licences))


if __name__ == "__main__":
    sys.exit(main())
