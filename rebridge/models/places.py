"""Places of models: packaged, in a folder, on the Hugging Face Hub."""

import contextlib
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rebridge.images.atomic import reason
from rebridge.models.base import ModelError
from rebridge.models.card import card, card_metadata
from rebridge.models.config import CARD_FILE, CONFIG_FILE, FILES, WEIGHTS_FILE, read_config

PACKAGED = Path(__file__).parent / "packaged"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_FILE = re.compile(rf"({HUB_ID.pattern})/([\w./-]+\.(?:pth|pt|ckpt|bin|safetensors))")
"""A file of weights on the Hub, as in someone/model/weights.pt."""


def packaged() -> list[str]:
    """Names of the models that come with rebridge."""
    return sorted(path.parent.name for path in PACKAGED.glob(f"*/{CONFIG_FILE}"))


def find_model(name: str | Path, revision: str | None = None, task: str | None = None) -> Path:
    """Find the local folder or file of a model.

    The model is given by packaged name, path, or Hugging Face id such as 'someone/model', or 'someone/model/weights.pt' for
    one file of its authors. Of a published repository with several files, `task` chooses one, by default the first.

    A model of the Hub is downloaded once and found in the cache from then on; `revision` is a branch, tag or commit, which may
    stand behind the name too: 'someone/model@v2'. Raises ModelError, one sentence that says what to do.
    """
    name, revision = at_revision(name, revision)
    if str(name) in packaged():
        return PACKAGED / str(name)
    folder = Path(os.path.expanduser(name))
    if folder.is_dir() or folder.is_file():
        return folder
    from rebridge.models.formats.published.checkpoints import on_hub

    file = on_hub(str(name), task) or str(name)
    if HUB_FILE.fullmatch(file):
        return _download_file(file, revision)
    if isinstance(name, str) and HUB_ID.fullmatch(name):
        return _download(name, revision)
    known = ", ".join(packaged()) or "none"
    raise ModelError(
        f"unknown model '{name}': neither a folder nor an id like 'owner/model'; the packaged models are {known}"
    )


def at_revision(name: str | Path, revision: str | None = None) -> tuple[str | Path, str | None]:
    """Split 'someone/model@v2' into name and revision, unless that is a path here."""
    repository, _, behind = str(name).rpartition("@")
    remote = HUB_ID.fullmatch(repository) or HUB_FILE.fullmatch(repository)
    if revision is not None or not behind or not remote or os.path.exists(os.path.expanduser(name)):
        return name, revision
    return repository, behind


def push_model(
    folder: str | Path,
    repo_id: str,
    private: bool = False,
    token: str | None = None,
    message: str | None = None,
    revision: str | None = None,
) -> str:
    """Upload a model folder to the Hugging Face Hub; return its address.

    The repository is made when missing. The card gets the metadata that it lacks (`rebridge.models.card.card_metadata`); the
    weights are checked against their sha256 before.

    Args:
        folder: holds the model.
        repo_id: "owner/name".
        private: of a repository that is made.
        token: None means the one `hf auth login` has stored.
        message: of the commit.
        revision: branch that is written to, made when missing; by default the main one.

    Raises:
        ModelError: the folder holds no model, or the Hub refuses, or cannot be reached.
    """
    config = read_config(folder)
    weights = Path(folder) / WEIGHTS_FILE
    if not weights.is_file():
        raise ModelError(f"{folder} is not a model folder: it has no {WEIGHTS_FILE}")
    if not HUB_ID.fullmatch(repo_id):
        raise ModelError(f"a repository is named owner/name, got {repo_id!r}")
    from rebridge.models.weights import checksum

    if config.get("sha256") not in (None, checksum(weights)):
        raise ModelError(f"{weights} is not the file that {CONFIG_FILE} describes (wrong sha256); nothing is uploaded")
    needs_hub(f"uploading to '{repo_id}'")
    from huggingface_hub import CommitOperationAdd, HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"cannot upload {folder} to '{repo_id}': HF_HUB_OFFLINE is set; unset it to reach the Hub")
    files = {path.name: path for path in map(Path(folder).joinpath, FILES) if path.is_file()}
    contents: dict[str, str | bytes] = {name: str(path) for name, path in files.items()}
    contents[CARD_FILE] = _card_with_metadata(files.get(CARD_FILE), repo_id.rpartition("/")[2], config).encode()
    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=place) for name, place in contents.items()]
    try:
        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.create_commit(
            repo_id, additions, commit_message=message or "Upload a rebridge model", revision=revision
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"cannot upload {folder} to '{repo_id}': {_first_line(error)}") from error
    return str(commit.repo_url)


def _card_with_metadata(path: Path | None, name: str, config: dict[str, Any]) -> str:
    """The card of a folder, with what its front matter lacks; one made from the config where there is none."""
    if path is None:
        return card(name, config)
    import yaml

    text = path.read_text(encoding="utf-8")
    parts = text.split("---\n", 2) if text.startswith("---\n") else ["", "", text]
    if len(parts) < 3:
        parts = ["", "", text]
    try:
        known = yaml.safe_load(parts[1]) or {}
    except yaml.YAMLError as error:
        raise ModelError(f"the front matter of {path} is no YAML: {_first_line(error)}") from None
    if not isinstance(known, dict):
        raise ModelError(f"the front matter of {path} is no mapping")
    missing = {key: value for key, value in card_metadata(name, config).items() if key not in known}
    if not missing:
        return text
    return f"---\n{yaml.safe_dump(known | missing, sort_keys=False, allow_unicode=True)}---\n{parts[2]}"


def _download(repo_id: str, revision: str | None) -> Path:
    where = _where(repo_id, revision)
    needs_hub(f"model {where} is no folder here; downloading it")
    from huggingface_hub import snapshot_download

    with _explained(f"model {where}"):
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(FILES)))


def _download_file(name: str, revision: str | None) -> Path:
    found = HUB_FILE.fullmatch(name)
    assert found is not None
    where = _where(name, revision)
    needs_hub(f"file {where} is not here; downloading it")
    from huggingface_hub import hf_hub_download

    with _explained(f"file {where}"):
        return Path(hf_hub_download(found[1], found[2], revision=revision))


def needs_hub(what: str) -> None:
    """Raise ModelError where the extra `hub` is not installed.

    what: begins the sentence, such as "uploading to 'someone/model'".
    """
    if find_spec("huggingface_hub") is None:
        raise ModelError(f"{what} needs an extra package (huggingface_hub is missing): pip install 'rebridge[hub]'")


def _where(name: str, revision: str | None) -> str:
    return f"'{name}'" + (f" at revision '{revision}'" if revision else "")


@contextlib.contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn the Hub's errors into one sentence about the model or file there."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        raise ModelError(f"{where} is gated: ask for access on its page and log in with `hf auth login`") from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"{where} is neither a folder nor on the Hugging Face Hub, or it is private and needs `hf auth login`"
        ) from None
    except LocalEntryNotFoundError:
        if constants.HF_HUB_OFFLINE:
            advice = "unset HF_HUB_OFFLINE to download it, or give a folder"
        else:
            advice = "check the connection, or give a folder"
        raise ModelError(
            f"{where} is no folder here, not in the cache, and the Hub cannot be reached: {advice}"
        ) from None
    except EntryNotFoundError:
        raise ModelError(f"{where} is not in that repository of the Hugging Face Hub") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{where} cannot be downloaded: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else reason(error)
