r"""TensorBoard's HParams tab: the same columns for runs and sweeps.

TensorBoard takes the columns from one of the runs, so every run declares all of them. It sorts them by name, those
declared as different from run to run first.
"""

from collections.abc import Mapping
from typing import Any

from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard.summary import hparams

NUMBERS = ("learning_rate", "momentum", "epochs", "eta_min", "batch_size", "samples", "noise", "seed")
TEXTS = (
    *("neurons", "hidden", "output", "trained_on", "features", "target", "task", "missing", "split"),
    *("backward", "schedule", "precision", "start_from"),
)
FIRST = ("learning_rate", "momentum", "neurons", "trained_on")
METRICS = ("loss/val", *(f"metrics/{name}" for name in ("accuracy", "auroc", "r2", "mean_absolute_error")))


def hparams_summaries(options: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    r"""The summaries of all columns, of the start of a run with its options, and of its end.

    Options that are not hyperparameters, such as devices, have no column. A list is shown as a text, such as "8, 8".
    """
    metrics = dict.fromkeys(METRICS, 0.0)  # declared; their values are those of the curves
    columns, *_ = hparams(dict.fromkeys(NUMBERS, 0.0) | dict.fromkeys(TEXTS, ""), metrics)
    plugin_data = columns.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(plugin_data.content)
    for info in content.experiment.hparam_infos:
        info.differs = info.name in FIRST
    plugin_data.content = content.SerializeToString()
    values: dict[str, Any] = {}
    options = {**options, "trained_on": options.get("dataset", "")}  # TensorBoard would put "dataset" first
    for name in (*NUMBERS, *TEXTS):
        text = as_text(options.get(name, ""))
        if text not in ("", "None"):
            values[name] = float(text) if name in NUMBERS else text
    _, start, end = hparams(values, metrics)
    return columns, start, end


def as_text(value: Any) -> str:
    r"""An option as a text.

    >>> as_text([8, 8]), as_text(4), as_text("tanh")
    ('8, 8', '4', 'tanh')
    """
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
