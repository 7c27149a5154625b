"""List of the published checkpoints, with places, licences and commands.

Nothing is downloaded: most lie on drives that need a browser. `where` says how to get there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One published checkpoint.

    Args:
        name: Name for the folder that it becomes.
        family: Family, as `convert` takes it.
        task: Task of the family, where the weights do not tell; "" where there is none.
        files: Names of the authors' files.
        parameters: Number of weights, in millions, those of an autoencoder left out.
        where: Place of the files.
        licence: Licence of the authors' code.
        weights: What they say of the weights.
    """

    name: str
    family: str
    task: str
    files: tuple[str, ...]
    parameters: float
    where: str
    licence: str
    weights: str = "none given"

    @property
    def command(self) -> str:
        """The command that converts it."""
        task = f" --task {self.task}" if self.task else ""
        return f"rebridge convert {' '.join(self.files)} --from {self.family}{task} -o {self.name}"

    @property
    def row(self) -> dict[str, str]:
        """Its line in a table."""
        million = str(self.parameters)
        return {
            "model": self.name,
            "million": million,
            "where": self.where,
            "licence": self.licence,
            "command": self.command,
        }


def _drive(repository: str) -> str:
    return f"Google Drive, linked from github.com/{repository}"


def _family(
    family: str, files: tuple[str, ...], sizes: dict[str, float], where: str, licence: str, weights: str = "none given"
) -> list[Published]:
    """List the tasks of a family whose files have the same names and places."""
    return [
        Published(f"{family}-{task}", family, task, files, size, where, licence, weights)
        for task, size in sizes.items()
    ]


_IRSDE = _drive("Algolzw/image-restoration-sde")
_GOUB = _drive("Hammour-steak/GOUB")
_UNIDB = _drive("UniDB-SOC/UniDB")
_I2SB_TASKS = (
    "jpeg-5", "jpeg-10", "sr4x-pool", "sr4x-bicubic", "blur-uni", "blur-gauss", "inpaint-center",
    "inpaint-freeform1020", "inpaint-freeform2030",
)  # fmt: skip
_RESSHIFT = "github.com/zsyOAOA/ResShift/releases"
_S_LAB = "S-Lab 1.0, non-commercial"
_OPENAI = "linked from github.com/openai/guided-diffusion"

PUBLISHED: tuple[Published, ...] = (
    *(
        Published(f"diffuir-{size}", "diffuir", "", ("model-300.pt",), parameters,
                  f"{_drive('iSEE-Laboratory/DiffUIR')}, or OneDrive", "MIT")
        for size, parameters in (("t", 0.89), ("s", 3.27), ("b", 12.41), ("l", 36.26))
    ),
    *_family("rddm", ("model.pt",), {"raindrop": 72.52, "inpaint": 72.52, "lowlight": 36.26},
             "rec.ustc.edu.cn, linked from github.com/nachifur/RDDM", "none given"),
    *_family("ir-sde", ("ir-sde.pth",), {"rain": 137.15, "blur": 137.15, "sr4": 137.15, "inpaint": 34.80, "shadow": 135.3},
             _IRSDE, "MIT"),
    Published("ir-sde-noise", "ir-sde-denoising", "", ("ir-sde.pth",), 137.14, _IRSDE, "MIT"),
    *_family("refusion", ("refusion.pth",), {"blur": 76.61, "sr4": 76.61, "shadow": 76.61}, _IRSDE, "MIT"),
    *_family("goub", ("lastest_EMA.pth",), {"rain": 137.15, "sr4": 137.15, "inpaint": 137.15}, _GOUB, "MIT"),
    *_family("unidb", ("lastest_EMA.pth",), {"rain": 137.15, "sr4": 137.15, "inpaint": 137.15}, _UNIDB,
             "none given (UniDB++: MIT)"),
    *(
        Published(f"hi-diff-{data}", "hi-diff", "", ("net_g.pth", "net_le_dm.pth", "net_d.pth"), parameters,
                  _drive("zhengchen1999/HI-Diff"), "Apache-2.0")
        for data, parameters in (("gopro", 28.49), ("realblur-j", 24.18), ("realblur-r", 24.18))
    ),
    *_family("i2sb", ("latest.pt",), dict.fromkeys(_I2SB_TASKS, 552.81), _drive("NVlabs/I2SB"),
             "NVIDIA, non-commercial", "CC BY-NC-SA 4.0"),
    Published("ddbm-edges2handbags", "ddbm", "edges2handbags", ("alexzhou907/DDBM/e2h_ema_0.9999_420000.pt",), 295.14,
              "huggingface.co/alexzhou907/DDBM", "none given"),
    Published("ddbm-diode", "ddbm", "diode", ("alexzhou907/DDBM/diode_ema_0.9999_440000.pt",), 552.81,
              "huggingface.co/alexzhou907/DDBM", "none given"),
    Published("bbdm-f4", "bbdm", "", ("top_model.pth",), 237.09, "Baidu, linked from github.com/xuekt98/BBDM", "MIT"),
    Published("resshift-v2", "resshift", "sr4", ("resshift_realsrx4_s15_v2.pth", "autoencoder_vq_f4.pth"), 118.59, _RESSHIFT,
              _S_LAB, _S_LAB),
    Published("resshift-v3", "resshift", "sr4-v3", ("resshift_realsrx4_s4_v3.pth", "autoencoder_vq_f4.pth"), 118.59, _RESSHIFT,
              _S_LAB, _S_LAB),
    Published("adm-imagenet", "adm", "", ("256x256_diffusion_uncond.pt",), 552.81, _OPENAI, "MIT",
              "MIT; the model card allows research only"),
    Published("adm-imagenet-classes", "adm", "", ("256x256_diffusion.pt",), 553.84, _OPENAI, "MIT",
              "MIT; the model card allows research only"),
    Published("adm-ffhq", "adm", "", ("ffhq_10m.pt",), 93.56,
              _drive("DPS2022/diffusion-posterior-sampling"), "MIT (guided-diffusion)"),
    Published("ddpm-celeba-hq", "ddpm", "", ("celeba_hq.ckpt",), 113.67, "linked from github.com/ermongroup/SDEdit", "MIT"),
    Published("vq-f4", "vq", "", ("model.ckpt",), 55.32, "linked from github.com/CompVis/latent-diffusion", "MIT"),
)  # fmt: skip
"""Every checkpoint known, by family."""


def on_hub(repository: str, task: str | None = None) -> str | None:
    """Find the published file of weights that a repository of the Hub means.

    Args:
        repository: An id such as "alexzhou907/DDBM".
        task: Of the family; by default that of the first file listed.

    Returns:
        An id such as "alexzhou907/DDBM/e2h_ema_0.9999_420000.pt", or None where no such checkpoint is known.
    """
    files = (entry.files[0] for entry in PUBLISHED if task in (None, entry.task))
    return next((file for file in files if file.startswith(f"{repository}/")), None)
