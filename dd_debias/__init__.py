"Dataset distillation that does not amplify shortcuts"
import os

# Threads of OpenMP that wait for each other spin, for seconds where another process has their core. Read by torch
# when it is first imported; a value that the user has set stays.
os.environ.setdefault('GOMP_SPINCOUNT', '1000')

__version__ = "0.1.0"
