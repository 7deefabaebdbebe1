"""Training steps put together from lightly's parts as its examples do, beside ``train_step`` of the shipped configs.

Both have the same ResNet-18, projectors, queue length, temperature, momentum and optimiser, and begin with the same
weights. lightly's images come normalised, as its transforms give them; histomm's come as uint8 and are normalised in
the step.
"""

import argparse
from collections.abc import Callable, Iterator
from copy import deepcopy
from unittest import mock

import torch
from _inputs import make_geometry
from _lightly_losses import CONFIGS, MATCHES, VICREGL_NOTE, bank_of, grid_of
from _pairs import Pair
from lightly.loss import VICRegLLoss
from lightly.models import utils
from lightly.models.modules.heads import DenseCLProjectionHead, MoCoProjectionHead, ProjectionHead
from lightly.utils.lars import LARS
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from step import make_batch
from torch import Tensor, nn
from torchvision.models import resnet18

from histomm.registry import MODELS

CHECKED_STEPS, SMALL = 2, (4, 48)
"""Steps whose losses are compared; images and pixels in them."""

Step = Callable[[], Tensor]


def shipped(path: str, dtype: torch.dtype, device: torch.device, changes: dict) -> tuple[BaseModel, Config]:
    """A model of ``configs`` with its first weights, and its config."""
    config = Config.fromfile(CONFIGS / path)
    config.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    with mock.patch.object(model, '_dump_init_info'):  # which prints a line or three for every tensor
        model.init_weights()
    return model.to(device, dtype).train(), config


def step_of(model: BaseModel, config: Config, data: dict) -> Step:
    """``train_step`` of histomm; its loss."""
    optim = build_optim_wrapper(model, config.optim_wrapper)
    return lambda: model.train_step(data, optim)['loss']


def trunk(own: nn.Module) -> nn.Sequential:
    """torchvision's ResNet-18 without pooling and classifier, with the weights of ``own``."""
    network = resnet18()
    network.fc = nn.Identity()
    network.load_state_dict(own.state_dict())
    return nn.Sequential(*list(network.children())[:-2])


def copy_layers(head: nn.Module, own: nn.Module) -> nn.Module:
    """``head`` with the weights of ``own``, layer by layer; 1 x 1 convolutions become linear layers.

    Biases in front of a batch norm, which lightly leaves out, are zero at first and stay so.
    """
    kinds = (nn.Linear, nn.Conv2d, nn.modules.batchnorm._BatchNorm)
    ours, theirs = ([part for part in module.modules() if isinstance(part, kinds)] for module in (own, head))
    with torch.no_grad():
        for one, other in zip(ours, theirs, strict=True):
            other.weight.copy_(one.weight.reshape(other.weight.shape))
            if other.bias is not None:
                other.bias.copy_(one.bias)
    return head


class LightlyMoCo(nn.Module):
    """MoCo-v2, or DenseCL where ``own`` has a dense branch, after lightly's examples."""

    def __init__(self, own: BaseModel) -> None:
        super().__init__()
        self.backbone = trunk(own.backbone)
        self.head = copy_layers(MoCoProjectionHead(512, 512, 128), own.neck)
        self.criterion = bank_of(own.queue)
        self.dense_head = None
        if own.dense is not None:
            self.dense_head = copy_layers(DenseCLProjectionHead(512, 512, 128), own.dense.neck)
            self.dense_criterion = bank_of(own.dense.queue)
            self.share = own.loss_lambda
        followed = [self.backbone, self.head, *filter(None, [self.dense_head])]
        self.followers = nn.ModuleList(deepcopy(part).requires_grad_(False) for part in followed)
        self.followed = followed

    def encode(
        self, backbone: nn.Module, head: nn.Module, dense_head: nn.Module | None, images: Tensor
    ) -> list[Tensor]:
        """Global vectors and, for DenseCL, features and projections (B, n, C) of the cells."""
        features = backbone(images).flatten(2).permute(0, 2, 1)
        vectors = head(features.mean(1))
        return [vectors] if dense_head is None else [vectors, features, dense_head(features)]

    def forward(self, views: list[Tensor]) -> Tensor:
        """Loss of a query and a key view; the key encoder first makes its step."""
        for part, follower in zip(self.followed, self.followers, strict=True):
            utils.update_momentum(part, follower, 0.999)
        query = self.encode(self.backbone, self.head, self.dense_head, views[0])
        with torch.no_grad():
            key = self.encode(*self.followers, *[None] * (3 - len(self.followers)), views[1])
        loss = self.criterion(query[0], key[0])
        if self.dense_head is None:
            return loss
        matched = utils.select_most_similar(query[1], key[1], key[2])
        dense_loss = self.dense_criterion(query[2].flatten(0, 1), matched.flatten(0, 1))
        return (1 - self.share) * loss + self.share * dense_loss


class LightlyVICRegL(nn.Module):
    """VICRegL after lightly's example; the map's projector has batch norm, as the authors' and histomm's have."""

    def __init__(self, own: BaseModel, matches: tuple[int, int], grids: list[Tensor]) -> None:
        super().__init__()
        wide, narrow = own.neck.fc0.out_features, own.dense_neck.mlp[0].out_channels
        self.backbone = trunk(own.backbone)
        self.head = copy_layers(ProjectionHead(self._blocks(512, wide, own.neck.fc2.bias is not None)), own.neck)
        self.dense_head = copy_layers(ProjectionHead(self._blocks(512, narrow, False)), own.dense_neck)
        self.criterion = VICRegLLoss(num_matches=matches)
        self.grids = grids

    @staticmethod
    def _blocks(inside: int, outside: int, bias: bool) -> list[tuple]:
        return [
            (inside, outside, nn.BatchNorm1d(outside), nn.ReLU()),
            (outside, outside, nn.BatchNorm1d(outside), nn.ReLU()),
            (outside, outside, None, None, bias),
        ]

    def forward(self, views: list[Tensor]) -> Tensor:
        """Loss of two views."""
        found = []
        for images in views:
            features = self.backbone(images).permute(0, 2, 3, 1)
            cells = self.dense_head(features.flatten(0, 2)).unflatten(0, features.shape[:3])
            found.append((self.head(features.mean((1, 2))), cells))
        return self.criterion(found, self.grids).squeeze()


def lightly_step(model: nn.Module, views: list[Tensor], config: Config) -> Step:
    """A step of lightly's model; its loss."""
    options = {key: value for key, value in config.optim_wrapper.optimizer.items() if key not in ('type', 'eta')}
    kind = torch.optim.SGD if config.optim_wrapper.optimizer.type == 'SGD' else LARS
    parameters = [value for value in model.parameters() if value.requires_grad]
    groups = [dict(params=parameters)]
    if kind is LARS:  # which leaves alone what has no weight decay, as histomm's leaves biases and norms
        flat = [value for value in parameters if value.ndim < 2]
        groups = [dict(params=[value for value in parameters if value.ndim > 1]), dict(params=flat, weight_decay=0)]
    optimiser = kind(groups, **options)

    def step() -> Tensor:
        loss = model(views)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def both(
    path: str,
    batch: int,
    size: int,
    dtype: torch.dtype,
    device: torch.device,
    matches: tuple[int, int] = MATCHES,
    channels: int = 2048,
    **changes: object,
) -> tuple[Step, Step, nn.Module, BaseModel]:
    """lightly's step and histomm's from the same weights and images, and the models of both."""
    side = -(-size // 32)
    data = make_batch(batch, size)
    places = make_geometry(batch, side, torch.device('cpu'))  # of unlike sizes, so that no two pairs are equally near
    for number, sample in enumerate(data['data_samples']):
        sample.set_metainfo(dict(crop_box=[view.box[number].tolist() for view in places]))
    vicregl = path.startswith('vicregl')
    if vicregl:
        changes |= {f'matchers.{number}.gamma': matches[0] for number in range(2)}
        for neck, width in (('neck', channels), ('dense_neck', channels // 4)):
            changes |= {f'{neck}.hid_channels': width, f'{neck}.out_channels': width}
    own, config = shipped(path, dtype, device, changes)
    ready = own.data_preprocessor(data)
    if vicregl:
        grids = [grid_of(view, side, dtype) for view in ready['geometry']]
        theirs = LightlyVICRegL(own, matches, grids)
    else:
        theirs = LightlyMoCo(own)
    theirs.to(device, dtype).train()
    return lightly_step(theirs, ready['inputs'], config), step_of(own, config, data), theirs, own


def results(step: Step, model: nn.Module, steps: int) -> list[Tensor]:
    """Losses of some steps, and what they changed each weight by.

    Biases and norms, which stand in another order in lightly's heads, show in the losses of later steps.
    """
    weights = [value for value in model.parameters() if value.requires_grad and value.ndim > 1]
    before = [value.detach().clone() for value in weights]
    losses = torch.stack([step().detach() for _ in range(steps)])
    changes = [value.detach() - start for value, start in zip(weights, before, strict=True)]
    return [losses, *(change.flatten(1) for change in changes)]


def pair(title: str, path: str, args: argparse.Namespace, note: str = '', checked: int = CHECKED_STEPS) -> Pair:
    """Steps of one method; compared are the first ``checked`` of small images, in float64."""
    theirs, own, *_ = both(path, args.step_batch, args.step_size, torch.float32, args.device, channels=args.channels)

    def alike() -> tuple[list[Tensor], list[Tensor]]:
        *steps, their_model, own_model = both(path, *SMALL, torch.float64, args.device, matches=(1, 1), channels=64)
        return tuple(results(step, model, checked) for step, model in zip(steps, (their_model, own_model), strict=True))

    return Pair(title, lambda: [theirs()], lambda: [own()], note, alike)


def pairs(args: argparse.Namespace) -> Iterator[Pair]:
    """All steps."""
    yield pair('MoCo-v2 step', 'mocov2/mocov2_r18_nct.py', args)
    note = 'the dense queues take other rows, see above; compared is the first step'
    yield pair('DenseCL step', 'densecl/moco_densecl_r18_nct.py', args, note, checked=1)
    note = (
        f"{VICREGL_NOTE}, where the config takes all cells by feature; lightly's LARS takes the sum of two norms, "
        'histomm and the authors the norm of a sum; compared is the first step with one pair an image'
    )
    yield pair('VICRegL step', 'vicregl/vicregl_r18_nct.py', args, note, checked=1)


def sizes(args: argparse.Namespace) -> str:
    """What was timed."""
    return (
        f'Whole steps of a ResNet-18, {args.step_batch} images, views of {args.step_size} x {args.step_size}; models, '
        'queues and optimisers of the shipped configs. histomm also normalises the images, lightly gets them so.'
    )
