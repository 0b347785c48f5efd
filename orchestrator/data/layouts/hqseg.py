"""HQSeg-44K: seven data sets to train on and four to test on, in the folders of HQ-SAM's training code."""

from __future__ import annotations

from orchestrator.data.layouts.base import JPG, PNG
from orchestrator.data.layouts.folders import Pairs, Part

_THIN = "thin_object_detection"


def _part(split: str, name: str, images: str, masks: str) -> Part:
    return Part(split, (images,), (masks,), optional=True, prefix=f"{name}/")


HQSEG = Pairs(
    "hqseg",
    "DIS5K/, thin_object_detection/ and cascade_psp/, as HQ-SAM's training code has them",
    coding="binary",
    soft=True,
    rule="HQ-SAM's own: 7 data sets train; DIS-VD, COIFT, HRSOD and ThinObject5K's test images test",
    forms=(
        (
            _part("train", "DIS-TR", "DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt"),
            _part(
                "train", "ThinObject5K-TR", f"{_THIN}/ThinObject5K/images_train", f"{_THIN}/ThinObject5K/masks_train"
            ),
            *(
                _part("train", name, f"cascade_psp/{folder}", f"cascade_psp/{folder}")
                for name, folder in (
                    ("FSS", "fss_all"),
                    ("DUTS-TR", "DUTS-TR"),
                    ("DUTS-TE", "DUTS-TE"),
                    ("ECSSD", "ecssd"),
                    ("MSRA10K", "MSRA_10K"),
                )
            ),
            _part("test", "DIS-VD", "DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"),
            _part("test", "COIFT", f"{_THIN}/COIFT/images", f"{_THIN}/COIFT/masks"),
            _part("test", "HRSOD", f"{_THIN}/HRSOD/images", f"{_THIN}/HRSOD/masks_max255"),
            _part("test", "ThinObject5K-TE", f"{_THIN}/ThinObject5K/images_test", f"{_THIN}/ThinObject5K/masks_test"),
        ),
    ),
    image_suffixes=JPG,
    mask_suffixes=PNG,
)
