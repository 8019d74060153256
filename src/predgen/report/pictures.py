"""Pictures that `predgen mi` left in the experiment's folder."""

import base64
from dataclasses import dataclass
from pathlib import Path

_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
_MOST_BYTES = 700_000  # of all pictures together, so that the page can still be sent by mail


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in the page.

    Attributes:
        name: Its file's name in words.
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
        name = stem.replace("--", ", ").replace("_", " ").replace("-", " ")
        pictures.append(Picture(name, f"data:{_TYPES[path.suffix]};base64,{code}"))
    return Pictures(pictures, left_out)
