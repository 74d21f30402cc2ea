"""scripts/train.py from the outside: its output, its files and its error messages."""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
import yaml
from helpers.runs import SCRIPT, checkpoint, epochs_done, scalars, train, train_here
from helpers.scripts import run_here
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nnmath.data.datamodule import DataModule
from nnmath.data.datasets import circles
from nnmath.equations import cosine_annealing
from nnmath.network import HalfMSELoss, Network
from nnmath.runtime.errors import UsageError
from nnmath.training import load
from nnmath.training.options import TrainOptions

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "3"}


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    return folder, train(folder)


class TestWithoutArguments:
    def test_trains_to_the_end_and_prints_how_to_view_it(self, default):
        folder, process = default
        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
        assert process.stdout.startswith(
            "breast_cancer: 569 rows, 2 features\n"
            "classes of diagnosis: malignant 212, benign 357\n"
            "2-4-1: 17 parameters\n"
            "manual backward: 341 training, 114 validation, 114 test rows\n"
        )
        run, command = re.search(r"run: (.*)\nview with: (.*)\n$", process.stdout).groups()
        assert command == "tensorboard --logdir lightning_logs"
        assert {path.name for path in (folder / run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
        assert epochs_done(folder / run) == 1000

    def test_both_losses_fall(self, default):
        folder, _ = default
        curves = scalars(folder / "lightning_logs" / "breast_cancer" / "version_0")
        training = ("learning_rate", "gradient_norm/layer1", "gradient_norm/layer2", "gradient_discrepancy")
        assert set(curves) == {
            *("loss/train", "loss/val", "test/loss", *(f"training/{name}" for name in training)),
            *(f"{part}/{name}" for part in ("metrics", "test") for name in ("accuracy", "auroc", "f1")),
        }
        for name in ("loss/train", "loss/val"):
            values = [value for _, value in curves[name]]
            assert [step for step, _ in curves[name]] == list(range(1, 1001))
            assert values[-1] < 0.2 * values[0]
            tenths = values[:: len(values) // 10]
            assert all(later < 1.02 * earlier for earlier, later in pairwise(tenths))
        assert curves["metrics/accuracy"][-1][1] >= 0.93
        assert max(value for _, value in curves["training/gradient_discrepancy"]) < 1e-9

    def test_prints_the_test_metrics_of_the_best_checkpoint(self, default):
        folder, process = default
        printed = dict(line.split() for line in process.stdout.splitlines() if line.startswith("test/"))
        curves = scalars(folder / "lightning_logs" / "breast_cancer" / "version_0")
        assert {name: float(value) for name, value in printed.items()} == {
            name: pytest.approx(curves[name][-1][1], abs=5e-5) for name in curves if name.startswith("test/")
        }

    def test_fills_every_tab(self, default):
        folder, _ = default
        logs = folder / "lightning_logs"
        tags = EventAccumulator(str(logs / "breast_cancer" / "version_0")).Reload().Tags()
        assert tags["graph"]
        assert len(tags["images"]) == 4
        assert len(tags["histograms"]) == 5
        assert len([tag for tag in tags["tensors"] if tag.endswith("text_summary")]) == 3
        assert {"precision_recall/breast_cancer/benign", "custom_scalars__config__"} < set(tags["tensors"])
        assert {path.name for path in logs.iterdir()} == {"article", "breast_cancer"}


def test_config_yaml_reproduces_the_run(tmp_path):
    first, second = (tmp_path / "lightning_logs" / "moons" / f"version_{k}" for k in (0, 1))
    options = "--dataset moons --epochs 40 --batch_size 50 --pictures 0 --seed 3"
    for words in (options.split(), ("--config", first / "config.yaml")):
        process = train_here(tmp_path, *words)
        assert process.returncode == 0, process.stderr
    assert scalars(first) == scalars(second)
    for name in ("best.ckpt", "last.ckpt", "../results.yaml"):
        assert (first / "checkpoints" / name).read_bytes() == (second / "checkpoints" / name).read_bytes()
    assert not EventAccumulator(str(first)).Reload().Tags()["images"]


def test_compare_trains_by_both_backwards(tmp_path):
    options = "--compare manual autograd --dataset moons --epochs 30 --pictures 1"
    process = train(tmp_path, *options.split())
    assert process.returncode == 0, process.stderr
    run = tmp_path / "lightning_logs" / "moons" / "version_0"
    manual, autograd = run / "manual", run / "autograd"
    with pytest.raises(UsageError, match=f"version_0 is a comparison of two runs: use {manual} or {autograd}"):
        load(run)
    assert load(manual).network.sizes == load(autograd).network.sizes
    assert f"run: {manual.relative_to(tmp_path)}\n" in process.stdout
    assert [checkpoint(run)["hyper_parameters"]["backward"] for run in (manual, autograd)] == ["manual", "autograd"]
    manual_curves, autograd_curves = scalars(manual), scalars(autograd)
    difference = autograd_curves.pop("training/difference")
    assert [step for step, _ in difference] == list(range(31))
    assert max(value for _, value in difference) < 1e-5
    assert f"training/difference      {difference[-1][1]:.1e}" in process.stdout
    assert manual_curves.keys() == autograd_curves.keys()
    expected = pytest.approx([value for _, value in autograd_curves["loss/val"]], rel=1e-4)
    assert [value for _, value in manual_curves["loss/val"]] == expected
    assert yaml.safe_load((autograd / "config.yaml").read_text())["backward"] == "autograd"


def test_says_what_it_will_do_before_it_imports_torch(tmp_path):
    (tmp_path / "torch.py").write_text("import sys\nsys.exit('importing torch')")
    (tmp_path / "fruit.csv").write_text("weight,colour,kind\n150,green,apple\n120,yellow,banana\n140,red,apple\n")
    options = ["--dataset", "fruit.csv", "--target", "kind", "--neurons", "[8,3]"]
    process = train(tmp_path, *options, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert process.stderr == "importing torch\n"
    assert process.stdout == ("fruit: 3 rows, 2 features\nclasses of kind: apple 2, banana 1\n4-8-3-1: 71 parameters\n")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--backward autograd --neurons [8,8] --hidden tanh", "2-8-8-1: 105 parameters\nautograd backward"),
        ("--dataset xor --batch_size 32 --precision 64-true", "manual backward: 240 training, 80 val"),
        ("--dataset moons --neurons [] --output identity --precision bf16-mixed", "2-1: 3 param"),
        ("--dataset spirals --split [8,1,1] --hidden relu --seed 9", "320 training, 40 validation"),
        ("--features '[mean texture, mean area, worst area]'", "3-4-1: 21 parameters"),
    ],
)
def test_options(tmp_path, options, expected):
    process = train_here(tmp_path, "--epochs", 5, "--pictures", 1, *shlex.split(options))
    assert process.returncode == 0, process.stderr
    assert expected in process.stdout


def test_every_option_has_its_effect(tmp_path):
    """Every option differs from its default; its effect is read from the run."""
    options = "--dataset circles --samples 100 --noise 0.2 --split [5,3,2] --batch_size 16 --neurons [3] --hidden relu"
    options += " --output tanh --backward autograd --epochs 25 --learning_rate 0.05 --momentum 0.5 --eta_min 0.01"
    options += " --seed 7 --discrepancy_every 4 --checkpoint_every 10 --pictures 2 --precision 64-true --log_dir logs"
    options += " --animate slides/out.gif --export_pictures slides"
    process = train_here(tmp_path, *options.split())
    assert process.returncode == 0, process.stderr
    run = tmp_path / "logs" / "circles" / "version_0"
    last, best = (torch.load(run / "checkpoints" / name, weights_only=True) for name in ("last.ckpt", "best.ckpt"))
    hparams = last["hyper_parameters"]
    assert hparams["sizes"] == [2, 3, 1]
    assert [hparams[name] for name in ("hidden", "output", "backward")] == ["relu", "tanh", "autograd"]
    assert last["optimizer_states"][0]["param_groups"][0]["momentum"] == 0.5
    assert last["global_step"] == 25 * 4  # 50 rows by 16
    assert last["state_dict"]["network.0.weight"].dtype == torch.float64
    images = EventAccumulator(str(run), size_guidance={"images": 0}).Reload().Images("network/overview")
    assert [event.step for event in images] == [0, 13, 25]
    slides = sorted(path.name for path in (tmp_path / "slides").iterdir())
    changing = [f"{name}_{epoch:06}.png" for name in ("overview", "saturation") for epoch in (0, 13, 25)]
    assert slides == sorted(["out.gif", "parameters_000000.png", "descent_000025.png", *changing])
    exported, logged = Image.open(tmp_path / "slides" / "overview_000013.png"), images[1].encoded_image_string
    assert exported.size == (1000, 800)
    small = [np.asarray(im.convert("RGB").resize((50, 40)), float) for im in (exported, Image.open(io.BytesIO(logged)))]
    assert np.abs(small[0] - small[1]).mean() < 8  # the same picture
    with Image.open(tmp_path / "slides" / "out.gif") as animation:
        assert animation.n_frames == 26  # one for each epoch
        assert len({animation.seek(k) or animation.convert("RGB").tobytes() for k in range(26)}) == 26
    curves = scalars(run)
    rates = [value for _, value in curves["training/learning_rate"]]
    assert rates == pytest.approx([cosine_annealing(t, 25, 0.05, 0.01) for t in range(25)], rel=1e-6)
    assert [step for step, _ in curves["training/gradient_discrepancy"]] == list(range(1, 26, 4))

    data = DataModule(circles(100, 0.2, seed=7), split=(5, 3, 2), seed=7, dtype=torch.float64)
    network = Network((2, 3, 1), "relu", "tanh").double()

    def losses(checkpoint):
        network.load_state_dict({k.removeprefix("network."): v for k, v in checkpoint["state_dict"].items()})
        return [HalfMSELoss()(network(x), y).item() for x, y in (data.val.tensors, data.test.tensors)]

    at_checkpoints = [curves["loss/val"][epoch - 1][1] for epoch in (10, 20, 25)]
    assert losses(best)[0] == pytest.approx(min(at_checkpoints), rel=1e-5)
    assert losses(last)[0] == pytest.approx(at_checkpoints[-1], rel=1e-5)
    assert float(re.search(r"test/loss +(.*)", process.stdout).group(1)) == pytest.approx(losses(best)[1], abs=5e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu(tmp_path):
    runs = {}
    for accelerator in ("cpu", "gpu"):
        options = ["--epochs", 50, "--precision", "64-true", "--accelerator", accelerator, "--log_dir", accelerator]
        process = train_here(tmp_path, *options)
        assert process.returncode == 0, process.stderr
        runs[accelerator] = checkpoint(tmp_path / accelerator / "breast_cancer" / "version_0")["state_dict"]
    for name, weight in runs["cpu"].items():
        torch.testing.assert_close(runs["gpu"][name].cpu(), weight, rtol=0, atol=1e-10)


def test_a_csv_file(tmp_path):
    rows = "".join(f"{i % 7},{i % 5},{3.5 * (i % 7) - i % 5}\n" for i in range(100))
    (tmp_path / "my data.csv").write_text("a,b,price\n" + rows)
    options = ["--dataset", "my data.csv", "--features", "[a, b]", "--target", "price", "--epochs", 50]
    process = train_here(tmp_path, *options, "--output", "identity", "--hidden", "tanh")
    assert process.returncode == 0, process.stderr
    assert float(re.search(r"test/r2 +(.*)", process.stdout).group(1)) > 0.9
    assert "mean_absolute_error" in process.stdout
    assert (tmp_path / "lightning_logs" / "my data" / "version_0").is_dir()
    process = train_here(tmp_path, *options, "--output", "sigmoid")
    assert process.returncode == 2
    message = "target 'price' is a number, which sigmoid cannot give: use --output identity, or --task classes"
    assert process.stderr == f"train.py: error: {message}\n"


def test_a_class_name_of_several_lines_is_printed_in_one(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n" + '1,no\n2,"yes\n of course"\n' * 20)
    process = train_here(tmp_path, "--dataset", "table.csv", "--features", "[a]", "--target", "b", "--epochs", 1)
    assert process.returncode == 0, process.stderr
    assert "classes of b: no 20, yes of course 20\n" in process.stdout


class TestHelp:
    def test_names_every_option_on_one_screen_and_appears_at_once(self, tmp_path):
        seconds = []
        for _ in range(3):
            before = os.times()
            text = train(tmp_path, "--help").stdout
            after = os.times()  # processor time, because other processes may keep the machine busy
            seconds.append(sum(after[2:4]) - sum(before[2:4]))
        assert len(text.splitlines()) <= 45
        assert max(map(len, text.splitlines())) <= 100
        assert min(seconds) < 1
        options = yaml.safe_load(train(tmp_path, "--print_config").stdout)
        assert all(f"--{name} " in text for name in options)

    def test_has_the_choices_of_the_network(self):
        from nnmath.network import ActivationName, BackwardMode

        hints = get_type_hints(TrainOptions)
        assert get_args(hints["hidden"]) == get_args(get_args(hints["output"])[0]) == get_args(ActivationName)
        assert get_args(hints["backward"]) == get_args(BackwardMode)


class TestRefuses:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ("--epoch 3", "unrecognized arguments: --epoch 3; did you mean --epochs?"),
            ("--num-nodes 0", 'option "num_nodes": must be above 0, got 0'),
            ("--epochs 0", 'option "epochs": must be above 0, got 0'),
            ("--learning_rate nan", 'option "learning_rate": must be above 0, got nan'),
            ("--learning_rate -1", 'option "learning_rate": .*-1'),
            ("--momentum 1", 'option "momentum": must be at least 0 and below 1, got 1'),
            ("--eta_min 0.5", "eta_min must not exceed the learning rate, got eta_min=0.5, learning_rate=0.3"),
            ("--hidden swish", 'option "hidden": must be one of sigmoid, tanh, relu, identity, got swish'),
            ("--hidden tahn", "; did you mean tanh?"),
            ("--epochs ten", 'option "epochs": must be a whole number'),
            ("--dataset iriss", "; did you mean iris?"),
            ("--backward torch", 'option "backward": .*torch'),
            ("--split [1,2]", 'option "split": '),
            ("--neurons 0", 'option "neurons": '),
            ("--neurons [3,0]", 'option "neurons": must be above 0, got \\[3, 0\\]'),
            ("--config missing.yaml", "missing.yaml"),
            ("--dataset mnist", "dataset must be one of breast_cancer, .* got 'mnist'"),
            ("--dataset missing.csv --features [a] --target b", "missing.csv cannot be read: No such file"),
            ("--dataset missing.csv", "a CSV file needs a target"),
            ("--dataset /dev/zero --features [a] --target b", "/dev/zero is a device or a pipe: copy its content"),
            ("--features [size]", "features of breast_cancer must be among"),
            ("--samples 3 --dataset xor", "samples must be at least 4"),
            ("--resume nowhere", "resume: nowhere is not the folder of a run: it has no config.yaml"),
            ("--resume last", "resume: there is no run in lightning_logs"),
            ("--resume nowhere --epochs 1000", "a run is resumed with its own options; omit --epochs"),
            ("--animate .gif", "animate must be the name of a .gif file, got .gif"),
            ("--animate /proc/no/out.gif", "animate: cannot write to /proc/no: "),
            ("--export_pictures /proc/no", "export_pictures: cannot write to /proc/no: "),
            ("--animate out.mp4", "animate must be the name of a .gif file, got out.mp4"),
            ("--animate a.gif --pictures 0", "animate and export_pictures need pictures above 0"),
            ("--export_pictures a --compare manual autograd", "animate and export_pictures need .* without compare"),
            ("--compare manual manual", "compare needs manual and autograd, on one device, got manual manual"),
            ("--compare manual autograd --devices 2", "compare needs manual and autograd, on one device, .*devices=2"),
            ("--num_nodes 2", "2 machines cannot find each other: set MASTER_ADDR, MASTER_PORT and"),
            (f"--resume {'a' * 300}", "File name too long"),
            ("--samples 100000000000000000000", "samples must be at most 1000000000, got 1"),
            ("--learning_rate 1e31", "learning_rate must be at most 1e\\+30, got 1e\\+31"),
            ("--features a", "features of breast_cancer must be among"),
            ("--split 1 2", '"split": must be 3 positive numbers or all, got \\[1, 2\\]'),
            ("--split 1,0,2", '"split": must be 3 positive numbers or all, got \\[1, 0, 2\\]'),
            ("--task clases", '"task": must be one of classes, regression, got clases; did you mean classes\\?'),
            ("--batch_size -3", '"batch_size": must be above 0, got -3'),
            ("--config /proc/self/mem", "Input/output error"),
            ("--resume", "argument --resume: expected one argument"),
            ("--seed 5000000000", 'option "seed": .*5000000000'),
        ],
    )
    def test_bad_options_before_it_imports_torch(self, tmp_path, options, message):
        program = (
            "import atexit, runpy, sys; sys.argv = sys.argv[1:];"
            "atexit.register(lambda: print(*({'torch', 'lightning', 'matplotlib'} & set(sys.modules))));"
            "runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        command = [sys.executable, "-c", program, SCRIPT, *options.split()]
        process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert process.returncode == 2
        assert re.fullmatch(f"train.py: error: .*{message}.*\n", process.stderr)
        assert process.stdout == "\n"  # none of them was imported
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("message", "environment"),
        [
            ("MASTER_PORT in the environment must be a whole number, got 'abc'", {"MASTER_PORT": "abc"}),
            ("NODE_RANK in the environment must be a whole number, got '-1'", {"NODE_RANK": "-1"}),
            ("devices times num_nodes must be the 3 processes of torchrun, got 2", TORCHRUN),
        ],
    )
    def test_invalid_environments(self, tmp_path, message, environment):
        process = run_here(SCRIPT, tmp_path, "--devices", 2, **environment)
        assert process.returncode == 2
        assert process.stderr == f"train.py: error: {message}\n"
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("neurons", "message"),
        [
            ([10**5, 10**5], "got 4 layers, 762"),
            ([10**30], "neurons must make at most"),
        ],
    )
    def test_networks_that_are_too_large(self, tmp_path, neurons, message):
        process = train_here(tmp_path, "--neurons", neurons)
        assert process.returncode == 2
        assert message in process.stderr
        assert not any(tmp_path.iterdir())

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_missing_devices(self, tmp_path):
        process = train_here(tmp_path, "--accelerator", "gpu")
        assert process.returncode == 2
        assert process.stderr == "train.py: error: No supported gpu backend found!\n"

    @pytest.mark.parametrize("log_dir", ["a\tb", "a*b", "a%s", "a: y", "a[1]", "a$b", "a 'b'"])
    def test_any_name_of_a_log_dir(self, tmp_path, log_dir):
        process = train_here(tmp_path, "--dataset", "xor", "--log_dir", log_dir, "--epochs", 2, "--pictures", 0)
        assert process.returncode == 0, process.stderr
        assert [path.name for path in tmp_path.iterdir()] == [log_dir]
        assert (tmp_path / log_dir / "xor" / "version_0" / "results.yaml").is_file()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('"\\e[2Jxor"', "dataset must be one of .*"),
            ('"xor\\n\\e[2J"', ".*config.yaml does not have the options of a run: a text has a control character"),
            ("x\x1bor", ".*config.yaml does not have the options of a run: unacceptable character #x001b.*"),
            ("x\x00or", ".*config.yaml does not have the options of a run: unacceptable character #x0000.*"),
        ],
    )
    def test_control_characters_in_the_config_of_a_run(self, tmp_path, text, message):
        run = tmp_path / "lightning_logs" / "xor" / "version_0"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(f"dataset: {text}\n")
        process = train_here(tmp_path, "--resume", run)
        assert process.returncode == 2
        assert re.fullmatch(f"train.py: error: {message}\n", process.stderr)
        assert process.stderr.rstrip("\n").isprintable()

    def test_a_log_dir_that_is_a_file(self, tmp_path):
        (tmp_path / "logs").write_text("mine")
        process = train_here(tmp_path, "--log_dir", "logs", "--epochs", 2)
        assert process.returncode == 1
        assert re.fullmatch("train.py: error: log_dir: cannot write to logs/.*\n", process.stderr)
        assert (tmp_path / "logs").read_text() == "mine"

    def test_a_loss_that_diverges(self, tmp_path):
        rows = "".join(f"{i},{i % 7}\n" for i in range(100))
        (tmp_path / "table.csv").write_text("a,y\n" + rows)
        options = ["--dataset", "table.csv", "--features", "[a]", "--target", "y", "--task", "regression"]
        process = train_here(tmp_path, *options, "--hidden", "identity", "--learning_rate", 1e9, "--epochs", 50)
        assert process.returncode == 1
        message = r"after epoch \d+ the loss is nan \(η = 9.99e\+08\): try a smaller learning_rate.*"
        assert re.fullmatch(f"train.py: error: {message}\n", process.stderr)


def test_checkpoints_are_always_loaded_with_weights_only(default, tmp_path):
    """Lightning loads them, too, and the environment asks it not to."""
    shutil.copytree(default[0] / "lightning_logs", tmp_path / "lightning_logs")
    (tmp_path / "lightning_logs" / "breast_cancer" / "version_0" / "results.yaml").unlink()
    program = (
        "import runpy, sys, torch; sys.argv = sys.argv[1:]; load = torch.load\n"
        "def logged(*args, weights_only=None, **kwargs):\n"
        "    print('weights_only:', weights_only)\n"
        "    return load(*args, weights_only=weights_only, **kwargs)\n"
        "torch.load = logged; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", program, SCRIPT, "--resume", "last"]
    environment = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    loads = [line for line in process.stdout.splitlines() if line.startswith("weights_only:")]
    assert loads == ["weights_only: True"] * 4  # both files are checked, one is resumed, one is tested


def test_learns_the_truth_table_of_xor(tmp_path):
    options = "--dataset xor --samples 4 --noise 0 --split all --pictures 1"
    process = train_here(tmp_path, *options.split())
    assert process.returncode == 0, process.stderr
    assert "manual backward: 4 training, 4 validation, 4 test rows (the same)" in process.stdout
    assert re.search(r"test/accuracy +1\.0000", process.stdout)
    assert "it has not learned" not in process.stdout


def test_deep_sigmoids_that_do_not_learn_are_reported_with_what_to_try(tmp_path):
    options = "--dataset moons --neurons 8,8,8,8,8 --epochs 300 --pictures 0"
    process = train_here(tmp_path, *options.split())
    assert process.returncode == 0, process.stderr
    (line,) = re.findall("^it has not learned: .*", process.stdout, re.MULTILINE)
    reason = r"its last hidden layer is almost the same for all rows \(standard deviation (\S+)\); try --hidden tanh"
    assert 0 < float(re.fullmatch(f"it has not learned: {reason}", line)[1]) < 0.01
    process = train_here(tmp_path, *options.split(), "--hidden", "tanh")
    assert "it has not learned" not in process.stdout
    assert float(re.search(r"test/accuracy +(.*)", process.stdout)[1]) > 0.9
    process = train_here(tmp_path, *options.split(), *["--hidden", "tanh", "--learning_rate", "1e-9", "--epochs", "5"])
    assert "it has not learned" not in process.stdout  # sigmoids are not the reason
    options = "--dataset moons --epochs 1 --learning_rate 1e-9 --pictures 0"
    assert "it has not learned" not in train_here(tmp_path, *options.split()).stdout  # with one hidden layer


def test_animation_of_a_run_that_diverges(tmp_path):
    options = "--dataset moons --hidden identity --output identity --learning_rate 20 --epochs 500 --pictures 1"
    process = train_here(tmp_path, *options.split(), "--animate", "out.gif")
    assert process.returncode == 1
    assert re.search(r"after epoch \d+ the loss is (nan|inf)", process.stderr)
    with Image.open(tmp_path / "out.gif") as animation:
        assert 1 < animation.n_frames <= 60


def test_animation_on_a_full_disk(tmp_path):
    """A run that is resumed afterwards writes it."""
    (tmp_path / "out.gif").symlink_to("/dev/full")
    options = "--dataset moons --epochs 3 --pictures 1 --animate out.gif"
    process = train_here(tmp_path, *options.split())
    hint = "fix that, then resume with --resume lightning_logs/moons/version_0"
    assert process.stderr == f"train.py: error: cannot write to out.gif: No space left on device; {hint}\n"
    (tmp_path / "out.gif").unlink()
    process = train_here(tmp_path, "--resume", "last")
    assert process.returncode == 0, process.stderr
    with Image.open(tmp_path / "out.gif") as animation:
        assert animation.n_frames == 4


def test_a_network_that_is_too_large_for_an_animation(tmp_path):
    options = "--dataset moons --neurons 1000,500 --animate out.gif --epochs 1"
    process = train_here(tmp_path, *options.split())
    message = "animate: a network of more than 500,000 parameters has no animation"
    assert process.stderr == f"train.py: error: {message}\n"


@pytest.mark.parametrize("file", ["names.csv", "...csv", "article.csv", "new\nline.csv"])
def test_names_of_files_columns_and_classes_are_data(tmp_path, file):
    """Not formulas, paths, Markdown or control characters; a missing glyph is drawn as a box without a warning."""
    rng = np.random.default_rng(0)
    rows = "".join(f"{a},{b},{'no$' if a > b else 'ye|s'}\n" for a, b in rng.normal(size=(60, 2)))
    (tmp_path / file).write_text("p$x_$,b|c \U000131a0,y\n" + rows)
    run = train if file == "names.csv" else train_here
    process = run(tmp_path, "--dataset", f"./{file}", "--target", "y", "--epochs", 2, "--pictures", 1)
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    name = {"...csv": "data", "article.csv": "article_data", "new\nline.csv": "new_line"}.get(file, "names")
    assert process.stdout.startswith(f"{name}: 60 rows, 2 features\n")
    assert {path.name for path in tmp_path.iterdir()} == {file, "lightning_logs"}
    assert {path.name for path in (tmp_path / "lightning_logs").iterdir()} == {"article", name}
    run = tmp_path / "lightning_logs" / name / "version_0"
    assert process.stdout.endswith(
        f"run: lightning_logs/{name}/version_0\nview with: tensorboard --logdir lightning_logs\n"
    )
    texts = EventAccumulator(str(run)).Reload().Tensors("run/text_summary")[0].tensor_proto.string_val[0].decode()
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in texts.splitlines() if line.startswith("| "))


def test_a_config_file_of_one_line(tmp_path):
    (tmp_path / "config.yaml").write_text("epochs: 0\n")
    process = train_here(tmp_path, "--config", "config.yaml")
    assert process.stderr == 'train.py: error: option "epochs": must be above 0, got 0\n'


def test_a_config_file_with_a_value_instead_of_a_list(tmp_path):
    (tmp_path / "config.yaml").write_text("compare: manual")
    process = train_here(tmp_path, "--config", "config.yaml")
    assert process.returncode == 2
    message = "the config file has one value where a list is needed, as in compare: [manual, autograd]"
    assert process.stderr == f"train.py: error: {message}\n"
