"""The same networks in PyTorch, eager, as one would write them there, to compare with.

`UNet` is DDPM++ as EDM has it (arXiv 2206.00364; see `diffusion_jax.networks.unet`), with the names of the
published checkpoints; `Mlp` is `diffusion_jax.networks.mlp`. Both take the weights of ours. Images are
`[B, C, H, W]`, points `[B, 2]`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]

Tensor = Any

SKIP_SCALE = math.sqrt(0.5)
SIGMA_DATA = 0.5


def _norm(channels: int) -> Any:
    return nn.GroupNorm(min(32, max(1, channels // 4)), channels, eps=1e-6)


class Block(nn.Module):
    """A residual block; `scale` is 1/2, 1 or 2: what it does to the sides."""

    def __init__(
        self, inputs: int, outputs: int, embedding: int, dropout: float, attends: bool, scale: float = 1
    ) -> None:
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.norm0 = _norm(inputs)
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.affine = nn.Linear(embedding, outputs)
        self.norm1 = _norm(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs or scale != 1 else nn.Identity()
        self.attends = attends
        if attends:
            self.norm2 = _norm(outputs)
            self.qkv = nn.Conv2d(outputs, 3 * outputs, 1)
            self.proj = nn.Conv2d(outputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv0(self.resampled(F.silu(self.norm0(x))))
        h = F.silu(self.norm1(h + self.affine(embedding)[:, :, None, None]))
        h = self.conv1(F.dropout(h, self.dropout, self.training))
        x = (self.skip(self.resampled(x)) + h) * SKIP_SCALE
        if not self.attends:
            return x
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm2(x)).reshape(batch, channels, 3, height * width)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return (x + self.proj(h)) * SKIP_SCALE

    def resampled(self, x: Tensor) -> Tensor:
        if self.scale == 1:
            return x
        return F.avg_pool2d(x, 2) if self.scale < 1 else F.interpolate(x, scale_factor=2, mode="nearest")


class UNet(nn.Module):
    """DDPM++, without labels: x `[B, C, H, W]`, noise `[B]`."""

    def __init__(
        self,
        side: int,
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        dropout: float,
        colours: int = 3,
    ) -> None:
        super().__init__()
        self.channels, width = channels, 4 * channels
        self.map_layer0, self.map_layer1 = nn.Linear(channels, width), nn.Linear(width, width)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()

        def block(inputs: int, outputs: int, attends: bool, scale: float = 1) -> Block:
            return Block(inputs, outputs, width, dropout, attends, scale)

        sides = [side >> level for level in range(len(multipliers))]
        now, skips = channels, [channels]
        for place, factor in zip(sides, multipliers):
            if place == side:
                self.enc[f"{place}x{place}_conv"] = nn.Conv2d(colours, channels, 3, padding=1)
            else:
                self.enc[f"{place}x{place}_down"] = block(now, now, False, 0.5)
                skips.append(now)
            for index in range(blocks):
                self.enc[f"{place}x{place}_block{index}"] = block(now, channels * factor, place in attention)
                now = channels * factor
                skips.append(now)
        for place, factor in reversed(list(zip(sides, multipliers))):
            if place == sides[-1]:
                self.dec[f"{place}x{place}_in0"] = block(now, now, True)
                self.dec[f"{place}x{place}_in1"] = block(now, now, False)
            else:
                self.dec[f"{place}x{place}_up"] = block(now, now, False, 2)
            for index in range(blocks + 1):
                attends = place in attention and index == blocks
                self.dec[f"{place}x{place}_block{index}"] = block(
                    now + skips.pop(), channels * factor, attends
                )
                now = channels * factor
        self.dec[f"{side}x{side}_aux_norm"] = _norm(now)
        self.dec[f"{side}x{side}_aux_conv"] = nn.Conv2d(now, colours, 3, padding=1)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        count = self.channels // 2
        place = torch.arange(count, dtype=torch.float32, device=x.device)
        angle = noise[:, None] * 1e-4 ** (place / (count - 1))
        embedding = F.silu(self.map_layer0(torch.cat([angle.sin(), angle.cos()], 1)))
        embedding = F.silu(self.map_layer1(embedding))
        skips = []
        for layer in self.enc.values():
            x = layer(x, embedding) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for name, layer in self.dec.items():
            if "_block" in name:
                x = torch.cat([x, skips.pop()], 1)
            if isinstance(layer, Block):
                x = layer(x, embedding)
            else:
                x = layer(x) if name.endswith("conv") else F.silu(layer(x))
        return x


class Mlp(nn.Module):
    """The residual perceptron: x `[B, 2]`, noise `[B]`. Modules have the names of ours."""

    def __init__(
        self, width: int, depth: int, features: int = 2, embedding: int = 128, waves: int = 64
    ) -> None:
        super().__init__()
        self.depth = depth
        ends = (waves, embedding), (embedding, embedding)
        layers: dict[str, Any] = {
            "Conditioning_0": nn.ModuleDict({f"Dense_{i}": nn.Linear(*end) for i, end in enumerate(ends)}),
            "Dense_0": nn.Linear(features, width),
            f"Dense_{2 * depth + 1}": nn.Linear(width, features),
            f"LayerNorm_{depth}": nn.LayerNorm(width, eps=1e-6),
        }
        for i in range(depth):
            layers[f"ScaleShift_{i}"] = nn.ModuleDict({"Dense_0": nn.Linear(embedding, 2 * width)})
            layers[f"LayerNorm_{i}"] = nn.LayerNorm(width, eps=1e-6)
            layers[f"Dense_{2 * i + 1}"] = nn.Linear(width, width)
            layers[f"Dense_{2 * i + 2}"] = nn.Linear(width, width)
        self.layers = nn.ModuleDict(layers)
        frequencies = torch.tensor(np.geomspace(0.5, 50.0, waves // 2, dtype=np.float32))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        layers, mapping = self.layers, self.layers["Conditioning_0"]
        angle = noise[:, None] * self.frequencies
        embedding = mapping["Dense_0"](torch.cat([angle.cos(), angle.sin()], 1))
        embedding = F.silu(mapping["Dense_1"](F.silu(embedding)))
        h = layers["Dense_0"](x)
        for i in range(self.depth):
            scale, shift = layers[f"ScaleShift_{i}"]["Dense_0"](embedding).chunk(2, 1)
            y = layers[f"LayerNorm_{i}"](h) * (1 + scale) + shift
            h = h + layers[f"Dense_{2 * i + 2}"](F.silu(layers[f"Dense_{2 * i + 1}"](y)))
        return layers[f"Dense_{2 * self.depth + 1}"](layers[f"LayerNorm_{self.depth}"](h))


def load_unet(network: UNet, official: Mapping[str, np.ndarray]) -> None:
    """Give it arrays under their published names; the fixed filters are its own."""
    arrays = {name.removeprefix("model."): array for name, array in official.items()}
    _load(network, {name: array for name, array in arrays.items() if "resample_filter" not in name})


def load_mlp(network: Mlp, params: Mapping[str, Any], path: str = "layers") -> None:
    """Give it the parameters of ours."""
    arrays: dict[str, np.ndarray] = {}

    def collect(tree: Mapping[str, Any], path: str) -> None:
        for name, value in tree.items():
            if isinstance(value, Mapping):
                collect(value, f"{path}.{name}")
            else:
                array = np.asarray(value)
                leaf = "bias" if name == "bias" else "weight"
                arrays[f"{path}.{leaf}"] = array.T if name == "kernel" else array

    collect(params, path)
    _load(network, arrays)


def _load(network: Any, arrays: Mapping[str, np.ndarray]) -> None:
    network.load_state_dict({name: torch.tensor(np.array(array)) for name, array in arrays.items()})


def denoise(network: Any, x: Tensor, sigma: Tensor) -> Tensor:
    """EDM's denoiser: x `[B, ...]`, sigma `[B]`."""
    level = sigma.reshape(-1, *[1] * (x.ndim - 1))
    total = level**2 + SIGMA_DATA**2
    inner = network(x / total.sqrt(), sigma.log() / 4)
    return SIGMA_DATA**2 / total * x + level * SIGMA_DATA / total.sqrt() * inner


def train(network: Any, optimizer: Any, x: Tensor) -> None:
    """One step of EDM's training on a batch."""
    sigma = (1.2 * torch.randn(len(x), device=x.device) - 1.2).exp()
    level = sigma.reshape(-1, *[1] * (x.ndim - 1))
    weight = (level**2 + SIGMA_DATA**2) / (level * SIGMA_DATA) ** 2
    error = denoise(network, x + level * torch.randn_like(x), sigma) - x
    loss = (weight * error**2).sum() / len(x)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def heun(network: Any, x: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Heun's method down a grid that ends at 0."""
    for now, then in itertools.pairwise(sigmas):
        first = (x - denoise(network, x, torch.full((len(x),), now, device=x.device))) / now
        predicted = x + (then - now) * first
        if then > 0:
            second = (
                predicted - denoise(network, predicted, torch.full((len(x),), then, device=x.device))
            ) / then
            predicted = x + (then - now) * 0.5 * (first + second)
        x = predicted
    return x
