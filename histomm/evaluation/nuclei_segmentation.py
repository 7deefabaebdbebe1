"""Nuclei of images and slides by a network of confidences."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.logging import print_log
from mmengine.model import BaseModel

from .channel_choice import choose_channel, mean_scores
from .confidence_scores import channel_scores
from .nuclei_post import RADII
from .nuclei_sources import NucleiSource
from .nuclei_stitching import NucleiBlock, NucleiStitcher, halo_of
from .tiled_confidence import Box, core_confidence, cores, predict_confidence


def segment_nuclei(
    model: BaseModel,
    source: NucleiSource,
    channel: int,
    radius: int,
    tile: int = 1024,
    threshold: float = 0.5,
    radii: Sequence[int] = RADII,
) -> Iterator[NucleiBlock]:
    """Nuclei of a source, part by part; they are those of the whole, cut or doubled nowhere.

    The mask of confidences above the threshold is cleaned and split as for the scores AJI and PQ, see
    :func:`~histomm.evaluation.clean_mask` and :func:`~histomm.evaluation.split_nuclei`.

    Args:
        model: In evaluation mode, see :func:`~histomm.evaluation.tiled_confidence.predict_confidence`.
        source: Image or slide.
        channel: Of the confidences.
        radius: Of :func:`~histomm.evaluation.tiled_confidence.receptive_radius`.
        tile: Side of the tiles in pixels; with it grows the memory that is needed.
        threshold: Pixels of more confidence are nuclei.
        radii: Of the morphology.

    Raises:
        ValueError: The network has no such channel.
    """
    stitcher, halo = NucleiStitcher(source.size, threshold, radii), halo_of(radii)
    for core in cores(source.size, tile):
        if source.has_tissue(core):
            given, confidence = core_confidence(model, source.read, source.size, core, radius, halo, source.path.name)
            if not 0 <= channel < len(confidence):
                raise ValueError(f'channel is {channel}, the network has channels 0 to {len(confidence) - 1}')
            yield stitcher.add(core, given, confidence[channel])
    yield from stitcher.finish()


def choose_without_labels(
    model: BaseModel, sources: Sequence[NucleiSource], side: int = 1024, radii: Sequence[int] = RADII
) -> int:
    """The channel that the rule ``label_free`` takes, by the middle of each source.

    Of slides it is the tile with tissue that lies nearest to the middle. A network of one channel has no choice. Where
    no mask correlates with haematoxylin the log warns.

    Args:
        model: In evaluation mode.
        sources: Images and slides to choose by.
        side: Of what is looked at, in pixels.
        radii: Of the morphology.

    Raises:
        ValueError: A source without tissue.
    """
    scores = []
    for source in sources:
        pixels = source.read(*_middle(source, side))
        confidence = predict_confidence(model, pixels, source.path.name)
        if len(confidence) == 1:
            return 0
        scores.append(channel_scores(confidence, pixels, radii=radii))
    channel, correlation = choose_channel(mean_scores(scores), 'label_free')
    if correlation <= 0:
        print_log(
            f'no channel marks what is rich in haematoxylin (highest correlation {correlation:.3f}), so channel '
            f'{channel} will hardly be nuclei; take another checkpoint, or give the channel',
            'current',
            level=logging.WARNING,
        )
    return channel


def _middle(source: NucleiSource, side: int) -> Box:
    """The box of at most ``side`` pixels with tissue nearest to the middle."""
    width, height = (min(side, length) for length in source.size)
    middle = Box((source.size[0] - width) // 2, (source.size[1] - height) // 2, width, height)
    if source.has_tissue(middle):
        return middle
    boxes = [box for box in cores(source.size, side) if source.has_tissue(box)]
    if not boxes:
        raise ValueError(f'{source.path}: no tissue was found on the slide; give --region, or leave it out')
    return min(boxes, key=lambda box: np.hypot(box.x - middle.x, box.y - middle.y))
