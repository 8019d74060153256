"""A model as a function of batches, in this process and in others."""

import math
import multiprocessing
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import predgen
from batch.conftest import Saved
from predgen.batch import Predictor, predictor
from predgen.core import Decoding
from predgen.data.sources import read_rows
from predgen.errors import ConfigError, DataError, SavedModelError
from predgen.inference.stream import predict_file

TEXTS = [f"a dull book {'and a good one ' * (i % 3)}{i}" for i in range(7)]


def test_a_frame_comes_back_with_the_columns_of_predict(saved: Saved, tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": range(7), "text": TEXTS}, index=list("abcdefg"))
    frame.to_csv(tmp_path / "in.csv", index=False)
    predict_file(predgen.load(saved.label, merge_adapter=True), tmp_path / "in.csv", tmp_path / "out.csv", proba=True)
    written = list(read_rows(tmp_path / "out.csv"))
    found = Predictor(saved.label, proba=True)(frame)
    assert list(found.columns) == list(written[0])
    assert list(found.index) == list(frame.index)
    assert found["id"].dtype == frame["id"].dtype
    assert found["prediction"].tolist() == [row["prediction"] for row in written]
    for name in found.columns[3:]:
        assert found[name].dtype == np.float64
        assert found[name].tolist() == [float(row[name]) for row in written]  # to the bit: the same rows in one batch


@pytest.mark.parametrize("as_array", [False, True])
def test_columns_come_back_as_they_came(saved: Saved, as_array: bool) -> None:
    cells: Any = np.array(TEXTS, dtype=object) if as_array else TEXTS
    found = Predictor(saved.score, quantiles=(0.1, 0.9))({"text": cells})
    assert list(found) == ["text", "prediction", "q(0.1)", "q(0.9)"]
    assert {type(column) for column in found.values()} == {type(cells)}
    values = [p.value for p in predgen.load(saved.score, merge_adapter=True).predict(TEXTS)]
    assert list(found["prediction"]) == pytest.approx(values)


@pytest.mark.parametrize("as_frame", [False, True])
def test_an_empty_batch_has_all_columns(saved: Saved, as_frame: bool) -> None:
    empty: Any = pd.DataFrame({"text": []}) if as_frame else {"text": []}
    found = Predictor(saved.label, proba=True)(empty)
    assert list(found) == list(Predictor(saved.label, proba=True)({"text": TEXTS[:1]}))
    assert [len(found[name]) for name in found] == [0, 0, 0, 0]


def test_lists_in_cells_and_missing_numbers_survive() -> None:
    column = predictor._array([[1, 2], [3, 4]], False)
    assert column.shape == (2,)
    assert column.tolist() == [[1, 2], [3, 4]]
    assert math.isnan(predictor._array([None, 1], True)[0])


def test_it_travels_without_its_model(saved: Saved) -> None:
    made = Predictor(saved.label, decoding=Decoding(full_vocabulary=True))
    small = len(pickle.dumps(made))
    expected = made({"text": TEXTS})
    assert len(pickle.dumps(made)) == small < 2000
    assert pickle.loads(pickle.dumps(made))({"text": TEXTS}) == expected


def test_copies_in_a_process_share_one_model(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "_loaded", {})
    loads: list[str] = []
    maker = Predictor.maker

    def counting(self: Predictor) -> Any:
        loads.append(str(self.run))
        return maker(self)

    monkeypatch.setattr(Predictor, "maker", counting)
    first = Predictor(saved.label)
    for one in (first, pickle.loads(pickle.dumps(first)), Predictor(saved.label), Predictor(saved.label, proba=True)):
        one({"text": TEXTS[:1]})
    assert len(loads) == 2


def test_a_process_with_another_model_in_the_folder_refuses(saved: Saved, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(saved.label, run)
    sent = pickle.dumps(Predictor(run))
    shutil.rmtree(run)
    shutil.copytree(saved.score, run)
    with pytest.raises(SavedModelError, match="another model"):
        pickle.loads(sent)({"text": TEXTS[:1]})
    assert isinstance(Predictor(run)({"text": TEXTS[:1]})["prediction"][0], float)


def test_pools_of_processes_predict_the_same(saved: Saved) -> None:
    batches = [{"text": TEXTS[:3]}, {"text": TEXTS[3:5]}, {"text": TEXTS[5:]}]
    predict = Predictor(saved.label, proba=True)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(predict, batches)
    assert found == [predict(batch) for batch in batches]


def test_what_is_no_batch_is_refused(saved: Saved) -> None:
    predict = Predictor(saved.label)
    with pytest.raises(DataError, match="list"):
        predict([{"text": "a"}])
    with pytest.raises(DataError, match="differ in length"):
        predict({"text": ["a", "b"], "id": [1]})
    with pytest.raises(DataError, match="prediction"):
        predict({"text": ["a"], "prediction": ["b"]})
    with pytest.raises(DataError, match="text"):
        predict({"txt": ["a"]})


def test_a_folder_without_a_model_is_told_at_once(saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(SavedModelError, match=str(tmp_path)):
        Predictor(tmp_path)
    with pytest.raises(ConfigError, match="--proba"):
        Predictor(saved.label.parent / "base", ask=("Is it good?",), proba=True)


def test_a_base_answers_questions(saved: Saved) -> None:
    found = Predictor(saved.label.parent / "base", ask=("Is it good?",))({"text": TEXTS[:2]})
    assert list(found) == ["text", "Is it good?", "p(Is it good?)"]
    assert set(found["Is it good?"]) <= {"yes", "no"}
