"""Exports well-known classifiers with random weights, has kegd read, run, differentiate and compress them, and writes what
came of it to docs/ARCHITECTURES.md.

    python3 scripts/architectures.py [NAME…]     # needs torch, torchvision, timm, onnx, onnxruntime, onnxscript, numpy

Each model is exported by both of PyTorch's ONNX exporters, by torch.export, and traced and scripted by torch.jit. For each
file: the output must be onnxruntime's (PyTorch's for its own formats), the gradient of a random combination of the scores with
respect to the input must be PyTorch's, `kegd inspect` must have a plan for half the parameters, and the compressed student,
written in the same format, must answer in onnxruntime or PyTorch as it does in kegd. Nothing is trained. What
fails is in the table as it is. Files lie in out/architectures/, and are made once: delete them to make them again.
"""

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out/architectures"
PAGE = ROOT / "docs/ARCHITECTURES.md"
OPSETS = {"legacy": 17, "dynamo": 18}
SUFFIXES = {"legacy": ".onnx", "dynamo": ".onnx", "export": ".pt2", "traced": ".pt", "scripted": ".pt"}
BATCH = 2

TORCHVISION = [
    "resnet18", "resnet50", "vgg11_bn", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0",
    "shufflenet_v2_x1_0", "squeezenet1_1", "regnet_y_400mf", "convnext_tiny", "vit_b_16", "googlenet",
]  # fmt: skip
TIMM = [
    "mobilenetv3_small_050", "ghostnet_100", "convnext_atto", "deit_tiny_patch16_224", "resnet10t", "efficientvit_b0",
    "mixer_s32_224", "repvgg_a0", "edgenext_xx_small", "levit_128s", "poolformer_s12",
]  # fmt: skip


def build(name):
    import timm
    import torch
    import torchvision

    torch.manual_seed(7)
    if name in TIMM:
        model = timm.create_model(name, pretrained=False, num_classes=100)
    else:
        extra = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
        model = getattr(torchvision.models, name)(weights=None, num_classes=100, **extra)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            # Statistics that are not trivial: a layer left out changes the answer.
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.7, 1.3)
        if isinstance(module, torch.nn.Linear) and not module.weight.any():
            # A head of zeros answers zero to everything, and nothing could be compared.
            torch.nn.init.normal_(module.weight, std=0.02)
    return model.eval()


def export(name, exporter):
    """Writes NAME-EXPORTER.SUFFIX and .npz: x, the answer y, weights r of the scores, and PyTorch's gradient g of r·y."""
    import numpy as np
    import torch

    stem = OUT / f"{name}-{exporter}"
    if stem.with_suffix(".npz").is_file():
        return
    model = build(name)
    shape = (3, 256, 256) if name in ("edgenext_xx_small",) else (3, 224, 224)
    x = torch.randn(BATCH, *shape)
    path = str(stem) + SUFFIXES[exporter]
    write(model, x, exporter, path)
    x.requires_grad_(True)
    y = model(x)
    r = torch.randn_like(y)
    (g,) = torch.autograd.grad((y * r).sum(), x)
    answer = runtime(path, x.detach().numpy()) if exporter in OPSETS else y.detach().numpy()
    np.savez(stem.with_suffix(".npz"), x=x.detach().numpy(), y=answer, r=r.numpy(), g=g.numpy())


def write(model, x, exporter, path):
    import torch

    # Fused for the processor at hand, attention has no layers.
    torch.backends.mha.set_fastpath_enabled(False)
    free = ({0: torch.export.Dim("batch")},)
    if exporter == "export":
        torch.export.save(torch.export.export(model, (x,), dynamic_shapes=free), path)
    elif exporter == "traced":
        torch.jit.save(torch.jit.trace(model, x, check_trace=False), path)
    elif exporter == "scripted":
        torch.jit.save(torch.jit.script(model), path)
    elif exporter == "legacy":
        names = {"input_names": ["input"], "output_names": ["output"], "opset_version": OPSETS[exporter]}
        axes = {"input": {0: "batch"}, "output": {0: "batch"}}
        torch.onnx.export(model, (x,), path, dynamo=False, dynamic_axes=axes, **names)
    else:
        names = {"input_names": ["input"], "output_names": ["output"], "opset_version": OPSETS[exporter]}
        torch.onnx.export(model, (x,), path, dynamo=True, dynamic_shapes=free, external_data=False, verbose=False, **names)


def answer_of(path, x):
    """What a student's file answers where its format is at home."""
    import torch

    if path.suffix == ".onnx":
        return runtime(path, x)
    load = torch.jit.load if path.suffix == ".pt" else lambda path: torch.export.load(path).module()
    with torch.no_grad():
        return load(str(path))(torch.tensor(x)).numpy()


def runtime(path, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, {"input": x})[0]


def export_all(names):
    """What could not be exported, with the first line of the reason."""
    OUT.mkdir(parents=True, exist_ok=True)
    reasons = {}
    for name in names:
        for exporter in SUFFIXES:
            try:
                export(name, exporter)
                print(f"exported {name} ({exporter})", flush=True)
            except Exception as error:  # noqa: BLE001 - whatever an exporter raises is a line of the table
                reasons[f"{name}-{exporter}"] = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
                print(f"not exported: {name} ({exporter}): {reasons[f'{name}-{exporter}']}", flush=True)
    return reasons


def examine():
    """What kegd makes of each file: NAME.json, NAME.student.SUFFIX, NAME.student.npz (tests/architectures.rs)."""
    environment = {**os.environ, "KEGD_ARCHITECTURES": str(OUT), "OMP_NUM_THREADS": "1"}
    subprocess.run(["cargo", "test", "--release", "--locked", "--test", "architectures", "--", "--ignored", "--nocapture"], cwd=ROOT, env=environment, check=True)


def inspect(names):
    """Processor seconds of `kegd inspect` with a plan for half the parameters, to NAME.inspect; -1 where it fails."""
    for stem in (OUT / f"{name}-{exporter}" for name in names for exporter in SUFFIXES):
        if stem.with_suffix(".json").is_file() and not stem.with_suffix(".inspect").is_file():
            stem.with_suffix(".inspect").write_text(str(inspect_seconds(stem)))


def inspect_seconds(stem):
    config = OUT / "half.config"
    shape = [3, 256, 256] if stem.name.startswith("edgenext") else [3, 224, 224]
    config.write_text(json.dumps({"compression": {"ratio": 2.0}, "input": {"shape": shape}}))
    command = [str(ROOT / "target/release/kegd"), "inspect", "--json", "--threads", "1", "--config", str(config), str(stem) + SUFFIXES[stem.name.rsplit("-", 1)[1]]]
    used = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    before = used()
    done = subprocess.run(command, capture_output=True)
    return used() - before if done.returncode == 0 else -1.0


def noise(name, stem):
    """How far PyTorch's own gradient in float32 is from the one in float64, as a part of the largest value."""
    import numpy as np
    import torch

    kept = stem.with_suffix(".noise")
    if kept.is_file():
        return float(kept.read_text())
    stored = np.load(stem.with_suffix(".npz"))
    model = build(name).double()
    x = torch.tensor(stored["x"], dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad((model(x) * torch.tensor(stored["r"], dtype=torch.float64)).sum(), x)
    apart = float((torch.tensor(stored["g"]) - g).abs().max() / g.abs().max())
    kept.write_text(str(apart))
    return apart


def row(name, exporter, reason):
    """One line of the table, and whether everything in it is as it should be."""
    import numpy as np

    stem = OUT / f"{name}-{exporter}"
    if reason:
        return f"| {name} | {exporter} | not exported: {reason} | | | | | | |", True
    if not stem.with_suffix(".json").is_file():
        return f"| {name} | {exporter} | not run | | | | | | |", False
    report = json.loads(stem.with_suffix(".json").read_text())
    if "error" in report:
        return f"| {name} | {exporter} | **{report['error'].strip()}** | | | | | | |", False
    x = np.load(stem.with_suffix(".npz"))["x"]
    own = np.load(OUT / f"{stem.name}.student.npz")["y"]
    other = answer_of(OUT / f"{stem.name}.student{SUFFIXES[exporter]}", x)
    student = float(np.abs(own - other).max() / np.abs(other).max())
    measured = stem.with_suffix(".inspect")
    seconds = float(measured.read_text()) if measured.is_file() else None
    inspected = "not measured" if seconds is None else "fails" if seconds < 0 else f"{seconds:.1f} s"
    ratio = report["parameters"] / report["student_parameters"]
    gradient = f"{report['gradient']:.0e}"
    if report["gradient"] > 1e-3:
        gradient += f" ({noise(name, stem):.0e})"
    checks = [
        (f"{report['output']:.0e}", report["output"] <= 1e-4),
        (gradient, report["gradient"] <= 1e-3),
        (inspected, seconds is None or 0 <= seconds <= 20),
        (f"{ratio:.2f}", ratio >= 2),
        (f"{student:.0e}", student <= 1e-4),
    ]
    cells = [text if good else f"**{text}**" for text, good in checks]
    parameters = f"{report['parameters'] / 1e6:.1f} M"
    line = f"| {name} | {exporter} | {report['nodes']} | {parameters} | " + " | ".join(cells) + " |"
    return line, all(good for _, good in checks)


HEAD = """\
# Well-known classifiers through kegd

Written by `python3 scripts/architectures.py`, with torch {torch}, torchvision {torchvision}, timm {timm}, onnx {onnx} and
onnxruntime {onnxruntime}. Weights are random (seed 7), inputs are {batch} random images, nothing is trained. ONNX is of opset {legacy}
by the TorchScript exporter (`legacy`), {dynamo} by the one on torch.export (`dynamo`); `export` is torch.export's own archive, `traced` and
`scripted` are modules of torch.jit. Differences are parts of the largest value.

- *output*: kegd's answer against onnxruntime's (PyTorch's for its own formats), 1e-4 at most. *gradient*: of a random combination of the scores with respect to the
  input, against PyTorch's, 1e-3 at most. Where it is more, how far PyTorch's own gradients in float32 and float64 are apart follows in
  brackets: with these random weights, which side of a ReLU or which place of a maximum counts is decided by rounding.
  PyTorch's own formats keep their batch norms, which ONNX exporters fold: with them, most are PyTorch's to the bit.
- *inspect*: processor time of `kegd inspect` with a plan for half the parameters, on one thread. *ratio*: parameters of the teacher by those
  of the student made by that plan. *student*: the student, written in the teacher's format, in onnxruntime or PyTorch against the same file in kegd.

timm begins its residual branches with a batch norm of zeros. Folded into a convolution, it leaves weights of zero, which cost nothing
to shrink: the ratio of such a model's ONNX (resnet10t) comes out larger than asked for.

Bold is what misses its bound; a model that is not read has the reason in place of figures. `not measured` and `not run` were left
out so far.

| model | exporter | nodes | parameters | output | gradient | inspect | ratio | student |
|---|---|---:|---:|---:|---:|---:|---:|---:|
"""


def page(names, reasons):
    import onnx
    import onnxruntime
    import timm
    import torch
    import torchvision

    versions = {"torch": torch, "torchvision": torchvision, "timm": timm, "onnx": onnx, "onnxruntime": onnxruntime}
    versions = {name: module.__version__.split("+")[0] for name, module in versions.items()}
    rows = [row(name, exporter, reasons.get(f"{name}-{exporter}")) for name in names for exporter in SUFFIXES]
    good = sum(fine for _, fine in rows)
    PAGE.write_text(HEAD.format(batch=BATCH, **OPSETS, **versions) + "\n".join(line for line, _ in rows) + "\n")
    print(f"{good} of {len(rows)} as they should be: {PAGE.relative_to(ROOT)}")
    return good == len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all where none is named")
    parser.add_argument("--export-only", action="store_true", help="write the files, and leave kegd out")
    parser.add_argument("--page-only", action="store_true", help="make the page of what an earlier run left")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    names = options.names or TORCHVISION + TIMM
    reasons = export_all(names)
    if options.export_only:
        return 0
    if not options.page_only:
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
        examine()
        inspect(names)
    return 0 if page(names, reasons) else 1


if __name__ == "__main__":
    sys.exit(main())
