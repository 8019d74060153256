"""Inputs as a stranger might send them: seeded files of hostile names, cells, labels, encodings, sizes and paths.

A case is (seed, kind): a function of `KINDS` writes a file into a folder and returns its path, and its rows where the file is
one that has to be read as they are.
"""

import csv
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
Made = tuple[Path, Rows | None]
Kind = Callable[[Path, random.Random], Made]

NASTY = (
    "", " ", "\t", "\n", "\r\n", "\x00", "a\x00b", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "[red]x[/red]", "[/label]", "\u202egnp.exe",
    "\u2066x\u2069", "\ufeff", "\u2028", "\x85", "=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-1", "<script>alert(1)</script>", "| a | b |",
    "`x`", "${HOME}", "$(id)", "%s%n", "{text}", "{0.__class__}", "{{", "}", "../../etc/passwd", "NaN", "null", "None", "True", "1e309", "'", '"',
    '""', ",", ";", "</s>", "<s>", "<unk>", "<|endoftext|>", "[PAD]", "\U0001f600", "e\u0301", "\u0130", "ß", "\ufffd", "\uffff", "a" * 3000,
    "prediction", "label", "text", "p(good)", "error: fine", "Traceback (most recent call last)", "__proto__", "-" * 200, "\u0131" * 50,
)  # fmt: skip
WIDE = ("utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "latin-1", "cp1252", "utf-7", "cp037")


def plain_rows(rng: random.Random, n: int = 6) -> Rows:
    """Rows with a text, a label and a score, as the good models read them."""
    return [
        {
            "text": f"number {rng.randrange(10**6)} was fine",
            "label": "good" if i % 2 else "bad",
            "score": str(1 + i % 9),
        }
        for i in range(n)
    ]


def as_csv(rows: Rows, delimiter: str = ",") -> str:
    """Rows as a file of cells, every cell in quotes."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def as_json(rows: Rows) -> str:
    """Rows as JSON lines; half of a surrogate pair is an escape."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def written(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    return path


def either(folder: Path, rng: random.Random, rows: Rows) -> Path:
    """Rows as one of three kinds of file."""
    suffix = rng.choice([".csv", ".tsv", ".jsonl"])
    text = as_json(rows) if suffix == ".jsonl" else as_csv(rows, "\t" if suffix == ".tsv" else ",")
    return written(folder / f"in{suffix}", text)


def names(folder: Path, rng: random.Random) -> Made:
    rows = plain_rows(rng)
    for name in rng.sample(NASTY, 3):
        rows = [{name: "x", **row} if rng.random() < 0.5 else {**row, name: "x"} for row in rows]
    return either(folder, rng, [{key: row[key] for key in rows[0]} for row in rows]), None


def cells(folder: Path, rng: random.Random) -> Made:
    rows = [{**row, "text": rng.choice(NASTY), "note": rng.choice(NASTY)} for row in plain_rows(rng)]
    return written(folder / "in.jsonl", as_json(rows)), rows


def mixed_cells(folder: Path, rng: random.Random) -> Made:
    rows = [{**row, "text": "".join(rng.sample(NASTY[8:], 4)), "note": rng.choice(NASTY)} for row in plain_rows(rng)]
    return either(folder, rng, rows), None


def labels(folder: Path, rng: random.Random) -> Made:
    found = rng.choice([
        ["a", "ab", "abc"], ["good", "Good", " good"], ["1", "1.0", "01"], ["x" * 100_000, "y"], ["</s>", "<s>"], ["a", ""], ["only"], ["yes", "yes\x00"],
        [f"label {i}" for i in range(300)], ["a\nb", "a"], ["\u202ea", "a"], list(rng.sample(NASTY, 4)), ["é", "e\u0301"], ["\U0001f600", "\U0001f601"],
    ])  # fmt: skip
    rows = [{**row, "label": found[i % len(found)]} for i, row in enumerate(plain_rows(rng, max(12, 2 * len(found))))]
    return either(folder, rng, rows), None


def numbers(folder: Path, rng: random.Random) -> Made:
    odd = (
        "1e308",
        "-1e308",
        "5e-324",
        "nan",
        "inf",
        "-0.0",
        "1,000",
        "1.234,5",
        "0x10",
        "١٢",
        "1_000",
        "9" * 400,
        "true",
        "",
        "1e-400",
        "50 %",
        "2020-01-01",
    )
    rows = [{**row, "score": rng.choice(odd) if rng.random() < 0.5 else row["score"]} for row in plain_rows(rng, 12)]
    return either(folder, rng, rows), None


def encodings(folder: Path, rng: random.Random) -> Made:
    rows = [{**row, "text": row["text"] + " äöü €"} for row in plain_rows(rng)]
    encoding = rng.choice(WIDE)
    data = as_csv(rows).encode(encoding, "replace")
    if encoding in ("utf-8-sig", "utf-16", "utf-32"):
        return written(folder / "in.csv", data), rows
    return written(folder / "in.csv", data), None


def broken_bytes(folder: Path, rng: random.Random) -> Made:
    data = bytearray((as_csv if rng.random() < 0.5 else as_json)(plain_rows(rng)).encode())
    for _ in range(rng.choice([1, 3, 50])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return written(folder / rng.choice(["in.csv", "in.jsonl", "in.json", "in.parquet", "in.tsv"]), bytes(data)), None


def ragged(folder: Path, rng: random.Random) -> Made:
    lines = as_csv(plain_rows(rng)).split("\r\n")
    change = rng.choice([
        lambda: lines.insert(2, ",,,,,,,"), lambda: lines.insert(1, '"open'), lambda: lines.insert(3, 'a"b,c,d'), lambda: lines.append('"a","b'),
        lambda: lines.insert(0, ""), lambda: lines.insert(2, "\r\r\r"), lambda: lines.insert(1, "x"), lambda: lines.insert(2, ";;;"), lines.clear, lambda: lines.insert(1, '"' * 999),
    ])  # fmt: skip
    change()
    return written(folder / "in.csv", rng.choice(["\n", "\r", "\r\n", "\n\n"]).join(lines)), None


def json_shapes(folder: Path, rng: random.Random) -> Made:
    good = as_json(plain_rows(rng))
    odd = rng.choice([
        "[" * 900 + "]" * 900, '{"text": ' + "[" * 900 + "]" * 900 + "}", '{"text": NaN}', '{"text": "a", "text": "b"}', '{"text": ' + "9" * 5000 + "}",
        '{"text": 1e999}', '{"text": "\\ud800"}', '{"text": {"a": [1, {"b": null}]}}', "[]", "null", "3", '"a"', '{"text": "a"} {"text": "b"}', "{'text': 'a'}",
        '{"": ""}', '{"text": true, "note": ' + "[" * 300 + "1" + "]" * 300 + "}", '{"text": "a", "note": ' + "[" * 940 + "]" * 940 + "}", '{"text": "\\u0000"}', "\x00",
    ])  # fmt: skip
    place = rng.choice([odd + "\n" + good, good + odd, odd])
    return written(folder / rng.choice(["in.jsonl", "in.json"]), place), None


def parquet_types(folder: Path, rng: random.Random) -> Made:
    import decimal

    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 6
    column = rng.choice([
        pa.array(range(n)), pa.array([1.5] * n), pa.nulls(n), pa.array([b"\xff"] * n), pa.array([["a"]] * n), pa.array([{"a": 1}] * n), pa.array([True] * n),
        pa.array([decimal.Decimal("1.10")] * n), pa.array([0] * n, pa.timestamp("ns")), pa.array(["x"] * n).dictionary_encode(), pa.array(["x", None] * 3),
        pa.array(["y" * 10_000] * n), pa.array([0] * n, pa.duration("s")), pa.array([[[1, None], []]] * n), pa.array(["x"] * n, pa.large_string()),
    ])  # fmt: skip
    table = pa.table({"text": column, "label": ["good", "bad"] * 3, "score": [1.0, 2.0] * 3})
    if rng.random() < 0.2:
        table = pa.Table.from_arrays([column, column], names=["text", "text"])
    pq.write_table(table, folder / "in.parquet")
    if rng.random() < 0.3:
        data = (folder / "in.parquet").read_bytes()
        written(folder / "in.parquet", data[: rng.randrange(len(data))] + rng.randbytes(rng.choice([0, 8])))
    return folder / "in.parquet", None


def sizes(folder: Path, rng: random.Random) -> Made:
    rows = plain_rows(rng)
    how = rng.choice(["columns", "cell", "rows", "blank lines", "name"])
    if how == "columns":
        more = {f"c{i}": "" for i in range(100_000)}
        rows = [{**row, **more} for row in rows[:2]]
    elif how == "cell":
        rows[1] = {**rows[1], "text": "word " * 400_000}
    elif how == "rows":
        rows = plain_rows(rng, 300)
    elif how == "blank lines":
        return written(folder / "in.csv", as_csv(rows).replace("\r\n", "\n" * 100_000)), rows
    else:
        rows = [{**row, "n" * 1_000_000: "x"} for row in rows]
    return written(folder / "in.csv", as_csv(rows)), None if how == "cell" else rows


def paths(folder: Path, rng: random.Random) -> Made:
    rows = plain_rows(rng)
    name = rng.choice(
        [
            "a b.csv",
            "a\nb.csv",
            "-x.csv",
            ".hidden.csv",
            "a.CSV",
            "[red]x.csv",
            "\x1b[31m.csv",
            "\u202evsc.csv",
            "a" * 240 + ".csv",
            "no suffix",
            "a.csv.gz",
            "a.exe",
        ]
    )
    path = written(folder / name, as_csv(rows))
    how = rng.choice(["as it is", "up", "link", "loop", "folder", "null", "missing", "dangling", "long"])
    if how == "up":
        return folder / "x" / ".." / name, None
    if how in ("link", "loop", "dangling"):
        link = folder / "link.csv"
        link.symlink_to({"link": path, "loop": link, "dangling": folder / "gone.csv"}[how])
        return link, rows if how == "link" else None
    others = {
        "folder": folder,
        "null": Path(os.devnull),
        "missing": folder / "gone\x1b.csv",
        "long": folder / ("a" * 5000 + ".csv"),
    }
    return others.get(how, path), rows if how == "as it is" and path.suffix.lower() == ".csv" else None


KINDS: dict[str, Kind] = {
    f.__name__: f
    for f in (
        names,
        cells,
        mixed_cells,
        labels,
        numbers,
        encodings,
        broken_bytes,
        ragged,
        json_shapes,
        parquet_types,
        sizes,
        paths,
    )
}
