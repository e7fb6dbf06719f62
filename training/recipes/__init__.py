"""Train and measure with torch: programs of one process each, that know a run directory and nothing else.

OpenMP's threads spin while they wait for each other. Beside a web server and a worker on two cores that costs a factor
of ten (17 token steps of 32 rows: 20-46 s spinning, 2-4 s waiting). To sleep at once costs, too: some hundred short
parallel regions follow each other in a step, and each would wake the threads anew. So a thread looks 10,000 times, some
tenths of a millisecond, before it sleeps: a step of 16 rows took 46 ms and not 55, and on a machine that others kept
busy 116 and not 144. libgomp reads both when torch loads.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
