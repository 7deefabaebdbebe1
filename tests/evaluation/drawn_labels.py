"""Label maps for tests, and the plain way to take them apart."""

import cv2
import numpy as np


def ellipses(seed, shape=(61, 87), num=9):
    """Random ellipses over each other, with labels that have gaps."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    for label in rng.permutation(3 * num)[:num] + 1:
        center = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
        axes = (int(rng.integers(3, 14)), int(rng.integers(3, 14)))
        cv2.ellipse(labels, center, axes, int(rng.integers(180)), 0, 360, int(label), -1)
    return labels


def noise(seed, shape=(13, 17), num=5):
    """Scattered pixels: objects of many parts, and many ties."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, num + 1, shape) * (rng.random(shape) < 0.2)


def squares(*boxes, shape=(40, 60)):
    """Rectangles (top, left, height, width) with the labels 1, 2, …"""
    labels = np.zeros(shape, np.int32)
    for label, (top, left, height, width) in enumerate(boxes, 1):
        labels[top : top + height, left : left + width] = label
    return labels


def masks_of(labels):
    """Boolean masks of the labels of a map, the lowest first."""
    return [labels == label for label in sorted(set(labels.ravel().tolist()) - {0})]


def relabelled(labels, seed):
    """The same objects under other labels, with gaps."""
    rng = np.random.default_rng(seed)
    table = np.concatenate([[0], rng.permutation(10 * (labels.max() + 1))[: labels.max()] + 1])
    return table[labels]
