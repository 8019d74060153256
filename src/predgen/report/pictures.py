"""Pictures that `predgen mi` left in the experiment's folder."""

import base64
from dataclasses import dataclass
from pathlib import Path

_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
_MOST_BYTES = 2_000_000  # of all pictures together, so that the page can still be sent by mail
_CAPTIONS = {
    "figure2": "Mutual information of answer and representation by task and method, with controls (the paper's Figure 2)",
    "figure7": "Mutual information over the number of principal components (the paper's Figure 7)",
    "heatmap": "Input tokens against answer tokens (the paper's Figures 3 and 8 to 13)",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in the page.

    Attributes:
        name: What it shows: the caption, and the text for those who do not see it.
        address: The picture itself, as a data address.
    """

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Pictures:
    """All of them.

    Attributes:
        shown: Pictures in the page.
        left_out: File names of those that would make the page too large.
    """

    shown: list[Picture]
    left_out: list[str]


def mutual_information(folder: Path) -> Pictures:
    """Read `mi/*.svg` and `mi/*.png`; of a picture that is there in both forms, the smaller file.

    They are shown as images, not as parts of the page: nothing inside them can run or reach the page.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in sorted((folder / "mi").glob("*")):
        if path.suffix in _TYPES:
            by_stem.setdefault(path.stem, []).append(path)
    pictures, left_out, size = [], [], 0
    for stem, paths in by_stem.items():
        path = min(paths, key=lambda path: path.stat().st_size)
        data = path.read_bytes()
        if size + len(data) > _MOST_BYTES:
            left_out.append(f"mi/{path.name}")
            continue
        size += len(data)
        code = base64.b64encode(data).decode("ascii")
        pictures.append(Picture(_caption(stem), f"data:{_TYPES[path.suffix]};base64,{code}"))
    return Pictures(pictures, left_out)


def _caption(stem: str) -> str:
    """What a picture shows, by its file's name: "heatmap-RUN-1" is row 1 of a run."""
    kind, _, rest = stem.partition("-")
    if kind not in _CAPTIONS:
        return stem
    run, _, row = rest.rpartition("-")
    return _CAPTIONS[kind] + (f": {run}, row {row}" if run else "")
