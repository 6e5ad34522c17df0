"""Train the bench's teachers on real data and export them the way PyTorch users do.

    OMP_NUM_THREADS=1 python3 bench/train_teachers.py DATA [--only resnet14-fashion]

Needs torch, numpy, onnx, onnxscript (and scipy for SVHN); DATA is laid out as datasets.py says. Writes
`teachers/<name>.onnx` (batch size free), and what each reached on its test set into `teachers/teachers.json`.
A name ending in `-bn` is the same network exported with its batch norms as operators; the usual export folds them.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from datasets import Dataset, load
from networks import LeNet5, Mlp, ResNet14, parameters

TEACHERS = Path(__file__).parent / "teachers"


@dataclass(frozen=True)
class Recipe:
    network: Callable[[int, int], nn.Module]
    data: str
    epochs: int
    learning_rate: float
    flip: bool = False
    shift: int = 0
    seed: int = 2019


RECIPES = {
    "lenet5-fashion": Recipe(LeNet5, "fashion", 15, 2e-3),
    "resnet14-mnist": Recipe(ResNet14, "mnist", 3, 3e-3, shift=2),
    "resnet14-fashion": Recipe(ResNet14, "fashion", 12, 6e-3, flip=True, shift=2),
    "resnet14-svhn": Recipe(ResNet14, "svhn", 12, 6e-3, shift=2),
    "resnet14-cifar10": Recipe(ResNet14, "cifar10", 30, 6e-3, flip=True, shift=4),
    "mlp-pendigits": Recipe(Mlp, "pendigits", 60, 1e-3),
    "mlp-letter": Recipe(Mlp, "letter", 80, 1e-3),
    "mlp-landsat": Recipe(Mlp, "landsat", 60, 1e-3),
}


def network_input(data: Dataset, x: np.ndarray) -> torch.Tensor:
    """Features as they are; images to (N, C, 32, 32): scaled to 0..1, resized bilinearly, normalised."""
    if data.normalisation is None:
        return torch.from_numpy(x)
    images = torch.from_numpy(x).float() / 255
    images = F.interpolate(images, size=(32, 32), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.normalisation.mean, data.normalisation.std))
    return (images - mean) / std


def augmented(x: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Mirrors and shifts a whole batch of images; the border repeats."""
    if recipe.flip and torch.rand(()) < 0.5:
        x = x.flip(3)
    if recipe.shift:
        size = x.shape[2]
        top, left = torch.randint(0, 2 * recipe.shift + 1, (2,)).tolist()
        x = F.pad(x, (recipe.shift,) * 4, mode="replicate")[:, :, top : top + size, left : left + size]
    return x


def train(model: nn.Module, recipe: Recipe, x: torch.Tensor, y: torch.Tensor, batch: int = 128) -> None:
    """AdamW, one-cycle; prints the mean loss of each epoch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    steps = recipe.epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, steps, pct_start=0.2)
    model.train()
    for epoch in range(recipe.epochs):
        started, total = time.time(), 0.0
        order = torch.randperm(len(x))[: len(x) // batch * batch]
        for indices in order.split(batch):
            loss = F.cross_entropy(model(augmented(x[indices], recipe)), y[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        loss, seconds = total / (len(x) // batch), time.time() - started
        print(f"  epoch {epoch + 1}/{recipe.epochs}  loss {loss:.4f}  {seconds:.0f} s", flush=True)


@torch.no_grad()
def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    return (torch.cat([model(part).argmax(1) for part in x.split(500)]) == y).float().mean().item()


def export(model: nn.Module, example: torch.Tensor, path: Path) -> None:
    """Write one self-contained ONNX file with a free batch size; this exporter folds batch norm."""
    program = torch.onnx.export(
        model,
        (example,),
        input_names=["input"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    # The exporter notes the paths of the user's source files beside every node; nobody else needs them.
    for node in program.model.graph:
        node.metadata_props.clear()
    program.save(path, external_data=False)


def export_with_batch_norm(model: nn.Module, example: torch.Tensor, path: Path) -> None:
    """The older exporter keeps batch norm where it is told to preserve the training mode (here: eval)."""
    torch.onnx.export(
        copy.deepcopy(model),
        (example,),
        path,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        dynamo=False,
    )


def record(name: str, facts: dict) -> None:
    path = TEACHERS / "teachers.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[name] = facts
    path.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")


def make(name: str, root: Path) -> None:
    recipe = RECIPES[name]
    data = load(recipe.data, root)
    x_train, x_test = network_input(data, data.x_train), network_input(data, data.x_test)
    y_train, y_test = torch.from_numpy(data.y_train), torch.from_numpy(data.y_test)
    torch.manual_seed(recipe.seed)
    model = recipe.network(x_train.shape[1], data.classes)
    print(f"{name}: {parameters(model):,} parameters, {len(x_train):,} training rows", flush=True)
    started = time.time()
    train(model, recipe, x_train, y_train)
    seconds = time.time() - started
    reached = accuracy(model, x_test, y_test)
    print(f"  test accuracy {reached:.4f}")
    facts = {
        "data": recipe.data,
        "parameters": parameters(model),
        "test_accuracy": round(reached, 4),
        "seed": recipe.seed,
        "epochs": recipe.epochs,
        "seconds": round(seconds),
    }
    export(model.eval(), x_test[:2], TEACHERS / f"{name}.onnx")
    record(name, facts)
    if recipe.network is ResNet14:
        export_with_batch_norm(model, x_test[:2], TEACHERS / f"{name}-bn.onnx")
        record(f"{name}-bn", facts)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train the bench's teachers.")
    arguments.add_argument("data", type=Path, help="folder of the data sets (see datasets.py)")
    arguments.add_argument("--only", action="append", choices=sorted(RECIPES), help="this teacher (repeatable)")
    arguments = arguments.parse_args()
    TEACHERS.mkdir(exist_ok=True)
    for name in arguments.only or RECIPES:
        try:
            make(name, arguments.data)
        except FileNotFoundError as missing:
            print(f"{name}: skipped, {missing.filename} is not there")


if __name__ == "__main__":
    main()
