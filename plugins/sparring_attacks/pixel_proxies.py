"""Many proxies trained at once, one for each set of marks: how a search over single pixels can afford its evaluations.

The convolutions of one `PixelNetwork` are frozen and shared. What they make of the clean images is computed once for a
whole search; a mark changes no more than 3 x 3 of their pooled cells, so for each candidate only a crop around its
marks goes through them again. What is trained from scratch for each candidate is everything behind: the hidden layer
and the head, P of each as one batched matrix product, on the same batches in the same order from the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from sparring.data import ArrayDataset, as_unit_floats
from sparring.training_loop import cut_batches
from sparring_attacks.pixel_marks import Marks
from sparring_attacks.pixel_networks import PixelNetwork

REACH = 2  # two 3 x 3 convolutions carry a pixel this far
WINDOW = 3  # pooled cells, along each side, that lie within reach of a pixel
CROP = 10  # pixels, along each side, that these cells depend on
RATE = 1e-3
BATCH = 64  # on few rows, so that three passes are long enough to tell candidates apart


@dataclass(frozen=True, eq=False)
class Stand:
    """What all candidates are judged on.

    Attributes:
        network: its convolutions are what all proxies share.
        train: the R clean rows that candidates mark and proxies train on.
        cells: (R, D) of `train`.
        held: V clean rows that no proxy sees.
        held_cells: (V, D) of `held`.
        device: of the tensors.
    """

    network: PixelNetwork
    train: ArrayDataset
    cells: Tensor
    held: ArrayDataset
    held_cells: Tensor
    device: str

    @classmethod
    def of(cls, network: PixelNetwork, train: ArrayDataset, held: ArrayDataset, device: str) -> Stand:
        frozen = network.eval().requires_grad_(False)
        return cls(frozen, train, _cells(frozen, train, device), held, _cells(frozen, held, device), device)


@dataclass(frozen=True, slots=True)
class Score:
    """(P,) each: accuracy on the marked training rows and on the clean held-out rows, and how far apart the two lie in
    the hidden layer: the squared distance of the mean activations over the mean square of all activations (the linear
    case of the domain divergence of Chaudhury & Yamasaki 2020, arXiv 2003.06646)."""

    train_accuracy: NDArray[np.float64]
    held_accuracy: NDArray[np.float64]
    divergence: NDArray[np.float64]

    @property
    def gap(self) -> NDArray[np.float64]:
        """The generalisation gap."""
        gap: NDArray[np.float64] = self.train_accuracy - self.held_accuracy
        return gap


class Population:
    """P proxies in training, each on the rows of the stand with its own marks."""

    def __init__(self, stand: Stand, candidates: Sequence[Marks], start: PixelNetwork) -> None:
        """`start`: all proxies begin with its hidden layer and head."""
        self.stand = stand
        self._y = torch.from_numpy(np.array(stand.train.y)).to(stand.device)
        windows, places = zip(*(_marked(stand, marks) for marks in candidates), strict=True)
        self._windows, self._places = torch.stack(windows), torch.stack(places)
        layers = (start.hidden.weight.T, start.hidden.bias[None], start.head.weight.T, start.head.bias[None])
        self._weights = [layer.detach().repeat(len(candidates), 1, 1) for layer in layers]
        self._optimiser = self._adam()

    def _adam(self) -> torch.optim.Adam:
        for weight in self._weights:
            weight.requires_grad_(True)
        return torch.optim.Adam(self._weights, lr=RATE, fused=True)

    def __len__(self) -> int:
        return len(self._windows)

    def epoch(self, order: Tensor) -> None:
        """One pass over the training rows in `order` (R,), in batches as `sparring.training_loop` cuts them."""
        for rows in cut_batches(order.to(self.stand.device), BATCH):
            logits = self._logits(self.marked_cells(rows))
            y = self._y[rows].repeat(len(self))
            with torch.enable_grad():
                loss = F.cross_entropy(logits.flatten(0, 1), y, reduction="sum") / len(rows)
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self._optimiser.step()

    def keep(self, chosen: NDArray[np.int64]) -> None:
        """Go on with these of the proxies only, in this order."""
        index = torch.from_numpy(chosen).to(self.stand.device)
        states: list[dict[str, Any]] = [self._optimiser.state[weight] for weight in self._weights]
        self._windows, self._places = self._windows[index], self._places[index]
        self._weights = [weight.detach()[index] for weight in self._weights]
        self._optimiser = self._adam()
        for weight, state in zip(self._weights, states, strict=True):
            self._optimiser.state[weight] = {k: v[index] if v.ndim else v for k, v in state.items()}

    @torch.no_grad()
    def score(self) -> Score:
        """On as many marked training rows as there are clean held-out ones, and on these."""
        stand = self.stand
        held_y = torch.from_numpy(np.array(stand.held.y)).to(stand.device)
        rows = torch.arange(min(len(stand.train), len(stand.held)), device=stand.device)
        right_train, right_held = (torch.zeros(len(self), device=stand.device) for _ in range(2))
        sums = [torch.zeros(len(self), self._weights[0].shape[2], device=stand.device) for _ in range(2)]
        square = torch.zeros(len(self), device=stand.device)
        for part in rows.split(500):
            hidden = self._hidden(self.marked_cells(part))
            right_train += (self._head(hidden).argmax(2) == self._y[part]).sum(1)
            sums[0] += hidden.sum(1)
            square += hidden.square().sum((1, 2))
        for part in torch.arange(len(held_y), device=stand.device).split(500):
            hidden = self._hidden(stand.held_cells[part].expand(len(self), -1, -1))
            right_held += (self._head(hidden).argmax(2) == held_y[part]).sum(1)
            sums[1] += hidden.sum(1)
        apart = (sums[0] / len(rows) - sums[1] / len(held_y)).square().sum(1) / (square / len(rows)).clamp(min=1e-12)
        return Score(*(_float64(a) for a in (right_train / len(rows), right_held / len(held_y), apart)))

    def marked_cells(self, rows: Tensor) -> Tensor:
        """(P, B, D) cells of the rows (B,), each under the marks of each candidate."""
        clean = self.stand.cells[rows].repeat(len(self), 1, 1)
        return clean.scatter_(2, self._places[:, self._y[rows]], self._windows[:, rows])

    def _logits(self, cells: Tensor) -> Tensor:
        with torch.enable_grad():
            return self._head(self._hidden(cells))

    def _hidden(self, cells: Tensor) -> Tensor:
        return torch.baddbmm(self._weights[1], cells, self._weights[0]).relu()

    def _head(self, hidden: Tensor) -> Tensor:
        return torch.baddbmm(self._weights[3], hidden, self._weights[2])


@torch.no_grad()
def _cells(network: PixelNetwork, data: ArrayDataset, device: str) -> Tensor:
    parts = [data.rows(rows.numpy()).x for rows in torch.arange(len(data)).split(500)]
    return torch.cat([network.cells(torch.from_numpy(part).to(device)).flatten(1) for part in parts])


@torch.no_grad()
def _marked(stand: Stand, marks: Marks) -> tuple[Tensor, Tensor]:
    """What the marks change of the cells of the training rows.

    Returns:
        (R, M) the values of the cells around each row's mark, and (K, M) where in the D cells they belong, by class.
    """
    train, network = stand.train, stand.network
    _, height, width = train.image_shape
    shape = network.cells(torch.zeros(1, *train.image_shape, device=stand.device)).shape[1:]
    numbers = torch.arange(shape.numel(), device=stand.device).reshape(shape)
    windows: Tensor | None = None
    places = []
    for label, (row, column) in enumerate(marks.positions.tolist()):
        down, from_row, first_row = _around(row, height)
        across, from_column, first_column = _around(column, width)
        inside = numbers[:, first_row : first_row + WINDOW, first_column : first_column + WINDOW]
        places.append(inside.flatten())
        members = np.flatnonzero(train.y == label)
        crops = train.pixels[members, :, from_row : from_row + down, from_column : from_column + across]
        corner = np.array([from_row, from_column], dtype=np.int64)
        own = Marks(marks.positions[[label]] - corner, marks.intensities[[label]], marks.writing)
        crops = own.on(as_unit_floats(crops), np.zeros(len(members), dtype=np.int64))
        top, left = first_row - from_row // 2, first_column - from_column // 2
        cells = network.cells(torch.from_numpy(crops).to(stand.device))
        found = cells[:, :, top : top + WINDOW, left : left + WINDOW].flatten(1)
        windows = torch.empty(len(train), found.shape[1], device=stand.device) if windows is None else windows
        windows[torch.from_numpy(members).to(stand.device)] = found
    assert windows is not None
    return windows, torch.stack(places)


def _around(pixel: int, side: int) -> tuple[int, int, int]:
    """Along one side of the image: how many pixels to crop, from which one on, and the first cell that is kept.

    The crop ends where the image ends or far enough from the kept cells, so these come out as they do of the whole.
    """
    crop = min(side, CROP + side % 2)  # leaves an even number of pixels on both sides: whole cells
    first = (pixel - REACH) // 2
    start = 2 * min(max(first - 1, 0), (side - crop) // 2)
    return crop, start, min(max(first, 0), max(side // 2 - WINDOW, 0))


def _float64(values: Tensor) -> NDArray[np.float64]:
    return values.cpu().numpy().astype(np.float64)
