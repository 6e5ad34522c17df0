"""The networks of the KegNet paper, written from its description, as plain PyTorch modules."""

import torch
from torch import nn
from torch.nn import functional as F


class LeNet5(nn.Module):
    """Three convolutions and two fully connected layers on (N, C, 32, 32); 61,706 parameters for one channel."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.fc1 = nn.Linear(120, 84)
        self.fc2 = nn.Linear(84, classes)

    def forward(self, image):
        x = F.max_pool2d(F.relu(self.conv1(image)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x)).flatten(1)
        return self.fc2(F.relu(self.fc1(x)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the shortcut has no parameters: a stride, and channels of zeros before and behind."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride, self.padding = stride, (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.padding:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(x + y)


class ResNet14(nn.Module):
    """A stem and three stages of two blocks at 16, 32 and 64 channels on (N, C, 32, 32)."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(BasicBlock(16, 16, 1), BasicBlock(16, 16, 1))
        self.layer2 = nn.Sequential(BasicBlock(16, 32, 2), BasicBlock(32, 32, 1))
        self.layer3 = nn.Sequential(BasicBlock(32, 64, 2), BasicBlock(64, 64, 1))
        self.fc = nn.Linear(64, classes)

    def forward(self, image):
        x = F.relu(self.bn1(self.conv1(image)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(F.avg_pool2d(x, 8).flatten(1))


class Mlp(nn.Sequential):
    """Ten hidden layers of 100 units with ELU and dropout 0.15 on (N, F)."""

    def __init__(self, features: int, classes: int, layers: int = 10, units: int = 100):
        modules: list[nn.Module] = []
        for layer in range(layers):
            modules += [nn.Linear(features if layer == 0 else units, units), nn.ELU(), nn.Dropout(0.15)]
        super().__init__(*modules, nn.Linear(units, classes))


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())

