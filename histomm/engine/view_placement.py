"""Where the views of pre-training are made: by loader workers, image by image, or by the model, batch by batch.

``views_on`` of a config says it in one line, and this module changes pipeline, collation and data preprocessor to fit.
"""

import copy

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.logging import print_log

from histomm.config_file import leaf_datasets
from histomm.datasets.transforms import view_draws
from histomm.engine.view_trial import time_views

PLACES = ('cpu', 'device', 'auto')
_COLLATE = ('default_collate', 'pseudo_collate', 'histomm.pad_collate')


def place_views(cfg: Config) -> None:
    """Change a config so that its views are made where ``views_on`` says.

    ``'cpu'``, as without the field, leaves ``MultiView`` in the pipeline of the training data. ``'device'`` puts
    ``DrawViews`` and ``PackDraws`` in its place, and :class:`~histomm.models.BatchViews` with the same list of views
    in the model. ``'auto'`` takes the faster of the two in a short trial, and the pipeline where there is no choice. A
    dict gives the place as ``place``, and arguments of ``BatchViews`` beside it. Afterwards the config says which place
    it was, so that the config in the work directory repeats it; views that it has moved stay there. A config without
    training data, such as one that is only tested, has no views to move.

    Raises:
        ValueError: an unknown place; ``'device'`` with a pipeline or model that only knows views of the pipeline; or
            ``'cpu'`` with views that were moved before.
    """
    wanted = cfg.get('views_on')
    if wanted is None or not cfg.get('train_dataloader'):
        return
    options = dict(wanted) if isinstance(wanted, dict) else dict(place=wanted)
    place = options.pop('place', None)
    if place not in PLACES:
        raise ValueError(f'views_on is {wanted!r}, expected one of {PLACES}, or a dict with one of them as place')
    if _on_device_already(cfg):
        if place == 'cpu':
            raise ValueError(
                f"views_on is {wanted!r}: found histomm.DrawViews in train_dataloader's pipeline, expected "
                'histomm.MultiView; train from the config that the run began with'
            )
        cfg.model.data_preprocessor.update(options)
        return
    if place == 'cpu':
        return
    try:
        placed = on_device(cfg, options)
    except ValueError as error:
        if place == 'device':
            raise ValueError(f'views_on is {wanted!r}: {error}') from error
        cfg.views_on = 'cpu'
        print_log(f"views_on 'auto': the views are made by the pipeline, because {error}", 'current')
        return
    if place == 'device' or _device_is_faster(cfg, placed):
        cfg.train_dataloader, cfg.model = placed.train_dataloader, placed.model
        cfg.views_on = dict(place='device', **options) if options else 'device'
    else:
        cfg.views_on = 'cpu'


def _device_is_faster(cfg: Config, placed: ConfigDict) -> bool:
    """By a trial; several processes have to choose alike, and take the accelerator if there is one."""
    device = get_device()
    if cfg.get('launcher', 'none') != 'none':
        text = f'several processes, which choose without a trial: {device}'
        faster = device != 'cpu'
    else:
        times = time_views(cfg, placed, device)
        text, faster = times.text(device), times.device_is_faster
    place = 'on the device' if faster else 'by the pipeline'
    print_log(f"views_on 'auto': the views are made {place}; {text}", 'current')
    return faster


def _on_device_already(cfg: Config) -> bool:
    """Whether this is the config of a run whose views were moved before."""
    steps = [step.get('type') for pipeline in _pipelines(cfg.train_dataloader.dataset) for step in pipeline]
    return 'histomm.DrawViews' in steps


def on_device(cfg: Config, options: dict | None = None) -> ConfigDict:
    """``train_dataloader`` and ``model`` of a config with the views in the model.

    Args:
        cfg: Stays as it is.
        options: Further arguments of ``BatchViews``.

    Raises:
        ValueError: the pipeline or model only knows views of the pipeline.
    """
    loader, model = copy.deepcopy(cfg.train_dataloader), copy.deepcopy(cfg.model)
    found = [_move(pipeline) for pipeline in _pipelines(loader.dataset)]
    if not found or any(views != found[0] for views in found):
        raise ValueError(f'found {len(found)} pipelines with unlike views, expected the same views everywhere')
    view_draws(found[0])
    collate = loader.get('collate_fn', {}).get('type', 'pseudo_collate')
    if collate not in _COLLATE:
        raise ValueError(f'train_dataloader.collate_fn is {collate}, expected one of {_COLLATE}')
    loader.collate_fn = dict(type='histomm.pad_collate')
    preprocessor = model.get('data_preprocessor') or {}
    if preprocessor.get('type') != 'histomm.ViewDataPreprocessor':
        raise ValueError(
            f'model.data_preprocessor is {preprocessor.get("type")}, expected histomm.ViewDataPreprocessor'
        )
    model.data_preprocessor = dict(preprocessor, type='histomm.BatchViews', views=found[0], **(options or {}))
    return ConfigDict(train_dataloader=loader, model=model)


def _pipelines(dataset: ConfigDict) -> list[list]:
    """Pipelines of a data set, or of those that it wraps."""
    return [inner.get('pipeline', []) for _, inner in leaf_datasets(dataset)]


def _move(pipeline: list) -> list:
    """Change a pipeline in place to draw only; the list of views."""
    names = [step.get('type', '') for step in pipeline]
    if names[-2:] != ['histomm.MultiView', 'histomm.PackViews']:
        raise ValueError(
            f'train_dataloader.dataset.pipeline is {names}, expected it to end in histomm.MultiView and '
            'histomm.PackViews'
        )
    for step in pipeline:
        if step.type == 'histomm.LoadPatch':
            step.pop('reduce', None)  # which leaves decoding to MultiView
    pipeline[-2].type, pipeline[-1].type = 'histomm.DrawViews', 'histomm.PackDraws'
    return pipeline[-2].views
