"""Whether PyTorch reads what kegd writes: loads archives with torch.export.load and runs them.

    python3 scripts/pt2.py STUDENT.pt2 CASE.npz …       # pairs; needs torch 2.9 or later

CASE.npz has x and y, as float32. For each pair one line: the largest difference of the archive's answers to y, for the
batch of x, for twice as many, and for its first row alone. Ends with 1 where one is above 1e-4 times the largest answer.
"""

import sys

import numpy as np
import torch


def worst(archive, case):
    arrays = np.load(case)
    x, y = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["y"])
    program = torch.export.load(archive)
    module = program.module()
    largest = 0.0
    with torch.no_grad():
        for inputs, answers in [(x, y), (torch.cat([x, x]), torch.cat([y, y])), (x[:1], y[:1])]:
            largest = max(largest, (module(inputs) - answers).abs().max().item())
    return largest, max(1.0, y.abs().max().item())


def main():
    pairs = list(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    failed = False
    for archive, case in pairs:
        difference, scale = worst(archive, case)
        failed |= not difference <= 1e-4 * scale
        print(f"{archive}: differs by {difference:.2e} of {scale:.2f}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
