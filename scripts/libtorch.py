"""Puts libtorch at .libtorch/, where .cargo/config.toml points the build. Called by setup.sh.

Python 3.8 or later, no packages.

Sources, in this order; every download is checked against a SHA-256 that stands in this directory:
  1. the CPU build at download.pytorch.org;
  2. PyPI's torch wheel (a CUDA build), cut down to what a CPU needs; with GPU=1 it is kept whole, with
     NVIDIA's libraries.

Wheels are zip files: what counts is torch/lib and torch/include, nothing is imported from Python, so the Python
version that a wheel is made for does not matter and the same wheel is taken everywhere.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

VERSION = "2.11.0"  # the version that tch 0.24 is made for; torch-sys refuses another
RECIPE = 1  # raise when what lies in .libtorch changes, so that old copies are replaced

HERE = Path(__file__).resolve().parent
TARGET = HERE.parent / ".libtorch"
STAMP = "kegd-recipe"

OFFICIAL = f"https://download.pytorch.org/whl/cpu/torch-{VERSION}%2Bcpu-cp312-cp312-manylinux_2_28_x86_64.whl"
OFFICIAL_SHA256 = "f82e2ae20c1545bb03997d1cc3143d94e14b800038669ee1aca45808a9acc338"
CONNECT_SECONDS = 8

# pip for another Python than this one does not widen a platform to the older ones it includes.
PLATFORMS = ["manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(17, 29))]

CPU_LIBRARIES = ("libtorch_cpu.so", "libc10.so", "libgomp", "libcudart.so", "libcupti.so")
PYTHON_ONLY = ("libtorch_python.so", "libshm.so")


class Failure(Exception):
    """A source that cannot be used, with the reason."""


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def main() -> int:
    gpu = os.environ.get("GPU", "0") not in ("", "0")
    flavour = "cuda" if gpu else "cpu"
    if os.environ.get("LIBTORCH"):
        say(f"LIBTORCH is set: the build uses {os.environ['LIBTORCH']}, nothing to fetch")
        return 0
    stamp = f"{VERSION} {flavour} {RECIPE}\n"
    installed = TARGET / STAMP
    # A CUDA copy serves a CPU as well: without GPU=1 it stays.
    if installed.is_file() and installed.read_text() in (stamp, f"{VERSION} cuda {RECIPE}\n"):
        say(f"libtorch {VERSION} is in place")
        return 0
    sources = [from_pypi] if gpu else [from_pytorch, from_pypi]
    for source in sources:
        work = TARGET.with_name(f".libtorch.{os.getpid()}")
        try:
            check_space(9 if gpu else 3)
            (work / "wheels").mkdir(parents=True)
            install(source(work / "wheels", flavour), work / "new", gpu)
            (work / "new" / STAMP).write_text(stamp)
            replace(work / "new")
            say(f"libtorch {VERSION} ({flavour}) is in place: {TARGET}")
            return 0
        except Failure as failure:
            say(str(failure))
        finally:
            shutil.rmtree(work, ignore_errors=True)
    say("libtorch could not be fetched")
    say(f"by hand: unpack libtorch {VERSION} anywhere and set LIBTORCH to that directory")
    return 1


def check_space(gigabytes: int) -> None:
    free = shutil.disk_usage(TARGET.parent).free / 1e9
    if free < gigabytes:
        raise Failure(f"{TARGET.parent} has {free:.1f} GB free; unpacking needs {gigabytes} GB")


def from_pytorch(folder: Path, _flavour: str) -> list:
    """The CPU build of the PyTorch project's own server."""
    target = folder / "torch-cpu.whl"
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(OFFICIAL, timeout=CONNECT_SECONDS) as answer, target.open("wb") as file:
            size = int(answer.headers.get("Content-Length") or 0)
            say(f"downloading libtorch {VERSION} for CPUs from download.pytorch.org ({size / 1e6:.0f} MB)")
            while chunk := answer.read(1 << 20):
                digest.update(chunk)
                file.write(chunk)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Failure(f"download.pytorch.org cannot be used ({reason}); trying PyPI") from None
    if digest.hexdigest() != OFFICIAL_SHA256:
        found = f"has SHA-256 {digest.hexdigest()}, expected {OFFICIAL_SHA256}"
        raise Failure(f"the file from download.pytorch.org {found}; trying PyPI")
    return [target]


def from_pypi(folder: Path, flavour: str) -> list:
    """Wheels by way of pip, which knows the machine's index, proxy and certificates, and checks the sums."""
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True).returncode != 0:
        raise Failure("missing: pip, to download from PyPI. On Debian or Ubuntu: sudo apt-get install python3-pip")
    requirements = [HERE / "libtorch-cpu.txt"] + ([HERE / "libtorch-cuda.txt"] if flavour == "cuda" else [])
    say(f"downloading PyTorch {VERSION} from PyPI ({'2.4 GB' if flavour == 'cuda' else '550 MB'})")
    command = [*pip, "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--dest", str(folder)]
    command += ["--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]
    command += [f"--platform={name}" for name in PLATFORMS]
    for file in requirements:
        command += ["--requirement", str(file)]
    if subprocess.run(command).returncode != 0:
        raise Failure("pip could not download the wheels; its message stands above")
    return sorted(folder.glob("*.whl"))


def install(wheels: list, new: Path, gpu: bool) -> None:
    """Unpacks what is needed into `new` and proves that a program can be linked with it and starts."""
    say("unpacking")
    libraries = new / "lib"
    libraries.mkdir(parents=True)
    for wheel in wheels:
        try:
            unpack(wheel, new, gpu)
        except zipfile.BadZipFile:
            raise Failure(f"{wheel.name} is no wheel") from None
        wheel.unlink()  # half a gigabyte that is not needed any more
    (new / "build-version").write_text(VERSION + "\n")  # torch-sys checks it
    if not (new / "include/torch/csrc/api/include/torch/torch.h").is_file():
        raise Failure("the wheel holds no C++ headers")
    if not (libraries / "libtorch.so").exists():
        link_entry(libraries)
    probe(new)


def unpack(wheel: Path, new: Path, gpu: bool) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        # Of a CUDA build cut down for CPUs, libtorch.so is left out: it asks for libtorch_cuda.so.
        entry = () if any(name.endswith("/libtorch_cuda.so") for name in names) else ("libtorch.so",)
        for name in names:
            path = Path(name)
            if name.endswith("/") or ".." in path.parts:
                continue
            if name.startswith("torch/include/"):
                target = new / Path(*path.parts[1:])
            elif path.parent.name == "lib" and ".so" in path.name and wanted(path.name, gpu, CPU_LIBRARIES + entry):
                target = new / "lib" / path.name
            elif "dist-info" in path.parts[0] and ("LICENSE" in path.name.upper() or path.name == "NOTICE"):
                target = new / "licenses" / Path(*path.parts)
            else:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)


def wanted(library: str, gpu: bool, for_cpu: tuple) -> bool:
    if library in PYTHON_ONLY:
        return False
    return gpu or library.startswith(for_cpu)


def link_entry(libraries: Path) -> None:
    """An empty libtorch.so that stands for its CPU part, since torch-sys links with that name."""
    command = ["cc", "-shared", "-o", "libtorch.so", "-Wl,--no-as-needed", "-L.", "-ltorch_cpu", "-lc10"]
    run_compiler([*command, "-Wl,-rpath,$ORIGIN", "-Wl,-soname,libtorch.so"], libraries)


def probe(new: Path) -> None:
    """Links an empty program with libtorch and runs it: every library that it needs must load here."""
    source, program = new / "probe.c", new / "probe"
    source.write_text("int main(void) { return 0; }\n")
    libraries = ["-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined", f"-L{new}/lib", "-ltorch", "-ltorch_cpu", "-lc10"]
    run_compiler(["cc", "-o", str(program), str(source), *libraries, f"-Wl,-rpath,{new}/lib"], new)
    result = subprocess.run([str(program)], capture_output=True, text=True)
    if result.returncode != 0:
        raise Failure(f"libtorch does not load here: {result.stderr.strip() or result.returncode}")
    source.unlink()
    program.unlink()


def run_compiler(command: list, folder: Path) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode != 0:
        raise Failure(f"{' '.join(command)}\n{result.stderr.strip()}")


def replace(new: Path) -> None:
    """Puts `new` at TARGET: at no time is a half-unpacked copy there."""
    if TARGET.is_symlink():
        TARGET.unlink()
    elif TARGET.exists():
        TARGET.rename(new.with_name("old"))
    new.rename(TARGET)


if __name__ == "__main__":
    sys.exit(main())
