"""Views of one image that should have the same embedding (SimCLR, https://arxiv.org/abs/2002.05709).

No mirroring: arrows, letters, flags and hands mean something else in a mirror.
"""

import torch
from torch import Tensor
from torchvision.transforms import v2  # type: ignore[import-untyped]


def augmentation(px: int) -> v2.Transform:
    """Return the transform that makes a view: `(3, H, W)` uint8 on white to `(3, px, px)` uint8.

    Crop, rotation and shift (the frame is never exact), colour, grey and blur (every hand has its own
    palette and line).
    """
    return v2.Compose(
        [
            v2.RandomResizedCrop(
                px, scale=(0.55, 1.0), ratio=(0.85, 1.18), interpolation=v2.InterpolationMode.BICUBIC, antialias=True
            ),
            v2.RandomApply([v2.RandomAffine(12, translate=(0.06, 0.06), scale=(0.8, 1.05), fill=255)], p=0.6),
            v2.RandomApply([v2.ColorJitter(0.35, 0.35, 0.35, 0.05)], p=0.7),
            v2.RandomGrayscale(0.12),
            v2.RandomApply([v2.GaussianBlur(5, (0.1, 1.5))], p=0.15),
        ]
    )


def make_view(transform: v2.Transform, image: Tensor, seed: int) -> Tensor:
    """Return the view of an image that belongs to a seed: the same whenever, and in whatever order, it is asked for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        view: Tensor = transform(image)
    return view
