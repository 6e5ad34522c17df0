"""Train the demo's teacher: LeNet5 on MNIST, exported to ONNX the way a PyTorch user does it.

    OMP_NUM_THREADS=1 python demo/train_teacher.py mnist.npz

Needs torch, numpy, onnx and onnxscript. `mnist.npz` holds x_train, y_train, x_test and y_test as uint8
(see README.md beside this file for the source). Writes into this directory:

    lenet5-mnist.onnx   the frozen teacher, batch size free
    mnist-test.npz      the 10,000 test images `x` (N, 28, 28) uint8 and labels `y` (N): for the report alone
    config.json         what the demo sends along with the teacher
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).parent
MEAN, STD = 0.1307, 0.3081
SEED = 2019


class LeNet5(nn.Module):
    """Three convolutions and two fully connected layers on 1x32x32; 61,706 parameters."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.fc1 = nn.Linear(120, 84)
        self.fc2 = nn.Linear(84, 10)

    def forward(self, image):
        x = F.max_pool2d(F.relu(self.conv1(image)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x)).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


def network_input(images: np.ndarray) -> torch.Tensor:
    """(N, 28, 28) uint8 -> (N, 1, 32, 32) float32: scaled to 0..1, resized bilinearly, normalised."""
    x = torch.from_numpy(images).unsqueeze(1).float() / 255
    x = F.interpolate(x, size=(32, 32), mode="bilinear", align_corners=False)
    return (x - MEAN) / STD


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, batch: int = 128) -> None:
    """Adam with a cosine schedule; prints the mean loss of each epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-5)
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for epoch in range(epochs):
        started, total = time.time(), 0.0
        order = torch.randperm(len(x))[: len(x) // batch * batch]
        for indices in order.split(batch):
            loss = F.cross_entropy(model(x[indices]), y[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        loss, seconds = total / (len(x) // batch), time.time() - started
        print(f"epoch {epoch + 1}/{epochs}  loss {loss:.4f}  {seconds:.0f} s", flush=True)


@torch.no_grad()
def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    return (torch.cat([model(part).argmax(1) for part in x.split(1000)]) == y).float().mean().item()


def export(model: nn.Module, path: Path) -> None:
    """Write one self-contained ONNX file with a free batch size."""
    model.eval()
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 1, 32, 32),),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
        dynamo=True,
        verbose=False,
    )
    # The exporter notes the paths of the user's source files beside every node; nobody else needs them.
    for node in program.model.graph:
        node.metadata_props.clear()
    program.save(path, external_data=False)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train the demo's teacher and write the demo's files.")
    arguments.add_argument("mnist", type=Path, help="mnist.npz with x_train, y_train, x_test, y_test (uint8)")
    arguments.add_argument("--epochs", type=int, default=12)
    arguments = arguments.parse_args()

    data = np.load(arguments.mnist)
    x_test, y_test = data["x_test"], data["y_test"].astype(np.int64)
    torch.manual_seed(SEED)
    model = LeNet5()
    train(model, network_input(data["x_train"]), torch.from_numpy(data["y_train"].astype(np.int64)), arguments.epochs)
    print(f"test accuracy {accuracy(model, network_input(x_test), torch.from_numpy(y_test)):.4f}")

    export(model, HERE / "lenet5-mnist.onnx")
    np.savez_compressed(HERE / "mnist-test.npz", x=x_test, y=y_test)
    config = {
        "name": "lenet5-mnist",
        "preset": "fast",
        "input": {"mean": [MEAN], "std": [STD]},
        "classes": [str(digit) for digit in range(10)],
        "compression": {"ratio": 4.5},
    }
    (HERE / "config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
