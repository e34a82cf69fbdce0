"""Run by the Python of Evidently's own environment: CPU seconds of its drift report, as JSON."""

import json
import sys
import time

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def main() -> None:
    """Report on two tables of so many rows and columns of normal numbers, by the JS distance."""
    rows, features = int(sys.argv[1]), int(sys.argv[2])
    generator = np.random.default_rng(0)
    names = [f"x{number}" for number in range(features)]
    definition = DataDefinition(numerical_columns=names)
    tables = [
        Dataset.from_pandas(
            pd.DataFrame(generator.normal(size=(rows, features)), columns=names),
            data_definition=definition,
        )
        for _ in range(2)
    ]
    begin = time.process_time()
    Report([DataDriftPreset(method="jensenshannon")]).run(*tables)
    print(json.dumps({"seconds": time.process_time() - begin}))


if __name__ == "__main__":
    main()
