"""Published numbers, each with its source. What a paper implies or a secondary source says is marked so."""

from __future__ import annotations

from dataclasses import dataclass

ADAPTER = "SAM-Adapter (Chen et al., 2023)"
MCA = "MCA-SAM (Multi-scale Contrastive Adaptor Learning)"
IMPLIED = "implied by the published relative gain"


@dataclass(frozen=True)
class Published:
    """One published number."""

    method: str
    dataset: str
    metric: str
    value: float  #: BER in percent, everything else as a fraction
    source: str
    note: str = ""


def _camouflage(method: str, dataset: str, s: float, e: float, f: float, mae: float) -> list[Published]:
    values = {"s_measure": s, "e_measure": e, "weighted_f": f, "mae": mae}
    # The published code computes weighted F with beta 0.3, where the usual toolkit has 1.
    notes = {"weighted_f": "published code uses beta 0.3"}
    return [
        Published(method, dataset, metric, value, ADAPTER, notes.get(metric, "")) for metric, value in values.items()
    ]


TRANS4PASS = "Trans4PASS, official README"
REFSAM = "RefSAM, paper's figures"
POSSAM = "PosSAM, official README's figures"
STABLE = "Stable-SAM, paper's figure"
ASAM = "ASAM, official README"
SEMANTIC_SAM = "Semantic-SAM (paper)"


def _referring(method: str, youtube: tuple[float, float, float], davis: tuple[float, float, float]) -> list[Published]:
    """J&F, J and F on Refer-YouTube-VOS and Ref-DAVIS17, as RefSAM's figures show them."""
    return [
        Published(method, dataset, metric, value, REFSAM)
        for dataset, values in (("referyoutube", youtube), ("refdavis17", davis))
        for metric, value in zip(("j_and_f", "j", "f"), values, strict=True)
    ]


def _panoptic(method: str, dataset: str, *values: float) -> list[Published]:
    """PQ, SQ, RQ, mAP, mIoU (or the first of them) of a model trained on the other of the two datasets."""
    note = f"trained on {'COCO' if dataset == 'ade20k_panoptic' else 'ADE20K'}, open vocabulary"
    return [
        Published(method, dataset, metric, value, POSSAM, note)
        for metric, value in zip(("pq", "sq", "rq", "map", "miou"), values, strict=False)
    ]


#: Values are fractions, but for BER (percent). Metrics that no task here computes have the papers' names.
PUBLISHED: tuple[Published, ...] = (
    *_camouflage("sam", "chameleon", 0.727, 0.734, 0.639, 0.081),
    *_camouflage("sam", "camo", 0.684, 0.687, 0.606, 0.132),
    *_camouflage("sam", "cod10k", 0.783, 0.798, 0.701, 0.050),
    *_camouflage("sam_adapter", "chameleon", 0.896, 0.919, 0.824, 0.033),
    *_camouflage("sam_adapter", "camo", 0.847, 0.873, 0.765, 0.070),
    *_camouflage("sam_adapter", "cod10k", 0.883, 0.918, 0.801, 0.025),
    *_camouflage("sam", "cod4040", 0.783, 0.798, 0.701, 0.050),
    *_camouflage("sam_adapter", "cod4040", 0.883, 0.918, 0.801, 0.025),
    Published("sam", "istd", "ber", 40.51, ADAPTER),
    Published("sam_adapter", "istd", "ber", 1.43, ADAPTER),
    Published("sam", "kvasir", "mdice", 0.778, ADAPTER),
    Published("sam", "kvasir", "miou", 0.707, ADAPTER),
    Published("sam_adapter", "kvasir", "mdice", 0.850, ADAPTER),
    Published("sam_adapter", "kvasir", "miou", 0.776, ADAPTER),
    Published("mca", "cod10k", "mae", 0.020, MCA, IMPLIED),
    Published("mca", "cod4040", "mae", 0.020, MCA, IMPLIED),
    Published("mca", "istd", "ber", 1.21, MCA, IMPLIED),
    Published("mca", "kvasir", "mdice", 0.917, MCA, IMPLIED),
    Published("mca", "camo", "mae", 0.066, MCA, f"{IMPLIED}; uncertain"),
    *_referring("refsam_vit_b", (0.584, 0.574, 0.594), (0.621, 0.590, 0.653)),
    *_referring("refsam_vit_l", (0.622, 0.608, 0.636), (0.705, 0.667, 0.743)),
    *_referring("refsam_vit_h", (0.676, 0.658, 0.694), (0.719, 0.684, 0.755)),
    *_referring("onlinerefer", (0.635, 0.616, 0.655), (0.648, 0.616, 0.677)),
    *_referring("sgmg", (0.657, 0.639, 0.674), (0.633, 0.606, 0.660)),
    *_referring("soc", (0.660, 0.641, 0.679), (0.642, 0.610, 0.674)),
    *_panoptic("possam_b", "ade20k_panoptic", 0.265, 0.747, 0.320, 0.168, 0.329),
    *_panoptic("possam_l", "ade20k_panoptic", 0.280, 0.755, 0.334, 0.183, 0.342),
    *_panoptic("possam_h", "ade20k_panoptic", 0.292, 0.763, 0.347, 0.183, 0.351),
    *_panoptic("fc_clip", "ade20k_panoptic", 0.268, 0.715, 0.323, 0.168, 0.341),
    *_panoptic("odise", "ade20k_panoptic", 0.232, 0.744, 0.279, 0.140, 0.284),
    *_panoptic("possam_b", "coco_panoptic", 0.251, 0.801, 0.304, 0.187, 0.379),
    *_panoptic("possam_l", "coco_panoptic", 0.307, 0.817, 0.359, 0.225, 0.412),
    *_panoptic("possam_h", "coco_panoptic", 0.316, 0.815, 0.375, 0.259, 0.399),
    *_panoptic("odise", "coco_panoptic", 0.250, 0.794, 0.304),
    *_panoptic("fc_clip", "coco_panoptic", 0.270, 0.780, 0.329),
    Published("semantic_sam_t", "coco_panoptic", "pq", 0.546, SEMANTIC_SAM, "trained on COCO"),
    *(
        Published(method, "densepass", "miou", value, TRANS4PASS, "trained on Cityscapes, no adaptation; 19 classes")
        for method, value in (
            ("trans4pass_t", 0.4589),
            ("trans4pass_s", 0.5138),
            ("trans4pass_plus_t", 0.5023),
            ("trans4pass_plus_s", 0.5141),
        )
    ),
    *(
        Published(method, dataset, "box_miou", value, ASAM, "true box as prompt")
        for dataset, sam, asam in (("cityscapes", 0.541, 0.560), ("dsb2018", 0.848, 0.850))
        for method, value in (("sam", sam), ("asam", asam))
    ),
    *(
        Published(method, "hqseg", "noisy_box_miou", value, STABLE, "noisy box as prompt, mean of the four test sets")
        for method, value in (("sam", 0.488), ("hq_sam", 0.724), ("stable_sam", 0.823))
    ),
)


def published(dataset: str, method: str | None = None) -> list[Published]:
    """What is published for a dataset (and a method)."""
    return [p for p in PUBLISHED if p.dataset == dataset and method in (None, p.method)]
