"""Instance label maps as data sets store them: images of one channel, and MATLAB files."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

MAT_KEY = 'inst_map'
"""How HoVer-Net, and the data sets published with it, call the instances in a MATLAB file."""

_LARGEST = np.iinfo(np.int32).max
# What scipy raises, beside its own error, on files that are cut short or no MATLAB files.
_MAT_ERRORS = (OSError, LookupError, TypeError, ValueError, zlib.error)


class ConversionError(ValueError):
    """Data that cannot be converted; the message names the file."""


def read_label_map(path: Path, mat_key: str = '') -> np.ndarray:
    """Label map as ``(H, W)`` int32, 0 is background.

    Read are greyscale images of 8 or 16 bits, the indices of palette images, and MATLAB files up to version 7 with one
    map of whole numbers: that named ``inst_map``, or the only two-dimensional array.

    Args:
        path: File.
        mat_key: Name that the array must have in a MATLAB file; no other is taken then.

    Raises:
        ConversionError: missing or unreadable file, a colour image, no such array, fractions or negative numbers.
    """
    try:
        labels = _read_mat(path, mat_key) if path.suffix.lower() == '.mat' else _read_image(path)
    except FileNotFoundError as error:
        raise ConversionError(f'label map {path} is missing; every image needs one') from error
    return _whole_numbers(path, labels)


def _read_image(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode not in ('1', 'L', 'P', 'I', 'I;16', 'I;16B'):
                raise ConversionError(f'{path} is a label map of mode {image.mode}, expected one channel of integers')
            return np.asarray(image)
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, OSError) as error:
        raise ConversionError(f'label map {path} cannot be read ({error}); is it complete?') from error


def _read_mat(path: Path, key: str = '') -> np.ndarray:
    import scipy.io
    from scipy.io.matlab import MatReadError

    try:
        with path.open('rb') as file:
            content = scipy.io.loadmat(file)
    except FileNotFoundError:
        raise
    except NotImplementedError as error:
        raise ConversionError(
            f'label map {path} is a MATLAB file of version 7.3, expected version 7 or older; save it again with -v7, '
            'or as png'
        ) from error
    except (*_MAT_ERRORS, MatReadError) as error:
        raise ConversionError(f'label map {path} cannot be read ({error}); is it a complete MATLAB file?') from error
    arrays = {key: value for key, value in content.items() if not key.startswith('__')}
    maps = {key: value for key, value in arrays.items() if _is_map(value)}
    wanted = key or MAT_KEY
    if wanted in maps:
        return maps[wanted]
    if len(maps) == 1 and not key:
        return next(iter(maps.values()))
    found = ', '.join(f'{key} {getattr(value, "shape", "")}'.strip() for key, value in arrays.items()) or 'nothing'
    raise ConversionError(
        f'label map {path} holds {found}, expected {"a" if key else "one"} two-dimensional array of numbers'
        f'{"" if key else ", or one"} named {wanted}; save the map under this name'
    )


def _is_map(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in 'buif' and value.ndim == 2 and min(value.shape) > 1


def _whole_numbers(path: Path, labels: np.ndarray) -> np.ndarray:
    """The labels as int32; MATLAB stores whole numbers as floats by default."""
    good = (labels >= 0) & (labels <= _LARGEST)
    if labels.dtype.kind == 'f':
        good &= labels == np.round(labels)
    if not good.all():
        raise ConversionError(
            f'label map {path} holds the value {labels[~good][0]:g}, expected whole numbers from 0 to {_LARGEST}'
        )
    return labels.astype(np.int32)
