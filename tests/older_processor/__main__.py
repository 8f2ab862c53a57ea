"""Run a command in which ONNX Runtime and OpenVINO see a processor without AVX-512, VNNI and AMX: an x86 with AVX2.

    python -m tests.older_processor python -m pytest

Their libraries ask the processor with `cpuid`. Copies of them have that instruction replaced by a trap, which a
preloaded handler answers with those features taken out; so nothing is emulated, and it is as fast as such a processor.
Needs Linux on x86-64, gcc and objdump. PyTorch and NumPy are told by their own environment variables.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
_PACKAGES = ("onnxruntime", "openvino")
_CPUID, _TRAP = b"\x0f\xa2", b"\xcc\x90"  # as long as each other
_SEGMENT = re.compile(r"^\s+\d+ \.\S+\s+[0-9a-f]+\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)", re.MULTILINE)
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+cpuid\s*$", re.MULTILINE)


def main() -> int:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        handler = root / "mask.so"
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", handler, HERE / "mask.c"], check=True)
        replaced = sum(_copy(Path(sysconfig.get_path("purelib")) / name, root / name) for name in _PACKAGES)
        print(f"{replaced} cpuid instructions are answered without AVX-512, VNNI and AMX", file=sys.stderr)
        environment = {
            **os.environ,
            "LD_PRELOAD": str(handler),
            "PYTHONPATH": os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")])),
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
        }
        return subprocess.run(sys.argv[1:], env=environment, check=False).returncode


def _copy(package: Path, to: Path) -> int:
    """A package with its libraries' `cpuid` replaced; what needs no change is a link -> how many were replaced."""
    count = 0
    for path in package.rglob("*"):
        there = to / path.relative_to(package)
        if path.is_dir():
            continue
        there.parent.mkdir(parents=True, exist_ok=True)
        if ".so" in path.name and not path.is_symlink():
            data, found = _replaced(path)
            there.write_bytes(data)
            there.chmod(0o755)
            count += found
        elif path.suffix in (".py", ".so") or path.is_symlink():
            there.write_bytes(path.read_bytes())  # a link would take Python back to the package that is linked to
        else:
            there.symlink_to(path)
    return count


def _replaced(library: Path) -> tuple[bytes, int]:
    data = bytearray(library.read_bytes())
    if _CPUID not in data:
        return bytes(data), 0
    sections = subprocess.run(["objdump", "-h", library], capture_output=True, text=True, check=True).stdout
    code = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True
    ).stdout
    offsets = sorted((int(address, 16), int(offset, 16)) for address, offset in _SEGMENT.findall(sections))
    count = 0
    for found in _INSTRUCTION.findall(code):
        address = int(found, 16)
        start, offset = max(each for each in offsets if each[0] <= address)
        at = address - start + offset
        assert data[at : at + 2] == _CPUID, f"{library.name}: no cpuid at {at:#x}"
        data[at : at + 2] = _TRAP
        count += 1
    return bytes(data), count


if __name__ == "__main__":
    sys.exit(main())
