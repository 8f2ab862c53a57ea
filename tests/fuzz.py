"""How many made-up cases each fuzz test tries: some in the suite, SA3_EDGE_FUZZ of them in `make fuzz`."""

import os

CASES = int(os.environ.get("SA3_EDGE_FUZZ", "100"))
