"""COD10K, CAMO, both together, and CHAMELEON."""

from __future__ import annotations

from orchestrator.data.layouts.base import JPG, PNG
from orchestrator.data.layouts.folders import Pairs, Part, under

COD10K = Pairs(
    "cod10k",
    "Train/ and Test/, each with Image/ and GT_Object/",
    coding="binary",
    forms=(
        (
            Part("train", ("Train/Image", "Train/Imgs"), ("Train/GT_Object",)),
            Part("test", ("Test/Image", "Test/Imgs"), ("Test/GT_Object",)),
        ),
        (
            Part("train", under(("TrainDataset",), ("Imgs", "Image")), ("TrainDataset/GT",)),
            Part("test", under(("TestDataset/COD10K",), ("Imgs", "Image")), ("TestDataset/COD10K/GT",)),
        ),
    ),
    rule="the official split (Train, Test), camouflaged images only",
    prefix="COD10K-CAM-",
)

COD4040 = Pairs(
    "cod4040",
    "TrainDataset/ and TestDataset/COD10K/, each with Imgs/ and GT/",
    coding="binary",
    forms=(
        (
            Part("train", under(("TrainDataset",), ("Imgs", "Image")), ("TrainDataset/GT",)),
            Part("test", under(("TestDataset/COD10K",), ("Imgs", "Image")), ("TestDataset/COD10K/GT",)),
        ),
    ),
    rule="the papers' joint training set (COD10K camouflaged and CAMO), tested on COD10K",
)

CAMO = Pairs(
    "camo",
    "Images/Train/, Images/Test/ and GT/",
    coding="binary",
    forms=((Part("train", ("Images/Train",), ("GT",)), Part("test", ("Images/Test",), ("GT",))),),
    rule="the official split (Images/Train, Images/Test)",
)

CHAMELEON = Pairs(
    "chameleon",
    "Imgs/ and GT/, or one folder of jpg images and png masks of the same names",
    coding="binary",
    forms=((Part("test", ("Imgs", "Image", "Images"), ("GT", "masks")),), (Part("test", (".",), (".",)),)),
    rule="all images are the test split, as in the papers",
    image_suffixes=JPG,
    mask_suffixes=PNG,
)
