import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def logs():
    """The log lines of a test, as dictionaries; they are not rendered."""
    with capture_logs() as lines:
        yield lines
