"""Checks that can crash an interpreter; run as a script, one name an interpreter: ``python probe.py ops``.

A library that was compiled for another torch may not raise but kill the process, so each check has a process of its
own. The file imports nothing of histomm, for the set-up uses it before histomm is installed. It prints one line about
what it found; a failure ends with a traceback, whose last line is the reason.
"""

import sys


def ops() -> str:
    """Run mmcv's compiled ``nms`` on four boxes, on every kind of device there is.

    By hand, at an IoU threshold of 0.5: box 1 lies in box 0 (IoU 90 / 100) and goes, box 2 touches nothing, box 3
    shares half of box 0 (IoU 50 / 150) and stays. So 0, 2 and 3 remain, the highest score first.
    """
    import torch
    from mmcv.ops import get_compiler_version, get_compiling_cuda_version, nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [5, 0, 15, 10]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    cuda_version = get_compiling_cuda_version()
    if torch.cuda.is_available() and cuda_version == 'not available':
        raise RuntimeError('compiled without CUDA, though this machine has a GPU')
    for device in ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']:
        kept = nms(boxes.to(device), scores.to(device), 0.5)[1].tolist()
        if kept != [0, 2, 3]:
            raise RuntimeError(f'nms on {device} kept the boxes {kept}, expected [0, 2, 3]')
    return f'nms correct; compiler {get_compiler_version()}, CUDA {cuda_version}'


def torchvision() -> str:
    """Run torchvision's compiled ``nms``, which exists only beside the torch that torchvision was built for."""
    import torch
    from torchvision.ops import nms

    kept = nms(torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]]), torch.tensor([0.9, 0.8]), 0.5).tolist()
    if kept != [0]:
        raise RuntimeError(f'nms kept the boxes {kept}, expected [0]')
    return 'nms correct'


def opencv() -> str:
    """Code and decode a picture without loss."""
    import cv2
    import numpy as np

    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    decoded = cv2.imdecode(cv2.imencode('.png', image)[1], cv2.IMREAD_COLOR)
    if not np.array_equal(decoded, image):
        raise RuntimeError('a PNG that was coded and decoded differs from its source')
    return f'codes and decodes; {cv2.__version__}'


if __name__ == '__main__':
    print({'ops': ops, 'torchvision': torchvision, 'opencv': opencv}[sys.argv[1]]())
