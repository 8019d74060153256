"""The progress bar: speeds below one, words where nothing can be drawn, a line within the line."""

import io

import pytest

from predgen import progress
from predgen.progress import ProgressBar, rate_in_words, row_progress
from predgen.terminal import PlainConsole


class Clock:
    """Seconds that a test passes by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize(
    ("per_s", "words"), [(0.25, "0.25"), (0.0042, "0.0042"), (1.0, "1"), (9.87, "9.9"), (10.2, "10"), (1234.0, "1234")]
)
def test_slow_things_have_a_speed_too(per_s: float, words: str) -> None:
    assert rate_in_words(per_s) == words


def test_speed_counts_what_this_call_did(clock: Clock) -> None:
    bar = ProgressBar(PlainConsole(file=io.StringIO()), "train", 100, units_per_step=16, done=50)
    clock.now = 64.0
    bar.set(51)
    assert bar.line.speed() == "0.25 rows/s"  # 16 rows in 64 s
    assert bar.line.left_s() == pytest.approx(49 * 64.0)
    bar.close()


def test_where_no_bar_is_drawn_words_come_after_ten_seconds_and_then_ever_more_rarely(clock: Clock) -> None:
    file = io.StringIO()
    with row_progress(PlainConsole(file=file), "predict", 1000) as advance:
        for second in range(1, 100):
            clock.now = float(second)
            advance(1)
            if second < 10:
                assert file.getvalue() == ""
        lines = file.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"predict: {n} of 1000" for n in (10, 20, 40, 80)]
    assert "1 rows/s" in lines[0]
    assert "about 16 min left" in lines[0]  # 990 rows at one a second


def test_a_quiet_console_says_one_line_on_standard_error(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with row_progress(PlainConsole(quiet=True), "predgen value", None) as advance:
        for second in range(1, 100):
            clock.now = float(second)
            advance(1)
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("", ["predgen value: 10 of ?, 1 rows/s"])


def test_what_is_short_says_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with row_progress(PlainConsole(quiet=True), "predict", 3) as advance:
        clock.now = 9.0
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_a_line_within_the_line_counts_by_itself(clock: Clock) -> None:
    console = PlainConsole(file=io.StringIO(), force_terminal=True, width=100)
    with ProgressBar(console, "train [red]", 10) as bar:
        clock.now = 1.0
        bar.set(4)
        with bar.inner("validation", 8) as advance:
            advance(8)
            tasks = {task.description: (task.completed, task.total) for task in bar._progress.tasks}
            assert tasks == {"train [red]": (4, 10), "validation": (8, 8)}
        assert [task.description for task in bar._progress.tasks] == ["train [red]"]
    assert "train [red]" in console.file.getvalue()
