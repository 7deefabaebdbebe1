"""Projections: what the contrast of a pre-training compares, of any images."""

from pathlib import Path

from torch import Tensor, nn

from histomm.evaluation.encoder import Encoder, build_part, image_steps, model_config, normalisation
from histomm.models.transfer import load_whole
from histomm.models.weights import resolve_checkpoint


class Projector(nn.Module):
    """A backbone and the projector after it, as pre-training has them.

    Args:
        backbone: Gives what the neck takes.
        neck: Gives (B, D), alone or as the first of a tuple.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck = backbone, neck

    def forward(self, images: Tensor) -> Tensor:
        """Projections (B, D), before they are scaled.

        Raises:
            ValueError: the neck gives no vectors.
        """
        output = self.neck(self.backbone(images))
        first = output[0] if isinstance(output, (tuple, list)) else output
        if first.ndim != 2:
            name, shape = type(self.neck).__name__, tuple(first.shape)
            raise ValueError(f'the neck {name} gives {shape}, expected one vector (B, D) an image; leave projections')
        return first


def projector_from_config(config: str, checkpoint: str | Path, options: dict | None = None) -> Encoder:
    """The backbone and the projector (``model.neck``) of a pre-training config: vectors of unit length.

    Args:
        config: Config of a pre-training.
        checkpoint: Its checkpoint, or work directory.
        options: Settings that override the config, by dotted field.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the config has no backbone or no neck.
        TransferError: the checkpoint does not fill both.
    """
    cfg = model_config(config, options)
    if not cfg.model.get('neck'):
        raise ValueError(f'{config}: found no model.neck, which makes projections; give the config of a pre-training')
    source = resolve_checkpoint(checkpoint)
    parts = {name: cfg.model[name].to_dict() for name in ('backbone', 'neck')}
    for node in parts.values():
        node.pop('init_cfg', None)
    network = Projector(*(build_part(cfg, node) for node in parts.values()))
    load_whole(network, source)
    settings = {'model': f'{Path(config).stem}: projection', 'architecture': parts}
    return Encoder(network, image_steps(cfg), *normalisation(cfg), 'projection', settings, source)
