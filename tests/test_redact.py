"""What looks like a credential is struck out, and nothing else is."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import describe, make_settings
from orchestrator.errors import UserError
from orchestrator.redact import STRUCK, redact
from orchestrator.storage import Storage

SECRET = st.text(string.ascii_letters + string.digits + "+=._", min_size=8, max_size=40)


@given(SECRET)
def test_secrets_are_struck_out(secret: str) -> None:
    for text in (
        f"s3://key:{secret}@host/bucket",
        f"Could not connect to the endpoint URL: http://me:{secret}@gateway:7480/bucket?list",
        f"https://bucket.s3.amazonaws.com/a.pth?X-Amz-Signature={secret}&X-Amz-Expires=60",
        f"AWS_SECRET_ACCESS_KEY={secret} samsweep sweep",
        f"--password {secret}",
        f"api_key: {secret}",
        f"session_token={secret}",
    ):
        assert secret not in redact(text) and STRUCK in redact(text), text


def test_the_rest_of_the_text_stays() -> None:
    assert redact("http://me:pw123456@host:7480/b?list") == f"http://{STRUCK}@host:7480/b?list"
    assert redact("a?X-Amz-Signature=abc&X-Amz-Expires=60") == f"a?X-Amz-Signature={STRUCK}&X-Amz-Expires=60"
    assert redact("key AKIAABCDEFGHIJKLMNOP is wrong") == f"key {STRUCK} is wrong"


@pytest.mark.parametrize("method", ["mca", "sam_adapter", "decoder", "promptable"])
def test_no_setting_looks_like_a_secret(method: str) -> None:
    settings = make_settings(method, "cod10k")
    assert describe(settings.method_options)
    typed = " ".join(f"{key}={value}" for key, value in settings.flat().items())
    assert redact(typed) == typed


@pytest.mark.parametrize("uri", ["s3://key:secret@bucket/path", "s3://bucket/path?X-Amz-Signature=abc"])
def test_a_storage_with_a_secret_is_refused_without_repeating_it(uri: str) -> None:
    with pytest.raises(UserError, match="must not carry a secret") as caught:
        Storage(uri)
    assert "abc" not in str(caught.value) and "key:secret" not in str(caught.value)


def test_a_folder_may_be_called_anything(tmp_path: Path) -> None:
    assert Storage(f"{tmp_path}/token=x").uri == f"{tmp_path}/token=x"
