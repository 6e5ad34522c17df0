"""Puts the test cases of ONNX's own backend suite at .onnx-cases/, for tests/import_conformance. Called by `make test`.

Python 3.8 or later, no packages. The cases lie in the wheel onnx 1.22.0, the last version that ships them; it comes from
PyPI by way of pip, which checks its SHA-256. Nothing is imported from it, so the Python that it is made for does not matter.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

VERSION = "1.22.0"
SHA256 = "955e02e1f6d385b53d52f9cd7b9cdf5caf417c300bcfe3c64c6d542be763845b"
TARGET = Path(__file__).resolve().parent.parent / ".onnx-cases"
INSIDE = "onnx/backend/test/data/"
KINDS = ("node/", "light/", "pytorch-converted/")


def say(text: str) -> None:
    print(f"onnx cases: {text}", flush=True)


def main() -> int:
    stamp = TARGET / "version"
    if stamp.is_file() and stamp.read_text() == VERSION:
        return 0
    work = TARGET.with_name(f".onnx-cases.{os.getpid()}")
    try:
        unpack(download(work), work / "new")
        (work / "new/version").write_text(VERSION)
        shutil.rmtree(TARGET, ignore_errors=True)
        (work / "new").rename(TARGET)
    except (OSError, subprocess.CalledProcessError, zipfile.BadZipFile) as error:
        say(f"the wheel onnx {VERSION} cannot be had: {error}")
        say(f"by hand: unpack it anywhere and set KEGD_ONNX_CASES to its folder {INSIDE.rstrip('/')}")
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"those of onnx {VERSION} are in place: {TARGET}")
    return 0


def download(work: Path) -> Path:
    say(f"downloading onnx {VERSION} from PyPI (19 MB)")
    work.mkdir(parents=True)
    requirement = work / "requirement.txt"
    requirement.write_text(f"onnx=={VERSION} --hash=sha256:{SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    command += ["--dest", str(work), "--no-deps", "--require-hashes", "--requirement", str(requirement)]
    command += ["--only-binary", ":all:", "--python-version", "3.12", "--implementation", "cp", "--abi", "abi3"]
    command += ["--platform", "manylinux_2_27_x86_64"]
    subprocess.run(command, check=True)
    return next(work.glob("*.whl"))


def unpack(wheel: Path, new: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            inside = name[len(INSIDE) :] if name.startswith(INSIDE) else ""
            if not inside.startswith(KINDS) or name.endswith("/") or ".." in Path(inside).parts:
                continue
            target = new / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))


if __name__ == "__main__":
    sys.exit(main())
