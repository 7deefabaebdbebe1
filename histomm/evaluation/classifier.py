"""Whole classifiers of configs, head included, with verified weights: images in, a number for each class out."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from histomm.evaluation.encoder import build_part, image_steps, model_config, normalisation
from histomm.models.transfer import load_whole
from histomm.models.weights import TransferError, resolve_checkpoint


class Classifier(nn.Module):
    """A classifier in evaluation mode that takes images as they are stored.

    Args:
        network: mmpretrain's ``ImageClassifier`` or another whose mode 'tensor' gives (B, K) before the softmax.
        classes: Names of the K classes.
        steps: Transforms that bring an image (H, W, 3) uint8 RGB to the size the network wants, as configs.
        mean: Of the R, G and B channels, in grey levels (0 to 255).
        std: Likewise.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[str],
        steps: Sequence[dict],
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.network, self.classes, self.steps = network, tuple(classes), list(steps)
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(B, K) before the softmax, through the head, with gradient.

        Args:
            images: (B, 3, H, W) uint8 RGB, or float of the same range.

        Raises:
            ValueError: the head gives other than one number for each class.
        """
        logits = self.network((images.to(self.mean.device, torch.float32) - self.mean) / self.std, mode='tensor')
        if not isinstance(logits, Tensor) or logits.shape != (len(images), len(self.classes)):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else f'a {type(logits).__name__}'
            raise ValueError(
                f'the head gives {found} for {len(images)} images, expected one number for each of the '
                f'{len(self.classes)} classes'
            )
        return logits

    def class_number(self, wanted: str) -> int:
        """Number of a class, given by name or number.

        Raises:
            ValueError: there is no such class.
        """
        if wanted in self.classes:
            return self.classes.index(wanted)
        if wanted.isdigit() and int(wanted) < len(self.classes):
            return int(wanted)
        known = ', '.join(f'{number} {name}' for number, name in enumerate(self.classes))
        raise ValueError(f'class {wanted} is none of the {len(self.classes)} classes of the classifier: {known}')


def classifier_from_config(config: str, checkpoint: str | Path, options: dict | None = None) -> Classifier:
    """The classifier of a config, as it was trained.

    Images are brought to size as in the config's test data; of those that it cuts into patches the middle one is taken,
    as a classifier of patches knows no whole images. Classes are those of the checkpoint, else of the config's
    data, else numbers.

    Args:
        config: Config of a classifier.
        checkpoint: File; or work directory, of which the best checkpoint is taken if one was kept, else the last.
        options: Settings that override the config, by dotted field.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the config has no head, or the data have another number of classes than the head.
        TransferError: the checkpoint does not fill the classifier, for example because it has no head.
    """
    cfg = model_config(config, options)
    if not cfg.model.get('head'):
        raise ValueError(f'{config}: found no model.head, which tells classes; give the config of a classifier')
    node = cfg.model.to_dict()
    network = build_part(cfg, node)
    path = find_checkpoint(checkpoint)
    meta = load_whole(network, path)
    number = getattr(network.head, 'num_classes', None)
    classes = (meta.get('dataset_meta') or {}).get('classes') or _classes(cfg) or list(map(str, range(number or 0)))
    if number and number != len(classes):
        raise ValueError(f'{config}: the head tells {number} classes, the data have {len(classes)}: {list(classes)}')
    return Classifier(network, classes, _middle_patch(cfg) + image_steps(cfg), *normalisation(cfg))


def find_checkpoint(path: str | Path) -> Path:
    """The file itself; of a work directory its one ``best_*.pth``, else the last checkpoint.

    Raises:
        TransferError: there is none, or several best ones.
    """
    best = sorted(Path(path).glob('best_*.pth'))
    if len(best) > 1:
        raise TransferError(f'{path} holds several best checkpoints, {", ".join(file.name for file in best)}; name one')
    return best[0] if best else resolve_checkpoint(path)


def _middle_patch(cfg: Config) -> list[dict]:
    """What cuts the middle patch out of an image, where the test data of a config are patches of images."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    if dataset.get('type') != 'histomm.GridPatchDataset':
        return []
    return [dict(type='mmpretrain.CenterCrop', crop_size=dataset.patch)]


def _classes(cfg: Config) -> Sequence[str]:
    """Names of the classes in the data of a config; empty if it has none."""
    for name in ('test', 'val', 'train'):
        dataset = (cfg.get(f'{name}_dataloader') or {}).get('dataset') or {}
        found = dataset.get('classes') or (dataset.get('metainfo') or {}).get('classes')
        if found:
            return found
    return ()
