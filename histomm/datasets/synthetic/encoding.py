"""Pictures, maps and outlines as bytes of files; equal content gives equal bytes."""

import io
from pathlib import Path

import cv2
import numpy as np
import scipy.io

Content = np.ndarray | dict[str, np.ndarray] | list[np.ndarray]
"""What a file holds: an image or map; named arrays of a ``.mat``; outlines of an ``.xml``, each (n, 2) with x and y."""


def encode(path: str, content: Content) -> bytes:
    """Content in the format that the suffix of the path says.

    Images are (H, W) or (H, W, 3 or 4) in the order of RGB(A). A map alone becomes the array ``inst_map`` of a
    ``.mat``, as HoVer-Net names it.
    """
    if path.endswith('.mat'):
        return _encode_mat(content if isinstance(content, dict) else {'inst_map': content})
    if path.endswith('.xml'):
        return _encode_outlines(content)
    stored = content
    if content.ndim == 3:
        stored = cv2.cvtColor(content, cv2.COLOR_RGBA2BGRA if content.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if path.endswith('.tif') else []
    return cv2.imencode(Path(path).suffix, stored, options)[1].tobytes()


def _encode_mat(arrays: dict[str, np.ndarray]) -> bytes:
    """A MATLAB file of floats, MATLAB's own default."""
    file = io.BytesIO()
    scipy.io.savemat(file, {name: array.astype(float) for name, array in arrays.items()}, do_compression=True)
    head = b'MATLAB 5.0 MAT-file'.ljust(116)  # in place of a text with the time
    return head + file.getvalue()[len(head) :]


def _encode_outlines(outlines: list[np.ndarray]) -> bytes:
    """Regions of one layer, as Aperio ImageScope writes them."""
    regions = []
    for number, outline in enumerate(outlines, 1):
        vertices = ''.join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in outline.tolist())
        head = f'<Region Id="{number}" Type="0" Zoom="1" NegativeROA="0" DisplayId="{number}">'
        regions.append(f'{head}<Attributes/><Vertices>{vertices}</Vertices></Region>\n')
    layer = '<Annotation Id="1" Name="" ReadOnly="0" Type="4" LineColor="65280" Visible="1">'
    text = f'<Annotations MicronsPerPixel="0.252000">{layer}<Regions>\n{"".join(regions)}</Regions></Annotation>'
    return f'{text}</Annotations>\n'.encode()
