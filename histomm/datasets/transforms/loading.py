"""Reading patches of every common kind into one: RGB, uint8."""

import io
import struct
from functools import partial

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from histomm.datasets.transforms.reduced import PendingJpeg, jpeg_size
from histomm.registry import TRANSFORMS

EXTENSIONS = ('tif', 'tiff', 'png', 'jpg', 'jpeg', 'bmp')
"""Extensions of files that :class:`LoadPatch` reads, in any case."""

_JPEG, _PNG, _BMP = b'\xff\xd8', b'\x89PNG\r\n\x1a\n', b'BM'
_JPEG_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_BITS_PER_SAMPLE = 258  # tag of TIFF
_TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class UnreadableImageError(ValueError):
    """An image file is missing, truncated, damaged or of a kind that has no conversion; the message names it."""


def read_image(path: str) -> np.ndarray:
    """Read an image file into RGB.

    The kind of file is told from its first bytes, not from its name. Conversions:

    - grey and 1-bit: the same value in all three channels;
    - palette, CMYK, YCbCr: to RGB;
    - alpha: composited over white, the background of a slide (an opaque alpha thus changes nothing);
    - 16 bits: divided by 257 and rounded, so 65535 becomes 255. The range is that of the type and not of the image, so
      brightness stays comparable between images; 12-bit data in 16-bit files must be rescaled beforehand;
    - several pages: the first.

    The orientation tag of EXIF is not applied: pixels come as they are stored.

    Args:
        path: TIFF, PNG, JPEG or BMP file.

    Returns:
        (H, W, 3) uint8, RGB, contiguous.

    Raises:
        UnreadableImageError: the file cannot be opened, is truncated or damaged, or has float or 32-bit pixels.
    """
    return decode_image(_read_bytes(path), path)


def _read_bytes(path: str) -> bytes:
    try:
        with open(path, 'rb') as file:
            return file.read()
    except OSError as error:
        raise UnreadableImageError(f'{path}: cannot be opened ({error.strerror}); remove or restore it') from error


def decode_image(data: bytes, name: str, reduction: int = 1) -> np.ndarray:
    """RGB of the bytes of an image file, as :func:`read_image` has it.

    Args:
        data: The whole file.
        name: What messages call it.
        reduction: 1, 2, 4 or 8: decode a JPEG file at this part of its height and width, rounded up, from the low
            frequencies that it stores. Other kinds have none and take 1.

    Returns:
        (H, W, 3) uint8, contiguous.

    Raises:
        UnreadableImageError: truncated or damaged, or of a kind that has no conversion.
    """
    try:
        return _decode(data, reduction)
    except (*_DECODE_ERRORS, cv2.error) as error:
        raise UnreadableImageError(
            f'{name}: cannot be read ({error}); expected a whole TIFF, PNG, JPEG or BMP with 8 or 16 bits a channel; '
            'repair or remove it'
        ) from error


def _decode(data: bytes, reduction: int) -> np.ndarray:
    """RGB of the bytes of an image file; raises one of ``_DECODE_ERRORS`` or ``cv2.error``."""
    if data.startswith(_PNG):
        if b'IEND' not in data[-4096:]:
            raise ValueError('PNG file is truncated')
        return _bgr_to_rgb8(_opencv(data, cv2.IMREAD_UNCHANGED))
    if data.startswith(_JPEG):
        if not _jpeg_has_end(data):
            raise ValueError('JPEG file is truncated')
        return _bgr_to_rgb8(_opencv(data, _JPEG_FLAGS[reduction] | cv2.IMREAD_IGNORE_ORIENTATION))
    if data.startswith((_BMP, *_TIFF)):
        return _pillow(data)
    raise ValueError('empty file' if not data else f'unknown kind of file, beginning with {data[:4]!r}')


def _jpeg_has_end(data: bytes) -> bool:
    """Whether the end mark follows the first scan; OpenCV fills what is missing with grey and says nothing.

    The headers are walked over, because a thumbnail in them has an end mark too.
    """
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xDA:  # start of scan
            return data.find(b'\xff\xd9', position) > 0
        position += 1 if marker == 0xFF else 2 + int.from_bytes(data[position + 2 : position + 4], 'big')
    return False


def _opencv(data: bytes, flags: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ValueError('damaged or truncated data')
    return image


def _bgr_to_rgb8(image: np.ndarray) -> np.ndarray:
    """Image as OpenCV decodes it, (H, W[, 1|3|4]) of 8 or 16 bits, to RGB uint8."""
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)
    if image.dtype != np.uint8:
        raise ValueError(f'pixels of {image.dtype}, expected 8- or 16-bit unsigned integers')
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 4:
        return _over_white(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _over_white(rgba: np.ndarray) -> np.ndarray:
    """Composite (H, W, 4) uint8 over white: (c·a + 255·(255 − a)) / 255, rounded."""
    rgb, alpha = rgba[..., :3], rgba[..., 3:].astype(np.uint16)
    if (alpha == 255).all():
        return np.ascontiguousarray(rgb)
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _pillow(data: bytes) -> np.ndarray:
    """Decode with Pillow, which notices missing rows of TIFF and BMP; 16-bit colour, of which it has 8, with OpenCV."""
    try:
        image = Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError:
        return _bgr_to_rgb8(_opencv(data, cv2.IMREAD_UNCHANGED))
    bits = max(image.tag_v2.get(_BITS_PER_SAMPLE, (8,))) if image.format == 'TIFF' else 8
    image.load()
    if bits == 16 and not image.mode.startswith('I'):
        return _bgr_to_rgb8(_opencv(data, cv2.IMREAD_UNCHANGED))
    if image.mode == 'RGB':
        return np.array(image)
    if image.mode.startswith('I'):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError(f'32-bit pixels from {grey.min()} to {grey.max()}, expected at most 16 bits')
        return _bgr_to_rgb8(grey.astype(np.uint16))
    if image.mode == 'F':
        raise ValueError('float pixels, expected 8- or 16-bit unsigned integers')
    if image.has_transparency_data:
        return _over_white(np.asarray(image.convert('RGBA')))
    return np.array(image.convert('RGB'))


@TRANSFORMS.register_module()
class LoadPatch(BaseTransform):
    """Load an image as RGB uint8; see :func:`read_image` for the conversions.

    A data set that reads pixels itself, such as ``SlideTileDataset``, gives them as ``img``; they stay as they are.

    **Required keys:** img_path

    **Added keys:** img (H, W, 3), img_shape (H, W), ori_shape (H, W)

    Args:
        min_size: Smallest accepted height and width in pixels. Down to 1×1, images are accepted by default and become
            flat views.
        reduce: Leave it to ``MultiView``, which must come next, to decode JPEG files at half, a quarter or an eighth of
            their size, where all views begin with ``RandomResizedCrop`` and each crop stays at least as large as its
            view. Boxes and ``ori_shape`` are those of the whole image, exactly; pixels differ a little, as those of
            an image that was reduced in two steps, and by up to half a pixel of the view in place. Files of other kinds
            are decoded as a whole.

    Raises:
        UnreadableImageError: see :func:`read_image`, or the image is smaller than ``min_size``.
    """

    def __init__(self, min_size: int = 1, reduce: bool = False) -> None:
        self.min_size, self.reduce = min_size, reduce

    def transform(self, results: dict) -> dict:
        """Read ``results['img_path']``."""
        if 'img' in results:
            image = results['img']
        else:
            image = self._pending(results['img_path']) if self.reduce else read_image(results['img_path'])
        height, width = image.size if isinstance(image, PendingJpeg) else image.shape[:2]
        if min(height, width) < self.min_size:
            raise UnreadableImageError(
                f'{results["img_path"]}: image of {width}×{height} pixels, expected at least min_size={self.min_size}; '
                'remove it or lower min_size'
            )
        results.update(img=image, img_shape=(height, width), ori_shape=(height, width))
        return results

    @staticmethod
    def _pending(path: str) -> PendingJpeg | np.ndarray:
        """A JPEG file before it is decoded; the pixels of another file, or of one whose headers are damaged."""
        data = _read_bytes(path)
        size = jpeg_size(data) if data.startswith(_JPEG) else None
        return PendingJpeg(path, size, partial(decode_image, data, path)) if size else decode_image(data, path)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(min_size={self.min_size}, reduce={self.reduce})'
