"""Vectors of `tokmerge embed -o vectors.npy` in SQLite, searched with its extension sqlite-vec.

python tools/vectors_in_sqlite.py vectors.npy vectors.db KEY [K]
"""

import sqlite3
import sys
from pathlib import Path

import numpy as np
import sqlite_vec


def main(vectors: str, database: str, key: str, k: int = 10) -> None:
    array = np.load(vectors, mmap_mode="r")
    keys = Path(vectors).with_suffix(".keys.txt").read_text(encoding="utf-8").splitlines()
    db = sqlite3.connect(database)
    db.enable_load_extension(True)
    sqlite_vec.load(db)
    db.execute(
        "create virtual table if not exists images using vec0"
        f"(vector float[{array.shape[1]}] distance_metric=cosine, +key text)"
    )
    if not db.execute("select count(*) from images").fetchone()[0]:
        rows = ((key, row.astype(np.float32).tobytes()) for key, row in zip(keys, array))
        db.executemany("insert into images (key, vector) values (?, ?)", rows)
        db.commit()
    (query,) = db.execute("select vector from images where key = ?", [key]).fetchone()
    nearest = "select key, distance from images where vector match ? and k = ? order by distance"
    for found, distance in db.execute(nearest, [query, k]):
        print(f"{1 - distance:.4f}  {found}")


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:5]))
