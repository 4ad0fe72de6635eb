"""Adding a board: the file keeps what is there, and never breaks."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from binas.core.errors import UsageError
from binas.devices import userfile
from binas.devices.cli import main
from binas.devices.registry import find

MINE = """# my desk
[old]   # the first one
board = "rpi3"
host = 'pi@old'  # single quotes

[other]
board   =   "rpi5"
link = "ssh"
host = "o"
"""


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "devices.toml"
    monkeypatch.setenv("BINAS_DEVICES", str(path))
    return path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_a_board_is_added_to_a_file_that_was_not_there(path: Path) -> None:
    done = call("add", "desk", "--board", "rpi4", "--host", "pi@raspberrypi.local", "--pin", "3")
    assert done.exit_code == 0, done.output
    assert "binas-devices check desk" in done.stderr
    assert tomllib.loads(path.read_text()) == {
        "desk": {"board": "rpi4", "link": "ssh", "host": "pi@raspberrypi.local", "pin": 3}
    }
    assert (find("desk").link.user, find("desk").pin) == ("pi", 3)


def test_what_is_there_stays_letter_by_letter(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(MINE)
    path.chmod(0o600)
    userfile.add("new", {"board": "rpi4", "host": "n"})
    assert path.read_text().startswith(MINE.rstrip("\n") + "\n\n[new]\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["devices.toml"]


def test_replacing_one_keeps_the_others(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(MINE)
    with pytest.raises(UsageError, match="describes old already") as caught:
        userfile.add("old", {"board": "rpi4", "host": "n"})
    assert "--replace" in caught.value.hint and path.read_text() == MINE
    userfile.add("old", {"board": "rpi4", "host": "n"}, replace=True)
    assert find("old").cpu == "cortex-a72" and find("other").link.host == "o"
    assert 'board   =   "rpi5"' in path.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["desk", "--board", "rip4", "--host", "h"], "unknown device 'rip4'"),
        (["desk", "--board", "rpi4", "--link", "ssh"], "has no host"),
        (["desk", "--board", "rpi4", "--host", "-oProxyCommand=touch x"], "expected a name"),
        (["a b", "--board", "rpi4", "--host", "h"], "device name is 'a b'"),
        (["desk", "--board", "rpi4", "--host", "h", "--port", "0x"], "--port"),
    ],
)
def test_what_describes_no_device_is_not_written(
    path: Path, arguments: list[str], says: str
) -> None:
    done = call("add", *arguments)
    assert done.exit_code == 2 and says in done.stderr
    assert not path.exists()


def test_a_damaged_file_is_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("[a\n")
    done = call("add", "desk", "--board", "rpi4", "--host", "h")
    assert done.exit_code == 2 and "is not TOML" in done.stderr
    assert path.read_text() == "[a\n"


def test_a_hostile_value_stays_a_value(path: Path) -> None:
    note = 'x"\n[evil]\nboard = "rpi4"'
    done = call("add", "desk", "--board", "rpi4", "--host", "h", "--note", note, "--json")
    assert json.loads(done.stdout)["note"] == note
    assert list(tomllib.loads(path.read_text())) == ["desk"]


def test_a_link_to_the_file_stays_a_link(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    (tmp_path / "dotfiles.toml").write_text(MINE)
    path.symlink_to(tmp_path / "dotfiles.toml")
    userfile.add("new", {"board": "rpi4", "host": "n"})
    assert path.is_symlink() and "[new]" in (tmp_path / "dotfiles.toml").read_text()


def test_several_who_add_at_once_all_get_in(path: Path) -> None:
    code = (
        "import sys; from binas.devices import userfile;"
        "[userfile.add(f'{sys.argv[1]}{i}', {'board': 'rpi4', 'host': 'h'}) for i in range(5)]"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(tomllib.loads(path.read_text())) == 15


def test_only_boards_reached_by_ssh_have_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BINAS_DEVICES")
    done = call("lock", "host")
    assert done.exit_code == 2 and "only boards reached by ssh have a lock" in done.stderr
