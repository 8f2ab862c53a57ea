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

_CGROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


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
    """Bytes of memory that this process may have: the machine's, or what a container (cgroup) leaves of it."""
    try:
        whole: int | None = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        whole = None
    limits = [int(text) for text in _limits("memory", "memory.max", "memory.limit_in_bytes") if text.isdigit()]
    return min([*limits, *([] if whole is None else [whole])], default=None)


def _limits(controller: str, *names: str) -> list[str]:
    """What the files of these names say, in this process's control groups and all above them (versions 2 and 1)."""
    found = []
    for line in _lines(_OWN_GROUPS):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for mount in (_CGROUPS / (controllers and controller), _CGROUPS / "unified"):
            inner = mount / path.lstrip("/")
            # In a container the path is the host's, and its own group is what is mounted.
            for folder in (inner, *inner.parents):
                if folder.is_relative_to(mount):
                    found += [text for name in names for text in _lines(folder / name)]
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []


def resident_memory() -> int:
    """Bytes of memory that this process has now, where the system tells; else what such a process usually has."""
    for line in _lines(Path("/proc/self/status")):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 64 * 10**6


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
    """The cores that this process may use: a container often gets fewer than the machine has, or a share of them."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical_cores()
    shares = [_cores_of(text) for text in _limits("cpu", "cpu.max")]
    for quota, period in zip(_limits("cpu", "cpu.cfs_quota_us"), _limits("cpu", "cpu.cfs_period_us"), strict=False):
        shares.append(_cores_of(f"{quota} {period}"))
    return min([bound, *(share for share in shares if share is not None)])


def _cores_of(text: str) -> int | None:
    """A share of time, as "150000 100000", in whole cores, at least one; None for "max" and -1, which are no limit."""
    quota, _, period = text.partition(" ")
    if not (quota.isdigit() and period.isdigit() and int(quota) and int(period)):
        return None
    return max(1, round(int(quota) / int(period)))


def threads_to_use() -> int | None:
    """How many threads to compute with, where an engine by itself would take more than this process may use."""
    return cores() if cores() < logical_cores() else None
