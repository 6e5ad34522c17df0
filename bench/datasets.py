"""Real data for training the bench's teachers and for scoring its students. Nothing here reaches a data-free job.

`load(name, root)` reads the files as their publishers ship them, or an `.npz` of the same arrays:

    mnist, fashion   <name>.npz (x_train, y_train, x_test, y_test as uint8), or the four idx files in <name>/
    svhn             svhn/train_32x32.mat and svhn/test_32x32.mat  (http://ufldl.stanford.edu/housenumbers)
    cifar10          cifar10/data_batch_{1..5}.bin and test_batch.bin  (https://www.cs.toronto.edu/~kriz/cifar.html)
    pendigits, letter, landsat
                     uci/<folder>/*_R.dat: tab-separated, standardised features, the class last
"""

import errno
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Normalisation:
    """Per channel, in units of pixels scaled to 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) uint8, or features (N, F) float32; labels (N,) int64."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    normalisation: Normalisation | None

    @property
    def classes(self) -> int:
        return int(self.y_train.max()) + 1


# Of the training images after resizing to 32x32 (method of the KegNet paper).
NORMALISATION = {
    "mnist": Normalisation((0.1307,), (0.3081,)),
    "fashion": Normalisation((0.2856,), (0.3385,)),
    "svhn": Normalisation((0.4378, 0.4439, 0.4729), (0.1980, 0.2011, 0.1971)),
    "cifar10": Normalisation((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
UCI = {"pendigits": "pendigits", "letter": "letter", "landsat": "statlog-landsat"}
LETTER_TRAINING_ROWS = 16_000  # the split that its donors describe


def load(name: str, root: Path) -> Dataset:
    if name in UCI:
        return _uci(root / "uci" / UCI[name])
    if name == "svhn":
        parts = [_svhn(root / "svhn" / f"{part}_32x32.mat") for part in ("train", "test")]
    elif name == "cifar10":
        folder = root / "cifar10"
        batches = [_cifar10(folder / f"data_batch_{n}.bin") for n in range(1, 6)]
        train = tuple(np.concatenate(arrays) for arrays in zip(*batches))
        parts = [train, _cifar10(folder / "test_batch.bin")]
    elif (root / f"{name}.npz").exists():
        data = np.load(root / f"{name}.npz")
        parts = [(data[f"x_{part}"][:, None], data[f"y_{part}"]) for part in ("train", "test")]
    else:
        parts = [_idx_pair(root / name, part) for part in ("train", "t10k")]
    (x_train, y_train), (x_test, y_test) = parts
    return Dataset(x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64), NORMALISATION[name])


def _idx_pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    return _idx(folder / f"{part}-images-idx3-ubyte")[:, None], _idx(folder / f"{part}-labels-idx1-ubyte")


def _idx(path: Path) -> np.ndarray:
    """An idx file of unsigned bytes, plain or gzipped: two zeros, type 8, rank, big-endian sizes, the bytes."""
    plain = path.exists()
    content = path.read_bytes() if plain else gzip.decompress(path.with_suffix(path.suffix + ".gz").read_bytes())
    if content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an idx file of unsigned bytes")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """`X` (32, 32, 3, N) uint8 and `y` (N, 1), where the digit 0 is written as 10."""
    # Opened here: scipy's own error for a file that is not there is no FileNotFoundError, and who has no SVHN needs no scipy.
    with path.open("rb") as file:
        from scipy.io import loadmat

        content = loadmat(file)
    return np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1)), content["y"].reshape(-1) % 10


def _cifar10(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The binary version: rows of one label byte and 3,072 pixel bytes, channels first."""
    rows = np.fromfile(path, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]


def _uci(folder: Path) -> Dataset:
    train, test = sorted(folder.glob("*_train_R.dat")), sorted(folder.glob("*_test_R.dat"))
    if train and test:
        (x_train, y_train), (x_test, y_test) = _table(train[0]), _table(test[0])
    else:
        whole = next(iter(folder.glob("*_R.dat")), None)
        if whole is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(folder / "*_R.dat"))
        x, y = _table(whole)
        # In one file the rows are sorted in no useful way: a fixed permutation splits them.
        order = np.random.default_rng(0).permutation(len(x))
        x, y, cut = x[order], y[order], LETTER_TRAINING_ROWS
        x_train, y_train, x_test, y_test = x[:cut], y[:cut], x[cut:], y[cut:]
    return Dataset(x_train, y_train, x_test, y_test, None)


def _table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = np.loadtxt(path, delimiter="\t", skiprows=1, ndmin=2)
    return rows[:, 1:-1].astype(np.float32), rows[:, -1].astype(np.int64)
