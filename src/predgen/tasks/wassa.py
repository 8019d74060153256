"""WASSA-2017 EmoInt: intensity of a named emotion in a tweet, 0 (none) to 1 (most)."""

from predgen.core import FileSpec, TaskSpec

_EMOTIONS = ("anger", "fear", "joy", "sadness")
# Given here because only some copies of the files have a header line; where there is one, it is these names.
_COLUMNS = ("id", "tweet", "tweettype", "score")


def _files(pattern: str) -> tuple[FileSpec, ...]:
    """Return the four emotions' files: all of them, or the emotions would be weighed differently per split."""
    return (FileSpec(tuple(pattern.format(emotion=emotion) for emotion in _EMOTIONS), "tsv_plain", header=_COLUMNS),)


WASSA = TaskSpec(
    name="wassa",
    kind="regression",
    prompt="Tweet: {tweet}\nIntensity of {tweettype} from 0 to 1:",
    target="score",
    scale=(0.0, 1.0),
    metrics=("mse", "mae", "rmse", "pearson", "spearman", "r2"),
    files={
        "train": _files("training/{emotion}-ratings-0to1.train.txt"),
        "validation": _files("validation/{emotion}-ratings-0to1.dev.gold.txt"),
        "test": _files("testing/{emotion}*.test.gold.txt"),
    },
    folder="wassa2017",
    group=("tweet",),  # one tweet may be rated for more than one emotion
    unescape=True,
    licence="not stated",
    source=(
        "Mohammad and Bravo-Marquez (2017), WASSA-2017 Shared Task on Emotion Intensity, arXiv:1708.03700, "
        "https://saifmohammad.com/WebPages/EmotionIntensity-SharedTask.html"
    ),
)
