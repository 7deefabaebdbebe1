"""What a network of confidences does to one image in the course of training."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from histomm import functional
from histomm.datasets.transforms import LoadPatch
from histomm.engine.fileio import write_atomic
from histomm.engine.hooks.features import bare_model
from histomm.registry import HOOKS

if TYPE_CHECKING:
    from histomm.models import PatchContrast

FOLDER = 'confidence'
"""In the work folder."""


@HOOKS.register_module()
class ConfidenceRecorder(Hook):
    """Keeps the confidences of one training image, and the patches drawn from them, for pictures and an animation.

    Before the first epoch, after every ``interval``-th one and after the last, the middle of the image goes through the
    network in evaluation mode, and patches are drawn as in training, by a generator of the hook's own that starts anew
    each time. So the training is not touched, and a resumed run writes the same files again. On several ranks the main
    one records.

    In the folder ``confidence`` of the work folder: ``image.png``, and ``epoch_<n>.npz`` with ``confidence`` (K, H, W)
    uint8, where 255 is 1; of all windows of the image ``mean`` and ``entropy`` in bits, (K, P) float32; of the drawn
    ones ``index`` (K, n) among the windows and ``positive`` (K, n) bool; and ``size`` and ``stride`` of the windows in
    pixels. Training from the start removes what an earlier run left there.
    ``tools/analysis/visualize_patch_contrast.py`` draws them.

    Args:
        interval: Epochs from one record to the next.
        index: Of the image in the training data set.
        side: Greatest side of the middle part of the image, in pixels.
        seed: Of the generator.

    Raises:
        ValueError: ``interval`` or ``side`` is below 1, the model is no :class:`~histomm.models.PatchContrast`, or the
            data set has no such image.
    """

    def __init__(self, interval: int = 10, index: int = 0, side: int = 300, seed: int = 0) -> None:
        if interval < 1 or side < 1:
            raise ValueError(f'ConfidenceRecorder: interval is {interval} and side {side}, expected 1 or more')
        self.interval, self.index, self.side, self.seed = interval, index, side, seed
        self._image = np.empty((0, 0, 3), np.uint8)

    def before_train(self, runner: Runner) -> None:
        """Read the image; record it unless the run is resumed."""
        from histomm.models import PatchContrast  # not above: hooks come without mmdet, which all models together bring

        model = bare_model(runner)
        dataset = runner.train_dataloader.dataset
        if not isinstance(model, PatchContrast):
            raise ValueError(
                f'ConfidenceRecorder: the model is {type(model).__name__}, expected PatchContrast; turn the recorder '
                'off with default_hooks.confidence=None'
            )
        if not 0 <= self.index < len(dataset):
            raise ValueError(f'ConfidenceRecorder: index is {self.index}, the data set has {len(dataset)} images')
        if not is_main_process():
            return
        pixels = LoadPatch()(dataset.get_data_info(self.index))['img']
        top, left = (max(0, (length - self.side) // 2) for length in pixels.shape[:2])
        self._image = np.ascontiguousarray(pixels[top : top + self.side, left : left + self.side])
        if runner.epoch == 0:
            for path in Path(runner.work_dir, FOLDER).glob('epoch_*.npz'):
                path.unlink()
            png = io.BytesIO()
            Image.fromarray(self._image).save(png, 'png')
            write_atomic(png.getvalue(), Path(runner.work_dir, FOLDER, 'image.png'))
            self._record(runner, model, 0)

    def after_train_epoch(self, runner: Runner) -> None:
        """Record every ``interval`` epochs, and at the end."""
        if is_main_process() and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._record(runner, bare_model(runner), runner.epoch + 1)

    @torch.no_grad()
    def _record(self, runner: Runner, model: 'PatchContrast', epoch: int) -> None:
        image = torch.from_numpy(self._image).permute(2, 0, 1)[None]
        training = model.training
        model.eval()
        try:
            confidence = model(model.data_preprocessor(dict(inputs=image))['inputs'], mode='tensor').float().cpu()
        finally:
            model.train(training)
        size, stride = model.patch_size, model.patch_stride
        windows = confidence[:, :, :-1] if model.drop_last_row else confidence
        mean, entropy = functional.patch_statistics(windows, size, stride)
        generator = torch.Generator().manual_seed(self.seed)
        index, positive = functional.draw_patches(mean, entropy, model.num_patches, model.sampler, generator)
        record = dict(
            confidence=(confidence[0] * 255).round().byte().numpy(),
            mean=mean[0].numpy(),
            entropy=entropy[0].numpy(),
            index=index[0].numpy(),
            positive=positive[0].numpy(),
            size=np.array(size),
            stride=np.array(stride),
        )
        content = io.BytesIO()
        np.savez_compressed(content, **record)
        write_atomic(content.getvalue(), Path(runner.work_dir, FOLDER, f'epoch_{epoch:04d}.npz'))
