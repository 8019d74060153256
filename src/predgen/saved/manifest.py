"""`predgen.json`: everything of a saved model but its weights, as plain data whose every field has a type.

file -> `Manifest` (types, ranges, no unknown field) -> task, codec and settings (names from the registries, paths that stay
inside). Nothing in it leads to code: components are looked up by name in the registries, rows are changed by a registered
task's extractor alone, and a base that needs code of its own says so without allowing it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any

from pydantic import Field

from predgen import __version__, registries
from predgen.bases.cache import Origin
from predgen.codecs.base import Codec
from predgen.codecs.label import LabelCodec
from predgen.components import filled, flat, owned, resolve, value_of
from predgen.config import RunConfig, config_from, without_useless
from predgen.core import TaskSpec
from predgen.data.chat import ChatFrame
from predgen.data.labels import with_labels
from predgen.errors import ConfigError, PredgenError, SavedModelError
from predgen.models.base import ModelSetup
from predgen.plain_data import read_json, shortened, typed
from predgen.saved.exchange import MANIFEST, bring_back_for_reader
from predgen.targets import TargetSpec
from predgen.uncertainty.record import CalibrationRecord
from predgen.uncertainty.scores import BASES, OF_LABELS, cqr_name

MANIFEST_VERSION = 2
TARGETS_VERSION = 4
"""Format version of models with several targets: earlier versions of predgen refuse it by its number. 3 is that of one target's
next format."""

_READS = (1, MANIFEST_VERSION)  # 1: without digests, with the permission to run code in `config`
_IN_MEMORY = "(in memory)"  # what the first version called the file of rows in memory
_REPAIR = "Copy the model again, or train it again."

_Text = Annotated[str, Field(max_length=4096)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Figure = Annotated[float, Field(allow_inf_nan=True)] | None  # a metric that is not defined is nan
_Whole = Annotated[int, Field(ge=1, lt=1 << 31)]


@dataclass(frozen=True, slots=True)
class BaseRecord:
    """The base model of a saved model.

    Attributes:
        name: Hub id, folder, or "embedded"; its weights and configuration are read, and compared with the fingerprint.
        fingerprint: See `base_model.fingerprint`.
        needs_remote_code: Whether it consists of Python code that came with it; None where an older version wrote the file.
        origin: What it was made from, where predgen made its folder (a named base, a GGUF file).
    """

    name: _Text
    fingerprint: _Digest
    needs_remote_code: bool | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class CodecRecord:
    """A codec: its registry name, and what its `from_dict` takes."""

    name: _Text
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `predgen.json` holds; see docs/saved_model.md.

    Attributes:
        digests: SHA-256 of each file beside it and of the codec; None where an older version wrote the file.
        frame: What stands around every prompt (`format` "chat"); None: nothing.
        calibration: See `Contents.calibration`; None also where an earlier version wrote the file.
    """

    format_version: int
    predgen_version: _Text
    setup: ModelSetup
    codec: CodecRecord | None
    task: TaskSpec
    config: dict[str, Any]
    base: BaseRecord
    max_length: _Whole
    report: dict[str, Any]
    versions: dict[_Text, _Text]
    digests: dict[_Text, _Digest] | None = None
    frame: ChatFrame | None = None
    calibration: CalibrationRecord | None = None

    @property
    def needs_remote_code(self) -> bool:
        """Whether the base runs Python code of its own; the first version stored the permission instead."""
        stored = self.base.needs_remote_code
        return bool(self.config.get("trust_remote_code", False)) if stored is None else stored


def read_manifest(folder: Path) -> Manifest:
    """Read and check `predgen.json`.

    Raises:
        SavedModelError: If it is missing, damaged or of a newer format, or a field is not what it should be.
    """
    path, data, found = _read(folder)
    if found == TARGETS_VERSION:
        names = data.get("targets")
        raise ConfigError(
            f"{str(folder)!r} holds a model with several targets, {shortened(names)}. Load all of them with `predgen.load_targets`, or"
            " one of them with `predgen.load(FOLDER, target=NAME)`."
        )
    if found not in _READS:
        raise SavedModelError(
            f"{str(path)!r} has format version {found}, but predgen {__version__} reads versions"
            f" {' and '.join(map(str, _READS))}, and {TARGETS_VERSION} of models with several targets. Use the predgen version that wrote it."
        )
    _nest_settings(data.get("setup"))
    manifest: Manifest = typed(Manifest, data, f"{str(path)!r} is incomplete or damaged", repair=_REPAIR)
    if (manifest.digests is None) != (found == 1):
        raise SavedModelError(
            f"{str(path)!r} is incomplete or damaged: `digests` belong to format version {MANIFEST_VERSION}. {_REPAIR}"
        )
    return manifest


def _read(folder: Path) -> tuple[Path, dict[str, Any], int]:
    """The file, its data and its format version."""
    bring_back_for_reader(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise SavedModelError(
            f"{str(folder)!r} holds no saved model: there is no {MANIFEST}. Give the folder that `predgen train --out`"
            " wrote; an unfinished run can be resumed with `predgen train --resume`."
        )
    data: dict[str, Any] = read_json(path, dict[str, Any], repair=_REPAIR)
    found = data.get("format_version")
    if type(found) is not int:
        raise SavedModelError(f"{str(path)!r} is damaged: `format_version` is {found!r}. {_REPAIR}")
    return path, data, found


@dataclass(frozen=True, slots=True)
class QuestionRecord:
    """What a saved model with several targets holds of one question; see `Manifest`.

    Attributes:
        target: `TargetSpec.to_dict` of the target that it belongs to.
        label: The label that it is about, of a multi-label target.
    """

    target: dict[str, Any]
    label: _Text | None
    setup: ModelSetup
    codec: CodecRecord | None
    task: TaskSpec
    calibration: CalibrationRecord | None = None


@dataclass(frozen=True, slots=True)
class TargetsManifest:
    """What `predgen.json` holds of a model with several targets; fields that `Manifest` has, too, mean the same.

    Attributes:
        targets: Names of the targets, in the order in which they were given.
        questions: The questions, in the order of their names.
    """

    format_version: int
    predgen_version: _Text
    targets: list[_Text]
    questions: Annotated[list[QuestionRecord], Field(min_length=1)]
    config: dict[str, Any]
    base: BaseRecord
    max_length: _Whole
    report: dict[str, Any]
    versions: dict[_Text, _Text]
    digests: dict[_Text, _Digest]
    frame: ChatFrame | None = None

    def of(self, question: QuestionRecord, config: RunConfig) -> Manifest:
        """Return the manifest of a model of one question alone.

        Args:
            question: The question.
            config: Settings of a run of it (`RunConfig.of_target`).
        """
        return Manifest(
            MANIFEST_VERSION,
            self.predgen_version,
            question.setup,
            question.codec,
            question.task,
            config.to_dict(),
            self.base,
            self.max_length,
            {},
            self.versions,
            self.digests,
            self.frame,
            question.calibration,
        )


def has_targets(folder: Path) -> bool:
    """Whether a saved model has several targets, in the form that `load_targets` reads.

    Raises:
        SavedModelError: If there is no manifest, or it is damaged.
    """
    return _read(folder)[2] == TARGETS_VERSION


def read_manifest_of_targets(folder: Path) -> tuple[TargetsManifest, dict[str, Any]]:
    """Read and check `predgen.json` of a model with several targets; returns its plain data, too, by which it is sealed.

    Raises:
        SavedModelError: See `read_manifest`.
        ConfigError: If the model has one target.
    """
    path, data, found = _read(folder)
    if found in _READS:
        raise ConfigError(f"{str(folder)!r} holds a model of one target. Load it with `predgen.load`.")
    if found != TARGETS_VERSION:
        raise SavedModelError(
            f"{str(path)!r} has format version {found}, but predgen {__version__} reads up to {TARGETS_VERSION}. Use the predgen"
            " version that wrote it."
        )
    return typed(TargetsManifest, data, f"{str(path)!r} is incomplete or damaged", repair=_REPAIR), data


def questions_in(
    stored: TargetsManifest, folder: Path, *, trusts_code: bool
) -> tuple[RunConfig, tuple[TargetSpec, ...], dict[str, Manifest]]:
    """Return settings, targets in their order, and the manifest of a model of each question alone, by its name.

    Args:
        stored: The manifest.
        folder: Where it was read, for messages.
        trusts_code: What the settings are to say about code of the base.

    Raises:
        SavedModelError: If a target is not allowed, or questions and targets contradict each other.
    """
    where = f"{str(folder / MANIFEST)!r} is damaged"
    try:
        config = config_from(settings_of(stored.config), {"trust_remote_code": trusts_code})
        specs: dict[str, TargetSpec] = {}
        found: dict[str, Manifest] = {}
        for question in stored.questions:
            spec = TargetSpec.read(question.target)
            if specs.setdefault(spec.name, spec) != spec:
                raise SavedModelError(f"{where}: `questions` give target {spec.name!r} in two ways. {_REPAIR}")
            found[spec.part_name(question.label)] = stored.of(question, config.of_target(spec, question.label))
        named = [name for spec in specs.values() for name in spec.part_names]
        if (
            list(found) != sorted(named)
            or sorted(stored.targets) != sorted(specs)
            or len(found) != len(stored.questions)
        ):
            raise SavedModelError(
                f"{where}: `questions` {shortened(list(found))} are not those of `targets`. {_REPAIR}"
            )
    except SavedModelError:
        raise
    except (PredgenError, TypeError, AttributeError, ValueError) as error:
        raise SavedModelError(f"{where}: {error} {_REPAIR}") from error
    return config, tuple(specs[name] for name in stored.targets), found


# Until 0.2 a setup had these beside its other fields, whether the method has them or not.
_FLAT = ("pooling", "director", "loss", "sampling", "ordered_last_weight", "max_tree_nodes", "sampling_passes")
SINCE = {"head_norm": "none"}
"""Settings that a setup lacks where an earlier version wrote it, as that version did it."""


def _nest_settings(setup: Any) -> None:  # noqa: ANN401  (whatever JSON gives)
    """Bring a setup of 0.1 into today's form: settings of the method, and of what it chooses, have a place of their own.

    What an earlier version had no setting for stands as that version did it.
    """
    if not isinstance(setup, dict) or not isinstance(setup.get("method"), str):
        return
    stored = setup.get("settings", {name: setup.pop(name) for name in _FLAT if name in setup})
    if isinstance(stored, dict) and ("settings" not in setup or stored.keys().isdisjoint(SINCE)):
        try:
            known = flat(resolve([(registries.methods, setup["method"])], {**SINCE, **stored}, None))
        except ConfigError as error:
            raise SavedModelError(f"{MANIFEST} is damaged: setup: {error} {_REPAIR}") from error
        since = {name: value for name, value in SINCE.items() if name in known}
        setup["settings"] = {**since, **stored} if "settings" in setup else known


@dataclass(frozen=True, slots=True)
class Parts:
    """What a manifest describes, rebuilt."""

    config: RunConfig
    setup: ModelSetup
    task: TaskSpec
    codec: Codec | None


def parts_of(manifest: Manifest, folder: Path, *, trusts_code: bool) -> Parts:
    """Rebuild settings, task and codec.

    Args:
        manifest: The manifest.
        folder: Where it was read, for messages.
        trusts_code: What the settings are to say about code of the base.

    Raises:
        SavedModelError: If a name is not registered, a value not allowed, or the parts contradict each other.
    """
    try:
        typed(
            dict[str, _Figure], manifest.report.get("validation", {}), f"{MANIFEST}: report.validation", repair=_REPAIR
        )
        setup = manifest.setup
        used = {n: v for n, v in setup.settings.items() if n in manifest.config and manifest.config[n] is None}
        config = config_from(settings_of({**manifest.config, **used}), {"trust_remote_code": trusts_code})
        if manifest.config.get("form") == "cloze":  # of the first version, where that was no method of its own
            setup = replace(setup, method=config.method)
        _check_setup(setup, config)
        # The first version declared no labels for a file of the user's.
        task = with_labels(replace(manifest.task, extract=_extract(manifest.task)), setup.labels)
        _check_paths(task)
        codec = _codec(manifest.codec)
        _check_parts(setup, task, codec)
        _check_calibration(setup, manifest.calibration)
    except SavedModelError:
        raise
    except (PredgenError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise SavedModelError(f"{str(folder / MANIFEST)!r} is damaged: {error} {_REPAIR}") from error
    return Parts(config, setup, task, codec)


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a saved model.

    A record holds the chosen components' settings in full; those at the default count as not given again. The first
    version stored those of all components, and a word in place of a file for rows in memory; it held rows out whatever
    their class, and calibrated nothing.
    """
    known = {"stratify": False, "calibrate": False, **SINCE, **config}
    if known.get("data") == _IN_MEMORY:
        known["data"] = None
    kept = without_useless(known, owned())
    used = config_from(kept)
    defaults = used.defaults()
    given = {name: value for name, value in used.own.items() if value != defaults[name]}
    return {**{name: value for name, value in kept.items() if name not in used.own}, **given}


def _check_setup(setup: ModelSetup, config: RunConfig) -> None:
    """Refuse a setup that names what is not registered, or is not that of the settings."""
    if setup.method != config.method:
        raise SavedModelError(
            f"{MANIFEST}: setup is of method {setup.method!r}, but config of {config.method!r}. {_REPAIR}"
        )
    asked = config.method_settings()
    for name, value in filled(setup.components).items():
        if value != asked[name] and name in setup.settings:
            raise SavedModelError(
                f"{MANIFEST}: setup has `{name}` {shortened(value)}, but config {shortened(asked[name])}. {_REPAIR}"
            )
    if setup.scale.transform != config.target_transform:  # `scale` refuses what does not fit together
        raise SavedModelError(
            f"{MANIFEST}: setup has target_transform {setup.target_transform!r}, but config {config.target_transform!r}."
            f" {_REPAIR}"
        )
    if not setup.target_std > 0:
        raise SavedModelError(
            f"{MANIFEST}: setup has target_std {setup.target_std}, which has to be above 0. {_REPAIR}"
        )


def _check_parts(setup: ModelSetup, task: TaskSpec, codec: Codec | None) -> None:
    """Refuse parts that are each right, but not of one model."""
    for metric in task.metrics:
        registries.metrics.canonical(metric)
    if setup.kind != task.kind:
        raise SavedModelError(f"{MANIFEST}: setup is for {setup.kind}, but task for {task.kind}. {_REPAIR}")
    if (codec is not None) != registries.methods.get(setup.method).needs_codec:
        raise SavedModelError(
            f"{MANIFEST}: codec is {None if codec is None else codec.name!r}, but method {setup.method!r}"
            f" {'writes nothing' if codec else 'writes with one'}. {_REPAIR}"
        )
    if isinstance(codec, LabelCodec) and codec.labels != setup.labels:
        raise SavedModelError(
            f"{MANIFEST}: setup has the labels {shortened(setup.labels)}, but codec {shortened(codec.labels)}. {_REPAIR}"
        )


def _check_calibration(setup: ModelSetup, calibration: CalibrationRecord | None) -> None:
    """Refuse a calibration of another kind of model."""
    if calibration is None:
        return
    numbers = {"cps", *map(cqr_name, BASES)}
    names = set(calibration.scores)
    fits = names == set(OF_LABELS) and calibration.confidence if setup.labels else names in (numbers, {"cps"})
    if not fits or setup.kind == "math":
        raise SavedModelError(
            f"{MANIFEST}: calibration has the scores {shortened(sorted(names))}, which are not those of a {setup.kind} model."
            f" {_REPAIR}"
        )


def calibration_data(calibration: CalibrationRecord | None) -> dict[str, Any] | None:
    """A calibration as JSON data."""
    return None if calibration is None else asdict(calibration)


def task_data(task: TaskSpec) -> dict[str, Any]:
    """A task as JSON data. Its extractor is code, so it is not named, but the registered task that has it.

    Raises:
        SavedModelError: If another task is registered under its name.
    """
    name = None if task.extract is None else task.name
    if name is not None and name in registries.tasks and value_of(registries.tasks, name).extract != task.extract:
        raise SavedModelError(
            f"task {name!r} has the extractor {task.extract!r}, but the task registered under that name has another one."
            " Give the task a name of its own, and register it."
        )
    return {**asdict(task), "extract": name}


def _extract(task: TaskSpec) -> str | None:
    """The extractor of a registered task, by that task's name; nothing else in a manifest leads to code.

    The first version stored the extractor's own name, which is looked at only to see that the task still has it.
    """
    stored = task.extract
    if stored is None:
        return None
    name = task.name if ":" in stored else stored
    known: str | None = value_of(registries.tasks, name).extract if name in registries.tasks else None
    if known is None or (":" in stored and stored != known):
        raise SavedModelError(
            f"{MANIFEST}: task.extract is {stored!r}, but rows are only changed by the extractor of a registered task, and"
            f" {name!r} is none that has this one. Register the task before its models are loaded, see docs/extending.md."
        )
    return known


def _check_paths(task: TaskSpec) -> None:
    """Refuse data files outside the data set's folder: `evaluate --split` reads the files that a task names."""
    names = [task.folder, *(task.hub.files.values() if task.hub else ())]
    for spec in [spec for specs in task.files.values() for spec in specs]:
        names += [*spec.paths, *spec.aligned.values()]
    for name in names:
        if any(path.is_absolute() or ".." in path.parts for path in (PurePosixPath(name), PureWindowsPath(name))):
            raise SavedModelError(
                f"{MANIFEST}: task names the data file {name!r}, which lies outside the data set's folder; names without"
                f" '..' are allowed. {_REPAIR}"
            )


def codec_data(codec: Codec | None) -> dict[str, Any] | None:
    """A codec as JSON data."""
    return {"name": codec.name, "data": codec.to_dict()} if codec else None


def codec_digest(codec: Mapping[str, Any] | None) -> str:
    """SHA-256 of `codec_data`."""
    return data_digest(codec)


def data_digest(data: Mapping[str, Any] | None) -> str:
    """SHA-256 of JSON data, however it is laid out in the file."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _codec(record: CodecRecord | None) -> Codec | None:
    """Rebuild a codec."""
    if record is None:
        return None
    codec: Codec = registries.codecs.get(record.name).from_dict(record.data)
    return codec
