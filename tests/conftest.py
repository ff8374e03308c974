"""Process settings that the launcher makes for users and that tests need before torch is imported."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
