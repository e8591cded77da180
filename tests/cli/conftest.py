import pytest

from baigong.cli import main


@pytest.fixture
def run(capsys):
    """Runs a command: its exit code, what it said, and what it said of failures."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return call
