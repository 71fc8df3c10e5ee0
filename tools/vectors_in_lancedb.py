"""Vectors of `tokmerge embed -o vectors.parquet` in LanceDB, searched there.

python tools/vectors_in_lancedb.py vectors.parquet DATABASE KEY [K]
"""

import sys

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq


def main(vectors: str, database: str, key: str, k: int = 10) -> None:
    rows = pq.read_table(vectors)
    # Of equal length, as the database wants them.
    column = rows["vector"].cast(pa.list_(pa.float32(), len(rows["vector"][0])))
    rows = rows.set_column(rows.schema.get_field_index("vector"), "vector", column)
    table = lancedb.connect(database).create_table("images", rows, mode="overwrite")
    query = rows["vector"][rows["key"].index(key).as_py()].as_py()
    for found in table.search(query).distance_type("cosine").limit(k).to_list():
        print(f"{1 - found['_distance']:.4f}  {found['key']}")


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:5]))
