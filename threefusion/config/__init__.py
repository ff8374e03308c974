"""How a config becomes checked, frozen settings. Loads no torch."""

from threefusion.config.dump import changes, config_to_yaml
from threefusion.config.fields import Schedule, Settings, bounded, interval, literal, slot
from threefusion.config.run import RunConfig, load_config
from threefusion.errors import ConfigError

__all__ = [
    "ConfigError",
    "RunConfig",
    "Schedule",
    "Settings",
    "bounded",
    "changes",
    "config_to_yaml",
    "interval",
    "literal",
    "load_config",
    "slot",
]
