"""docs/reference.md is what the CRD and the operator's tables say."""

from __future__ import annotations

import yaml

from auren_operator.api import names
from auren_operator.api.reasons import Reason
from hack.reference import CRD_FILE, REFERENCE_FILE, reference


def test_the_page_is_current() -> None:
    made = reference(yaml.safe_load(CRD_FILE.read_text(encoding="utf-8")))
    assert REFERENCE_FILE.read_text(encoding="utf-8") == made, "run `python hack/reference.py`"


def test_the_page_names_everything_that_people_may_rely_on() -> None:
    page = REFERENCE_FILE.read_text(encoding="utf-8")
    words = [*names.LABELS, *names.ANNOTATIONS, *names.OPERATOR_ENVIRONMENT, *names.RESERVED_ENVIRONMENT, *Reason]
    assert [word for word in words if f"`{word}`" not in page] == []


def test_every_row_has_as_many_cells_as_its_header() -> None:
    width = 0
    for line in REFERENCE_FILE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = line.replace("\\|", "").count("|")
        width = width or cells
        assert cells == width, line
