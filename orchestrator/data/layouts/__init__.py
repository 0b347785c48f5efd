"""The folder layouts that can be ingested: one entry each, told by the modules beside this one."""

from __future__ import annotations

from orchestrator.data.layouts.anomaly import MVTEC
from orchestrator.data.layouts.base import Layout
from orchestrator.data.layouts.camouflage import CAMO, CHAMELEON, COD10K, COD4040
from orchestrator.data.layouts.faces import CELEBAMASK
from orchestrator.data.layouts.folders import FOLDERS
from orchestrator.data.layouts.hqseg import HQSEG
from orchestrator.data.layouts.indoor import STANFORD2D3D
from orchestrator.data.layouts.nuclei import DSB2018
from orchestrator.data.layouts.panoptic import ADE20K_PANOPTIC, COCO_PANOPTIC
from orchestrator.data.layouts.plates import PLATES
from orchestrator.data.layouts.polyp import KVASIR, KVASIR900
from orchestrator.data.layouts.shadow import ISTD, SBU
from orchestrator.data.layouts.signs import MAPILLARY_SIGNS
from orchestrator.data.layouts.street import CAMVID, CITYSCAPES, DENSEPASS, WILDPASS
from orchestrator.data.layouts.unlabelled import UNLABELLED
from orchestrator.data.layouts.video import DAVIS2016, REFDAVIS17, REFERYOUTUBE

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        COD10K,
        COD4040,
        CAMO,
        CHAMELEON,
        ISTD,
        SBU,
        KVASIR,
        KVASIR900,
        CELEBAMASK,
        PLATES,
        MAPILLARY_SIGNS,
        CITYSCAPES,
        CAMVID,
        DENSEPASS,
        WILDPASS,
        STANFORD2D3D,
        DSB2018,
        DAVIS2016,
        REFDAVIS17,
        REFERYOUTUBE,
        MVTEC,
        COCO_PANOPTIC,
        ADE20K_PANOPTIC,
        HQSEG,
        FOLDERS,
        UNLABELLED,
    )
}
