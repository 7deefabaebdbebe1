"""Classifiers and projectors with random weights, in files as training writes them."""

from pathlib import Path

import torch
from small_runs import REPO
from torch import nn

from histomm.evaluation.encoder import build_part, model_config

CLASSIFIER = str(REPO / 'configs/breakhis/resnet18_finetune_breakhis.py')


def write_classifier(path: Path, seed: int = 0, config: str = CLASSIFIER, options: dict | None = None) -> nn.Module:
    """Write a checkpoint of the classifier of a config that prefers neither class; the model, in evaluation mode."""
    cfg = model_config(config, options)
    model = build_part(cfg, cfg.model.to_dict())
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / max(parameter[0].numel(), 4) ** 0.5
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': ('benign', 'malignant')}}}, path)
    return model.eval()
