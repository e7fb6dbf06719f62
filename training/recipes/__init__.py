"""Train and measure with torch: programs of one process each, that know a run directory and nothing else.

OpenMP's threads spin while they wait for each other. Beside a web server and a worker on two cores that costs a factor
of ten (17 token steps of 32 rows: 20-46 s spinning, 2-4 s waiting); libgomp reads the policy when torch loads it.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
