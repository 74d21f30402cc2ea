"""What the callbacks write besides the curves, read back from the event files."""

import io
import re
from fnmatch import fnmatch

import numpy as np
import pytest
import torch
from helpers.runs import fit
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray
from torch.nn.utils import parameters_to_vector

from nnmath.data.datamodule import DataModule
from nnmath.data.dataset import Dataset
from nnmath.data.datasets import load, moons, xor
from nnmath.equations import ACTIVATIONS
from nnmath.network import HalfMSELoss, Network, as_layers
from nnmath.training.module import TrainingModule
from nnmath.training.options import TrainOptions
from nnmath.training.tensorboard import images, overview
from nnmath.training.tensorboard.curves import CURVES, GradientNorm, Trajectory
from nnmath.training.tensorboard.graph import computational_graph
from nnmath.training.tensorboard.histograms import Histograms, PrecisionRecall
from nnmath.training.tensorboard.images import Images, write_article
from nnmath.training.tensorboard.overview import CHARTS, Overview, gradient_table

OPTIONS = TrainOptions(dataset="iris", learning_rate=0.5, neurons=[4, 3])
SHOWN_OPTIONS = {  # samples and noise have no effect; the empty features, target and start_from have no column
    "learning_rate": 0.5,
    "momentum": 0.9,
    "neurons": "4, 3",
    "epochs": 1000,
    "eta_min": 0,
    "seed": 0,
    "backward": "manual",
    "trained_on": "iris",
    "hidden": "sigmoid",
    "missing": "refuse",
    "precision": "32-true",
    "schedule": "cosine",
    "split": "0.6, 0.2, 0.2",
}


def callbacks(every, article=None, name="moons"):
    trajectory = Trajectory()
    return [
        *(GradientNorm(), trajectory, Overview(OPTIONS, "python train.py --dataset moons")),
        *(Histograms(every), PrecisionRecall(every, name), Images(every, trajectory, article)),
    ]


def read(folder):
    sizes = {"scalars": 0, "images": 0, "tensors": 0, "histograms": 0}
    return EventAccumulator(str(folder), size_guidance=sizes).Reload()


def steps(events):
    """tag ↦ its steps, for everything but scalars."""
    tags = events.Tags()
    kinds = (("images", events.Images), ("histograms", events.Histograms), ("tensors", events.Tensors))
    return {tag: sorted(event.step for event in get(tag)) for kind, get in kinds for tag in tags[kind]}


def text(events, tag):
    return [event.tensor_proto.string_val[0].decode() for event in events.Tensors(f"{tag}/text_summary")]


def hparams(events, summary):
    return HParamsPluginData.FromString(events.SummaryMetadata(f"_hparams_/{summary}").plugin_data.content)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tensorboard")
    module, data = TrainingModule(learning_rate=0.5), DataModule(moons(100))
    trainer = fit(module, data, folder, max_epochs=5, callbacks=callbacks(2, folder / "article"))
    trainer.test(module, data, verbose=False)
    return folder, read(folder), module


class TestRun:
    def test_writes_every_k_epochs_and_at_the_end(self, run):
        assert steps(run[1]) == {
            **{f"network/{name}": [0, 2, 4, 5] for name in ("overview", "saturation")},
            "network/parameters": [0],
            "network/descent": [5],
            **{f"parameters/value/layer{i}": [0, 2, 4, 5] for i in (1, 2)},
            **{f"parameters/gradient/layer{i}": [2, 4, 5] for i in (1, 2)},
            "neurons/activation/layer1": [0, 2, 4, 5],
            "precision_recall/moons/1": [2, 4, 5],
            "run/text_summary": [0],
            "parameters/text_summary": [0],
            "gradients/text_summary": [1, 5],
            "custom_scalars__config__": [0],
        }
        assert not [tag for tag in run[1].Tags()["scalars"] if "hp_metric" in tag]

    def test_images_show_the_figures(self, run):
        for tag in run[1].Tags()["images"]:
            for event in run[1].Images(tag):
                pixels = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
                assert pixels.shape == (280, 350, 3)
                assert len(np.unique(pixels[::3, ::3].reshape(-1, 3) @ [1, 256, 65536])) > 20
        assert len({event.encoded_image_string for event in run[1].Images("network/overview")}) == 4  # it changes

    def test_article_is_written_once_as_a_separate_run(self, run):
        article = run[0] / "article"
        names = ("sigmoid", "tanh", "relu", "firing", "text_summary")
        tags = [f"the_article/{name}" for name in names]
        assert steps(read(article)) == {tag: [0] for tag in [*tags, "curves/text_summary"]}
        assert "| B5 | Case 2 | ∂E/∂wᵢ = (O − y) O (1 − O) wₒ h (1 − h) x" in text(read(article), "the_article")[0]
        before = {path: path.stat() for path in article.iterdir()}
        fit(TrainingModule(), DataModule(moons(100)), run[0], max_epochs=1, callbacks=callbacks(1, article))
        assert {path: path.stat() for path in article.iterdir()} == before

    def test_histograms_are_of_their_quantities(self, run):
        _, events, module = run
        last = {tag: events.Histograms(tag)[-1].histogram_value for tag in events.Tags()["histograms"]}
        values = torch.cat([p.detach().flatten() for p in module.network.linears[0].parameters()]).double()
        assert last["parameters/value/layer1"].num == 12
        assert last["parameters/value/layer1"].sum == pytest.approx(float(values.sum()), rel=1e-6)
        hidden = last["neurons/activation/layer1"]
        assert hidden.num == 60 * 4
        assert 0 < hidden.min < hidden.max < 1
        norm = events.Scalars("training/gradient_norm/layer2")[-1].value
        assert last["parameters/gradient/layer2"].sum_squares == pytest.approx(norm**2, rel=1e-5)

    def test_hparams_are_the_options_and_metrics(self, run):
        events = run[1]
        columns = hparams(events, "experiment").experiment.hparam_infos
        assert [column.name for column in columns if column.differs] == [
            "learning_rate",
            "momentum",
            "neurons",
            "trained_on",
        ]
        options = hparams(events, "session_start_info").session_start_info.hparams
        assert {name: value.string_value or value.number_value for name, value in options.items()} == SHOWN_OPTIONS

    def test_each_curve_is_explained(self, run):
        table = text(read(run[0] / "article"), "curves")[0]
        for name in run[1].Tags()["scalars"]:
            assert any(fnmatch(name, curve.replace("...", "*")) for curve in CURVES), name
        assert all(f"| {name} | {meaning} |" in table for name, meaning in CURVES.items())

    def test_charts_have_existing_curves(self, run):
        (event,) = run[1].Tensors("custom_scalars__config__")
        layout = Layout.FromString(event.tensor_proto.string_val[0])
        assert {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart} == CHARTS
        scalars = run[1].Tags()["scalars"]
        tags = [tag for tags in CHARTS.values() for tag in tags]
        assert all(any(re.search(tag, name) for name in scalars) for tag in tags)
        names = [f"{before}{name}{after}" for name in ("loss/train", "loss/val") for before, after in ("_ ", " _")]
        assert not any(re.search(tag, name) for tag in tags for name in names)  # TensorBoard searches

    def test_graph_is_fig_9(self, run):
        assert GraphDef.FromString(run[1].Graph().SerializeToString()) == computational_graph((2, 4, 1))

    def test_tables(self, run):
        (options,) = text(run[1], "run")
        assert "python train.py --dataset moons" in options
        assert "| learning_rate | 0.5 |" in options
        assert text(run[1], "parameters")[0].splitlines()[2:] == [
            "| 1 | wᵢ | bᵢ | 4 x 2 | 4 | 12 | sigmoid |",
            "| 2 | wₒ | bₒ | 1 x 4 | 1 | 5 | sigmoid |",
            "|  |  |  |  |  | 17 |  |",
        ]
        for table in text(run[1], "gradients"):
            rows, notes = table.split("\n\n")
            assert "ulps: " in notes
            rows = [row.split(" | ") for row in rows.splitlines()[2:]]
            assert [row[:2] for row in rows] == [
                ["| Case 2 (B5)", "∂E/∂wᵢ = (wₒᵀ ∂E/∂μ₂) h′ x"],
                ["| Case 2 (B5)", "∂E/∂bᵢ = ∂E/∂μ₁ = (wₒᵀ ∂E/∂μ₂) h′"],
                ["| Case 1 (B2)", "∂E/∂wₒ = (O − y) O′ h"],
                ["| Case 1 (B2)", "∂E/∂bₒ = ∂E/∂μ₂ = (O − y) O′"],
            ]
            assert all(row[-1] == "right |" for row in rows)


def test_gradient_table_finds_a_wrong_derivative(monkeypatch):
    torch.manual_seed(0)
    network, x, y = Network(backward="autograd"), torch.randn(20, 2), torch.rand(20, 1)
    assert gradient_table(network, x, y).count("| right |") == 4
    wrong = ACTIVATIONS["sigmoid"]._replace(derivative_from_output=lambda h: h * (1 - h) * 1.01)
    monkeypatch.setitem(ACTIVATIONS, "sigmoid", wrong)
    assert gradient_table(network, x, y).count("**WRONG**") == 4
    assert network.backward == "autograd"
    assert all(parameter.grad is None for parameter in network.parameters())


def test_resumed_run_does_not_repeat_the_overview(tmp_path):
    data, folder = DataModule(moons(100)), tmp_path / "run"
    first = fit(TrainingModule(), data, folder, max_epochs=2, callbacks=callbacks(1))
    first.save_checkpoint(tmp_path / "two.ckpt")
    resumed = callbacks(1)
    fit(TrainingModule(), data, folder, ckpt_path=tmp_path / "two.ckpt", max_epochs=4, callbacks=resumed)
    epochs = steps(read(folder))
    assert epochs["run/text_summary"] == epochs["network/parameters"] == [0]
    assert epochs["network/overview"] == resumed[1].epochs == [0, 1, 2, 3, 4]


def test_large_network_has_no_gradient_table_and_no_descent(tmp_path, monkeypatch):
    """They take time and memory in proportion to the number of parameters times a thousand, or to its square."""
    monkeypatch.setattr(overview, "MAX_CHECKED_PARAMETERS", 16)
    monkeypatch.setattr(images, "MAX_CHECKED_PARAMETERS", 16)
    module, data = TrainingModule(), DataModule(moons(100))
    fit(module, data, tmp_path, max_epochs=2, callbacks=callbacks(1)).test(module, data, verbose=False)
    tags = {*steps(read(tmp_path))}
    assert "network/overview" in tags
    assert not {"network/descent", "gradients/text_summary"} & tags


def test_article_shares_its_folder_with_a_data_set_of_that_name(tmp_path):
    (tmp_path / "article" / "version_0").mkdir(parents=True)
    write_article(tmp_path / "article")
    assert "the_article/firing" in steps(read(tmp_path / "article"))


def test_incomplete_article_is_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "markdown_table", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_article(tmp_path)
    monkeypatch.undo()
    write_article(tmp_path)
    assert "the_article/text_summary" in steps(read(tmp_path))


def test_regression_without_hidden_layers(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3))
    data = DataModule(Dataset(x, x.sum(1), ("a", "b", "c"), "sum", None))
    module = TrainingModule((3, 1), output="identity", task="regression", learning_rate=0.1)
    fit(module, data, tmp_path, max_epochs=2, callbacks=callbacks(1)).test(module, data, verbose=False)
    events = read(tmp_path)
    tags = {*steps(events)}
    assert {"network/weights", "network/descent", "parameters/value/layer1"} < tags
    assert (
        not {"precision_recall/moons/1", "network/overview", "network/decision_boundary", "network/saturation"} & tags
    )
    assert {"loss/val", "metrics/r2", "metrics/mean_absolute_error"} < set(events.Tags()["scalars"])


def test_each_of_three_classes_has_a_precision_recall_curve(tmp_path):
    data, module = DataModule(load("iris")), TrainingModule((4, 4, 3), task="multiclass")
    fit(module, data, tmp_path, max_epochs=2, callbacks=callbacks(2, name="iris"))
    events = read(tmp_path)
    assert {f"precision_recall/iris/{name}" for name in ("setosa", "versicolor", "virginica")} <= set(steps(events))
    tensor = events.Tensors("precision_recall/iris/setosa")[0].tensor_proto
    true_positives = make_ndarray(tensor)[0]
    assert true_positives[0] == int(data.val.tensors[1][:, 0].sum()) == 10


def test_overview_shows_the_losses_up_to_its_epoch():
    data, path = DataModule(moons(60), dtype=torch.float64), Trajectory()
    networks = [Network().double() for _ in range(3)]
    path.epochs, path.points = [0, 4, 8], [parameters_to_vector(network.parameters()).detach() for network in networks]
    name, draw = images.network_picture(networks[0], data, path, 10)
    draw(as_layers(networks[0])[0], 0)
    figure = draw(as_layers(networks[1])[0], 4).figure
    (axes,) = [axes for axes in figure.axes if axes.get_ylabel() == "E"]
    assert name == "overview"
    for line, (x, y) in zip(axes.lines, (data.train.tensors, data.val.tensors), strict=True):
        assert list(line.get_xdata()) == [0, 4]
        assert line.get_ydata() == pytest.approx([HalfMSELoss()(network(x), y).item() for network in networks[:2]])
    drawn = sum(len(line.get_xdata()) for line in figure.axes[1].lines)
    assert drawn == len(data.train) + len(data.val)


def test_rows_of_all_parts_are_drawn_once():
    network, data = Network(), DataModule(xor(samples=4), split="all")
    path = Trajectory()
    path.epochs, path.points = [0], [parameters_to_vector(network.parameters()).detach()]
    figure = images.network_picture(network, data, path, 10)[1](as_layers(network)[0], 0).figure
    (axes,) = [axes for axes in figure.axes if axes.get_ylabel() == "E"]
    assert len(axes.lines) == 1
    assert sum(len(line.get_xdata()) for line in figure.axes[1].lines) == 4


def test_diverged_network(tmp_path):
    module = TrainingModule(output="identity", hidden="identity", learning_rate=1e30)
    fit(module, DataModule(moons(100)), tmp_path, max_epochs=4, callbacks=callbacks(1)[:-1])
    assert not torch.isfinite(module.network[0].weight).all()
    events = read(tmp_path)
    assert max(steps(events)["parameters/value/layer1"]) < 4
    assert text(events, "gradients")[-1].startswith("not checked: inputs['weight_1'] must be finite, got nan")
