"""What this machine is, where the system tells."""

import os
import platform
import subprocess
import sys
from pathlib import Path

# What makes matrix products fast, by the names of /proc/cpuinfo and of sysctl hw.optional.arm.
_MATRIX_FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
    "FEAT_DotProd", "FEAT_I8MM", "FEAT_BF16", "FEAT_SME", "FEAT_SME2", "asimddp", "i8mm", "bf16", "sme", "sme2",
)  # fmt: skip


def processor() -> str:
    """The processor's own name."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def instruction_sets() -> list[str]:
    """The processor's matrix and vector extensions, where the system tells."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                present = set(line.split(":", 1)[1].split())
                return [feature for feature in _MATRIX_FEATURES if feature in present]
    if sys.platform == "darwin":
        listed = subprocess.run(["/usr/sbin/sysctl", "hw.optional.arm"], capture_output=True, text=True, check=False)
        present = {line.split(":")[0].rsplit(".", 1)[-1] for line in listed.stdout.splitlines() if line.endswith(" 1")}
        return [feature for feature in _MATRIX_FEATURES if feature in present]
    return []


def memory() -> int | None:
    """Bytes of the machine's memory, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def address_space() -> int | None:
    """Bytes that this process may map (`ulimit -v`), None for any."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def logical_cores() -> int:
    """The threads that the whole machine runs at once: two a core, where a core runs two."""
    return os.cpu_count() or 1


def cores() -> int:
    """The cores that this process may use: a container often gets fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical_cores()
