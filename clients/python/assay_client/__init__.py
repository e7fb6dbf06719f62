"""A typed client of Assay's API.

    from assay_client import Assay

    with Assay("https://assay.example.org", token="…") as assay:
        run = assay.runs.create(kind="sft", project="demo", name="first", parent=1, dataset=2)
        run = assay.follow(run, on_progress=print)

`operations` and `models` are made of the API's schema by script/client; the rest is written by hand.
"""

from assay_client.client import Assay
from assay_client.connection import UNSET, Unset
from assay_client.downloads import Download
from assay_client.errors import (
    AssayError,
    Conflict,
    NotAllowed,
    NotFound,
    NotSignedIn,
    Refused,
    ServerFailed,
    TooManyRequests,
    UnexpectedAnswer,
    Unreachable,
    WorkFailed,
)
from assay_client.pages import Pages
from assay_client.uploads import Upload

__all__ = [
    "UNSET",
    "Assay",
    "AssayError",
    "Conflict",
    "Download",
    "NotAllowed",
    "NotFound",
    "NotSignedIn",
    "Pages",
    "Refused",
    "ServerFailed",
    "TooManyRequests",
    "UnexpectedAnswer",
    "Unreachable",
    "Unset",
    "Upload",
    "WorkFailed",
]
