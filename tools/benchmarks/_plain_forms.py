"""Each method's own arithmetic as it is read from its paper, in the plainest form, beside what histomm runs.

The plain forms use nothing of histomm, so the tests may take them as reference too. Boxes are (x1, y1, x2, y2) in
source pixels, maps are turned as the source is, and cells count row by row.
"""

import argparse
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial

import torch
from _inputs import make_geometry, normal, with_gradients
from _pairs import Pair
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

from histomm import functional
from histomm.models import EMATeacher
from histomm.models.matchers import DenseView, LocationMatcher, PreciseLocationMatcher
from histomm.models.queue import FeatureQueue

TEMPERATURE, CHANNELS, GAMMA, CONCEPTS = 0.2, 128, 20, 8


def nt_xent(view1: Tensor, view2: Tensor) -> Tensor:
    """SimCLR, eq. 1: the matrix of all exponentials, its diagonal blanked."""
    rows = F.normalize(torch.cat([view1, view2]), dim=1)
    count = len(view1)
    exponentials = (rows @ rows.T / TEMPERATURE).exp()
    others = exponentials * ~torch.eye(2 * count, dtype=torch.bool, device=rows.device)
    positives = torch.cat([exponentials.diagonal(count), exponentials.diagonal(-count)])
    return -(positives / others.sum(1)).log().mean()


def cells_of(box: Tensor, side: int) -> Tensor:
    """Rectangles (B, n, 4) of the cells of boxes (B, 4)."""
    number = torch.arange(side, device=box.device)
    y, x = (part.flatten() for part in torch.meshgrid(number, number, indexing='ij'))
    width, height = ((box[:, 2:] - box[:, :2]) / side).unbind(1)
    left, top = box[:, 0, None] + x * width[:, None], box[:, 1, None] + y * height[:, None]
    return torch.stack([left, top, left + width[:, None], top + height[:, None]], 2)


def overlaps(cells_q: Tensor, cells_k: Tensor) -> Tensor:
    """PLM, eq. 6: areas (B, n, m) that cells (B, n, 4) and (B, m, 4) share."""
    q, k = cells_q[:, :, None], cells_k[:, None]
    sides = (torch.minimum(q[..., 2:], k[..., 2:]) - torch.maximum(q[..., :2], k[..., :2])).clamp(min=0)
    return sides.prod(3)


def plm(query: Tensor, key: Tensor, boxes: tuple[Tensor, Tensor], queue: Tensor) -> Tensor:
    """PLM, eqs. 6 to 11: M of n x n overlaps, both directions, InfoNCE with all logits, weighted by what is covered."""
    side = query.shape[2]
    cells = [cells_of(box, side) for box in boxes]
    matrix = overlaps(*cells)
    rows_q, rows_k = query.flatten(2).mT, key.flatten(2).mT
    covered = []
    for shared, own in ((matrix.sum(2), cells[0]), (matrix.sum(1), cells[1])):
        covered.append(shared / (own[..., 2:] - own[..., :2]).prod(2))
    anchors = torch.cat([rows_q, matrix.mT @ rows_q]).flatten(0, 1)
    positives = torch.cat([matrix @ rows_k, rows_k]).flatten(0, 1)
    weight = torch.cat(covered).flatten()
    anchors, positives = F.normalize(anchors, dim=1), F.normalize(positives, dim=1)
    logits = torch.cat([(anchors * positives).sum(1, keepdim=True), anchors @ queue.T], 1) / TEMPERATURE
    losses = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device), reduction='none')
    return (weight * losses).sum() / weight.sum()


def nearest_locations(rows_q: Tensor, rows_k: Tensor, boxes: tuple[Tensor, Tensor], side: int) -> list[Tensor]:
    """VICRegL, section 3.2: distances of all centres, the nearest cell of each, and the GAMMA best pairs of an image.

    Pairs come in the order of the cells.
    """
    centers = [(cells[..., :2] + cells[..., 2:]) / 2 for cells in (cells_of(box, side) for box in boxes)]
    nearest, index = torch.cdist(*centers, compute_mode='donot_use_mm_for_euclid_dist').min(2)
    kept = nearest.topk(GAMMA, dim=1, largest=False).indices.sort(1).values
    channels = rows_q.shape[2]
    anchor = rows_q.gather(1, kept[..., None].expand(-1, -1, channels))
    positive = rows_k.gather(1, index.gather(1, kept)[..., None].expand(-1, -1, channels))
    return [anchor.flatten(0, 1), positive.flatten(0, 1)]


def concepts(feat: Tensor, labels: Tensor, reference: Tensor, box: Tensor) -> list[Tensor]:
    """ConCL, section 3.2: label maps cut to a view by rounding and pooling, then the mean of each concept, by loops."""
    batch, channels, height, width = feat.shape
    means = feat.new_zeros(batch, CONCEPTS, channels)
    counts = torch.zeros(batch, CONCEPTS, dtype=torch.long, device=feat.device)
    for image in range(batch):
        x1, y1, x2, y2 = box[image].tolist()
        left, top, right, bottom = reference[image].tolist()
        rows, columns = labels[image].shape
        first_x, last_x = round((x1 - left) * columns / (right - left)), round((x2 - left) * columns / (right - left))
        first_y, last_y = round((y1 - top) * rows / (bottom - top)), round((y2 - top) * rows / (bottom - top))
        first_x, first_y = min(first_x, columns - 1), min(first_y, rows - 1)
        part = labels[image, first_y : max(last_y, first_y + 1), first_x : max(last_x, first_x + 1)]
        one_hot = F.one_hot(part, CONCEPTS).permute(2, 0, 1).float()
        pooled = F.adaptive_avg_pool2d(one_hot, (height, width)).argmax(0)
        for concept in range(CONCEPTS):
            inside = pooled == concept
            counts[image, concept] = inside.sum()
            if inside.any():
                means[image, concept] = feat[image][:, inside].mean(1)
    return [means, counts]


def dino(student: Tensor, teacher: Tensor, center: Tensor) -> Tensor:
    """DINO, eq. 3: every crop of the student with every other of the teacher, one pair after the other."""
    total, pairs = 0.0, 0
    for g, target in enumerate(teacher):
        probabilities = ((target - center) / 0.04).softmax(1)
        for v, view in enumerate(student):
            if g != v:
                total = total - (probabilities * (view / 0.1).log_softmax(1)).sum(1).mean()
                pairs += 1
    return total / pairs


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """MoCo, eq. 2: one parameter after the other."""
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.copy_(momentum * slow + (1 - momentum) * fast)


def beside_nt_xent(title: str, theirs: Callable[[Tensor, Tensor], Tensor], rows: int, device: torch.device) -> Pair:
    """SimCLR's loss of rows of any length beside ``theirs``."""
    views = [normal(seed, rows, CHANNELS, device=device).requires_grad_() for seed in range(2)]

    def own() -> Tensor:
        return functional.nt_xent(*(F.normalize(view, dim=1) for view in views), TEMPERATURE)

    return Pair(
        title,
        partial(with_gradients, partial(theirs, *views), views),
        partial(with_gradients, own, views),
    )


def nt_xent_pair(rows: int, device: torch.device) -> Pair:
    """SimCLR's loss."""
    return beside_nt_xent('NT-Xent', nt_xent, rows, device)


def plm_pair(batch: int, side: int, queue_len: int, device: torch.device) -> Pair:
    """Matching and loss of PLM from maps to their gradient."""
    query = normal(0, batch, CHANNELS, side, side, device=device).requires_grad_()
    key = normal(1, batch, CHANNELS, side, side, device=device)
    boxes = tuple(view.box for view in make_geometry(batch, side, device))
    queue = FeatureQueue(queue_len, CHANNELS).to(device)
    matcher = PreciseLocationMatcher()

    def own() -> Tensor:
        views = [DenseView(feat, feat, box) for feat, box in zip((query, key), boxes, strict=True)]
        matches = matcher(*views)
        return queue.contrast(matches.anchor, matches.positive, TEMPERATURE, matches.weight)

    plain: Callable[[], Tensor] = partial(plm, query, key, boxes, queue.rows)
    return Pair(
        'PLM matching and loss',
        partial(with_gradients, plain, [query]),
        partial(with_gradients, own, [query]),
    )


def location_pair(title: str, batch: int, side: int, device: torch.device) -> Pair:
    """VICRegL's pairs by location."""
    maps = [normal(seed, batch, CHANNELS, side, side, device=device) for seed in range(2)]
    boxes = tuple(view.box for view in make_geometry(batch, side, device))
    rows = [feat.flatten(2).mT for feat in maps]
    matcher = LocationMatcher(gamma=GAMMA)
    views = [DenseView(feat, feat, box) for feat, box in zip(maps, boxes, strict=True)]
    return Pair(
        title,
        partial(nearest_locations, *rows, boxes, side),
        lambda: matcher.align(*views)[:2],
    )


def concept_pair(batch: int, side: int, device: torch.device) -> Pair:
    """ConCL's means of concepts, from the labels of reference views of twice as many cells a side."""
    feat = normal(0, batch, 512, side, side, device=device)
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(CONCEPTS, (batch, 2 * side, 2 * side), generator=generator).to(device)
    box = make_geometry(batch, side, device)[0].box
    reference = torch.tensor([0.0, 0, 224, 224], device=device).expand(batch, 4)

    def own() -> list[Tensor]:
        cut = functional.cut_labels(labels, CONCEPTS, reference, box, (side, side))
        return list(functional.concept_prototypes(feat, cut, CONCEPTS))

    return Pair('ConCL concepts', partial(concepts, feat, labels, reference, box), own)


def dino_pair(batch: int, outputs: int, device: torch.device) -> Pair:
    """DINO's loss of two large crops and eight small ones."""
    student = normal(0, 10, batch, outputs, device=device).requires_grad_()
    teacher = normal(1, 2, batch, outputs, device=device)
    center = normal(2, outputs, device=device)
    return Pair(
        'DINO crops',
        partial(with_gradients, partial(dino, student, teacher, center), [student]),
        partial(with_gradients, lambda: functional.dino_loss(student, teacher, center, 0.1, 0.04), [student]),
    )


def teacher_pair(device: torch.device) -> Pair:
    """A moving average of a ResNet-18."""
    student = resnet18().to(device)
    own = EMATeacher(student, momentum=0.99)
    own.update(student)  # which copies
    plain = deepcopy(own.module)
    for value in student.parameters():
        value.data.add_(0.01)

    def theirs() -> list[Tensor]:
        follow(plain, student, 0.99)
        return list(plain.parameters())

    def histomm() -> list[Tensor]:
        own.update(student)
        return list(own.module.parameters())

    return Pair('key encoder', theirs, histomm)


def pairs(args: argparse.Namespace) -> Iterator[Pair]:
    """All forms at the sizes that ``args`` asks for."""
    yield plm_pair(args.batch, args.cells, args.queue, args.device)
    yield location_pair('VICRegL locations', args.batch, args.cells, args.device)
    yield location_pair('VICRegL locations of large maps', args.batch, 4 * args.cells, args.device)
    yield concept_pair(args.batch, args.cells, args.device)
    yield nt_xent_pair(args.rows, args.device)
    yield dino_pair(args.batch, args.outputs, args.device)
    yield teacher_pair(args.device)


def sizes(args: argparse.Namespace) -> str:
    """What was timed."""
    return (
        f'{args.batch} images, maps of {args.cells} x {args.cells} cells, large maps of {4 * args.cells} x '
        f'{4 * args.cells}, {CHANNELS} channels (ConCL 512), queue {args.queue:,}; NT-Xent: {args.rows} images; DINO: '
        f'two large crops and eight small ones, {args.outputs:,} outputs; key encoder: moving average of a ResNet-18.'
    )
