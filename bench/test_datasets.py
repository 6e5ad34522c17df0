"""The loaders, on small files in the formats of the publishers: `python3 -m unittest discover bench`."""

import gzip
import struct
import tempfile
import unittest
from pathlib import Path

import numpy as np

import evals
from datasets import load

DRAW = np.random.default_rng(1)


def bytes_of(*shape: int) -> np.ndarray:
    return DRAW.integers(0, 256, shape, dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class Loaders(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def test_svhn_comes_as_matlab_files_with_the_images_last_and_zero_as_ten(self):
        from scipy.io import savemat

        images, labels = bytes_of(5, 3, 32, 32), np.array([1, 9, 10, 10, 3], np.uint8)
        (self.root / "svhn").mkdir()
        for part in ("train", "test"):
            # As published: X (height, width, channel, image), y (image, 1).
            content = {"X": images.transpose(2, 3, 1, 0), "y": labels[:, None]}
            savemat(self.root / "svhn" / f"{part}_32x32.mat", content)
        data = load("svhn", self.root)
        np.testing.assert_array_equal(data.x_test, images)
        np.testing.assert_array_equal(data.y_test, [1, 9, 0, 0, 3])
        self.assertEqual((data.x_train.dtype, data.y_train.dtype, data.classes), (np.uint8, np.int64, 10))

    def test_cifar10_comes_as_rows_of_a_label_and_three_planes(self):
        images, labels = bytes_of(12, 3, 32, 32), np.arange(12, dtype=np.uint8) % 10
        (self.root / "cifar10").mkdir()
        names = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
        for index, name in enumerate(names):
            rows = np.concatenate([labels[:, None], images.reshape(12, -1)], axis=1)[2 * index : 2 * index + 2]
            (self.root / "cifar10" / name).write_bytes(rows.tobytes())
        data = load("cifar10", self.root)
        np.testing.assert_array_equal(data.x_train, images[:10])
        np.testing.assert_array_equal(data.x_test, images[10:])
        np.testing.assert_array_equal(data.y_test, labels[10:])

    def test_mnist_comes_as_idx_files_plain_or_gzipped(self):
        images, labels = bytes_of(4, 28, 28), np.array([3, 0, 9, 1], np.uint8)
        (self.root / "mnist").mkdir()
        (self.root / "mnist" / "train-images-idx3-ubyte").write_bytes(idx(images))
        (self.root / "mnist" / "train-labels-idx1-ubyte").write_bytes(idx(labels))
        (self.root / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[:2])))
        (self.root / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels[:2])))
        path = evals.write("mnist", self.root, self.root)
        written = np.load(path)
        np.testing.assert_array_equal(written["x"], images[:2, None])
        np.testing.assert_array_equal(written["y"], labels[:2])
        self.assertEqual((path.name, written["x"].dtype, written["y"].dtype), ("mnist-test.npz", np.uint8, np.int64))

    def test_uci_tables_have_their_class_last(self):
        (self.root / "uci" / "pendigits").mkdir(parents=True)
        for part, rows in (("train", 3), ("test", 2)):
            lines = ["\tf1\tf2\tclase", *(f"{row}\t{row + 0.5}\t-1\t{row % 2}" for row in range(rows))]
            (self.root / "uci" / "pendigits" / f"pendigits_{part}_R.dat").write_text("\n".join(lines))
        data = load("pendigits", self.root)
        np.testing.assert_array_equal(data.x_test, np.array([[0.5, -1], [1.5, -1]], np.float32))
        np.testing.assert_array_equal(data.y_train, [0, 1, 0])

    def test_what_is_not_there_is_named(self):
        for name in evals.NAMES:
            with self.subTest(name), self.assertRaises(FileNotFoundError) as missing:
                load(name, self.root)
            self.assertIn(str(self.root), str(missing.exception.filename))


if __name__ == "__main__":
    unittest.main()
