"""Places of models: packaged, in a folder, on the Hugging Face Hub."""

import re
from pathlib import Path

from rebridge.images.atomic import reason
from rebridge.models.base import ModelError
from rebridge.models.config import CONFIG_FILE, FILES, WEIGHTS_FILE, read_config

PACKAGED = Path(__file__).parent / "packaged"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def packaged() -> list[str]:
    """Names of the models that come with rebridge."""
    return sorted(path.parent.name for path in PACKAGED.glob(f"*/{CONFIG_FILE}"))


def find_model(name: str | Path, revision: str | None = None) -> Path:
    """Find the local folder or file of a model.

    The model is given by packaged name, path, or Hugging Face id such as 'someone/model'.

    A model of the Hub is downloaded once and found in the cache from then on; `revision` is a branch, tag or commit.
    Raises ModelError, one sentence that says what to do.
    """
    if str(name) in packaged():
        return PACKAGED / str(name)
    folder = Path(name).expanduser()
    if folder.is_dir() or folder.is_file():
        return folder
    if isinstance(name, str) and HUB_ID.fullmatch(name):
        return _download(name, revision)
    known = ", ".join(packaged()) or "none"
    raise ModelError(
        f"unknown model '{name}': neither a folder nor an id like 'owner/model'; the packaged models are {known}"
    )


def push_model(
    folder: str | Path, repo_id: str, private: bool = False, token: str | None = None, message: str | None = None
) -> str:
    """Upload a model folder to the Hugging Face Hub; return its address.

    The repository is made when missing.

    `token` None means the one `hf auth login` has stored. Raises ModelError when the folder holds no model or the Hub
    refuses.
    """
    read_config(folder)
    if not (Path(folder) / WEIGHTS_FILE).is_file():
        raise ModelError(f"{folder} is not a model folder: it has no {WEIGHTS_FILE}")
    from huggingface_hub import HfApi

    try:
        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=str(folder),
            allow_patterns=list(FILES),
            commit_message=message or "Upload a rebridge model",
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot upload {folder} to '{repo_id}': {_first_line(error)}") from error
    return str(commit.repo_url)


def _download(repo_id: str, revision: str | None) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    where = f"model '{repo_id}'" + (f" at revision '{revision}'" if revision else "")
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(FILES)))
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
    except (OSError, ValueError) as error:
        raise ModelError(f"{where} cannot be downloaded: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else reason(error)
