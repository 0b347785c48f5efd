"""SegFormer: its published sizes, and weights as transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from batches import make_batch, make_method
from transformers import SegformerConfig, SegformerForImageClassification, SegformerForSemanticSegmentation

from methods.parts import segformer
from methods.parts.segformer import SegFormer, class_names

TINY = {"hidden_sizes": [16, 32, 80, 128], "depths": [1, 1, 1, 1], "decoder_hidden_size": 128}


@pytest.mark.parametrize(("size", "millions"), [("b0", 3.72), ("b1", 13.68), ("b2", 27.36), ("b5", 84.6)])
def test_sizes_are_the_published_ones(size: str, millions: float) -> None:
    with torch.device("meta"):
        net = SegFormer(size, 19)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=2e-3)


def saved(folder: Path, labels: int = 3, pickled: bool = False) -> SegformerForSemanticSegmentation:
    """A SegFormer of our small size, as transformers writes it."""
    torch.manual_seed(1)
    names = dict(enumerate(["road", "sky", "car", "bus"][:labels]))
    net = SegformerForSemanticSegmentation(SegformerConfig(**TINY, id2label=names))
    net.decode_head.batch_norm.running_mean.normal_()
    net.decode_head.batch_norm.running_var.uniform_(0.5, 2)
    net.save_pretrained(folder)
    if pickled:
        (folder / "model.safetensors").unlink()
        torch.save(net.state_dict(), folder / "pytorch_model.bin")
    return net.eval()


@pytest.mark.parametrize("pickled", [False, True])
def test_whole_weights_give_the_same_logits(tmp_path: Path, pickled: bool) -> None:
    theirs, ours = saved(tmp_path, pickled=pickled), SegFormer("t", 3, str(tmp_path)).train()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        small = theirs(image).logits
        full = torch.nn.functional.interpolate(small, (64, 96), mode="bilinear", align_corners=False)
        torch.testing.assert_close(ours(image), full), "in training, too: stored statistics, no chance"
    assert class_names(str(tmp_path)) == ("road", "sky", "car")


def test_another_number_of_classes_keeps_its_random_classifier(tmp_path: Path) -> None:
    theirs = saved(tmp_path)
    ours = SegFormer("t", 5, str(tmp_path)).net
    assert ours.decode_head.classifier.weight.shape[0] == 5
    assert torch.equal(ours.decode_head.linear_fuse.weight, theirs.decode_head.linear_fuse.weight)


def test_an_encoder_of_imagenet_leaves_the_head_random(tmp_path: Path) -> None:
    torch.manual_seed(2)
    mit = SegformerForImageClassification(SegformerConfig(**TINY, num_labels=7))
    mit.save_pretrained(tmp_path)
    ours = SegFormer("t", 4, str(tmp_path)).net
    theirs = dict(mit.segformer.named_parameters())
    assert all(torch.equal(p, theirs[name]) for name, p in ours.segformer.named_parameters())
    assert ours.decode_head.classifier.weight.std() > 0


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        SegFormer("t", 2, str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="not a SegFormer's"):
        SegFormer("t", 2, str(tmp_path))
    saved(tmp_path)
    with pytest.raises(ValueError, match="no whole segmenter of 4 classes"):
        SegFormer("t", 4, str(tmp_path), whole=True)
    with pytest.raises(ValueError, match="another size than b0"):
        SegFormer("b0", 2, str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "segformer", "depths": []}))
    with pytest.raises(ValueError, match="names 0 classes"):
        class_names(str(tmp_path))
    saved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="its weights cannot be read"):
        SegFormer("t", 3, str(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no weights in it"):
        SegFormer("t", 3, str(tmp_path))


def test_the_head_counts_with_stored_statistics() -> None:
    """So that a result does not hang on which images share a rank."""
    method = make_method("segformer").train()
    batch = make_batch(3, side=64)
    alone = batch.map(lambda tensor: tensor[:1])
    torch.testing.assert_close(method(alone)["logits"][0], method(batch)["logits"][0], rtol=1e-4, atol=1e-4)
    assert segformer.SIZES[method.options.size].head == 128
