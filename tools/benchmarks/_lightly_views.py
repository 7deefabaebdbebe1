"""lightly's transforms on Pillow images beside the views of the shipped configs, from a decoded image to float tensors.

lightly's transforms are given the sizes, ranges and chances of the configs as far as they take them. Their views are
normalised, so histomm is charged on the same core for what its data preprocessor does on the device in training.
"""

import argparse
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import NamedTuple

import cv2
import numpy as np
from _lightly_losses import CONFIGS
from _pairs import Pair, with_notes
from _timing import Spread, in_turns, ratios, spread, table
from lightly.transforms import DenseCLTransform, MoCoV2Transform, VICRegLTransform
from mmengine.config import Config
from PIL import Image
from torch import Tensor
from views import draw_images

from histomm.datasets.samplers import SampleIndex
from histomm.models.data_preprocessors import ViewDataPreprocessor
from histomm.registry import TRANSFORMS

CHECKED_SIDE = 448
"""Pixels of the image that both have to halve alike."""

Transform = Callable[..., list[Tensor]]
JITTER = dict(cj_prob=0.8, cj_strength=1.0, cj_bright=0.4, cj_contrast=0.4, cj_sat=0.2, cj_hue=0.1)
MEAN_OF_BOTH = 'lightly has one transform where the config has two: chances of blur and solarising are their mean'


class Views(NamedTuple):
    """Views of one method on both sides.

    Attributes:
        config: Below ``configs``.
        transform: lightly's.
        options: Its arguments, after the config.
        plain: Arguments without chance: the whole image, flipped and grey.
        count: Views of an image.
        note: What is not alike.
    """

    config: str
    transform: Transform
    options: dict
    plain: dict
    count: int
    note: str = ''


SMALL = dict(local_crop_scale=(0.08, 0.4), local_gaussian_blur_prob=0.55, local_solarize_prob=0.1)
LARGE = dict(global_gaussian_blur_prob=0.55, global_solarize_prob=0.1, **JITTER)
PLAIN_MOCO = dict(min_scale=1.0, cj_prob=0.0, random_gray_scale=1.0, gaussian_blur=0.0, hf_prob=1.0)
PLAIN_LARGE = dict(
    global_crop_scale=(1.0, 1.0), cj_prob=0.0, random_gray_scale=1.0, hf_prob=1.0,
    global_gaussian_blur_prob=0.0, n_local_views=0,
)  # fmt: skip
METHODS = {
    'MoCo-v2': Views('mocov2/mocov2_r18_nct.py', MoCoV2Transform, {}, PLAIN_MOCO, 2),
    'DenseCL': Views('densecl/moco_densecl_r18_nct.py', DenseCLTransform, {}, PLAIN_MOCO, 2),
    'VICRegL': Views(
        'vicregl/vicregl_r18_nct.py',
        VICRegLTransform,
        dict(n_local_views=0, global_crop_scale=(0.08, 1.0), **LARGE),
        PLAIN_LARGE,
        2,
        f'{MEAN_OF_BOTH}; it resizes by bilinear interpolation, histomm and the authors by the costlier bicubic one',
    ),
    'VICRegL with small crops': Views(
        'vicregl/vicregl_r18_nct_multicrop.py',
        VICRegLTransform,
        dict(n_local_views=6, global_crop_scale=(0.4, 1.0), **SMALL, **LARGE),
        PLAIN_LARGE,
        8,
        f"{MEAN_OF_BOTH}; bilinear and bicubic as above; lightly's small crops have a stronger colour jitter",
    ),
}


def lightly_side(transform: Transform, images: list[np.ndarray]) -> Callable[[], list[Tensor]]:
    """All views of all images, each (3, H, W) in float32; where VICRegL's lie comes after them."""
    sources = [Image.fromarray(image) for image in images]
    return lambda: [view for source in sources for view in transform(source)]


def histomm_side(pipeline: list[dict], images: list[np.ndarray]) -> Callable[[], list[Tensor]]:
    """The same from a config's pipeline without its first step, which reads a file."""
    steps = [TRANSFORMS.build(step) for step in pipeline[1:]]
    preprocess = ViewDataPreprocessor()
    epochs: Iterator[int] = iter(range(10**9))

    def run() -> list[Tensor]:
        epoch, views = next(epochs), []
        for number, image in enumerate(images):
            sample = dict(img=image, ori_shape=image.shape[:2], img_path='', sample_idx=SampleIndex(number, 0, epoch))
            for step in steps:
                sample = step(sample)
            views += [preprocess(dict(inputs=view[None]))['inputs'][0] for view in sample['inputs']]
        return views

    return run


def without_chance(pipeline: list[dict]) -> list[dict]:
    """Two views of the kind of the first: the whole image, flipped and grey, nothing else."""
    fixed = {
        'RandomResizedCrop': dict(scale=(1.0, 1.0), interpolation='bilinear'),
        'RandomFlip': dict(prob_h=1.0, prob_v=0.0),
        'RandomGrayscale': dict(prob=1.0),
    }
    pipeline = deepcopy(pipeline)
    view = pipeline[1]['views'][0]
    steps = [dict(step, **fixed.get(step['type'].rpartition('.')[2], dict(prob=0.0))) for step in view['pipeline']]
    pipeline[1]['views'] = [dict(pipeline=steps, num=2)]
    return pipeline


def plain_pair(name: str) -> Pair:
    """What is compared: without chance both give the same view, up to a grey level by rounding."""
    method = METHODS[name]
    images = draw_images(1, CHECKED_SIDE, CHECKED_SIDE)
    pipeline = Config.fromfile(CONFIGS / method.config).train_dataloader.dataset.pipeline
    own = histomm_side(without_chance(pipeline), images)
    theirs = lightly_side(method.transform(**method.plain), images)
    return Pair(f'{name} views', lambda: theirs()[:2], own, method.note, tolerance=0.01)


def compare_views(args: argparse.Namespace, clock: Callable[[], float]) -> tuple[str, dict[str, Spread]]:
    """Check views without chance, then time those with it; the table with its notes, and the same as results."""
    cv2.setNumThreads(args.threads)
    notes = {}
    for name in METHODS:
        pair = plain_pair(name)
        pair.check()
        notes[pair.title] = pair.note
    images = draw_images(args.images, 224, 224)
    rows, results = [], {}
    for name, method in METHODS.items():
        pipeline = Config.fromfile(CONFIGS / method.config).train_dataloader.dataset.pipeline
        runs = {
            'lightly': lightly_side(method.transform(**method.options), images),
            'histomm': histomm_side(pipeline, images),
        }
        times = in_turns(runs, args.repeats, clock)
        figures = {side: spread([method.count * len(images) / seconds for seconds in times[side]]) for side in runs}
        ratio = ratios(times['lightly'], times['histomm'])
        rows.append([f'{name} views', *(figures[side].text(0) for side in runs), ratio.text(2)])
        results |= {f'{name} views by {side}, views/s': value for side, value in figures.items()}
        results[f'{name} views, ratio'] = ratio
    return with_notes(table(['', 'lightly, views/s', 'histomm, views/s', 'ratio'], rows), notes), results


def sizes(args: argparse.Namespace) -> str:
    """What was timed."""
    return (
        f'Views of {args.images} decoded images of 224 x 224 to normalised float tensors. Without chance (the whole of '
        'an image, halved, flipped and grey) both give the same, to a grey level.'
    )
