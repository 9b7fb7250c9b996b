"""The master key of the vault, and where it is kept: a file of its own, the system's keyring, a variable, or in somebody's head.

A key names itself: its id is a one-way function of it, so the right one is recognised wherever it turns up, and a wrong one is told from a
damaged row. Nothing here prints or logs a key.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import hashlib
import hmac
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from exchange_clients.secret import Secret

KEY_BYTES = 32
SALT_BYTES = 16
FILE = "vault.key"
SERVICE = "perpkit vault"
VARIABLE = "PERPKIT_VAULT_KEY"
PASSPHRASE = "PERPKIT_VAULT_PASSPHRASE"  # noqa: S105 - the name of a variable
NEW_VARIABLE = "PERPKIT_VAULT_NEW_KEY"
NEW_PASSPHRASE = "PERPKIT_VAULT_NEW_PASSPHRASE"  # noqa: S105 - the name of a variable
SHORTEST = 12
"""Letters of a passphrase."""
_HEADER = "# Keys of the vault of perpkit. With one of them and the database the credentials can be read: keep both apart, and this 0600.\n"
_MAX_FILE_BYTES = 64 * 1024
LOST = (
    "Nothing was changed. Bring the key back from where you keep copies; without it nobody can read the credentials, and "
    "`perpkit accounts remove --lost-key` empties the vault, so that they can be added again"
)
_KEYRING_EXTRA = 'the keyring needs another package: pip install "perpkit[keyring]"'


class VaultError(Exception):
    """The vault could not do what was asked; nothing was changed. The message holds no secret."""


class VaultDamaged(VaultError):
    """Something stored is not what was stored: changed by others, or by a broken disk. Nothing of it is used."""


class KeyUnavailable(VaultError):
    """The key of this vault was not found where it was looked for; says where that was."""


class KeyUnsafe(VaultError):
    """The file with the key may be read, or exchanged, by others."""


class Source(StrEnum):
    """Where a key is kept."""

    FILE = "file"
    KEYRING = "keyring"
    ENVIRONMENT = "environment"
    PASSPHRASE = "passphrase"  # noqa: S105 - a word


class Argon2(msgspec.Struct, frozen=True):
    """Work of Argon2id: RFC 9106's second recommendation. Upper bounds keep a changed row from using up the machine."""

    iterations: int = 3
    lanes: int = 4
    memory_kib: int = 64 * 1024

    @property
    def sane(self) -> bool:
        """Neither impossible nor more than a machine of a trader can bear."""
        return 1 <= self.iterations <= 32 and 1 <= self.lanes <= 64 and 8 * self.lanes <= self.memory_kib <= 1024 * 1024


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the database knows of a key: nothing that opens anything. `kdf` is empty for random keys, JSON of `Argon2` for a passphrase."""

    key_id: str
    source: str
    kdf: str = ""
    salt: bytes = b""


class MasterKey:
    """32 bytes with an id. Uses of it are kept apart: one part encrypts, one seals, one names."""

    __slots__ = ("_raw", "key_id")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise VaultError(f"a key has {KEY_BYTES} bytes")
        self._raw = raw
        self.key_id = self._part(b"id")[:8].hex()

    @classmethod
    def random(cls) -> MasterKey:
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def parse(cls, text: Secret, where: str) -> MasterKey:
        """From base64.

        Raises:
            KeyUnavailable: it is no such text; `where` is said, the text is not.
        """
        try:
            return cls(base64.b64decode(text.reveal().strip().encode(), validate=True))
        except (ValueError, binascii.Error, VaultError):
            pass
        raise KeyUnavailable(f"{where} holds no key: 32 bytes in base64 are expected (43 letters and digits, then =)")

    @classmethod
    def derive(cls, passphrase: Secret, salt: bytes, work: Argon2) -> MasterKey:
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        kdf = Argon2id(salt=salt, length=KEY_BYTES, iterations=work.iterations, lanes=work.lanes, memory_cost=work.memory_kib)
        return cls(kdf.derive(passphrase.reveal().encode()))

    @property
    def text(self) -> Secret:
        """As it is kept."""
        return Secret(base64.b64encode(self._raw).decode())

    @property
    def encryption(self) -> Any:
        """The cipher."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._part(b"encrypt"))

    def seal(self, data: bytes) -> bytes:
        """A code that only this key gives to `data`."""
        return hmac.digest(self._part(b"seal"), data, "sha256")

    def _part(self, use: bytes) -> bytes:
        return hmac.digest(self._raw, b"perpkit vault " + use + b"\x01", hashlib.sha256)

    def __repr__(self) -> str:
        return f"MasterKey({self.key_id})"

    def __reduce__(self) -> Any:
        raise TypeError("keys are not serialised")


class KeyFile:
    """Keys by id in one file that only its owner can read.

    Every change is a new file, on disk before it takes the old one's name; at any moment the whole old one or the whole new one is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Secret]:
        """Every key by its id; none when there is no file (and on Windows, which has no such permissions: there the keyring keeps keys).

        Raises:
            KeyUnsafe: others can read it, it is a link, or somebody else's.
            KeyUnavailable: it cannot be read or understood.
        """
        if sys.platform == "win32":
            return {}
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return {}
        except OSError as e:
            if e.errno == errno.ELOOP:
                raise KeyUnsafe(f"{self.path} is a link: put the key's file itself there") from None
            raise KeyUnavailable(f"{self.path} cannot be read: {e.strerror}") from None
        try:
            self._check(os.fstat(handle))
            return self._parsed(Secret(os.read(handle, _MAX_FILE_BYTES).decode("ascii", "replace")))
        finally:
            os.close(handle)

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise KeyUnsafe(f"{self.path} is no file")
        if found.st_mode & 0o077:
            raise KeyUnsafe(f"{self.path} may be used by others (mode {stat.S_IMODE(found.st_mode):04o}): chmod 600 {self.path}")
        if found.st_uid != os.geteuid():
            raise KeyUnsafe(f"{self.path} belongs to another user: chown it, or run as that user")

    def _parsed(self, text: Secret) -> dict[str, Secret]:
        found: dict[str, Secret] = {}
        for number, line in enumerate(map(Secret, text.reveal().splitlines()), 1):
            if not line.reveal().strip() or line.reveal().startswith("#"):
                continue
            named = Secret(line.reveal().partition(" ")[0])
            key = MasterKey.parse(Secret(line.reveal().partition(" ")[2]), f"line {number} of {self.path}")
            if named != Secret(key.key_id):
                raise KeyUnavailable(f"line {number} of {self.path} is damaged: the key there is not the one it names")
            found[key.key_id] = key.text
        return found

    def add(self, key: MasterKey) -> None:
        """On disk when it returns."""
        with self._changing():
            self._write({**self.read(), key.key_id: key.text})

    def remove(self, key_id: str) -> None:
        """Nothing happens when it is not there."""
        with self._changing():
            keys = self.read()
            if keys.pop(key_id, None) is not None:
                self._write(keys)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One process at a time; the lock ends with the process."""
        if sys.platform == "win32":
            raise KeyUnavailable("on Windows the key is kept in the keyring: --key keyring")
        import fcntl

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise KeyUnavailable(f"{self.path} cannot be written: {e.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, keys: Mapping[str, Secret]) -> None:
        new = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                with open(handle, "w", encoding="ascii") as file:
                    file.write(_HEADER)
                    for key_id, text in sorted(keys.items()):
                        file.write(f"{key_id} {text.reveal()}\n")
                    file.flush()
                    os.fsync(handle)
                os.replace(new, self.path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    new.unlink()
                raise
            _sync_folder(self.path.parent)
        except OSError as e:
            raise KeyUnavailable(f"{self.path} cannot be written: {e.strerror}; nothing was changed") from None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Keyring:
    """The keyring of the system: loaded when it is asked for, and not before."""

    def read(self, key_id: str) -> Secret | None:
        found: Secret | None = self._try(lambda ring: None if (text := ring.get_password(SERVICE, key_id)) is None else Secret(text))
        return found

    def add(self, key: MasterKey) -> None:
        self._try(lambda ring: ring.set_password(SERVICE, key.key_id, key.text.reveal()))
        if self.read(key.key_id) != key.text:
            raise KeyUnavailable("the keyring did not keep the key; use --key file")

    def remove(self, key_id: str) -> None:
        self._try(lambda ring: ring.delete_password(SERVICE, key_id) if ring.get_password(SERVICE, key_id) is not None else None)

    def _try(self, use: Callable[[Any], Any]) -> Any:
        try:
            import keyring
        except ImportError:
            raise KeyUnavailable(_KEYRING_EXTRA) from None
        try:
            return use(keyring)
        except Exception as e:  # its backends raise what they like, and their words and frames may hold what they were given
            kind = type(e).__name__
        raise KeyUnavailable(f"the keyring of this system does not work here ({kind}); use --key file") from None


@dataclass(slots=True)
class Keys:
    """Every place where this process may look for a key, and where it makes one.

    `ask` gets a passphrase from a human (it is given the question); None where there is nobody to ask. `new_variable` and `new_passphrase`:
    what a rotation goes to.
    """

    folder: Path
    variable: Secret | None = None
    passphrase: Secret | None = None
    new_variable: Secret | None = None
    new_passphrase: Secret | None = None
    ask: Callable[[str], Secret] | None = None
    work: Argon2 = field(default_factory=Argon2)
    keyring: Keyring = field(default_factory=Keyring)
    _found: dict[str, MasterKey] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, folder: Path, environ: Mapping[str, str], ask: Callable[[str], Secret] | None = None) -> Keys:
        """With what these variables say."""

        def given(name: str) -> Secret | None:
            return Secret(environ.get(name, "")) or None

        return cls(folder, given(VARIABLE), given(PASSPHRASE), given(NEW_VARIABLE), given(NEW_PASSPHRASE), ask)

    @property
    def file(self) -> KeyFile:
        return KeyFile(self.folder / FILE)

    @property
    def default_source(self) -> Source:
        """Where a first key goes: what the user set in the environment counts as a wish; else the file."""
        return Source.ENVIRONMENT if self.variable else Source.PASSPHRASE if self.passphrase else Source.FILE

    def find(self, record: KeyRecord, *, asking: bool = True) -> MasterKey:
        """The key of that id, wherever it is. `asking` False: nobody is asked for a passphrase.

        Raises:
            KeyUnavailable: it is nowhere; says where it was looked for, and what a lost key means.
            KeyUnsafe: its file is open to others.
        """
        if record.key_id not in self._found:
            self._found[record.key_id] = self._derived(record, asking) if record.kdf else self._kept(record)
        return self._found[record.key_id]

    def _kept(self, record: KeyRecord) -> MasterKey:
        looked: list[str] = []
        if self.variable:
            key = MasterKey.parse(self.variable, VARIABLE)
            if key.key_id == record.key_id:
                return key
            looked.append(f"{VARIABLE} holds another key ({key.key_id})")
        else:
            looked.append(f"{VARIABLE} is not set")
        text = self.file.read().get(record.key_id)
        if text is not None:
            return MasterKey.parse(text, str(self.file.path))
        looked.append(f"{self.file.path} does not have it" if self.file.path.exists() else f"there is no {self.file.path}")
        if record.source == Source.KEYRING:
            text = self.keyring.read(record.key_id)
            if text is not None and (key := MasterKey.parse(text, "the keyring")).key_id == record.key_id:
                return key
            looked.append("the keyring does not have it")
        raise KeyUnavailable(
            f"the vault is locked with key {record.key_id} (made for: {record.source}), which is not there: {', '.join(looked)}. {LOST}"
        )

    def _derived(self, record: KeyRecord, asking: bool) -> MasterKey:
        try:
            work = msgspec.json.decode(record.kdf, type=Argon2)
        except msgspec.DecodeError:
            work = None
        if work is None or not work.sane or len(record.salt) != SALT_BYTES:
            raise VaultDamaged(f"what the database says of key {record.key_id} was changed: bring a copy of the database back")
        given = self.passphrase or (self.ask("Passphrase of the vault: ") if asking and self.ask is not None else None)
        if not given:
            raise KeyUnavailable(f"the vault is locked with a passphrase: set {PASSPHRASE}, or run this in a terminal to be asked")
        key = MasterKey.derive(given, record.salt, work)
        if key.key_id != record.key_id:
            raise KeyUnavailable(f"that is not the passphrase of this vault (key {record.key_id}). {LOST}")
        return key

    def make(self, source: Source, *, rotating: bool = False) -> tuple[MasterKey, KeyRecord]:
        """A new key, durable when this returns.

        Raises:
            VaultError: it cannot be kept there.
        """
        kdf, salt = "", b""
        match source:
            case Source.FILE:
                key = MasterKey.random()
                self.file.add(key)
            case Source.KEYRING:
                key = MasterKey.random()
                self.keyring.add(key)
            case Source.ENVIRONMENT:
                name, text = (NEW_VARIABLE, self.new_variable) if rotating else (VARIABLE, self.variable)
                if not text:
                    raise KeyUnavailable(f"{name} is not set: put 32 random bytes in base64 there (`openssl rand -base64 32` makes them)")
                key = MasterKey.parse(text, name)
            case _:
                kdf, salt = msgspec.json.encode(self.work).decode(), secrets.token_bytes(SALT_BYTES)
                key = MasterKey.derive(self._chosen(rotating), salt, self.work)
        self._found[key.key_id] = key
        return key, KeyRecord(key_id=key.key_id, source=source.value, kdf=kdf, salt=salt)

    def _chosen(self, rotating: bool) -> Secret:
        name, given = (NEW_PASSPHRASE, self.new_passphrase) if rotating else (PASSPHRASE, self.passphrase)
        if not given:
            if self.ask is None:
                raise KeyUnavailable(f"no passphrase was given: set {name}, or run this in a terminal to be asked")
            given = self.ask("New passphrase of the vault: ")
            if given != self.ask("The same again: "):
                raise KeyUnavailable("those were two different passphrases; nothing was changed")
        if len(given.reveal()) < SHORTEST:
            raise KeyUnavailable(f"a passphrase that protects money has at least {SHORTEST} letters: take a few words")
        return given

    def forget(self) -> None:
        """What was found is looked for again."""
        self._found.clear()

    def drop(self, record: KeyRecord) -> None:
        """Forget a key that nothing is locked with any more; one in a variable is the user's to forget."""
        self._found.pop(record.key_id, None)
        self.file.remove(record.key_id)
        if record.source == Source.KEYRING:
            self.keyring.remove(record.key_id)
