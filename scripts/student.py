"""Builds a student in PyTorch from its safetensors file: the weights, and in the metadata the network around them.

    from student import load
    model = load("lenet5-student.safetensors")        # a torch.nn.Module in eval mode
    logits = model(images)

`python3 scripts/student.py FILE` prints its layers. Needs torch and safetensors. It knows the operators of the networks that
kegd builds from their names; a student of an ONNX file with others is better loaded as ONNX.
"""

import json
import sys

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F

UNARY = {
    "relu": F.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "hard_swish": F.hardswish, "softplus": F.softplus,
    "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "reciprocal": torch.reciprocal, "abs": torch.abs, "neg": torch.neg,
    "erf": torch.erf, "floor": torch.floor, "ceil": torch.ceil,
}
BINARY = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "pow": torch.pow, "min": torch.minimum,
    "max": torch.maximum,
}
REDUCE = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax, "min": torch.amin}


def padded(x, window, value=0.0):
    """Paddings on both sides of each spatial axis, which may differ."""
    sides = [pad for pads in zip(reversed(window["pads_begin"]), reversed(window["pads_end"])) for pad in pads]
    return F.pad(x, sides, value=value) if any(sides) else x


def conv(x, weight, bias=None, *, window, groups):
    apply = F.conv1d if len(window["kernel"]) == 1 else F.conv2d
    return apply(padded(x, window), weight, bias, window["strides"], 0, window["dilations"], groups)


def max_pool(x, *, window):
    apply = F.max_pool1d if len(window["kernel"]) == 1 else F.max_pool2d
    x = padded(x, window, float("-inf"))
    return apply(x, window["kernel"], window["strides"], 0, window["dilations"])


def gemm(a, b, c=None, *, alpha, beta, trans_b):
    y = alpha * (a @ (b.T if trans_b else b))
    return y if c is None else y + beta * c


def batch_norm(x, scale, bias, mean, variance, *, epsilon):
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)


def slice_of(x, *, axes, starts, ends, steps):
    index = [slice(None)] * x.dim()
    for axis, start, end, step in zip(axes, starts, ends, steps):
        if step < 0:
            raise NotImplementedError("a slice that runs backwards")
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def pad(x, *, begin, end, mode, value):
    sides = [side for sides in zip(reversed(begin), reversed(end)) for side in sides]
    return F.pad(x, sides, {"constant": "constant", "reflect": "reflect", "edge": "replicate"}[mode], value)


OPERATORS = {
    "conv": conv,
    "max_pool": max_pool,
    "gemm": gemm,
    "batch_norm": batch_norm,
    "slice": slice_of,
    "pad": pad,
    "mat_mul": torch.matmul,
    "global_average_pool": lambda x: x.mean(dim=tuple(range(2, x.dim())), keepdim=True),
    "global_max_pool": lambda x: x.amax(dim=tuple(range(2, x.dim())), keepdim=True),
    "reduce": lambda x, *, kind, axes, keep_dims: REDUCE[kind](x, dim=axes, keepdim=keep_dims),
    "reshape": lambda x, *, shape: x.reshape(shape),
    "transpose": lambda x, *, perm: x.permute(perm),
    "concat": lambda *x, axis: torch.cat(x, axis),
    "clip": lambda x, *, min, max: x.clamp(min, max),
    "elu": lambda x, *, alpha: F.elu(x, alpha),
    "leaky_relu": lambda x, *, alpha: F.leaky_relu(x, alpha),
    "gelu": lambda x, *, tanh: F.gelu(x, approximate="tanh" if tanh else "none"),
    "softmax": lambda x, *, axis: F.softmax(x, axis),
    "log_softmax": lambda x, *, axis: F.log_softmax(x, axis),
    "unary": lambda x, *, kind: UNARY[kind](x),
    "binary": lambda a, b, *, kind: BINARY[kind](a, b),
}


class Student(nn.Module):
    """Runs the layers of a description in order. Its state dict has the file's names, with `:` for a dot."""

    def __init__(self, description: dict, weights: dict[str, torch.Tensor]):
        super().__init__()
        unknown = {layer["op"] for layer in description["layers"]} - OPERATORS.keys()
        if unknown:
            raise NotImplementedError(f"operators that this loader does not know: {', '.join(sorted(unknown))}")
        self.description = description
        for name, weight in weights.items():
            self.register_buffer(name.replace(".", ":"), weight)

    def forward(self, x):
        values = {self.description["input"]["name"]: x}
        for name in self.description["weights"]:
            values[name] = getattr(self, name.replace(".", ":"))
        for layer in self.description["layers"]:
            inputs = [values[name] if name else None for name in layer["inputs"]]
            values[layer["outputs"][0]] = OPERATORS[layer["op"]](*inputs, **layer["attributes"])
        return values[self.description["output"]["name"]]


def load(path: str) -> Student:
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["graph"])
        weights = {name: file.get_tensor(name) for name in file.keys()}
    return Student(description, weights).eval()


if __name__ == "__main__":
    student = load(sys.argv[1])
    for layer in student.description["layers"]:
        print(f"{layer['name']}: {layer['op']} {json.dumps(layer['attributes'])}")
    shape = student.description["input"]["shape"]
    with torch.no_grad():
        print("output", tuple(student(torch.zeros(1, *shape)).shape))
