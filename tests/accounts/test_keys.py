"""The master key: made once, kept where only its owner reads it, known by its id, told from a wrong one."""

import multiprocessing
import os
import pickle
import stat
import sys
import types
from pathlib import Path

import pytest

from database.keys import Argon2, KeyFile, KeyRecord, Keys, KeyUnavailable, KeyUnsafe, MasterKey, Source, VaultDamaged
from exchange_clients.secret import Secret

CHEAP = Argon2(iterations=1, lanes=1, memory_kib=8)


def test_a_key_names_itself_and_shows_nothing() -> None:
    key = MasterKey.random()
    assert MasterKey.parse(key.text, "here").key_id == key.key_id
    assert MasterKey.random().key_id != key.key_id
    for shown in (repr(key), str(key), f"{key}", repr([key, key.text]), f"{key.text:>50}"):
        assert key.text.reveal() not in shown
    for one in (key, key.text):
        with pytest.raises(TypeError):
            pickle.dumps(one)


def test_uses_of_a_key_are_kept_apart() -> None:
    key = MasterKey(bytes(32))
    assert len(key.key_id) == 16
    assert key.seal(b"id")[:8].hex() != key.key_id
    assert key.text.reveal() == "A" * 43 + "=", "what is kept is the key itself, not one of its parts"


@pytest.mark.parametrize("text", ["", "short", "AAAA", "=" * 44, "A" * 42 + "==", "ö" * 44, "A" * 88])
def test_what_is_no_key_is_told_without_being_repeated(text: str) -> None:
    with pytest.raises(KeyUnavailable, match="over there holds no key") as caught:
        MasterKey.parse(Secret(text), "over there")
    assert len(text) < 5 or text not in str(caught.value)


def test_the_file_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "state" / "vault.key")
    old = os.umask(0)
    try:
        key = MasterKey.random()
        file.add(key)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert file.read() == {key.key_id: key.text}
    assert [path.name for path in tmp_path.joinpath("state").iterdir() if path.name.startswith(".")] == [], "no scrap is left"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o602, 0o610])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    file = KeyFile(tmp_path / "vault.key")
    file.add(MasterKey.random())
    file.path.chmod(mode)
    with pytest.raises(KeyUnsafe, match="chmod 600"):
        file.read()
    with pytest.raises(KeyUnsafe):
        file.add(MasterKey.random())


def test_a_link_is_refused(tmp_path: Path) -> None:
    real, link = KeyFile(tmp_path / "real"), KeyFile(tmp_path / "vault.key")
    real.add(MasterKey.random())
    link.path.symlink_to(real.path)
    with pytest.raises(KeyUnsafe, match="is a link"):
        link.read()
    before = real.path.read_bytes()
    with pytest.raises(KeyUnsafe):
        link.add(MasterKey.random())
    assert real.path.read_bytes() == before


def test_a_folder_or_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vault.key").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(KeyUnsafe, match="is no file"):
        KeyFile(tmp_path / "pipe").read()
    with pytest.raises(KeyUnsafe, match="is no file"):
        KeyFile(tmp_path / "vault.key").read()


def test_a_damaged_file_is_told_by_line_and_not_shown(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "vault.key")
    one, other = MasterKey.random(), MasterKey.random()
    file.add(one)
    for line in (f"{one.key_id} {other.text.reveal()}", f"{other.text.reveal()}", f"{one.key_id} {other.text.reveal()[:-3]}"):
        file.path.write_text(f"# keys\n\n{line}\n")
        with pytest.raises(KeyUnavailable, match="line 3") as caught:
            file.read()
        assert other.text.reveal()[:20] not in str(caught.value)


def _add(path: Path, start: "multiprocessing.synchronize.Event") -> None:
    start.wait()
    KeyFile(path).add(MasterKey.random())


def test_many_processes_add_at_once_and_none_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Event()
    path = tmp_path / "vault.key"
    processes = [context.Process(target=_add, args=(path, start)) for _ in range(8)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(10)
    assert len(KeyFile(path).read()) == 8


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = KeyFile(tmp_path / "vault.key")
    key = MasterKey.random()
    file.add(key)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyUnavailable, match=r"No space left.*nothing was changed"):
        file.add(MasterKey.random())
    assert file.read() == {key.key_id: key.text}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vault.key", "vault.key.lock"]


# ---- where keys are looked for


def test_the_file_is_the_default_and_a_variable_is_a_wish(tmp_path: Path) -> None:
    assert Keys.of(tmp_path, {}).default_source is Source.FILE
    assert Keys.of(tmp_path, {"PERPKIT_VAULT_KEY": "x"}).default_source is Source.ENVIRONMENT
    assert Keys.of(tmp_path, {"PERPKIT_VAULT_PASSPHRASE": "x"}).default_source is Source.PASSPHRASE


def test_a_key_of_the_file_is_found_again(tmp_path: Path) -> None:
    key, record = Keys.of(tmp_path, {}).make(Source.FILE)
    assert Keys.of(tmp_path, {}).find(record).text == key.text
    assert record.salt == b""
    assert key.text.reveal() not in repr(record)


def test_the_variable_is_taken_where_it_fits_and_named_where_it_does_not(tmp_path: Path) -> None:
    key = MasterKey.random()
    _, record = Keys.of(tmp_path, {"PERPKIT_VAULT_KEY": key.text.reveal()}).make(Source.ENVIRONMENT)
    assert not (tmp_path / "vault.key").exists(), "a key of the environment is written nowhere"
    wrong = MasterKey.random()
    with pytest.raises(
        KeyUnavailable, match=f"holds another key .{wrong.key_id}.*no .*vault.key.*Nothing was changed.*--lost-key"
    ) as caught:
        Keys.of(tmp_path, {"PERPKIT_VAULT_KEY": wrong.text.reveal()}).find(record)
    assert wrong.text.reveal() not in str(caught.value)
    with pytest.raises(KeyUnavailable, match="PERPKIT_VAULT_KEY is not set"):
        Keys.of(tmp_path, {}).find(record)
    with pytest.raises(KeyUnavailable, match="PERPKIT_VAULT_KEY holds no key"):
        Keys.of(tmp_path, {"PERPKIT_VAULT_KEY": "nonsense"}).find(record)


def test_a_passphrase_opens_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    keys = Keys(tmp_path, passphrase=Secret("correct horse battery"), work=CHEAP)
    key, record = keys.make(Source.PASSPHRASE)
    assert Keys(tmp_path, passphrase=Secret("correct horse battery")).find(record).text == key.text
    with pytest.raises(KeyUnavailable, match="not the passphrase") as caught:
        Keys(tmp_path, passphrase=Secret("wrong horse battery!")).find(record)
    assert "horse" not in str(caught.value)
    with pytest.raises(KeyUnavailable, match="set PERPKIT_VAULT_PASSPHRASE"):
        Keys(tmp_path).find(record)
    asked: list[str] = []

    def ask(question: str) -> Secret:
        asked.append(question)
        return Secret("correct horse battery")

    human = Keys(tmp_path, ask=ask)
    with pytest.raises(KeyUnavailable):
        human.find(record, asking=False)
    assert asked == []
    assert human.find(record).text == key.text
    assert human.find(record).text == key.text
    assert len(asked) == 1, "asked once"


def test_two_vaults_with_one_passphrase_have_different_keys(tmp_path: Path) -> None:
    keys = Keys(tmp_path, passphrase=Secret("correct horse battery"), work=CHEAP)
    assert keys.make(Source.PASSPHRASE)[0].key_id != keys.make(Source.PASSPHRASE)[0].key_id


def test_a_new_passphrase_is_typed_twice_and_long_enough(tmp_path: Path) -> None:
    answers = iter(["correct horse", "correct hose!", "short", "short"])
    keys = Keys(tmp_path, ask=lambda _: Secret(next(answers)), work=CHEAP)
    with pytest.raises(KeyUnavailable, match="two different"):
        keys.make(Source.PASSPHRASE)
    with pytest.raises(KeyUnavailable, match="at least 12"):
        keys.make(Source.PASSPHRASE)


@pytest.mark.parametrize(
    "record",
    [
        KeyRecord(key_id="a", source="passphrase", kdf='{"memory_kib": 999999999}', salt=bytes(16)),
        KeyRecord(key_id="a", source="passphrase", kdf='{"iterations": 0}', salt=bytes(16)),
        KeyRecord(key_id="a", source="passphrase", kdf='{"lanes": 4, "memory_kib": 9}', salt=bytes(16)),
        KeyRecord(key_id="a", source="passphrase", kdf="{", salt=bytes(16)),
        KeyRecord(key_id="a", source="passphrase", kdf='{"iterations": 1}', salt=b"short"),
    ],
)
def test_changed_work_of_a_passphrase_is_refused_before_it_costs_anything(tmp_path: Path, record: KeyRecord) -> None:
    with pytest.raises(VaultDamaged, match="was changed"):
        Keys(tmp_path, passphrase=Secret("correct horse battery")).find(record)


def test_the_default_work_is_the_rfc_second_choice() -> None:
    assert (Argon2().iterations, Argon2().lanes, Argon2().memory_kib) == (3, 4, 65536)


# ---- the keyring of the system


def _keyring(monkeypatch: pytest.MonkeyPatch, **calls: object) -> None:
    module = types.ModuleType("keyring")
    for name, call in calls.items():
        setattr(module, name, call)
    monkeypatch.setitem(sys.modules, "keyring", module)


def test_the_keyring_keeps_and_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    from keyring.backend import KeyringBackend

    class Memory(KeyringBackend):
        """A backend as keyring wants one: its interface is real, its place is this test."""

        priority = 1

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.held: dict[tuple[str, str], str] = {}

        def get_password(self, service: str, username: str) -> str | None:
            return self.held.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            self.held[service, username] = password

        def delete_password(self, service: str, username: str) -> None:
            del self.held[service, username]

    before, memory = keyring.get_keyring(), Memory()
    keyring.set_keyring(memory)
    try:
        key, record = Keys.of(tmp_path, {}).make(Source.KEYRING)
        assert list(memory.held) == [("perpkit vault", key.key_id)]
        assert Keys.of(tmp_path, {}).find(record).text == key.text
        Keys.of(tmp_path, {}).drop(record)
        assert memory.held == {}
        with pytest.raises(KeyUnavailable, match="the keyring does not have it"):
            Keys.of(tmp_path, {}).find(record)
    finally:
        keyring.set_keyring(before)


def test_a_keyring_that_fails_says_what_else_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(service: str, name: str, password: str) -> None:
        raise RuntimeError(f"no daemon for {password}")

    _keyring(monkeypatch, set_password=broken)
    with pytest.raises(KeyUnavailable, match=r"RuntimeError.*--key file") as caught:
        Keys.of(tmp_path, {}).make(Source.KEYRING)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(KeyUnavailable, match="pip install"):
        Keys.of(tmp_path, {}).make(Source.KEYRING)


def test_a_keyring_that_forgets_at_once_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _keyring(monkeypatch, set_password=lambda *_: None, get_password=lambda *_: None)
    with pytest.raises(KeyUnavailable, match="did not keep"):
        Keys.of(tmp_path, {}).make(Source.KEYRING)
