"""The CPU time of importing what a DAG file with every operator and sensor imports, compared with stock ones.

    make bench-dags

Exits with status 1 if it takes more than `GOAL` times as long.
"""

import os
import statistics
import subprocess
import sys
import tempfile

GOAL = 1.1
ROUNDS = 9

OURS = """
from airflow.sdk import DAG
from airflow_provider import operators, sensors
classes = [getattr(package, name) for package in (operators, sensors) for name in package.__all__]
"""
STOCK = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensor
"""


def seconds(code: str, home: str) -> float:
    timed = f"import time\nbegan = time.process_time()\n{code}\nprint(time.process_time() - began)"
    env = {**os.environ, "AIRFLOW_HOME": home}
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True, env=env)
    return float(done.stdout.split()[-1])


def main() -> int:
    with tempfile.TemporaryDirectory() as home:
        seconds(OURS, home)  # compiles changed sources
        pairs = [(seconds(OURS, home), seconds(STOCK, home)) for _ in range(ROUNDS)]
    ours, stock = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"every operator and sensor {ours:.2f} s, stock ones {stock:.2f} s, ratio {ours / stock:.2f}")
    return int(ours / stock > GOAL)


if __name__ == "__main__":
    sys.exit(main())
