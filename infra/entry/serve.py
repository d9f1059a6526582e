"""The serving process: Ray Serve with the gateway and the models. `python -m infra.entry.serve`."""

from core.settings import Settings, load_settings
from monitoring.logs import configure_logs
from serving.app import run


def main() -> None:
    run_serve(load_settings())


def run_serve(settings: Settings) -> None:
    """Serve until a signal."""
    configure_logs("serve", settings.monitoring.log_level, settings.monitoring.log_format)
    run(settings)


if __name__ == "__main__":
    main()
