"""Encoders of timm, pathology foundation models among them, with weights that are on this disk."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from histomm.evaluation.encoder import Encoder, centre_crop, seeded, warn_random
from histomm.evaluation.foundation_models import FOUNDATION_MODELS, resolve_layers
from histomm.models.transfer import load_backbone
from histomm.models.weights import TransferError, find_backbone, read_checkpoint

_HUB = re.compile(r'^hf[-_]hub:')


def encoder_from_timm(
    name: str, weights: str | Path | None = None, options: dict | None = None, random: bool = False
) -> Encoder:
    """A model of timm, or of the Hugging Face hub if it is there for timm, with weights that are on this disk.

    Preprocessing is that of timm's data config; for the models of
    :data:`~histomm.evaluation.foundation_models.FOUNDATION_MODELS` that of their model cards.

    Args:
        name: Name in timm, or on the hub with or without ``hf-hub:``.
        weights: Weight file; without, those in the local cache of the hub.
        options: Further arguments of ``timm.create_model``.
        random: Take random weights on purpose.

    Raises:
        ValueError: no such model, or its weights are not on this disk.
        TransferError: the file does not fill the model.
    """
    known = FOUNDATION_MODELS.get(_HUB.sub('', name))
    if known is not None:
        weights = weights or (None if random else _cached_file(_HUB.sub('', name)))
        network, mean, std = _build_timm(known.architecture, {**known.options, **(options or {})}), *known.normalisation
        steps, feature = centre_crop(224, known.resize, 'bicubic'), known.feature
    else:
        full = name if _HUB.match(name) or '/' not in name else f'hf-hub:{name}'
        network = _build_timm(full, options or {}, pretrained=not (weights or random))
        steps, mean, std = _timm_preprocessing(network, name)
        feature = 'pooled'
    if weights:
        _load_timm(network, weights)
    elif random:
        warn_random()
    settings = {'model': f'timm: {name}', 'architecture': dict(options or {})}
    grey = [[255 * value for value in values] for values in (mean, std)]
    return Encoder(network, steps, *grey, feature=feature, settings=settings, checkpoint=weights)


def _build_timm(name: str, options: dict, pretrained: bool = False) -> nn.Module:
    import timm

    try:
        with _offline(), seeded():
            return timm.create_model(name, pretrained=pretrained, num_classes=0, **resolve_layers(options))
    except OSError as error:  # what the hub's client raises where a file is not in its cache
        raise ValueError(
            f'{name}: not on this disk ({type(error).__name__}), and nothing is downloaded here; download it once with '
            '`hf download`, or give the file with --weights and the name of its architecture in timm'
        ) from error
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        said = ' '.join(str(error).split())[:300]
        raise ValueError(
            f'timm cannot build {name!r} with the options {options} ({said}); correct the name or --timm-options'
        ) from error


def _cached_file(repository: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    for name in ('model.safetensors', 'pytorch_model.bin'):
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return found
    raise ValueError(
        f'{repository}: its weights are not in the local cache, and nothing is downloaded here; request and download '
        f'them with `hf download {repository}`, or give the file with --weights'
    )


@contextmanager
def _offline() -> Iterator[None]:
    """Within, the client of the hub reads its cache only."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _timm_preprocessing(network: nn.Module, name: str) -> tuple[list[dict], Sequence[float], Sequence[float]]:
    from timm.data import resolve_model_data_config

    data = resolve_model_data_config(network)
    size, crop = data['input_size'][-1], data['crop_pct']
    if data['crop_mode'] == 'squash':
        steps = [
            dict(type='Resize', scale=(size, size), backend='pillow', interpolation=data['interpolation']),
        ]
    elif data['crop_mode'] == 'center' and data['input_size'][-2] == size:
        steps = centre_crop(size, int(size / crop), data['interpolation'])
    else:
        raise ValueError(f'{name}: crop_mode {data["crop_mode"]!r} of timm, expected center or squash of a square')
    return steps, data['mean'], data['std']


def _load_timm(network: nn.Module, path: str | Path) -> None:
    """Fill a model of timm from a file; every tensor of the model must be there, of the file only heads may be left."""
    state, _ = read_checkpoint(path)
    try:
        find_backbone(state, str(path))
    except TransferError:
        pass
    else:
        load_backbone(network, path)
        return
    heads = network.default_cfg.get('classifier') or ()
    heads = tuple(f'{head}.' for head in ([heads] if isinstance(heads, str) else heads))
    own = network.state_dict()
    missing = [key for key in own if key not in state]
    surplus = [key for key in state if key not in own and not key.startswith(heads or ('head.',))]
    wrong = [key for key in own if key in state and own[key].shape != state[key].shape]
    for keys, what in ((missing, 'lacks'), (surplus, 'has besides'), (wrong, 'has another shape of')):
        if keys:
            raise TransferError(
                f'{path} {what} {len(keys)} tensors, such as {keys[0]}; build the model that the weights were trained '
                'in: name it, and its options with --timm-options'
            )
    network.load_state_dict({key: state[key] for key in own})
