"""Pictures of patch contrast: confidences in the course of training, the patches drawn from them, and errors."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from histomm.visualization.colors import BLACK, BLUE, CYCLE, SKY, VERMILION, YELLOW, rgb
from histomm.visualization.panels import show_image

POSITIVE, NEGATIVE = BLUE, VERMILION
"""Colours of patches."""

ERRORS = {'found': SKY, 'missed': VERMILION, 'too much': YELLOW}
"""Colours of true positives, false negatives and false positives."""

_MAP = 'gray'


class Record(NamedTuple):
    """What ``histomm.ConfidenceRecorder`` keeps of one epoch; K classes, P windows, n of them drawn.

    Attributes:
        epoch: Epochs trained.
        confidence: (K, H, W) in [0, 1].
        mean: (K, P) mean confidence of windows.
        entropy: (K, P) mean entropy of windows in bits.
        index: (K, n) numbers of the drawn windows.
        positive: (K, n) bool.
        size: Side of windows in pixels.
        stride: Pixels from one window to the next.
    """

    epoch: int
    confidence: np.ndarray
    mean: np.ndarray
    entropy: np.ndarray
    index: np.ndarray
    positive: np.ndarray
    size: int
    stride: int

    def corner(self, window: int) -> tuple[int, int]:
        """x and y of the upper left corner of a window."""
        columns = (self.confidence.shape[2] - self.size) // self.stride + 1
        return window % columns * self.stride, window // columns * self.stride


def read_records(work_dir: Path) -> tuple[np.ndarray, list[Record]]:
    """Image (H, W, 3) uint8 RGB, and the records by epoch, of a work folder.

    Raises:
        FileNotFoundError: Nothing was recorded there.
    """
    folder = work_dir / 'confidence'
    files = sorted(folder.glob('epoch_*.npz'))
    if not files or not (folder / 'image.png').is_file():
        raise FileNotFoundError(
            f'{folder}: found no records, expected image.png and epoch_<n>.npz; train with the hook ConfidenceRecorder'
        )
    records = []
    for file in files:
        with np.load(file) as found:
            values = {name: found[name] for name in ('mean', 'entropy', 'index', 'positive')}
            sizes = dict(size=int(found['size']), stride=int(found['stride']))
            records.append(Record(int(file.stem[6:]), found['confidence'] / np.float32(255), **values, **sizes))
    return np.asarray(Image.open(folder / 'image.png').convert('RGB')), records


def spread_evenly(records: Sequence[Record], count: int) -> list[Record]:
    """At most ``count`` records, from the first to the last."""
    places = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    return [records[place] for place in dict.fromkeys(places.tolist())]


def draw_maps(image: np.ndarray, records: Sequence[Record], channels: Sequence[int] | None = None) -> Figure:
    """The image, and below it the confidences of each epoch (columns) and class (rows) with the drawn patches.

    Args:
        image: (H, W, 3) uint8 RGB.
        records: At most some six of them, to be legible.
        channels: Which classes; None is all.
    """
    channels = range(len(records[0].confidence)) if channels is None else channels
    figure = Figure(figsize=(2.1 * (len(records) + 1) + 0.9, 2.02 * len(channels) + 0.7), layout='constrained')
    axes = figure.subplots(len(channels), len(records) + 1, squeeze=False)
    for row, channel in zip(axes, channels, strict=True):
        show_image(row[0], image, 'image' if channel == channels[0] else '')
        row[0].set_ylabel(f'class {channel}')
        row[0].set_anchor('C')
        for place, record in zip(row[1:], records, strict=True):
            _draw_map(place, record, channel, f'epoch {record.epoch}' if channel == channels[0] else '')
    shades = axes[0, -1].images[0]
    figure.colorbar(shades, ax=axes, shrink=0.8 if len(channels) > 1 else 1, label='confidence', aspect=30)
    handles = [Patch(fc='none', ec=color, lw=2, label=name) for name, color in _PATCHES.items()]
    figure.legend(handles=handles, loc='outside lower left', ncols=2, frameon=False, fontsize=9)
    return figure


_PATCHES = {'positive patch': POSITIVE, 'negative patch': NEGATIVE}


def _draw_map(axes: Axes, record: Record, channel: int, title: str) -> None:
    confidence = record.confidence[channel]
    extent = (0, confidence.shape[1], confidence.shape[0], 0)
    axes.imshow(confidence, vmin=0, vmax=1, cmap=_MAP, extent=extent, interpolation='nearest')
    axes.set_title(title, fontsize=10, loc='left')
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    drawn = dict(zip(record.index[channel].tolist(), record.positive[channel].tolist(), strict=True))
    for window, positive in drawn.items():
        x, y = record.corner(window)
        for color, width in (('white', 2.8), (POSITIVE if positive else NEGATIVE, 1.8)):
            axes.add_patch(Rectangle((x, y), record.size, record.size, fill=False, ec=color, lw=width))


def draw_spread(records: Sequence[Record]) -> Figure:
    """Confidence and entropy of all windows of the image over epochs: median, quartiles, and 5th to 95th percentile."""
    figure = Figure(figsize=(9.6, 3.4), layout='constrained')
    epochs = [record.epoch for record in records]
    panels = figure.subplots(1, 2)
    for axes, name, label in ((panels[0], 'mean', 'confidence'), (panels[1], 'entropy', 'entropy, bits')):
        for channel in range(len(records[0].mean)):
            values = np.array(
                [np.percentile(getattr(record, name)[channel], (5, 25, 50, 75, 95)) for record in records]
            )
            color = CYCLE[channel % len(CYCLE)]
            axes.fill_between(epochs, values[:, 0], values[:, 4], color=color, alpha=0.10, lw=0)
            axes.fill_between(epochs, values[:, 1], values[:, 3], color=color, alpha=0.22, lw=0)
            axes.plot(epochs, values[:, 2], color=color, lw=1.7, label=f'class {channel}')
        axes.set(xlabel='epoch', ylabel=f'{label}, mean of a window', ylim=(-0.02, 1.02))
        axes.spines[['top', 'right']].set_visible(False)
        axes.grid(axis='y', color='#e3e7ea', lw=0.8)
        axes.set_axisbelow(True)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside upper left', ncols=len(labels), frameon=False, fontsize=9)
    return figure


def draw_errors(image: np.ndarray, found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Tint an image where a mask and the truth agree, and where they do not; see :data:`ERRORS`.

    Args:
        image: (H, W, 3) uint8 RGB.
        found: (H, W), anything but 0 is a nucleus.
        truth: (H, W), likewise.

    Returns:
        (H, W, 3) uint8 RGB; grey where both are 0.

    Raises:
        ValueError: The shapes differ.
    """
    if not image.shape[:2] == found.shape == truth.shape:
        raise ValueError(
            f'the image has shape {image.shape}, the mask {found.shape} and the truth {truth.shape}; expected the same'
        )
    found, truth = found.astype(bool), truth.astype(bool)
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    painted = 0.55 * grey + 70
    for name, mask in (('found', found & truth), ('missed', truth & ~found), ('too much', found & ~truth)):
        painted[mask] = 0.25 * grey[mask] + 0.75 * np.array(rgb(ERRORS[name]))
    return painted.round().astype(np.uint8)


def draw_error_figure(image: np.ndarray, found: np.ndarray, truth: np.ndarray, title: str = '') -> Figure:
    """The image beside its errors, with a legend and the Dice coefficient; arguments of :func:`draw_errors`."""
    painted = draw_errors(image, found, truth)
    found, truth = found.astype(bool), truth.astype(bool)
    total = found.sum() + truth.sum()
    score = 2 * (found & truth).sum() / total if total else 1.0
    figure = Figure(figsize=(9.6, 4.8 * image.shape[0] / image.shape[1] + 0.6), layout='constrained')
    left, right = figure.subplots(1, 2)
    show_image(left, image, title)
    show_image(right, painted, f'Dice {score:.3f}')
    handles = [Patch(fc=color, ec=BLACK, lw=0.5, label=name) for name, color in ERRORS.items()]
    figure.legend(handles=handles, loc='outside lower right', ncols=3, frameon=False, fontsize=9)
    return figure


def write_animation(
    path: Path, image: np.ndarray, records: Sequence[Record], channel: int, seconds: float = 0.4
) -> None:
    """An animated PNG of image and confidence side by side over epochs, with a bar of progress below.

    Args:
        path: File that ends in .png; programs that know no animation show the first frame, which is the last epoch.
        image: (H, W, 3) uint8 RGB.
        records: By epoch.
        channel: Class.
        seconds: A frame; the last one stays four times as long.
    """
    from matplotlib import colormaps

    from histomm.atomic_file import write_atomic

    frames = []
    for record in records:
        shades = (255 * colormaps[_MAP](record.confidence[channel])[..., :3]).round().astype(np.uint8)
        both = np.concatenate((image, np.full((image.shape[0], 6, 3), 255, np.uint8), shades), axis=1)
        bar = np.full((8, both.shape[1], 3), 225, np.uint8)
        bar[:, : round(both.shape[1] * record.epoch / max(1, records[-1].epoch))] = rgb(BLUE)
        frames.append(Image.fromarray(np.concatenate((both, bar))))
    frames = [frames[-1], *frames[:-1]]
    durations = [int(4000 * seconds), *[int(1000 * seconds)] * (len(frames) - 1)]
    content = io.BytesIO()
    frames[0].save(content, 'png', save_all=True, append_images=frames[1:], duration=durations, loop=0)
    write_atomic(content.getvalue(), path)
