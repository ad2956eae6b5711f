"""Files of rows as readers of the Python world see them.

Each line of standard input is `{"file": ...}`, the name of a Parquet file or one of JSON lines; it is answered with
`{"columns": {...}, "groups": N, "arrow": [...], "features": {...}, "datasets": [...]}`: what pyarrow and Hugging Face's
datasets read, the first three of a Parquet file alone. Before that it prints `{}` once. Non-finite numbers are
`{"$float": "nan" | "inf" | "-inf"}`.
"""

import json
import math
import sys
import tempfile

answers, sys.stdout = sys.stdout, sys.stderr

import datasets  # noqa: E402
import pyarrow.parquet  # noqa: E402

datasets.disable_progress_bars()


def plain(value):
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def arrow(file):
    with pyarrow.parquet.ParquetFile(file) as parquet:
        table = parquet.read()
        return {
            "columns": {field.name: str(field.type) for field in table.schema},
            "groups": parquet.num_row_groups,
            "arrow": table.to_pylist(),
        }


def read(file):
    is_parquet = file.endswith(".parquet")
    with tempfile.TemporaryDirectory() as cache:
        kind = "parquet" if is_parquet else "json"
        rows = datasets.load_dataset(kind, data_files=file, split="train", cache_dir=cache)
        return {
            **(arrow(file) if is_parquet else {}),
            "features": {name: str(feature) for name, feature in rows.features.items()},
            "datasets": list(rows),
        }


answers.write("{}\n")
answers.flush()
for line in sys.stdin:
    answers.write(json.dumps(plain(read(json.loads(line)["file"]))) + "\n")
    answers.flush()
