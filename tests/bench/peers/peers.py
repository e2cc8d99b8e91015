"""What a user would run instead of Backhaul, written as well as each tool allows.

    python peers.py <task> <tool> <data> <out>

Tasks: `map` (partitions of the first version to one CSV), `state` (what `diff` needs to know of the first version),
`diff` (partitions of the later version against that state: operations and the next state), `join` (results to what was
sent). Tools are imported when they are needed, so that one that is not installed stops only its own tasks. `diff`
prints added, changed and removed; `join` prints the rows that were accepted.
"""

import csv
import gzip
import hashlib
import json
import sys
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

KEY, STATUS_DATE, CREATED, UPDATED, NOTES, SEGMENT = 0, 15, 16, 17, 18, 9
WIDTH = 20
HEADERS = ["Customer_Key__c"] + [f"F{place:02}" for place in range(1, WIDTH)]
EPOCH = date(1970, 1, 1)


def partitions(data, version):
    """The partitions of a version, in key order."""
    return sorted((data / version).glob("*.json.gz"))


def results(data, kind):
    """The result files of one kind, in the order of the jobs."""
    return sorted((data / "results").glob(f"*-{kind}.csv"))


# ------------------------------------------------------------------ Python alone


def instant(text):
    """Seconds with a fraction as ISO 8601 with milliseconds."""
    seconds, fraction = text.split(" ")[0].split(".")
    moment = datetime.fromtimestamp(int(seconds), timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction[:3]}Z"


def mapped(row):
    """A row as it is sent."""
    row = ["" if cell is None and place in (NOTES, SEGMENT) else "#N/A" if cell is None else cell
           for place, cell in enumerate(row)]
    if row[STATUS_DATE] != "#N/A":
        row[STATUS_DATE] = (EPOCH + timedelta(int(row[STATUS_DATE]))).isoformat()
    row[CREATED] = instant(row[CREATED])
    row[UPDATED] = instant(row[UPDATED])
    return row


def python_map(data, out):
    """json and csv, a partition at a time."""
    with open(out, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEADERS)
        for partition in partitions(data, "first"):
            with gzip.open(partition, "rb") as packed:
                rows = json.load(packed)
            table.writerows(map(mapped, rows))


def python_rows(data, version):
    """Key and digest of every row."""
    for partition in partitions(data, version):
        with gzip.open(partition, "rb") as packed:
            for row in json.load(packed):
                yield row[KEY], hashlib.md5("\x1f".join(mapped(row)).encode()).hexdigest()[:16]


def python_state(data, out):
    """The state as CSV: key and digest."""
    with open(out / "python.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(python_rows(data, "first"))


def python_diff(data, out):
    """A dictionary of all keys."""
    with open(out / "python.csv", newline="", encoding="utf-8") as file:
        known = dict(csv.reader(file))
    added = changed = 0
    with open(out / "python-operations.csv", "w", newline="", encoding="utf-8") as operations, \
            open(out / "python-next.csv", "w", newline="", encoding="utf-8") as state:
        operations, state = csv.writer(operations), csv.writer(state)
        for key, digest in python_rows(data, "later"):
            before = known.pop(key, None)
            if before is None:
                added += 1
                operations.writerow(("add", key))
            elif before != digest:
                changed += 1
                operations.writerow(("change", key))
            state.writerow((key, digest))
        operations.writerows(("remove", key) for key in known)
    print(added, changed, len(known))


def python_join(data, out):
    """csv.DictReader and a dictionary."""
    with open(data / "sent.csv", newline="", encoding="utf-8") as file:
        sent = {row["key"]: row["fingerprint"] for row in csv.DictReader(file)}
    accepted = 0
    with open(out / "python-results.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        for name in results(data, "success"):
            with open(name, newline="", encoding="utf-8") as rows:
                for row in csv.DictReader(rows):
                    key = row["Customer_Key__c"]
                    table.writerow((key, sent.pop(key), row["sf__Id"], ""))
                    accepted += 1
        for name in results(data, "failed"):
            with open(name, newline="", encoding="utf-8") as rows:
                for row in csv.DictReader(rows):
                    key = row["Customer_Key__c"]
                    table.writerow((key, sent.pop(key), "", row["sf__Error"].split(":")[0]))
    print(accepted)


# ------------------------------------------------------------------ pandas


def pandas_map(data, out):
    """A frame for each partition; every column is text."""
    import pandas as pd

    with open(out, "w", newline="", encoding="utf-8") as file:
        for number, partition in enumerate(partitions(data, "first")):
            with gzip.open(partition, "rb") as packed:
                frame = pd.DataFrame(json.load(packed), columns=HEADERS, dtype="str")
            days = pd.to_numeric(frame[HEADERS[STATUS_DATE]])
            dates = pd.to_datetime(days, unit="D").dt.strftime("%Y-%m-%d")
            frame[HEADERS[STATUS_DATE]] = dates
            for place in (CREATED, UPDATED):
                text = frame[HEADERS[place]]
                moment = pd.to_datetime(text.str.slice(0, 10).astype("int64"), unit="s")
                frame[HEADERS[place]] = moment.dt.strftime("%Y-%m-%dT%H:%M:%S") + text.str.slice(10, 14) + "Z"
            cleared = [name for place, name in enumerate(HEADERS) if place not in (NOTES, SEGMENT)]
            frame[cleared] = frame[cleared].fillna("#N/A")
            frame.to_csv(file, index=False, header=number == 0, lineterminator="\n")


# ------------------------------------------------------------------ polars


def polars_frame(pl, partition):
    """The mapped rows of a partition. orjson decodes faster than polars does."""
    import orjson

    with gzip.open(partition, "rb") as packed:
        rows = orjson.loads(packed.read())
    frame = pl.DataFrame(rows, schema=dict.fromkeys(HEADERS, pl.String), orient="row")
    day = pl.col(HEADERS[STATUS_DATE]).cast(pl.Int32).cast(pl.Date).dt.strftime("%Y-%m-%d")
    moments = [
        pl.from_epoch(pl.col(HEADERS[place]).str.slice(0, 10).cast(pl.Int64), time_unit="s")
        .dt.strftime("%Y-%m-%dT%H:%M:%S") + pl.col(HEADERS[place]).str.slice(10, 4) + "Z"
        for place in (CREATED, UPDATED)
    ]
    frame = frame.with_columns(
        day, *(moment.alias(HEADERS[place]) for moment, place in zip(moments, (CREATED, UPDATED)))
    )
    kept = [HEADERS[NOTES], HEADERS[SEGMENT]]
    return frame.with_columns(pl.exclude(kept).fill_null("#N/A"), pl.col(kept).fill_null(""))


def polars_map(data, out):
    """A frame for each partition."""
    import polars as pl

    with open(out, "wb") as file:
        for number, partition in enumerate(partitions(data, "first")):
            polars_frame(pl, partition).write_csv(file, include_header=number == 0, quote_style="necessary")


def polars_rows(pl, data, version):
    """Key and hash of every row."""
    frames = []
    for partition in partitions(data, version):
        frame = polars_frame(pl, partition)
        frames.append(frame.select(pl.col(HEADERS[KEY]).alias("key"), frame.hash_rows(1).alias("hash")))
    return pl.concat(frames)


def polars_state(data, out):
    """The state as parquet: key and hash."""
    import polars as pl

    polars_rows(pl, data, "first").write_parquet(out / "polars.parquet", compression="zstd")


def polars_diff(data, out):
    """Anti-joins both ways."""
    import polars as pl

    known = pl.read_parquet(out / "polars.parquet")
    now = polars_rows(pl, data, "later")
    both = now.join(known, on="key", how="left", suffix="_before")
    added = both.filter(pl.col("hash_before").is_null())
    changed = both.filter(pl.col("hash_before").is_not_null() & (pl.col("hash") != pl.col("hash_before")))
    removed = known.join(now, on="key", how="anti")
    named = [frame.select(pl.lit(name).alias("operation"), "key")
             for name, frame in (("add", added), ("change", changed), ("remove", removed))]
    pl.concat(named).write_csv(out / "polars-operations.csv")
    now.write_parquet(out / "polars-next.parquet", compression="zstd")
    print(added.height, changed.height, removed.height)


def polars_join(data, out):
    """Lazy scans of the three columns that are needed."""
    import polars as pl

    key = "Customer_Key__c"
    success = pl.concat([
        pl.scan_csv(name, infer_schema=False).select(key, "sf__Id", pl.lit("").alias("code"))
        for name in results(data, "success")
    ])
    failed = pl.concat([
        pl.scan_csv(name, infer_schema=False)
        .select(key, pl.lit("").alias("sf__Id"), pl.col("sf__Error").str.split(":").list.first().alias("code"))
        for name in results(data, "failed")
    ])
    sent = pl.scan_csv(data / "sent.csv", infer_schema=False)
    joined = sent.join(pl.concat([success, failed]), left_on="key", right_on=key, how="left").collect()
    joined.write_csv(out / "polars-results.csv")
    print(joined.filter(pl.col("sf__Id") != "").height)


# ------------------------------------------------------------------ DuckDB


def duckdb_rows(data, version):
    """The mapped rows, as SQL."""
    columns = []
    for place, name in enumerate(HEADERS):
        cell = f"cells[{place + 1}]"
        if place == STATUS_DATE:
            cell = f"CAST(DATE '1970-01-01' + CAST({cell} AS INTEGER) AS VARCHAR)"
        if place in (CREATED, UPDATED):
            millis = f"CAST(substr({cell}, 1, 10) || substr({cell}, 12, 3) AS BIGINT)"
            cell = f"strftime(make_timestamp_ms({millis}), '%Y-%m-%dT%H:%M:%S.%gZ')"
        null = "''" if place in (NOTES, SEGMENT) else "'#N/A'"
        columns.append(f'coalesce({cell}, {null}) AS "{name}"')
    files = f"{data / version}/*.json.gz"
    source = (f"read_json('{files}', format = 'array', records = 'false', columns = {{cells: 'VARCHAR[]'}}, "
              "maximum_object_size = 134217728)")
    return f"SELECT {', '.join(columns)} FROM {source}"


def duckdb_connection():
    """One thread, which takes the least processor time."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    return connection


def duckdb_map(data, out):
    """One COPY."""
    duckdb_connection().execute(f"COPY ({duckdb_rows(data, 'first')}) TO '{out}' (FORMAT csv, HEADER true)")


def duckdb_hashes(data, version):
    """Key and hash of every row, as SQL."""
    values = ", ".join(f'"{name}"' for name in HEADERS)
    return f'SELECT "{HEADERS[KEY]}" AS key, hash({values}) AS hash FROM ({duckdb_rows(data, version)})'


def duckdb_state(data, out):
    """The state as parquet: key and hash."""
    state = out / "duckdb.parquet"
    duckdb_connection().execute(
        f"COPY ({duckdb_hashes(data, 'first')}) TO '{state}' (FORMAT parquet, COMPRESSION zstd)")


def duckdb_diff(data, out):
    """A full join on the key."""
    connection = duckdb_connection()
    connection.execute(f"CREATE TEMP TABLE now AS {duckdb_hashes(data, 'later')}")
    connection.execute(f"""
        CREATE TEMP TABLE operations AS
        SELECT CASE WHEN known.key IS NULL THEN 'add' WHEN now.key IS NULL THEN 'remove' ELSE 'change' END AS operation,
               coalesce(now.key, known.key) AS key
        FROM now FULL JOIN '{out / "duckdb.parquet"}' AS known ON now.key = known.key
        WHERE now.hash IS DISTINCT FROM known.hash""")
    connection.execute(f"COPY operations TO '{out / 'duckdb-operations.csv'}'")
    connection.execute(f"COPY now TO '{out / 'duckdb-next.parquet'}' (FORMAT parquet, COMPRESSION zstd)")
    counts = connection.execute(
        "SELECT count(*) FILTER (operation = 'add'), count(*) FILTER (operation = 'change'), "
        "count(*) FILTER (operation = 'remove') FROM operations").fetchone()
    print(*counts)


def duckdb_join(data, out):
    """A join of the three columns that are needed."""
    connection = duckdb_connection()
    read = "read_csv({}, all_varchar = true, header = true, quote = '\"', escape = '\"', delim = ',')"
    names = {kind: read.format([str(name) for name in results(data, kind)]) for kind in ("success", "failed")}
    connection.execute(f"""
        CREATE TEMP TABLE joined AS
        SELECT sent.key, sent.fingerprint, said.id, said.code
        FROM read_csv('{data / "sent.csv"}', all_varchar = true, header = true) AS sent LEFT JOIN (
            SELECT Customer_Key__c AS key, sf__Id AS id, '' AS code FROM {names["success"]}
            UNION ALL
            SELECT Customer_Key__c, '', split_part(sf__Error, ':', 1) FROM {names["failed"]}
        ) AS said ON said.key = sent.key""")
    connection.execute(f"COPY joined TO '{out / 'duckdb-results.csv'}'")
    print(connection.execute("SELECT count(*) FROM joined WHERE id <> ''").fetchone()[0])


if __name__ == "__main__":
    task, tool, data, out = sys.argv[1:]
    globals()[f"{tool}_{task}"](Path(data), Path(out))
