"""Who predicts the files of a folder: an interface, and this process. How a file is predicted is the same everywhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from predgen.batch.request import PredictionRequest
from predgen.errors import ConfigError, DataError, NoRowsError
from predgen.inference.part import tidy_finished

if TYPE_CHECKING:
    from predgen.inference.stream import RowMaker


@dataclass(frozen=True, slots=True)
class FilePiece:
    """A file to predict.

    Attributes:
        source: The file.
        out: Its output.
        size: Its bytes.
        changed_ns: When it was last changed, in nanoseconds.
    """

    source: Path
    out: Path
    size: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class FileForm:
    """Formats of files; see `predict_folder`."""

    source_format: str | None = None
    out_format: str | None = None
    safe_csv: bool = False


@dataclass(frozen=True, slots=True)
class PieceDone:
    """A file that is done.

    Attributes:
        piece: The file.
        rows: Rows of its output, those of interrupted calls, too; 0: the file has none, and no output.
        flags: How often each flag of `Prediction.flags` was raised.
        error: Why it could not be predicted; empty: it was.
        was_there: Whether another worker had finished it.
    """

    piece: FilePiece
    rows: int = 0
    flags: Mapping[str, int] = field(default_factory=dict)
    error: str = ""
    was_there: bool = False


@runtime_checkable
class FileEngine(Protocol):
    """Predicts files somewhere."""

    def run(
        self, request: PredictionRequest, pieces: Sequence[FilePiece], form: FileForm, say: Callable[[str], None]
    ) -> Iterator[PieceDone]:
        """Predict all files; yields each as it is done, in any order.

        Args:
            request: The model, and what is asked of it.
            pieces: The files.
            form: Formats.
            say: Called with lines about the model.

        Raises:
            PredgenError: If it is not one file's fault; what was under way can be gone on with.
        """
        ...


class InThisProcess(FileEngine):
    """One file after the other."""

    def run(
        self, request: PredictionRequest, pieces: Sequence[FilePiece], form: FileForm, say: Callable[[str], None]
    ) -> Iterator[PieceDone]:
        maker = request.maker() if pieces else None
        for line in maker.remarks() if maker else ():
            say(line)
        for piece in pieces:
            assert maker is not None, "there is a file"
            yield predict_piece(maker, piece, form)


def predict_piece(maker: "RowMaker", piece: FilePiece, form: FileForm) -> PieceDone:
    """Predict one file, or go on with it where a worker left it; one that is finished is left as it is.

    Raises:
        PredgenError: If it is not the file's fault.
    """
    from predgen.inference.stream import write_rows

    try:
        stat = piece.source.stat()
        if (stat.st_size, stat.st_mtime_ns) != (piece.size, piece.changed_ns):
            return PieceDone(piece, error=f"{str(piece.source)!r} was changed since its folder was looked at.")
        done = write_rows(
            maker,
            piece.source,
            piece.out,
            source_format=form.source_format,
            out_format=form.out_format,
            safe_csv=form.safe_csv,
        )
    except NoRowsError:
        return PieceDone(piece)
    except DataError as error:
        return PieceDone(piece, error=str(error))
    except FileNotFoundError:
        return PieceDone(piece, error=f"{str(piece.source)!r} is no longer there.")
    except ConfigError:
        if not piece.out.is_file():
            raise
        tidy_finished(piece.out)  # another worker, taken for dead, has finished it
        return PieceDone(piece, was_there=True)
    return PieceDone(piece, done.rows, done.flags)
