"""Images of nuclei with maps of their instances."""

import os
from typing import Any

from histomm.datasets.patch_dataset import PatchDataset
from histomm.registry import DATASETS


@DATASETS.register_module()
class NucleiDataset(PatchDataset):
    """Images with instances, as the converters of MoNuSeg, CoNSeP and TNBC write them.

    Each sample has ``instance_path`` beside what :class:`PatchDataset` gives. Pre-training takes images alone: it needs
    no more than a :class:`PatchDataset` with the same ``list_file``.

    Args:
        data_root: As in :class:`PatchDataset`.
        instances: Folder of the maps, beside that of the images; a map is a PNG with the name of its image.
        **kwargs: As in :class:`PatchDataset`.

    Raises:
        FileNotFoundError: an image has no map.
        ValueError: see :class:`PatchDataset`.
    """

    def __init__(self, data_root: str = '', instances: str = 'instances', **kwargs: Any) -> None:
        self.instances = instances
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find all images and their maps."""
        samples = super().load_data_list()
        for sample in samples:
            folder, name = os.path.split(sample['img_path'])
            name = os.path.splitext(name)[0] + '.png'
            sample['instance_path'] = os.path.join(os.path.dirname(folder), self.instances, name)
        missing = [sample['instance_path'] for sample in samples if not os.path.isfile(sample['instance_path'])]
        if missing:
            raise FileNotFoundError(
                f'NucleiDataset: {len(missing)} of {len(samples)} images have no map of instances, such as '
                f'{missing[0]}; convert the data set, or correct instances={self.instances!r}'
            )
        return samples
