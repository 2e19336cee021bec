"""Training steps of MeshAE and SpiralNet++ as a PyTorch user would write them; for `benchmarks.peers`.

The form "eager" is that of the public code: a Chebyshev convolution passes messages along edges and adds them up where
they arrive, sampling does the same along the entries of its matrix, and a spiral convolution selects the features along
all spirals and is a linear layer of them. The form "tuned" takes products with sparse matrices, of features whose
vertices come first, in place of the messages; spirals are the same in both. Meshes and indices are ours.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from benchmarks.torch_deformable import Form
from facedis_jax.learners.rivals.faces import MeshAeConfig, SpiralNetConfig
from facedis_jax.models.rivals.faces.hierarchy import MeshHierarchy, level_spirals

Product = Callable[[Tensor], Tensor]


def training_step(
    config: MeshAeConfig | SpiralNetConfig, hierarchy: MeshHierarchy, latents: int, faces: Tensor, *, form: Form
) -> Callable[[], Tensor]:
    """One step after another on one batch: mean absolute error of standardised faces, Adam.

    Args:
      config: of the learner; schedules stay where they start.
      hierarchy: the meshes.
      latents: length of the code.
      faces: [batch, vertices, 3], standardised.
      form: "eager" or "tuned", see the module; "compiled": the tuned one through `torch.compile`.

    Returns:
      A function that runs a step and returns the loss before it.
    """
    model = MeshAutoencoder(config, hierarchy, latents, messages=form == "eager")
    optimiser = torch.optim.Adam(model.parameters(), config.training.optimiser.learning_rate, fused=True)

    def loss(faces: Tensor) -> Tensor:
        return (model(faces) - faces).abs().mean()

    if form == "compiled":
        loss = torch.compile(loss)

    def step() -> Tensor:
        optimiser.zero_grad(set_to_none=True)
        value = loss(faces)
        value.backward()
        optimiser.step()
        return value.detach()

    return step


def product_of(matrix: sparse.sparray, *, messages: bool) -> Product:
    """The product of a matrix [rows, columns] with features [batch, columns, channels]."""
    coo = sparse.coo_array(matrix)
    rows, columns = (torch.as_tensor(np.asarray(index, np.int64)) for index in (coo.row, coo.col))
    weights = torch.as_tensor(coo.data.astype(np.float32))

    def by_messages(features: Tensor) -> Tensor:
        sent = features.index_select(1, columns) * weights[:, None]
        received = features.new_zeros(len(features), coo.shape[0], features.shape[2])
        return received.index_add(1, rows, sent)

    if messages:
        return by_messages
    csr = torch.sparse_coo_tensor(torch.stack([rows, columns]), weights, coo.shape).coalesce().to_sparse_csr()

    def by_matrix(features: Tensor) -> Tensor:
        flat = features.permute(1, 0, 2).reshape(features.shape[1], -1)
        return (csr @ flat).view(-1, len(features), features.shape[2]).permute(1, 0, 2)

    return by_matrix


class ChebyshevConvolution(nn.Module):
    """Polynomials of the Laplacian by their recurrence, and a linear layer of each."""

    def __init__(self, inputs: int, outputs: int, orders: int, laplacian: Product, *, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(orders, inputs, outputs))
        nn.init.xavier_uniform_(self.weight)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.laplacian = laplacian

    def forward(self, features: Tensor) -> Tensor:
        before, last = features, self.laplacian(features)
        total = before @ self.weight[0] + last @ self.weight[1]
        for weight in self.weight[2:]:
            before, last = last, 2 * self.laplacian(last) - before
            total = total + last @ weight
        return total if self.bias is None else total + self.bias


class SpiralConvolution(nn.Module):
    """Features along spirals, side by side, through a linear layer."""

    def __init__(self, inputs: int, outputs: int, indices: np.ndarray):
        super().__init__()
        self.indices = torch.as_tensor(indices.ravel().astype(np.int64))
        self.layer = nn.Linear(inputs * indices.shape[1], outputs)
        nn.init.xavier_uniform_(self.layer.weight)

    def forward(self, features: Tensor) -> Tensor:
        along = features.index_select(1, self.indices)
        return self.layer(along.view(len(features), features.shape[1], -1))


class MeshAutoencoder(nn.Module):
    """Convolution, ELU and a coarser mesh, repeated; a code; and the same back."""

    def __init__(
        self, config: MeshAeConfig | SpiralNetConfig, hierarchy: MeshHierarchy, latents: int, *, messages: bool
    ):
        super().__init__()
        widths, levels = config.model.filters, hierarchy.levels
        is_spiral = isinstance(config, SpiralNetConfig)

        def layer(level: int, inputs: int, outputs: int, *, last: bool = False) -> nn.Module:
            if is_spiral:
                return SpiralConvolution(inputs, outputs, level_spirals(levels[level], config.model.size))
            matrix = levels[level].laplacian_matrix - sparse.eye_array(len(levels[level]))
            product = product_of(matrix, messages=messages)
            return ChebyshevConvolution(inputs, outputs, config.model.size, product, bias=not last)

        self.down: Sequence[Product] = [
            product_of(_matrix_of(operator, len(fine)), messages=messages)
            for operator, fine in zip(hierarchy.down, levels, strict=False)
        ]
        self.up: Sequence[Product] = [
            product_of(_matrix_of(operator, len(coarse)), messages=messages)
            for operator, coarse in zip(hierarchy.up, levels[1:], strict=True)
        ]
        self.encoder = nn.ModuleList(layer(i, [3, *widths][i], width) for i, width in enumerate(widths))
        self.coarsest = len(levels[-1])
        self.code = nn.Linear(self.coarsest * widths[-1], latents)
        self.spread = nn.Linear(latents, self.coarsest * widths[-1])
        back = widths[::-1]
        self.decoder = nn.ModuleList(
            layer(len(widths) - 1 - i, [widths[-1], *back][i], width) for i, width in enumerate(back)
        )
        self.last = layer(0, widths[0], 3, last=True)

    def forward(self, faces: Tensor) -> Tensor:
        features = faces
        for convolution, down in zip(self.encoder, self.down, strict=True):
            features = down(F.elu(convolution(features)))
        features = self.spread(self.code(features.flatten(1))).view(len(faces), self.coarsest, -1)
        for convolution, up in zip(self.decoder, self.up[::-1], strict=True):
            features = F.elu(convolution(up(features)))
        return self.last(features)


def _matrix_of(operator: Any, columns: int) -> sparse.csr_array:
    """The matrix of one of our operators."""
    return sparse.csr_array(np.asarray(operator(np.eye(columns, dtype=np.float32))))
