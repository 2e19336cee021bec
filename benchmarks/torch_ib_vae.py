"""The IB-VAE's training step as a PyTorch user would write it; for `benchmarks.peers`.

The form "eager" is that of PCT's public PyTorch code: linear layers on points are 1 x 1 convolutions, `nn.Conv1d` over
[batch, channels, points], and the loop over farthest points has the coordinates last. The form "tuned" has features as
rows, [..., channels], through `nn.Linear`, and the coordinates first: on a CPU either is about twice as fast. Groups
are gathered before their first layer in both.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.torch_deformable import Form
from facedis_jax.learners import IbVaeConfig
from facedis_jax.losses import IbVaeWeights
from facedis_jax.models import FaceVaeConfig, PctConfig, PointFeatureConfig

Groups = tuple[Tensor, Tensor, Tensor, Tensor]  # centres and neighbours of either round, as of `Grouping`


def training_step(
    config: IbVaeConfig,
    mean_face: np.ndarray,
    scale: float,
    num_faces: int,
    batch: Mapping[str, Tensor],
    *,
    form: Form,
) -> Callable[[], Tensor]:
    """One step after another on one batch: groups of points, networks, Eq. 12, Adam.

    Args:
      config: of the learner, without labels; schedules stay where they start.
      mean_face: [vertices, 3], mm; the networks predict offsets from it.
      scale: mm per unit of the networks.
      num_faces: size of the training set, N of Eq. 11.
      batch: `vertices` and `neutral`, [batch, vertices, 3] in mm.
      form: "eager" or "tuned", see the module; "compiled": the tuned one, the networks with the loss, and the body of
        the loop over farthest points, through `torch.compile`.

    Returns:
      A function that runs a step and returns the loss before it.
    """
    model = FaceVae(config.model, len(mean_face), convolutions=form == "eager")
    centre = torch.as_tensor(mean_face) / scale
    latents = config.model.identity_latents + config.model.expression_latents
    rate, decay = config.optimiser.learning_rate, config.optimiser.weight_decay
    optimiser = torch.optim.Adam(model.parameters(), rate, weight_decay=decay, fused=True)

    def loss(points: Tensor, neutral: Tensor, groups: Groups, noise: Tensor) -> Tensor:
        mean, logvar, z, full, identity = model(points, groups, noise)
        split = config.model.identity_latents
        parts = loss_parts(centre + full, points, centre + identity, neutral, z[:, :split], mean, logvar, num_faces)
        return weighted(parts, config.weights).mean()

    if form == "compiled":
        loss = torch.compile(loss)
    sample = sampler(form)

    def step() -> Tensor:
        points, neutral = batch["vertices"] / scale, batch["neutral"] / scale
        groups = group_points(points, config.model.encoder.features, sample)
        optimiser.zero_grad(set_to_none=True)
        value = loss(points, neutral, groups, torch.randn(len(points), latents))
        value.backward()
        optimiser.step()
        return value.detach()

    return step


Sampler = Callable[[Tensor, int], Tensor]


def sampler(form: Form) -> Sampler:
    """Farthest point sampling in a form: (points [batch, points, 3], samples) -> indices [batch, samples]."""
    if form == "eager":
        return functools.partial(farthest_point_sample, pick=farthest)
    pick = torch.compile(farthest_of_planes, dynamic=False) if form == "compiled" else farthest_of_planes
    return functools.partial(farthest_point_sample, pick=pick, planes=True)


def farthest(points: Tensor, distance: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Distances [batch, points] to the nearest centre, `last` [batch] among them, and the farthest point [batch]."""
    centre = rows(points, last)[:, None]
    distance = torch.minimum(distance, (points - centre).square().sum(-1))
    return distance, distance.argmax(-1)


def farthest_of_planes(points: Tensor, distance: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """As `farthest`, of [batch, 3, points]."""
    centre = points.gather(2, last[:, None, None].expand(-1, 3, 1))
    distance = torch.minimum(distance, (points - centre).square().sum(1))
    return distance, distance.argmax(-1)


@torch.no_grad()
def farthest_point_sample(
    points: Tensor, num_samples: int, *, pick: Callable[..., tuple[Tensor, Tensor]] = farthest, planes: bool = False
) -> Tensor:
    """Indices [batch, num_samples] of points [batch, points, 3], from the first one on."""
    coordinates = points.transpose(1, 2).contiguous() if planes else points
    distance = torch.full(points.shape[:2], math.inf)
    picked = torch.zeros(len(points), num_samples, dtype=torch.long)
    last = torch.zeros(len(points), dtype=torch.long)
    for i in range(1, num_samples):
        distance, last = pick(coordinates, distance, last)
        picked[:, i] = last
    return picked


def rows(features: Tensor, indices: Tensor) -> Tensor:
    """Of features [batch, points, channels] those at indices [batch, ...]."""
    batch = torch.arange(len(features)).view(-1, *[1] * (indices.dim() - 1))
    return features[batch, indices]


@torch.no_grad()
def group_points(points: Tensor, config: PointFeatureConfig, sample: Sampler = farthest_point_sample) -> Groups:
    """Two rounds of sampling and grouping of points [batch, points, 3]."""

    def round_of(points: Tensor, centres: int) -> tuple[Tensor, Tensor]:
        sampled = sample(points, centres)
        distance = torch.cdist(rows(points, sampled), points)
        return sampled, distance.topk(config.neighbours, largest=False).indices

    centres, neighbours = round_of(points, config.centres[0])
    return centres, neighbours, *round_of(rows(points, centres), config.centres[1])


class LinearNormRelu(nn.Module):
    """Linear, batch normalisation, ReLU (leaky where `slope` > 0)."""

    def __init__(self, inputs: int, outputs: int, slope: float = 0.0):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.slope = slope

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.norm(self.linear(features).flatten(0, -2)).view(*features.shape[:-1], -1)
        return self.activation(hidden)

    def activation(self, hidden: Tensor) -> Tensor:
        return F.leaky_relu(hidden, self.slope, inplace=True) if self.slope else F.relu(hidden, inplace=True)


class ConvNormRelu(LinearNormRelu):
    """The same by a 1 x 1 convolution over [..., channels, points]; features come and go as rows."""

    def forward(self, features: Tensor) -> Tensor:
        channels_first = features.flatten(0, -3).mT
        hidden = self.norm(F.conv1d(channels_first, self.linear.weight[..., None]))
        return self.activation(hidden).mT.view(*features.shape[:-1], -1)


Layer = type[LinearNormRelu]


class OffsetAttention(nn.Module):
    """x + LBR(x - A V), with query and key sharing one weight."""

    def __init__(self, channels: int, layer: Layer = LinearNormRelu):
        super().__init__()
        self.query_key = nn.Linear(channels, channels // 4, bias=False)
        self.value = nn.Linear(channels, channels)
        self.update = layer(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        query = self.query_key(features)
        attention = torch.softmax(query @ query.mT, dim=-1)
        attention = attention / (1e-9 + attention.sum(dim=-2, keepdim=True))
        return features + self.update(features - attention.mT @ self.value(features))


class GroupedFeatures(nn.Module):
    """Two LBR over each centre's neighbourhood, then the maximum over the neighbours."""

    def __init__(self, inputs: int, outputs: int, layer: Layer = LinearNormRelu):
        super().__init__()
        self.layers = nn.Sequential(layer(2 * inputs, outputs), layer(outputs, outputs))

    def forward(self, features: Tensor, centres: Tensor, neighbours: Tensor) -> Tensor:
        near, centre = rows(features, neighbours), rows(features, centres)[:, :, None]
        grouped = torch.cat([near - centre, centre.expand_as(near)], dim=-1)
        return self.layers(grouped).max(dim=-2).values


class PointCloudTransformer(nn.Module):
    """Clouds [batch, points, 3] and their groups to [batch, global features]."""

    def __init__(self, config: PctConfig, layer: Layer = LinearNormRelu):
        super().__init__()
        width = config.width
        self.embed = nn.Sequential(layer(3, config.embedding), layer(config.embedding, config.embedding))
        self.fine = GroupedFeatures(config.embedding, width // 2, layer)
        self.coarse = GroupedFeatures(width // 2, width, layer)
        self.attention = nn.ModuleList(OffsetAttention(width, layer) for _ in range(config.attention_layers))
        self.fuse = layer(width * (config.attention_layers + 1), config.global_features, slope=0.2)

    def forward(self, points: Tensor, groups: Groups) -> Tensor:
        centres, neighbours, coarse_centres, coarse_neighbours = groups
        grouped = self.fine(self.embed(points), centres, neighbours)
        grouped = self.coarse(grouped, coarse_centres, coarse_neighbours)
        layers = [grouped]
        for attend in self.attention:
            layers.append(attend(layers[-1]))
        return self.fuse(torch.cat([*layers[1:], grouped], dim=-1)).max(dim=-2).values


class FaceVae(nn.Module):
    """The encoder and two decoders of one hidden layer.

    Attributes:
      convolutions: layers on points are 1 x 1 convolutions.
    """

    def __init__(self, config: FaceVaeConfig, vertices: int, *, convolutions: bool = False):
        super().__init__()
        self.split = config.identity_latents
        latents = config.identity_latents + config.expression_latents
        self.encoder = PointCloudTransformer(config.encoder, ConvNormRelu if convolutions else LinearNormRelu)
        widths = [config.encoder.global_features, *config.head]
        layers = (nn.Linear(*pair) for pair in itertools.pairwise(widths))
        self.head = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU(inplace=True))))
        self.mean = nn.Linear(widths[-1], latents)
        self.logvar = nn.Linear(widths[-1], latents)
        self.identity_decoder, self.full_decoder = (
            nn.Sequential(
                nn.Linear(codes, config.decoder_hidden),
                nn.ReLU(inplace=True),
                nn.Linear(config.decoder_hidden, 3 * vertices),
                nn.Unflatten(-1, (vertices, 3)),
            )
            for codes in (config.identity_latents, latents)
        )

    def forward(self, points: Tensor, groups: Groups, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Mean, log-variance and sample of the code, and the offsets of the full and of the neutral face."""
        hidden = self.head(self.encoder(points, groups))
        mean, logvar = self.mean(hidden), self.logvar(hidden)
        z = mean + torch.exp(0.5 * logvar) * noise
        identity, expression = z[:, : self.split], z[:, self.split :]
        full = self.full_decoder(torch.cat([identity.detach(), expression], dim=-1))
        return mean, logvar, z, full, self.identity_decoder(identity)


def loss_parts(
    prediction: Tensor,
    target: Tensor,
    neutral_prediction: Tensor,
    neutral_target: Tensor,
    identity_code: Tensor,
    mean: Tensor,
    logvar: Tensor,
    dataset_size: int,
) -> dict[str, Tensor]:
    """The terms of Eq. 12, [batch] each, as `facedis_jax.losses.ib_vae_loss` names them; identity latents first."""
    split = identity_code.shape[-1]
    log_density = _log_density(identity_code[:, None], mean[None, :, :split], logvar[None, :, :split])
    weight = math.log(dataset_size * len(mean))
    return {
        "reconstruction": (prediction - target).square().sum((-2, -1)),
        "identity": (neutral_prediction - neutral_target).square().sum((-2, -1)),
        "kl": 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(-1),
        "mutual_information": log_density.diagonal() + weight - log_density.logsumexp(dim=1),
    }


def weighted(parts: Mapping[str, Tensor], weights: IbVaeWeights) -> Tensor:
    """Eq. 12 from its terms, [batch]."""
    faces = parts["reconstruction"] + weights.beta_id * parts["identity"]
    codes = parts["kl"] + weights.beta_mi * parts["mutual_information"]
    return weights.lambda_1 * faces + weights.lambda_2 * codes


def _log_density(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * ((z - mean).square() * torch.exp(-logvar) + logvar + math.log(2 * math.pi)).sum(-1)
