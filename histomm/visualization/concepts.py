"""Which concepts ConCL finds in one image and carries over to its views: reckoned for pictures."""

from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config

from histomm import functional
from histomm.models import ConCL
from histomm.models.transfer import load_backbone
from histomm.models.weights import read_checkpoint
from histomm.registry import MODELS
from histomm.visualization.matching import View

_KEY_BACKBONE = 'key_encoder.module.backbone'


@dataclass(frozen=True)
class Concepts:
    """Concepts of one image.

    Attributes:
        reference: (H, W) int labels of the reference view's cells, turned as the source is.
        views: (h, w) int labels of the cells of query and key, as seen.
        cells: (2, K) int, how many cells of query and key bear each label.
    """

    reference: np.ndarray
    views: tuple[np.ndarray, np.ndarray]
    cells: np.ndarray

    @property
    def shared(self) -> np.ndarray:
        """(K,) bool, which concepts both views show: those that are contrasted."""
        return (self.cells > 0).all(0)


def load_concl(cfg: Config, checkpoint: str | None = None) -> ConCL:
    """The model of a config, to find concepts with.

    Args:
        cfg: Pre-training config.
        checkpoint: File or work directory for the key encoder's backbone: one of ConCL, whose key encoder it is, or
            any other with such a backbone. Weights remain random if it is left out.

    Raises:
        ValueError: the config's model is another.
        TransferError: the checkpoint cannot be read or does not fit.
    """
    model = MODELS.build(cfg.model)
    if not isinstance(model, ConCL):
        raise ValueError(
            f'{cfg.filename}: its model is {type(model).__name__}, which has no concepts; '
            'give a config of ConCL, such as configs/concl/concl_r18_nct.py'
        )
    if checkpoint:
        state, _ = read_checkpoint(checkpoint)
        prefix = _KEY_BACKBONE if any(name.startswith(f'{_KEY_BACKBONE}.') for name in state) else None
        load_backbone(model.get_submodule(_KEY_BACKBONE), checkpoint, prefix)
    return model.eval()


@torch.no_grad()
def find_concepts(model: ConCL, query: View, key: View, reference: View) -> Concepts:
    """Concepts of an image as a training step finds them, but with the running statistics of batch norm.

    Random numbers (the first centroids) come from the global generator.
    """
    planes = model.data_preprocessor(dict(inputs=[view.planes() for view in (query, key, reference)]))['inputs']
    labels = model.find_concepts(planes[2], reference.geometry)
    encoder = model.get_submodule(_KEY_BACKBONE)
    seen, cells = [], []
    for view, image in zip((query, key), planes, strict=False):
        turns = view.geometry.hflip, view.geometry.vflip, view.geometry.rot90
        feat = functional.canonicalize(encoder(image)[-1], *turns)
        size = tuple(feat.shape[2:])
        cut = functional.cut_labels(labels, model.num_concepts, reference.geometry.box, view.geometry.box, size)
        cells.append(functional.concept_prototypes(feat, cut, model.num_concepts)[1][0])
        seen.append(view.as_seen(cut[0]).numpy())
    return Concepts(labels[0].numpy(), tuple(seen), torch.stack(cells).numpy())
