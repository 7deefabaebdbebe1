"""Colours of a scanner turned into sRGB by the ICC profile that its slides carry."""

import io

import numpy as np
from PIL import Image, ImageCms


class IccToSrgb:
    """Callable that converts (H, W, 3) uint8 pixels of ``profile``, the bytes of an ICC profile, to sRGB.

    Raises:
        ValueError: the profile is damaged or not one of RGB.
    """

    def __init__(self, profile: bytes) -> None:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            self._transform = ImageCms.buildTransform(source, ImageCms.createProfile('sRGB'), 'RGB', 'RGB')
        except (OSError, ImageCms.PyCMSError) as error:
            raise ValueError(f'the ICC profile cannot be used ({error}); read without it') from error

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Convert an image."""
        return np.asarray(ImageCms.applyTransform(Image.fromarray(image), self._transform))
