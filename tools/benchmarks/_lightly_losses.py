"""Losses of lightly beside those of histomm, from the outputs of a network to the gradients that go back into it.

Both sides start from the same outputs and the same queue. Cells are rows (B, n, C) for lightly and maps (B, C, H, W)
for histomm, as each takes them; histomm also turns maps back to how the source lies.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import torch
from _inputs import make_geometry, normal, with_gradients
from _pairs import Pair
from _plain_forms import CHANNELS, TEMPERATURE, beside_nt_xent
from _timing import ROOT
from lightly.loss import DINOLoss, NTXentLoss, VICRegLLoss, VICRegLoss
from lightly.models import utils
from mmengine.config import Config
from torch import Tensor
from torch.nn import functional as F

from histomm import functional
from histomm.functional import ViewGeometry
from histomm.functional.geometry import cell_boxes
from histomm.models.dense_branch import DenseBranch, DenseMaps, dense_view
from histomm.models.queue import FeatureQueue
from histomm.models.selfsup.vicreg import VICReg
from histomm.registry import MODELS

CONFIGS = ROOT / 'configs'
MATCHES = (20, 4)
"""Pairs of cells that VICRegL keeps of an image: lightly's numbers for its two turns; histomm takes the first alone."""
VICREGL_NOTE = (
    f'lightly takes each direction twice, with {MATCHES[0]} and with {MATCHES[1]} pairs an image, histomm once with '
    f'{MATCHES[0]}'
)


def bank_of(queue: FeatureQueue) -> NTXentLoss:
    """lightly's criterion with a copy of ``queue``."""
    criterion = NTXentLoss(TEMPERATURE, tuple(queue.rows.shape)).to(queue.rows.device)
    criterion.memory_bank.bank.copy_(queue.rows)
    return criterion


def moco(batch: int, queue_len: int, device: torch.device) -> Pair:
    """InfoNCE of MoCo-v2 and the step of its queue, which is compared too."""
    query = normal(0, batch, CHANNELS, device=device).requires_grad_()
    key = normal(1, batch, CHANNELS, device=device)
    queue = FeatureQueue(queue_len, CHANNELS).to(device)
    criterion = bank_of(queue)

    def theirs() -> list[Tensor]:
        return [*with_gradients(partial(criterion, query, key), [query]), criterion.memory_bank.bank]

    def own() -> list[Tensor]:
        found = with_gradients(partial(queue.contrast, query, key, TEMPERATURE), [query])
        queue.enqueue(F.normalize(key, dim=1))
        return [*found, queue.rows]

    return Pair('MoCo-v2 loss', theirs, own)


def densecl(batch: int, side: int, queue_len: int, device: torch.device) -> Pair:
    """The dense half of DenseCL: cells matched by backbone features, InfoNCE of projections, step of the queue."""
    features = [normal(seed, batch, 512, side, side, device=device) for seed in range(2)]
    query = normal(2, batch, CHANNELS, side, side, device=device)
    key = normal(3, batch, CHANNELS, side, side, device=device)
    neck = dict(type='histomm.DenseNeck', in_channels=1, hid_channels=1, out_channels=1)
    branch = DenseBranch(neck, [dict(type='histomm.FeatureMatcher')], queue_len, CHANNELS, TEMPERATURE).to(device)
    criterion = bank_of(branch.queue)
    rows_q, rows_k, query_rows, key_rows = (as_rows(part) for part in (*features, query, key))
    query_rows.requires_grad_()
    query.requires_grad_()
    geometry = make_geometry(batch, side, device)

    def theirs() -> list[Tensor]:
        def loss() -> Tensor:
            matched = utils.select_most_similar(rows_q, rows_k, key_rows)
            return criterion(query_rows.flatten(0, 1), matched.flatten(0, 1))

        return with_gradients(loss, [query_rows])

    def own() -> list[Tensor]:
        maps = [DenseMaps(query, features[0]), DenseMaps(key, features[1])]
        value, grad = with_gradients(lambda: branch(*maps, geometry, branch.matchers)[0], [query])
        branch.enqueue(maps[1])
        return [value, as_rows(grad)]

    note = (
        f"lightly's queue takes the {side * side} matched cells of each image, as many as fit, that of histomm and of "
        "DenseCL's authors one pooled vector an image; compared is the first step, from the same queue"
    )
    return Pair('DenseCL loss', theirs, own, note)


def as_rows(maps: Tensor) -> Tensor:
    """(B, C, H, W) as (B, n, C) in memory of its own."""
    return maps.detach().flatten(2).mT.contiguous()


def grid_of(geometry: ViewGeometry, side: int, dtype: torch.dtype) -> Tensor:
    """Centres (B, side, side, 2) of the cells of views as they lie, flips and all: what lightly's transform records.

    Its own grid puts them half a cell to a cell too far right and down, so that the last lie outside the crop; these
    are the true ones.
    """
    cells = cell_boxes(geometry.box.to(dtype), (side, side)).unflatten(1, (side, side))
    centers = (cells[..., :2] + cells[..., 2:]) / 2
    for flip, axis in ((geometry.hflip, 2), (geometry.vflip, 1)):
        centers = torch.where(flip[:, None, None, None], centers.flip(axis), centers)
    return centers


def vicreg(batch: int, channels: int, device: torch.device) -> Pair:
    """VICReg's criterion."""
    views = [normal(seed, batch, channels, device=device).requires_grad_() for seed in range(2)]

    def own() -> Tensor:
        return sum(weight * term for weight, term in zip((25, 25, 1), functional.vicreg_terms(*views), strict=True))

    return Pair(
        'VICReg loss',
        partial(with_gradients, partial(VICRegLoss(), *views), views),
        partial(with_gradients, own, views),
    )


def vicregl(batch: int, side: int, channels: int, device: torch.device) -> Pair:
    """VICRegL's criterion of two views: global vectors, and cells matched by feature and by location."""
    timed = vicregl_calls(batch, side, channels, MATCHES, torch.float32, device)
    checked = vicregl_calls(min(batch, 8), side, 32, (1, 1), torch.float64, device)
    note = (
        f'{VICREGL_NOTE}; it lists them by their distance and histomm as the cells lie, so that the variance of the '
        'n-th pairs is another; compared with one pair an image, in float64'
    )
    return Pair('VICRegL loss', *timed, note, lambda: tuple(run() for run in checked))


def vicregl_model(matches: int) -> VICReg:
    """The shipped model with as many pairs of each kind, its network unused."""
    config = Config.fromfile(CONFIGS / 'vicregl/vicregl_r18_nct.py').model
    for matcher in config.matchers:
        matcher.gamma = matches
    return MODELS.build(config)


def vicregl_calls(
    batch: int, side: int, channels: int, matches: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> tuple[Callable[[], list[Tensor]], Callable[[], list[Tensor]]]:
    """lightly's criterion and histomm's on the same outputs of a network, with the gradients of all of them."""
    model = vicregl_model(matches[0])
    geometry = make_geometry(batch, side, device)
    vectors = [normal(seed, batch, 4 * channels, device=device, dtype=dtype).requires_grad_() for seed in range(2)]
    maps = [normal(seed, batch, channels, side, side, device=device, dtype=dtype) for seed in range(2, 4)]
    cells = [part.permute(0, 2, 3, 1).contiguous().requires_grad_() for part in maps]
    maps = [part.requires_grad_() for part in maps]
    criterion = VICRegLLoss(num_matches=matches)
    grids = [grid_of(view, side, dtype) for view in geometry]

    def theirs() -> list[Tensor]:
        found = with_gradients(lambda: criterion(list(zip(vectors, cells, strict=True)), grids), [*vectors, *cells])
        return [*found[:3], *(grad.permute(0, 3, 1, 2) for grad in found[3:])]

    def own_loss() -> Tensor:
        views = [dense_view(DenseMaps(part, part), place) for part, place in zip(maps, geometry, strict=True)]
        local_terms, _ = model._local_terms(views)
        return model.alpha * model._weigh(model._global_terms(vectors)) + (1 - model.alpha) * model._weigh(local_terms)

    return theirs, lambda: with_gradients(own_loss, [*vectors, *maps])


def dino(batch: int, outputs: int, device: torch.device) -> Pair:
    """DINO's loss of two large crops and eight small ones, and the step of the centre, which is compared too."""
    student = normal(0, 10, batch, outputs, device=device).requires_grad_()
    teacher = normal(1, 2, batch, outputs, device=device)
    center = torch.zeros(outputs, device=device)
    criterion = DINOLoss(outputs).to(device)

    def theirs() -> list[Tensor]:
        return [
            *with_gradients(lambda: criterion(list(teacher), list(student)), [student]),
            criterion.center.flatten(),
        ]

    def own() -> list[Tensor]:
        found = with_gradients(lambda: functional.dino_loss(student, teacher, center, 0.1, 0.04), [student])
        center.lerp_(teacher.mean((0, 1)), 0.1)
        return [*found, center]

    return Pair('DINO loss', theirs, own)


def pairs(args: argparse.Namespace) -> Iterator[Pair]:
    """All losses at the sizes that ``args`` asks for."""
    yield beside_nt_xent('SimCLR loss', NTXentLoss(TEMPERATURE), args.rows, args.device)
    yield moco(args.rows, args.queue, args.device)
    yield densecl(args.batch, args.cells, args.queue, args.device)
    yield vicreg(args.rows, args.channels, args.device)
    yield vicregl(args.batch, args.cells, args.channels // 4, args.device)
    yield dino(args.batch, args.outputs, args.device)


def sizes(args: argparse.Namespace) -> str:
    """What was timed."""
    return (
        f'SimCLR, MoCo-v2 and VICReg: {args.rows} images; DenseCL, VICRegL and DINO: {args.batch} images, maps of '
        f'{args.cells} x {args.cells} cells, two large crops and eight small ones. {CHANNELS} channels, VICReg '
        f'{args.channels:,}, VICRegL {args.channels:,} and {args.channels // 4:,}, DINO {args.outputs:,}; queue '
        f'{args.queue:,}. Forward, backward, and the step of queue or centre.'
    )
