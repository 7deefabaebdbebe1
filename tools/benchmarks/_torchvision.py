"""The views of a config as the authors of such lists make them: torchvision's transforms on Pillow images.

Each step of a shipped list becomes the transform of the same law and the same numbers, so that a benchmark follows the
configs. Where torchvision has none, a few lines of Pillow stand in, as in the authors' code.
"""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageFilter
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

Step = Callable[[Image.Image], Image.Image]


class PillowBlur:
    """Pillow's blur with a radius U(sigma), as MoCo-v2's, SimCLR's and DINO's authors use it."""

    def __init__(self, sigma: tuple[float, float]) -> None:
        self.sigma = sigma

    def __call__(self, image: Image.Image) -> Image.Image:
        """Blur."""
        return image.filter(ImageFilter.GaussianBlur(float(np.random.uniform(*self.sigma))))


class QuarterTurns:
    """One, two or three quarter turns, each as likely."""

    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Turn."""
        return image.transpose(self.turns[np.random.randint(3)])


def _maybe(step: Step, prob: float) -> Step:
    return T.RandomApply([step], p=prob)


def _crop(size: int, scale: tuple[float, float], interpolation: str = 'bilinear') -> Step:
    return T.RandomResizedCrop(size, scale=scale, interpolation=InterpolationMode(interpolation))


def _jitter(prob: float, **strengths: float) -> Step:
    return _maybe(T.ColorJitter(**strengths), prob)


def _flip(prob_h: float, prob_v: float) -> Step:
    return T.Compose([T.RandomHorizontalFlip(prob_h), T.RandomVerticalFlip(prob_v)])


def _mirror(prob: float) -> Step:
    across, down = T.RandomHorizontalFlip(1.0), T.RandomVerticalFlip(1.0)
    return _maybe(T.RandomChoice([across, down, T.Compose([across, down])]), prob)


def _affine(prob: float, angle: float = 0.0, translate: float = 0.0) -> Step:
    bilinear = InterpolationMode.BILINEAR
    if translate == 0:
        return _maybe(T.RandomRotation(angle, bilinear), prob)
    return _maybe(T.RandomAffine(angle, (translate, translate), interpolation=bilinear), prob)


STEPS: dict[str, Callable[..., Step]] = {
    'histomm.RandomResizedCrop': _crop,
    'histomm.ColorJitter': _jitter,
    'histomm.RandomGrayscale': lambda prob: T.RandomGrayscale(prob),
    'histomm.GaussianBlur': lambda sigma, prob: _maybe(PillowBlur(sigma), prob),
    'histomm.RandomSolarize': lambda prob, threshold=128: T.RandomSolarize(threshold, prob),
    'histomm.RandomFlip': _flip,
    'histomm.RandomMirror': _mirror,
    'histomm.RandomRotate90': lambda prob: _maybe(QuarterTurns(), prob),
    'histomm.RandomAffine': _affine,
    'histomm.ResizeWhole': lambda size: T.Resize((size, size)),
}


def translate(step: dict) -> Step:
    """torchvision's transform for a step of a config.

    Raises:
        KeyError: there is none here.
    """
    options = dict(step)
    kind = options.pop('type')
    if kind not in STEPS:
        raise KeyError(f"{kind!r}: torchvision's side of the benchmark has none such, expected one of {[*STEPS]}")
    return STEPS[kind](**options)


def view_lists(pipeline: Sequence[dict]) -> list[Sequence[dict]]:
    """The steps of each view that a pipeline makes of an image, without loading.

    Raises:
        ValueError: the pipeline makes no views.
    """
    for step in pipeline:
        if step['type'] == 'histomm.MultiView':
            return [view['pipeline'] for view in step['views'] for _ in range(view.get('num', 1))]
        if step['type'] == 'histomm.MagnificationViews':
            return [[part for part in step['pipeline'] if part['type'] != 'histomm.LoadPatch']] * 2
    raise ValueError('the pipeline has neither MultiView nor MagnificationViews, expected one of them')


def torchvision_views(pipeline: Sequence[dict], mean: Sequence[float], std: Sequence[float]) -> list[Step]:
    """For each view of a pipeline all of torchvision's transforms, from a Pillow image to the normalised tensor.

    Args:
        pipeline: Of a config.
        mean: In grey levels, 0 to 255.
        std: Likewise.
    """
    last = [T.ToTensor()]
    if any(mean) or set(std) != {255}:
        last.append(T.Normalize([value / 255 for value in mean], [value / 255 for value in std]))
    return [T.Compose([*map(translate, steps), *last]) for steps in view_lists(pipeline)]
