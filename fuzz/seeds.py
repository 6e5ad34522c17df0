"""Fills fuzz/corpus/ with what the search begins from: small fixtures, and files written here. Standard library alone."""

import io
import json
import math
import pathlib
import struct
import zipfile

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
CORPUS = HERE / "corpus"

# Larger ones make each execution slow, and hold no operator that the small ones lack.
LARGEST = 24_000


def seed(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def npy(descr, shape, data, fortran=False):
    """https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"""
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def npz(arrays, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", array)
    return file.getvalue()


def models():
    for path in sorted((ROOT / "tests/fixtures").glob("**/*.onnx")):
        if path.stat().st_size <= LARGEST:
            seed("onnx_bytes", path.name, path.read_bytes())
            head = path.read_bytes()[:512]
            seed("sniff", path.name, struct.pack("<Q", 0) + head)


# Of a network with the tensors `first` (8, 16) and `second` (4, 8); inputs are (16) or (3, 8, 8).
BODIES = [
    "h = torch.relu_(torch.linear(x, self.first, None))\nreturn torch.linear(h, self.second, None)",
    "kept = annotate(List[Tensor], [])\nfor i in range(n):\n  _0 = torch.append(kept, torch.mul(x, i))\n"
    "h = torch.cat(kept, 1)\na, b, = torch.split(h, [16, 16], 1)\nif torch.gt(torch.size(h, 1), 16):\n  y = torch.add(a, b, alpha=2)\n"
    "else:\n  y = a\nreturn torch.matmul(y, torch.t(self.first))",
    "y = torch.mean(torch.max_pool2d(x, [2, 2]), [2, 3], True)\nz = torch.view(y, [torch.size(y, 0), -1])\n"
    "while torch.lt(torch.len(torch.size(z)), 2):\n  z = torch.unsqueeze(z, -1)\nreturn torch.softmax(z, 1)",
]


def archives():
    """Archives of PyTorch, and the code of those that have some."""
    fixtures = sorted((ROOT / "tests/fixtures").glob("pt2/*.pt2")) + sorted((ROOT / "tests/fixtures").glob("torchscript/*.pt"))
    for path in fixtures:
        if path.stat().st_size <= LARGEST:
            seed("archive", path.name, path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            for number, name in enumerate(name for name in archive.namelist() if name.endswith(".py")):
                seed("module_code", f"{path.stem}-{number}", archive.read(name))
    for number, body in enumerate(BODIES):
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        code = f"class Net(Module):\n  def forward(self: __torch__.Net, x: Tensor, n: int=2) -> Tensor:\n{lines}"
        seed("module_code", f"net-{number}", code.encode())


def safetensors(shapes, dtype="F32", size=4):
    """https://huggingface.co/docs/safetensors/index#format"""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        begin, end = end, end + size * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\x3c" * end


def weights():
    """Weights of small networks, for each architecture: the first byte chooses one."""
    lenet = {"conv1": [2, 1, 5, 5], "conv2": [3, 2, 5, 5], "conv3": [4, 3, 5, 5], "fc1": [5, 4], "fc2": [3, 5]}
    mlp = {"0": [6, 4], "3": [5, 6], "6": [3, 5]}
    for which in range(9):
        for name, layers in {"lenet5": lenet, "mlp": mlp}.items():
            shapes = {f"{layer}.weight": shape for layer, shape in layers.items()}
            shapes |= {f"{layer}.bias": shape[:1] for layer, shape in layers.items()}
            seed("weights", f"{name}-{which}", bytes([which]) + safetensors(shapes))
            seed("weights", f"{name}-half-{which}", bytes([which]) + safetensors(shapes, "BF16", 2))


def sets():
    y = npy("<i8", (2,), struct.pack("<2q", 1, 3))
    logits = npy("<f4", (2, 3), struct.pack("<6f", *range(6)))
    floats = npy("<f4", (2, 1, 8, 8), struct.pack("<128f", *([0.5] * 128)))
    seed("npz", "floats", npz({"x": floats, "y": y, "teacher_logits": logits}))
    seed("npz", "compressed", npz({"x": floats, "y": y}, zipfile.ZIP_DEFLATED))
    seed("npz", "bytes", npz({"x": npy("|u1", (2, 9, 9), bytes(162)), "y": npy("|u1", (2,), b"\x01\x02")}))
    seed("npz", "colour", npz({"x": npy("|u1", (2, 3, 4, 4), bytes(96)), "y": npy("<i4", (2,), bytes(8))}))
    seed("npz", "features", npz({"x": npy("<f4", (2, 4), bytes(32)), "y": y}))
    seed("npz", "fortran", npz({"x": npy("<f4", (2, 4), bytes(32), fortran=True), "y": y}))
    seed("npz", "vast", npz({"x": npy("<f4", (1 << 40, 4), bytes(32)), "y": npy("<i8", (1 << 40,), bytes(8))}))


def configurations():
    seed("config", "demo", (ROOT / "demo/config.json").read_bytes())
    full = {
        "name": "lenet5",
        "preset": "paper",
        "input": {"shape": [1, 32, 32], "mean": [0.1307], "std": [0.3081]},
        "classes": ["0", "1"],
        "compression": {"method": "tucker", "ratio": 4.0},
        "extraction": {"sampler": "kegnet", "generators": 5, "epochs": 200, "steps_per_epoch": 100, "batch_size": 256,
                       "latent_dim": 10, "alpha": 1.0, "beta": 0.0, "decoder_layers": 1, "learning_rate": 0.001},
        "distillation": {"samples_per_generator": 6400, "epochs": 400, "batch_size": 64, "learning_rate": 0.00001},
        "seed": 2019, "device": "cuda:0", "priority": -3,
    }
    seed("config", "full", json.dumps(full).encode())
    layers = {"compression": {"layers": {"conv1": "evbmf", "fc": {"ranks": [4, 4]}, "fc2": "keep"}}}
    seed("config", "layers", json.dumps(layers).encode())


def messages():
    file = {"name": "a.npz", "bytes": 3, "sha256": "00"}
    progress = {"fraction": 0.5, "phase": "extracting", "step": 1, "steps": 2, "eta_seconds": 1.5}
    events = [
        {"type": "hello", "version": 1, "device": "cpu", "pid": 7},
        {"type": "alive"},
        {"type": "progress", **progress},
        {"type": "metrics", "points": [{"name": "loss", "step": 1, "value": 0.5}]},
        {"type": "sample", "file": file, "generator": 0, "epoch": 1, "count": 10},
        {"type": "checkpoint", "file": file, "epoch": 3},
        {"type": "artifact", "file": file, "role": "student"},
        {"type": "failed", "problem": {"type": "about:blank", "title": "t", "status": 422, "detail": "d",
                                       "code": "invalid_model", "param": None, "errors": [], "hint": None}},
        {"type": "done"},
        {"type": "cancel"},
        {"type": "checkpoint_and_exit"},
    ]
    lines = [json.dumps(event).encode() for event in events]
    for number, line in enumerate(lines):
        seed("protocol", f"line-{number}", struct.pack("<I", 1) + line)
    seed("protocol", "all", struct.pack("<I", 1) + b"\n".join(lines))
    seed("protocol", "long", struct.pack("<I", 2 << 20) + b"\n" + lines[1])


if __name__ == "__main__":
    models()
    archives()
    weights()
    sets()
    configurations()
    messages()
    print(", ".join(f"{folder.name}: {len(list(folder.iterdir()))}" for folder in sorted(CORPUS.iterdir())))
