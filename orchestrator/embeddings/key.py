"""What makes two embeddings the same: one folder under STORAGE for each such key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import torch

ROOT = ".embeddings"  #: the folder of them all under STORAGE; no run is called so
FILE = "key.json"  #: in an entry's folder: its key
USED = "used"  #: in an entry's folder: touched while somebody uses it
PREPROCESSING = 1  #: to be raised when decoding, resizing, normalising or encoding an image comes to other numbers
LAYOUT = 1  #: of the shards
EMBEDDING = "embedding"  #: the part that is the encoder's output; the others are ``block_part``'s

SHARD_BYTES = 32 * 2**20  #: of embeddings in a shard; the shard of a block's outputs is 3 to 5 times as large
MOST_ROWS = 64  #: of a shard, so that several ranks have something to share also where embeddings are small


@dataclass(frozen=True)
class Key:
    """Names an entry. Block outputs and mirrored images are further shards of the same entry."""

    backbone: str  #: SAM's size
    weights: str  #: ``methods.backbone.build.fingerprint``
    side: int  #: of the input, pixels
    resize: str  #: 'stretch' or 'pad'
    computed: str  #: 'fp32' or 'bf16': how the encoder was run
    stored: str  #: 'fp32' or 'bf16'
    dataset: str
    data: str  #: the dataset's fingerprint
    torch: str = torch.__version__
    preprocessing: int = PREPROCESSING
    layout: int = LAYOUT

    @property
    def folder(self) -> str:
        """Relative to STORAGE."""
        digest = hashlib.sha256(self.to_json().encode()).hexdigest()[:12]
        return f"{ROOT}/{self.backbone}-{self.dataset}-{digest}"

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)


def block_part(block: int) -> str:
    """The part that holds the outputs of a block."""
    return f"block{block:02d}"


def shard_rows(embedding_bytes: int) -> int:
    """How many images share a shard, where an embedding takes so many bytes."""
    return max(1, min(MOST_ROWS, SHARD_BYTES // embedding_bytes))
