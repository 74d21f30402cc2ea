"""What a run leaves for TensorBoard besides its curves, read back from the event files."""

import io
import re

import lightning as L
import numpy as np
import pytest
import torch
from helpers.runs import fit
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from nnmath.data.datamodule import DataModule
from nnmath.data.dataset import Dataset
from nnmath.data.datasets import moons
from nnmath.equations import ACTIVATIONS
from nnmath.network import Network
from nnmath.training.module import TrainingModule
from nnmath.training.tensorboard import images, overview
from nnmath.training.tensorboard.curves import GradientNorm, Trajectory
from nnmath.training.tensorboard.histograms import Histograms, PrecisionRecall
from nnmath.training.tensorboard.images import Images, write_article
from nnmath.training.tensorboard.overview import CHARTS, Overview, gradient_table

OPTIONS = {"dataset": "moons", "learning_rate": 0.5, "backward": "manual", "neurons": 4, "features": None, "devices": 1}


def callbacks(every, article=None):
    path = Trajectory()
    return [
        *(GradientNorm(), path, Overview(OPTIONS, "python train.py --dataset moons")),
        *(Histograms(every), PrecisionRecall(every), Images(every, path, article)),
    ]


def read(folder):
    sizes = {"scalars": 0, "images": 0, "tensors": 0, "histograms": 0}
    events = EventAccumulator(str(folder), size_guidance=sizes)
    return events.Reload()


def steps(events):
    """tag ↦ its steps, for all that are no scalars."""
    tags = events.Tags()
    parts = (("images", events.Images), ("histograms", events.Histograms), ("tensors", events.Tensors))
    return {tag: [event.step for event in get(tag)] for kind, get in parts for tag in tags[kind]}


def text(events, tag):
    return [event.tensor_proto.string_val[0].decode() for event in events.Tensors(f"{tag}/text_summary")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("dashboard")
    module = TrainingModule(learning_rate=0.5)
    data = DataModule(moons(100))
    fit(module, data, folder, max_epochs=5, callbacks=callbacks(2, folder / "article")).test(
        module, data, verbose=False
    )
    return folder, read(folder), module


class TestARun:
    def test_has_each_under_one_name_every_k_epochs_and_at_the_end(self, run):
        learning = {key: [0, 2, 4, 5] for key in ("network/decision_boundary", "network/weights", "network/saturation")}
        histograms = {key: [0, 2, 4, 5] for key in ("parameters/value/layer1", "parameters/value/layer2")}
        assert steps(run[1]) == {
            **learning,
            "network/parameters": [0],
            "network/descent": [5],
            **histograms,
            "neurons/activation/layer1": [0, 2, 4, 5],
            **{key: [2, 4, 5] for key in ("parameters/gradient/layer1", "parameters/gradient/layer2")},
            "precision_recall/val": [2, 4, 5],
            "run/text_summary": [0],
            "parameters/text_summary": [0],
            "gradients/text_summary": [1, 5],
            "custom_scalars__config__": [0],
        }
        assert not [tag for tag in run[1].Tags()["scalars"] if "hp_metric" in tag]

    def test_the_pictures_are_pictures(self, run):
        for tag in run[1].Tags()["images"]:
            for event in run[1].Images(tag):
                pixels = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
                assert pixels.shape == (400, 500, 3)
                assert len(np.unique(pixels[::3, ::3].reshape(-1, 3) @ [1, 256, 65536])) > 20
        boundaries = [event.encoded_image_string for event in run[1].Images("network/decision_boundary")]
        assert len(set(boundaries)) == 4  # it moves

    def test_the_article_is_a_run_of_its_own_that_is_written_once(self, run, tmp_path):
        article = run[0] / "article"
        assert steps(read(article)) == {
            **{key: [0] for key in ("the_article/sigmoid", "the_article/tanh", "the_article/relu")},
            "the_article/firing": [0],
            "the_article/text_summary": [0],
        }
        assert "| B5 | Case 2 | ∂E/∂wᵢ = (O − y) O (1 − O) wₒ h (1 − h) x" in text(read(article), "the_article")[0]
        before = {path: path.stat() for path in article.iterdir()}
        fit(TrainingModule(), DataModule(moons(100)), run[0], max_epochs=1, callbacks=[Images(1, article=article)])
        assert {path: path.stat() for path in article.iterdir()} == before

    def test_the_histograms_are_of_what_they_say(self, run):
        _, events, module = run
        last = events.Histograms("parameters/value/layer1")[-1].histogram_value
        values = torch.cat([p.detach().flatten() for p in module.network.linears[0].parameters()]).double()
        assert last.num == 12
        assert last.sum == pytest.approx(float(values.sum()), rel=1e-6)
        hidden = events.Histograms("neurons/activation/layer1")[-1].histogram_value
        assert hidden.num == 60 * 4
        assert 0 < hidden.min < hidden.max < 1
        norms = [event.value for event in events.Scalars("training/gradient_norm/layer2")]
        gradient = events.Histograms("parameters/gradient/layer2")[-1].histogram_value
        assert gradient.sum_squares == pytest.approx(norms[-1] ** 2, rel=1e-5)

    def test_the_hparams_tab_has_the_options_and_the_last_loss_and_metrics(self, run):
        metadata = run[1].SummaryMetadata
        parse = HParamsPluginData.FromString
        experiment = parse(metadata("_hparams_/experiment").plugin_data.content).experiment
        assert {info.name.tag for info in experiment.metric_infos} == {"loss/val", "metrics/accuracy", "metrics/auroc"}
        assert {info.name.tag for info in experiment.metric_infos} < set(run[1].Tags()["scalars"])
        start = parse(metadata("_hparams_/session_start_info").plugin_data.content).session_start_info
        assert {name: value.string_value or value.number_value for name, value in start.hparams.items()} == {
            "dataset": "moons",
            "learning_rate": 0.5,
            "backward": "manual",
            "neurons": 4,
        }

    def test_the_charts_have_curves_that_there_are(self, run):
        (event,) = run[1].Tensors("custom_scalars__config__")
        layout = Layout.FromString(event.tensor_proto.string_val[0])
        charts = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
        assert charts == CHARTS
        scalars = run[1].Tags()["scalars"]
        assert all(any(re.fullmatch(tag, name) for name in scalars) for tags in charts.values() for tag in tags)

    def test_the_graph_is_fig_9(self, run):
        graph = GraphDef.FromString(run[1].Graph().SerializeToString())
        assert [node.name for node in graph.node] == ["x", "wᵢ", "bᵢ", "μ₁", "h", "wₒ", "bₒ", "μ₂", "O", "y", "E"]

    def test_the_tables(self, run):
        (told,) = text(run[1], "run")
        assert "python train.py --dataset moons" in told
        assert "| learning_rate | 0.5 |" in told
        assert text(run[1], "parameters")[0].splitlines()[2:] == [
            "| 1 | wᵢ | bᵢ | 4 x 2 | 4 | 12 | sigmoid |",
            "| 2 | wₒ | bₒ | 1 x 4 | 1 | 5 | sigmoid |",
            "|  |  |  |  |  | 17 |  |",
        ]
        for table in text(run[1], "gradients"):
            rows = table.splitlines()[2:]
            assert [row.split(" | ")[0] for row in rows] == ["| Case 2 (B5)"] * 2 + ["| Case 1 (B2)"] * 2
            assert all(row.endswith("| right |") for row in rows)


def test_the_check_of_a_run_sees_a_wrong_derivative(monkeypatch):
    torch.manual_seed(0)
    network, x, y = Network(backward="autograd"), torch.randn(20, 2), torch.rand(20, 1)
    assert gradient_table(network, x, y).count("| right |") == 4
    wrong = ACTIVATIONS["sigmoid"]._replace(derivative_from_output=lambda h: h * (1 - h) * 1.01)
    monkeypatch.setitem(ACTIVATIONS, "sigmoid", wrong)
    assert gradient_table(network, x, y).count("**WRONG**") == 4
    assert network.backward == "autograd"
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_run_that_goes_on_does_not_say_again_what_it_is(tmp_path):
    data, folder = DataModule(moons(100)), tmp_path / "run"

    def trainer(epochs):
        logger = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
        options = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
        options["log_every_n_steps"] = 1
        return L.Trainer(
            max_epochs=epochs, logger=logger, callbacks=callbacks(1), enable_checkpointing=False, **options
        )

    first = trainer(2)
    first.fit(TrainingModule(), data)
    first.save_checkpoint(tmp_path / "two.ckpt")
    again = trainer(4)
    again.fit(TrainingModule(), data, ckpt_path=tmp_path / "two.ckpt", weights_only=True)
    seen = steps(read(folder))
    assert seen["run/text_summary"] == seen["network/parameters"] == [0]
    assert sorted(seen["network/weights"]) == [0, 1, 2, 3, 4]  # files of the same second have no order
    (path,) = [callback for callback in again.callbacks if isinstance(callback, Trajectory)]
    assert path.epochs == [0, 1, 2, 3, 4]


def test_of_a_large_network_there_is_less(tmp_path, monkeypatch):
    """For what takes memory and time in proportion to the square of the parameters, or to a thousand of them."""
    monkeypatch.setattr(overview, "MAX_CHECKED_PARAMETERS", 16)
    monkeypatch.setattr(images, "MAX_CHECKED_PARAMETERS", 16)
    module, data = TrainingModule(), DataModule(moons(100))
    fit(module, data, tmp_path, max_epochs=2, callbacks=callbacks(1)).test(module, data, verbose=False)
    tags = {*steps(read(tmp_path))}
    assert "network/weights" in tags
    assert not {"network/descent", "gradients/text_summary"} & tags


def test_a_run_of_a_data_set_called_article_lies_beside_the_article(tmp_path):
    (tmp_path / "article" / "version_0").mkdir(parents=True)
    write_article(tmp_path / "article")
    assert "the_article/firing" in steps(read(tmp_path / "article"))


def test_the_article_is_written_again_if_it_was_not_written_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "equations", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_article(tmp_path)
    monkeypatch.undo()
    write_article(tmp_path)
    assert "the_article/text_summary" in steps(read(tmp_path))


def test_a_regression_has_no_precision_and_other_networks_have_what_they_can(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    data = DataModule(Dataset(x, x.sum(1), ("a", "b", "c"), "sum", None))
    module = TrainingModule((3, 1), output="identity", task="regression", learning_rate=0.1)
    fit(module, data, tmp_path, max_epochs=2, callbacks=callbacks(1)).test(module, data, verbose=False)
    events = read(tmp_path)
    tags = {*steps(events)}
    assert {"network/weights", "network/descent", "parameters/value/layer1"} < tags
    assert not {"precision_recall/val", "network/decision_boundary", "network/saturation"} & tags
    experiment = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    metrics = {info.name.tag for info in experiment.experiment.metric_infos}
    assert metrics == {"loss/val", "metrics/r2", "metrics/mean_absolute_error"}


def test_a_network_that_left_the_finite_numbers_is_drawn_as_one(tmp_path):
    module = TrainingModule(output="identity", hidden="identity", learning_rate=1e30)
    fit(module, DataModule(moons(100)), tmp_path, max_epochs=4, callbacks=callbacks(1)[:-3] + callbacks(1)[3:5])
    assert not torch.isfinite(module.network[0].weight).all()
    seen = read(tmp_path)
    assert max(steps(seen)["parameters/value/layer1"]) < 4
    assert text(seen, "gradients")[-1].startswith("not checked: inputs['weight_1'] must be finite, got nan")
