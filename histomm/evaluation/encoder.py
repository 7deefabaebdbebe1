"""Encoders: an image in, a vector out; those of configs, with verified weights."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from histomm.config_file import read_config, require_libraries, walk
from histomm.engine.hooks.features import pool_features
from histomm.models.transfer import load_backbone
from histomm.models.weights import resolve_checkpoint
from histomm.registry import MODELS

GREY_LEVELS = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Mean and standard deviation of R, G, B of ImageNet, from 0 to 255."""


class Encoder(nn.Module):
    """A network in evaluation mode that takes images as they are stored and gives one vector each.

    Args:
        network: Gives a map (B, C, H, W), tokens (B, L, C) or vectors (B, C), see
            :func:`~histomm.engine.hooks.features.pool_features`.
        steps: Transforms that bring an image (H, W, 3) uint8 RGB to the size the network wants, as configs.
        mean: Of the R, G and B channels, in grey levels (0 to 255).
        std: Likewise.
        feature: 'pooled', or 'class+mean' for the class token beside the mean of the patch tokens, or 'projection' of a
            network that ends with a projector, whose vectors are scaled to unit length.
        settings: What the features depend on, for the feature file; the hash of the weights is added.
        checkpoint: File that the weights come from.
    """

    def __init__(
        self,
        network: nn.Module,
        steps: Sequence[dict],
        mean: Sequence[float] = GREY_LEVELS[0],
        std: Sequence[float] = GREY_LEVELS[1],
        feature: str = 'pooled',
        settings: dict | None = None,
        checkpoint: str | Path | None = None,
    ) -> None:
        super().__init__()
        # Convolutions are up to 1.4 times as fast with the channels innermost, on a CPU too.
        self.network = network.to(memory_format=torch.channels_last)
        self.steps = [dict(step) for step in steps]
        self.feature = feature
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.settings = {
            **(settings or {}),
            'weights': weights_hash(network),
            'preprocessing': [*self.steps, {'mean': [float(v) for v in mean], 'std': [float(v) for v in std]}],
            'feature': feature,
        }
        self.checkpoint = checkpoint
        self.eval().requires_grad_(False)

    @torch.inference_mode()
    def forward(self, images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Features of a batch.

        Args:
            images: (B, 3, H, W) uint8 RGB, or float of the same range.
            dtype: Precision of autocast, such as ``torch.bfloat16``; ``None`` for float32 throughout.

        Returns:
            (B, D) float32.
        """
        images = images.to(self.mean.device, torch.float32).contiguous(memory_format=torch.channels_last)
        images = (images - self.mean) / self.std
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None):
            output = self.network(images)
        if self.feature == 'pooled':
            return pool_features(output)
        if self.feature == 'projection':
            return F.normalize(pool_features(output), dim=1)
        first = self.network.num_prefix_tokens
        return torch.cat((output[:, 0], output[:, first:].mean(dim=1, dtype=torch.float32)), dim=1).float()


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over names, shapes, types and bytes of all tensors of a module."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f'{name} {tuple(tensor.shape)} {tensor.dtype}\n'.encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def encoder_from_config(
    config: str, checkpoint: str | Path | None = None, options: dict | None = None, prefix: str | None = None
) -> Encoder:
    """The backbone of a config.

    The images are brought to size as :func:`image_steps` says. Normalisation is that of the config's
    ``data_preprocessor``.

    Args:
        config: Any config with ``model.backbone``.
        checkpoint: Weights, see :func:`~histomm.models.transfer.load_backbone`. Without, those that the config names
            itself, or random ones, which is warned about.
        options: Settings that override the config, by dotted field.
        prefix: Where in the checkpoint the backbone stands.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the config has no backbone, or names weights to download.
        TransferError: the checkpoint does not fill the backbone.
    """
    cfg = model_config(config, options)
    node = cfg.model.backbone.to_dict()
    own = node.pop('init_cfg', None)
    source = checkpoint or _named_weights(own, config)
    source = resolve_checkpoint(source) if source else None
    network = build_part(cfg, node)
    if source:
        entry = own if not checkpoint and isinstance(own, dict) else {}
        load_backbone(network, source, prefix or entry.get('prefix'))
    else:
        warn_random()
    settings = {'model': f'{Path(config).stem}: {node["type"]}', 'architecture': _plain(node)}
    return Encoder(network, image_steps(cfg), *normalisation(cfg), settings=settings, checkpoint=source)


def model_config(config: str, options: dict | None = None) -> Config:
    """A config with a backbone, everything that it names registered.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: it has no backbone.
    """
    if '::' not in config and not Path(config).is_file():
        raise FileNotFoundError(f'config {config}: no such file; give a config with a backbone')
    cfg = read_config(config)
    cfg.merge_from_dict(options or {})
    require_libraries(cfg, config)
    if 'backbone' not in (cfg.get('model') or {}):
        raise ValueError(f'{config}: found no model.backbone, which makes the features; give a config with one')
    import histomm.datasets
    import histomm.models  # noqa: F401, registers what configs name

    return cfg


def build_part(cfg: Config, node: dict) -> nn.Module:
    """A model or a part of one, with random weights that are the same at every call."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'), seeded():
        return MODELS.build(node)


def _named_weights(init: dict | list | None, config: str) -> str | None:
    """The local file that an ``init_cfg`` of a backbone names, if any, and if there has to be one or is."""
    entries = [init] if isinstance(init, dict) else init or []
    for entry in entries:
        optional = entry.get('type') == 'histomm.PretrainedIfPresent' and not Path(entry['checkpoint']).exists()
        if entry.get('checkpoint') and not optional:
            if '://' in entry['checkpoint']:
                raise ValueError(
                    f'{config}: the backbone starts from {entry["checkpoint"]}, which is not on this disk; download it '
                    'and name the file as CHECKPOINT'
                )
            return entry['checkpoint']
    return None


@contextmanager
def seeded() -> Iterator[None]:
    """Within, random weights are the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def warn_random() -> None:
    """Say that no weights were given."""
    print_log('no weights given: the features are those of random ones', 'current', level=logging.WARNING)


def normalisation(cfg: Config) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of R, G and B of a config, in grey levels; those of ImageNet if it has none."""
    node = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    mean, std = node.get('mean'), node.get('std')
    return (mean, std) if mean is not None and std is not None else GREY_LEVELS


def image_steps(cfg: Config) -> list[dict]:
    """Transforms of a config that bring an image to size, without reading and packing.

    They are those of its test data, or of its online kNN, if these end in ``mmpretrain.PackInputs``; else the
    ``histomm.ResizeWhole`` of its training data, if they have one; else the short edge becomes 224 pixels and the
    centre is cut out.
    """
    hook = (cfg.get('default_hooks') or {}).get('knn') or {}
    for data in ((cfg.get('test_dataloader') or {}).get('dataset'), hook.get('dataset')):
        pipeline = (data or {}).get('pipeline') or []
        if pipeline and pipeline[-1]['type'] == 'mmpretrain.PackInputs':
            return [_plain(step) for step in pipeline[1:-1]]
    training = (cfg.get('train_dataloader') or {}).get('dataset')
    whole = [_plain(node) for _, node in walk(training) if node.get('type') == 'histomm.ResizeWhole']
    return whole[-1:] or centre_crop(224)


def centre_crop(size: int, resize: int | None = None, interpolation: str = 'bilinear') -> list[dict]:
    """Transforms that make the short edge ``resize`` pixels (``size`` if not given) and cut out the centre."""
    return [
        dict(
            type='mmpretrain.ResizeEdge',
            scale=resize or size,
            edge='short',
            backend='pillow',
            interpolation=interpolation,
        ),
        dict(type='mmpretrain.CenterCrop', crop_size=size),
    ]


def _plain(node: Any) -> Any:
    return node.to_dict() if hasattr(node, 'to_dict') else dict(node)
