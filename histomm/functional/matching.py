"""Which cells of two views of one image show the same tissue.

Shapes: B images, query map of Hq×Wq cells, key map of Hk×Wk cells, C channels; n = Hq·Wq, m = Hk·Wk, cells counted row
by row. Maps are canonical: flips and turns were undone by :func:`~histomm.functional.geometry.canonicalize`, so that
both grids run along the axes of the source and a view is its crop box alone.

The matrix M of precise location matching (Zhang et al., IPMI 2023, eq. 6) holds the areas that a query cell shares with
a key cell. Cells form a grid, so that area is the product of a shared height and a shared width: M = F_y ⊗ F_x, with
F_y (Hq×Hk) and F_x (Wq×Wk) the overlaps of intervals. Nothing here but :func:`overlap_matrix` ever builds M.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .geometry import cell_edges, check_boxes

METRICS = ('cosine', 'l2')


def _cells_beside(
    box_q: Tensor, box_k: Tensor, size_q: tuple[int, int], size_k: tuple[int, int]
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Cell edges of both views, each (y, x), counted from the query's upper left corner.

    The shift keeps float32 sharp where a box lies at 100,000 pixels, as it does on a slide.
    """
    check_boxes('box_q', box_q)
    check_boxes('box_k', box_k)
    if len(box_q) != len(box_k):
        raise ValueError(f'box_q has {len(box_q)} boxes and box_k {len(box_k)}, expected one pair an image')
    dtype = torch.promote_types(torch.promote_types(box_q.dtype, box_k.dtype), torch.float32)
    box_q, box_k = box_q.to(dtype), box_k.to(dtype)
    origin = box_q[:, :2].repeat(1, 2)
    return cell_edges(box_q - origin, size_q), cell_edges(box_k - origin, size_k)


def overlap_factors(
    box_q: Tensor, box_k: Tensor, size_q: tuple[int, int], size_k: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Lengths that the rows (and the columns) of two grids share: the factors of M = F_y ⊗ F_x.

    Args:
        box_q: (B, 4) query boxes in source pixels, any real dtype.
        box_k: (B, 4) key boxes.
        size_q: (Hq, Wq) cells of the query map.
        size_k: (Hk, Wk) cells of the key map.

    Returns:
        (fy (B, Hq, Hk), fx (B, Wq, Wk)), lengths >= 0 in source pixels, float32 or, if a box is so, float64.

    Raises:
        ValueError: if a shape is wrong or the batches differ.
    """
    edges_q, edges_k = _cells_beside(box_q, box_k, size_q, size_k)
    fy, fx = (_shared_lengths(q, k) for q, k in zip(edges_q, edges_k, strict=True))
    return fy, fx


def _shared_lengths(edges_q: Tensor, edges_k: Tensor) -> Tensor:
    """(B, nq + 1) and (B, nk + 1) edges to the (B, nq, nk) lengths of the intervals' intersections."""
    start = torch.maximum(edges_q[:, :-1, None], edges_k[:, None, :-1])
    end = torch.minimum(edges_q[:, 1:, None], edges_k[:, None, 1:])
    return (end - start).clamp(min=0)


def overlap_matrix(box_q: Tensor, box_k: Tensor, size_q: tuple[int, int], size_k: tuple[int, int]) -> Tensor:
    """The matrix M of eq. 6, for tests and pictures; arguments as for :func:`overlap_factors`.

    Returns:
        (B, Hq*Wq, Hk*Wk), M_ij the area in source pixels that query cell i and key cell j share.
    """
    fy, fx = overlap_factors(box_q, box_k, size_q, size_k)
    return torch.einsum('bij,bkl->bikjl', fy, fx).flatten(3, 4).flatten(1, 2)


def overlap_weights(fy: Tensor, fx: Tensor, box_q: Tensor, size_q: tuple[int, int]) -> Tensor:
    """Covered share of each query cell: w_i = Σ_j M_ij / A(P_i).

    Args:
        fy: (B, Hq, Hk) from :func:`overlap_factors`; for the weights of the key cells pass its transpose.
        fx: (B, Wq, Wk) likewise.
        box_q: (B, 4) boxes whose cells are the rows of the factors.
        size_q: (Hq, Wq).

    Returns:
        (B, Hq, Wq) in [0, 1] (rounding is clamped), dtype of the factors.
    """
    check_boxes('box_q', box_q)
    if (fy.shape[1], fx.shape[1]) != tuple(size_q) or not len(fy) == len(fx) == len(box_q):
        raise ValueError(
            f'fy {tuple(fy.shape)} and fx {tuple(fx.shape)} do not fit {len(box_q)} boxes of size_q {tuple(size_q)}; '
            'expected (B, Hq, Hk) and (B, Wq, Wk)'
        )
    box_q = box_q.to(fy.dtype)
    cell = (box_q[:, 2:] - box_q[:, :2]) / box_q.new_tensor([size_q[1], size_q[0]])
    covered_y = (fy.sum(2) / cell[:, 1:]).clamp(0, 1)
    covered_x = (fx.sum(2) / cell[:, :1]).clamp(0, 1)
    return covered_y[:, :, None] * covered_x[:, None, :]


def row_shares(factor: Tensor) -> Tensor:
    """Divide the rows of an overlap factor by their sums; rows without overlap stay zero.

    The row-normalised M is the Kronecker product of the two factors so divided. With them :func:`precise_match` returns
    weighted means of key features, which also fit into float16, where areas of some thousand pixels would overflow.

    Args:
        factor: (B, nq, nk) lengths >= 0.

    Returns:
        (B, nq, nk), rows sum to 1, or to 0 without overlap.
    """
    total = factor.sum(2, keepdim=True)
    return factor / torch.where(total > 0, total, 1)


def precise_match(feat_k: Tensor, fy: Tensor, fx: Tensor) -> Tensor:
    """Key features gathered for each query cell by shared area: M·K of eq. 7, as two small products.

    Not normalised; a query cell without overlap gets zeros. For Mᵀ·Q pass the transposed factors. Runs in the dtype of
    ``feat_k`` also under autocast; for float16 see :func:`row_shares`.

    Args:
        feat_k: (B, C, Hk, Wk) canonical key map.
        fy: (B, Hq, Hk) from :func:`overlap_factors`.
        fx: (B, Wq, Wk).

    Returns:
        (B, C, Hq, Wq).
    """
    found = (feat_k.shape[:1] + feat_k.shape[2:], fy.shape[::2], fx.shape[::2])
    if feat_k.ndim != 4 or fy.ndim != 3 or fx.ndim != 3 or found[1] + found[2][1:] != found[0] or len(fx) != len(fy):
        raise ValueError(
            f'feat_k {tuple(feat_k.shape)}, fy {tuple(fy.shape)} and fx {tuple(fx.shape)} do not fit; '
            'expected (B, C, Hk, Wk), (B, Hq, Hk) and (B, Wq, Wk)'
        )
    with torch.autocast(feat_k.device.type, enabled=False):
        wide = torch.bmm(feat_k.flatten(1, 2), fx.to(feat_k.dtype).mT)  # (B, C*Hk, Wq)
        wide = wide.unflatten(1, feat_k.shape[1:3])
        return torch.einsum('bqh,bchp->bcqp', fy.to(feat_k.dtype), wide)


def nearest_match(
    box_q: Tensor, box_k: Tensor, size_q: tuple[int, int], size_k: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """For each query cell the key cell with the nearest centre, in source pixels.

    Both grids run along the same axes, so the nearest row and the nearest column are found apart. Of equally near cells
    the lowest index wins. Arguments as for :func:`overlap_factors`.

    Returns:
        (index (B, n) int64 into the m key cells, distance (B, n) between the centres in source pixels).
    """
    edges_q, edges_k = _cells_beside(box_q, box_k, size_q, size_k)
    (row, dy), (column, dx) = (_nearest_centers(q, k) for q, k in zip(edges_q, edges_k, strict=True))
    index = row[:, :, None] * size_k[1] + column[:, None, :]
    distance = torch.hypot(dy[:, :, None], dx[:, None, :])
    return index.flatten(1), distance.flatten(1)


def _nearest_centers(edges_q: Tensor, edges_k: Tensor) -> tuple[Tensor, Tensor]:
    """(B, nq + 1) and (B, nk + 1) edges to index (B, nq) of the nearest key interval's centre and its distance."""
    centers_q, centers_k = ((edges[:, :-1] + edges[:, 1:]) / 2 for edges in (edges_q, edges_k))
    distance = (centers_q[:, :, None] - centers_k[:, None, :]).abs()
    index = distance.argmin(2)
    return index, distance.gather(2, index[:, :, None]).squeeze(2)


@torch.no_grad()
def feature_match(feat_q: Tensor, feat_k: Tensor, metric: str = 'cosine') -> Tensor:
    """For each query cell the key cell with the most similar feature.

    Reckoned in float32 at least, also under autocast: in half precision many similarities would tie. Of equal ones the
    lowest index wins; a zero vector has cosine 0 with everything.

    Args:
        feat_q: (B, C, n).
        feat_k: (B, C, m), m >= 1.
        metric: 'cosine' takes the highest cosine (DenseCL), 'l2' the smallest Euclidean distance (VICRegL).

    Returns:
        (B, n) int64 into the m key cells; carries no gradient.

    Raises:
        ValueError: if shapes disagree, or the metric is unknown.
    """
    if feat_q.ndim != 3 or feat_k.ndim != 3 or feat_q.shape[:2] != feat_k.shape[:2] or not feat_k.shape[2]:
        raise ValueError(
            f'feat_q {tuple(feat_q.shape)} and feat_k {tuple(feat_k.shape)} do not fit; '
            'expected (B, C, n) and (B, C, m), m >= 1'
        )
    if metric not in METRICS:
        raise ValueError(f"metric is '{metric}', expected one of {', '.join(METRICS)}")
    dtype = torch.promote_types(torch.promote_types(feat_q.dtype, feat_k.dtype), torch.float32)
    queries, keys = feat_q.to(dtype), feat_k.to(dtype)
    with torch.autocast(feat_q.device.type, enabled=False):
        if metric == 'cosine':
            # the query's length scales a whole row of cosines, so it cannot move the row's maximum
            return torch.bmm(queries.mT, F.normalize(keys, dim=1, eps=1e-12)).argmax(2)
        # (q − k)² / 2 without q² / 2, which is the same along a row; a common shift would only cost digits
        shift = keys.mean(2, keepdim=True)
        queries, keys = queries - shift, keys - shift
        return (torch.bmm(queries.mT, keys) - keys.square().sum(1)[:, None] / 2).argmax(2)
