"""What commands share about priors: the options of --method irbridge, and the restorer they make."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rebridge.cli.console import err

if TYPE_CHECKING:
    from rebridge.restoration import Restorer

DEFAULT_MODELS = {"bridge": "rdbm-tiny", "irbridge": "pixel-prior-tiny"}

Method = Annotated[
    Literal["bridge", "irbridge"],
    typer.Option(help="bridge: a model trained on its bridge. irbridge: a generative prior inside a bridge."),
]
AnyModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Name, folder or Hugging Face id; with irbridge also a diffusers pipeline. See `rebridge models`.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        help="With irbridge: paper, sound, tuned (the prior's own, the default where it has one), or a file of `rebridge tune`."
    ),
]
Task = Annotated[str | None, typer.Option("--task", "-t", help="With irbridge: rain, haze, ...: settings for it.")]
BridgeName = Annotated[
    str | None, typer.Option("--bridge", help="With irbridge: as ir-sde or goub:lam=0.01; see `rebridge bridges`.")
]
ScheduleName = Annotated[str | None, typer.Option("--schedule", help="With irbridge: when the prior is asked.")]
ControlNet = Annotated[
    str | None,
    typer.Option("--controlnet", help="With irbridge and a diffusers pipeline: folder or id of its condition."),
]
PriorOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--prior-option",
        help="With irbridge: how the prior runs, as guidance=2, and with a diffusers pipeline tiling=true, "
        "attention_slicing=true, cpu_offload=model, variant=fp16; repeat it.",
    ),
]
Detail = Annotated[
    float, typer.Option(help="With irbridge: 0 to 1, keep the input's details where nothing was restored.")
]


def open_restorer(
    method: str,
    model: str | None,
    device: str | None = None,
    dtype: str | None = None,
    *,
    preset: str | None = None,
    task: str | None = None,
    bridge: str | None = None,
    schedule: str | None = None,
    controlnet: str | None = None,
    detail: float = 0.0,
    prior_options: list[str] | None = None,
) -> "Restorer":
    """The restorer of a method; raises ValueError for options that belong to the other method.

    Says so on stderr where the prior does not see the degraded image.
    """
    name = model or DEFAULT_MODELS[method]
    if method == "bridge":
        given: dict[str, Any] = {"--preset": preset, "--task": task, "--bridge": bridge, "--schedule": schedule}
        given |= {"--controlnet": controlnet, "--detail": detail or None, "--prior-option": prior_options}
        for option, value in given.items():
            if value is not None:
                raise ValueError(f"{option} goes with --method irbridge")
        from rebridge.restoration import Restorer

        return Restorer.from_pretrained(name, device, dtype)
    from rebridge.evaluation.compare import Spec
    from rebridge.irbridge import IRBridgeRestorer

    settings: dict[str, Any] = {"task": task, "detail": detail, "schedule": schedule}
    if bridge is not None:
        spec = Spec.parse(bridge)
        settings["bridge"] = {"name": spec.name, **spec.params}
    prior = dict(_option(text) for text in prior_options or [])
    if controlnet is not None:
        prior["controlnet"] = controlnet
    restorer = IRBridgeRestorer.from_pretrained(name, device, dtype, prior=prior, preset=preset, **settings)
    if not restorer.prior.conditional:
        err().print(
            f"Note: {name} does not see the degraded image, so the result drifts to what is likely without it; train a condition "
            "(docs/irbridge.md), or use `rebridge solve` for a known degradation",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    return restorer


def _option(text: str) -> tuple[str, Any]:
    """Key and value of --prior-option; the value may have commas in it, as a prompt has."""
    from rebridge.evaluation.compare import value_of

    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ValueError(f"--prior-option takes KEY=VALUE, got {text!r}")
    return key.strip(), value_of(value.strip())
