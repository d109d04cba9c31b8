"""VGG, ResNet and DenseNet for small images: torchvision's architectures without the early strides and pools that were
meant for 224 x 224 pixels, and of any width and depth. Each function gives what maps (N, C, H, W) to (N, D), and D."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from sparring_victims.networks import ChannelsLast, Shape

VGG_WIDENING = 8
"""The widest stage of a VGG over its first (Simonyan & Zisserman 2015, table 1: 64 to 512)."""


def vgg_body(shape: Shape, stages: Sequence[int], width: int, *, batch_norm: bool) -> tuple[nn.Module, int]:
    """Stages of 3 x 3 convolutions, each stage twice as wide as the one before (at most 8 times the first) and followed
    by a 2 x 2 pool, left out where an image has become too small (Simonyan & Zisserman 2015, section 2.1).

    `stages` (2, 2, 2, 2, 2) with width 64 are the convolutions of VGG13; its fully connected layers are left out.
    """
    channels, height, width_ = shape
    layers: list[nn.Module] = []
    for number, convolutions in enumerate(stages):
        wide = width * min(2**number, VGG_WIDENING)
        for _ in range(convolutions):
            layers += _convolution(channels, wide, first=not layers, batch_norm=batch_norm)
            channels = wide
        if min(height, width_) >= 2:
            layers.append(nn.MaxPool2d(2))
            height, width_ = height // 2, width_ // 2
    return initialised_as_torchvision(nn.Sequential(*layers, nn.Flatten())), channels * height * width_


def _convolution(channels: int, wide: int, *, first: bool, batch_norm: bool) -> Iterator[nn.Module]:
    yield nn.Conv2d(channels, wide, 3, padding=1)
    if first:
        yield ChannelsLast()
    if batch_norm:
        yield nn.BatchNorm2d(wide)
    yield nn.ReLU()


def resnet_body(shape: Shape, stages: Sequence[int], width: int) -> tuple[nn.Module, int]:
    """A 3 x 3 convolution, stages of basic blocks, each stage half as large and twice as wide as the one before, and
    the mean over all places (He et al. 2016, section 4.2). `stages` (2, 2, 2, 2) with width 64 are ResNet-18."""
    from torchvision.models.resnet import BasicBlock

    layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, padding=1, bias=False), ChannelsLast()]
    layers += [nn.BatchNorm2d(width), nn.ReLU()]
    channels = width
    for number, blocks in enumerate(stages):
        wide = width * 2**number
        for block in range(blocks):
            stride = 2 if number and not block else 1
            layers.append(BasicBlock(channels, wide, stride, _shortcut(channels, wide, stride)))
            channels = wide
    return initialised_as_torchvision(nn.Sequential(*layers, *_mean_over_places())), channels


def _shortcut(channels: int, wide: int, stride: int) -> nn.Module | None:
    if channels == wide and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(channels, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))


def _mean_over_places() -> tuple[nn.Module, nn.Module]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten()


def densenet_body(shape: Shape, stages: Sequence[int], growth: int) -> tuple[nn.Module, int]:
    """A 3 x 3 convolution and dense blocks with bottlenecks, halved in size and channels in between, and the mean over
    all places (Huang et al. 2017, section 3: DenseNet-BC). `stages` (6, 12, 24, 16) with growth 32 are DenseNet-121."""
    from torchvision.models import DenseNet

    features = DenseNet(growth, tuple(stages), num_init_features=2 * growth, num_classes=1).features
    parts = dict(features.named_children())
    parts["conv0"] = nn.Sequential(nn.Conv2d(shape[0], 2 * growth, 3, padding=1, bias=False), ChannelsLast())
    del parts["pool0"]
    side = min(shape[1:])
    for name, part in parts.items():
        if name.startswith("transition"):
            part.pool = part.pool if side >= 2 else nn.Identity()
            side = side // 2 if side >= 2 else side
    width = parts["norm5"].num_features
    layers = [*parts.values(), nn.ReLU(), *_mean_over_places()]
    return initialised_as_torchvision(nn.Sequential(*layers)), int(width)


def initialised_as_torchvision(network: nn.Module) -> nn.Module:
    """Fresh weights of all convolutions: He et al. 2015, equation 10, over what each feeds; biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
