"""Write the test sets as `kegd distill --eval` takes them: one `<data>-test.npz` (`x`, `y`) for each data set that is there.

    python3 bench/evals.py DATA OUT

Needs numpy (and scipy for SVHN); DATA is laid out as datasets.py says. Images stay bytes in their own size, (N, C, H, W)
uint8: kegd scales, resizes and normalises them as the teacher's configuration says. Features are float32, (N, F).
"""

import argparse
from pathlib import Path

import numpy as np

from datasets import NORMALISATION, UCI, load

NAMES = [*NORMALISATION, *UCI]


def write(name: str, root: Path, out: Path) -> Path:
    """The test rows of one data set, in their own order."""
    data = load(name, root)
    path = out / f"{name}-test.npz"
    np.savez_compressed(path, x=data.x_test, y=data.y_test)
    return path


def main() -> None:
    arguments = argparse.ArgumentParser(description="Write the test sets for `kegd distill --eval`.")
    arguments.add_argument("data", type=Path, help="folder of the data sets (see datasets.py)")
    arguments.add_argument("out", type=Path, help="folder to write to; made if it is not there")
    arguments.add_argument("--only", action="append", choices=NAMES, help="this data set (repeatable)")
    arguments = arguments.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only or NAMES:
        try:
            print(write(name, arguments.data, arguments.out))
        except FileNotFoundError as missing:
            print(f"{name}: skipped, {missing.filename} is not there")


if __name__ == "__main__":
    main()
