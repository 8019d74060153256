"""The ways in which a row of the table is measured."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from benchmarks.figures import Figures
from benchmarks.processes import Command, Outcome, run_command, run_variant
from benchmarks.settings import Setting
from benchmarks.timing import alternate

Variant = Callable[[Setting], Callable[[], object]]
CommandMaker = Callable[[Setting, int], Command]
FEWEST_PROCESS_ROUNDS = 2
NONE: Mapping[str, Variant] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Timed:
    """Two calls by turns in this process.

    Attributes:
        ours: Makes ours.
        peer: Makes the peer.
        full_rows: Rows of a call at scale 1, for calls longer than a batch; None: one batch.
    """

    ours: Variant
    peer: Variant
    full_rows: int | None = None

    @property
    def variants(self) -> Mapping[str, Variant]:
        """Both by side."""
        return {"ours": self.ours, "peer": self.peer}

    def run(self, key: str, setting: Setting) -> Figures:
        """Measure."""
        is_long = self.full_rows is not None
        figures = alternate(
            self.ours(setting),
            self.peer(setting),
            repeats=setting.repeats,
            budget_s=setting.budget_s,
            least_rounds=3 if is_long else 5,
        )
        if self.full_rows is not None:
            figures.notes["rows"] = setting.rows(self.full_rows)
        return figures


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """The peak memory of each variant in a process of its own, everything that is loaded included.

    Attributes:
        ours: Makes ours.
        peer: Makes the peer.
    """

    ours: Variant
    peer: Variant

    @property
    def variants(self) -> Mapping[str, Variant]:
        """Both by side."""
        return {"ours": self.ours, "peer": self.peer}

    def run(self, key: str, setting: Setting) -> Figures:
        """Measure; the notes tell what was there before the first call, and the ratio of what came on top."""
        rounds = [
            (run_variant(key, "ours", setting), run_variant(key, "peer", setting))
            for _ in range(min(setting.repeats, FEWEST_PROCESS_ROUNDS))
        ]
        ours, peer = [mine for mine, _ in rounds], [theirs for _, theirs in rounds]
        return Figures.of(
            [m.peak for m in ours],
            [m.peak for m in peer],
            "MiB",
            ours_loaded_mib=ours[-1].loaded,
            peer_loaded_mib=peer[-1].loaded,
            ratio_above_loaded=(ours[-1].peak - ours[-1].loaded) / (peer[-1].peak - peer[-1].loaded),
        )


@dataclass(frozen=True, slots=True)
class Commands:
    """Two commands by turns, from start to end.

    Attributes:
        ours: Makes our command for a number of rows; what it prepares is not timed.
        peer: Makes the peer's.
        full_rows: Rows at scale 1.
    """

    ours: CommandMaker
    peer: CommandMaker
    full_rows: int

    @property
    def variants(self) -> Mapping[str, Variant]:
        """Nothing that could run within a process."""
        return NONE

    def run(self, key: str, setting: Setting) -> Figures:
        """Measure."""
        n = setting.rows(self.full_rows)
        ours, peer = self.ours(setting, n), self.peer(setting, n)
        rounds: list[tuple[Outcome, Outcome]] = []
        start = time.perf_counter()
        while len(rounds) < setting.repeats:
            if len(rounds) >= FEWEST_PROCESS_ROUNDS and time.perf_counter() - start > setting.budget_s:
                break
            rounds.append((run_command(ours, setting), run_command(peer, setting)))
        figures = Figures.of([mine.seconds for mine, _ in rounds], [theirs.seconds for _, theirs in rounds], "s")
        figures.notes.update(
            rows=n,
            ours_rows_per_s=n / figures.ours.median,
            peer_rows_per_s=n / figures.peer.median,
            ours_peak_mib=max(mine.peak_mib for mine, _ in rounds),
            peer_peak_mib=max(theirs.peak_mib for _, theirs in rounds),
        )
        return figures


@dataclass(frozen=True, slots=True)
class Growth:
    """The peak memory of one command with many rows beside that with few.

    Attributes:
        command: Makes the command for a number of rows.
        few: Rows of the smaller table, at every scale.
        many: Rows of the larger one at scale 1.
        least_many: Fewest rows of the larger one: more than a window of the file, so that growth could show.
    """

    command: CommandMaker
    few: int
    many: int
    least_many: int

    @property
    def variants(self) -> Mapping[str, Variant]:
        """Nothing that could run within a process."""
        return NONE

    def run(self, key: str, setting: Setting) -> Figures:
        """Measure once: memory varies little, and the larger table takes long."""
        few, many = self.few, setting.rows(self.many, self.least_many)
        small = run_command(self.command(setting, few), setting)
        large = run_command(self.command(setting, many), setting)
        return Figures.of(
            [large.peak_mib],
            [small.peak_mib],
            "MiB",
            rows=many,
            few_rows=few,
            ours_rows_per_s=many / large.seconds,
            peer_rows_per_s=few / small.seconds,
        )
