"""Print what the random generators of a new process draw."""

import os
import random

import numpy as np

if __name__ == "__main__":
    print(random.random(), np.random.default_rng().random(), np.random.random(), os.urandom(2).hex())
