"""A TensorBoard server with two runs: its data endpoints, and its tabs in a browser."""

import io
import json
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from helpers.scripts import run_here
from PIL import Image

SCRIPT = Path(__file__).parents[3] / "scripts" / "train.py"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
urlopen = build_opener(ProxyHandler({})).open  # no proxy: the server is local
RUNS = ["moons/version_0/manual", "moons/version_0/autograd"]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tensorboard")
    options = ["--compare", "manual", "autograd", "--dataset", "moons", "--epochs", "30", "--pictures", "2"]
    process = run_here(SCRIPT, folder, *options)
    assert process.returncode == 0, process.stderr
    with serve(folder) as server:
        yield server


@contextmanager
def serve(folder):
    """The address of a TensorBoard server."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", "lightning_logs", "--host", "127.0.0.1"]
    server = subprocess.Popen([*command, "--port", "0"], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        for line in server.stderr:  # pytest-timeout applies if there is no such line
            if match := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield match[0]
                break
        else:
            raise AssertionError("TensorBoard ended without an address")
    finally:
        server.terminate()
        server.communicate(timeout=20)


def get(address, path, **body):
    data = json.dumps(body).encode() if body else None
    with urlopen(Request(f"{address}/data/{path}", data, {"Content-Type": "application/json"}), timeout=30) as answer:
        return json.load(answer)


def test_every_tab_has_content(address):
    enabled = {name for name, plugin in get(address, "plugins_listing").items() if plugin["enabled"]}
    assert enabled == set(TABS)
    assert set(get(address, "runs")) == {"article", *RUNS}


def test_hparams_are_the_options_and_last_metrics_of_each_run(address):
    tags = {"loss/val", "metrics/accuracy", "metrics/auroc"}
    columns = [{"hparam": "backward"}, *({"metric": {"tag": tag, "group": ""}} for tag in tags)]
    statuses = ["STATUS_SUCCESS", "STATUS_UNKNOWN", "STATUS_RUNNING", "STATUS_FAILURE"]
    request = {"startIndex": 0, "sliceSize": 9, "allowedStatuses": statuses, "colParams": columns}
    groups = get(address, "plugin/hparams/session_groups", **request)["sessionGroups"]
    assert {group["hparams"]["backward"] for group in groups} == {"manual", "autograd"}
    for group in groups:
        (session,) = group["sessions"]
        assert session["status"] == "STATUS_SUCCESS"
        values = {value["name"]["tag"]: value for value in session["metricValues"]}
        assert set(values) >= tags
        curve = get(address, f"plugin/scalars/scalars?tag=loss/val&run={session['name']}")
        assert values["loss/val"]["trainingStep"] == 30
        assert values["loss/val"]["value"] == pytest.approx(curve[-1][2])


def test_every_option_of_every_run_has_its_column(tmp_path):
    """Whatever else lies in the folder: other options, a regression, more than two classes, a sweep."""
    rows = "".join(f"{i},{i * i / 7}\n" for i in range(30))
    (tmp_path / "squares.csv").write_text("x,y\n" + rows)
    fixed = ["--epochs", "2", "--pictures", "0"]
    runs = [
        ["--dataset", "moons", "--neurons", "[]", *fixed],
        ["--dataset", "squares.csv", "--target", "y", "--neurons", "3", "4", "--batch_size", "5", *fixed],
        ["--dataset", "iris", "--features", "petal length (cm), petal width (cm)", "--hidden", "tanh", *fixed],
    ]
    for options in runs:
        process = run_here(SCRIPT, tmp_path, *options)
        assert process.returncode == 0, process.stderr
    sweep = ["--learning_rate", "0.1", "--momentum", "0", "--seeds", "2", "--epochs", "2"]
    process = run_here(SCRIPT.with_name("sweep.py"), tmp_path, *sweep)
    assert process.returncode == 0, process.stderr
    with serve(tmp_path) as server:
        infos = get(server, "plugin/hparams/experiment", experimentName="")["hparamInfos"]
    assert [info["name"] for info in infos][:4] == ["learning_rate", "momentum", "neurons", "trained_on"]
    types = {info["name"]: info["type"] for info in infos}
    numbers = {name for name, kind in types.items() if kind == "DATA_TYPE_FLOAT64"}
    assert numbers >= {"epochs", "learning_rate", "momentum", "batch_size", "seed", "noise"}
    texts = {name for name, kind in types.items() if kind == "DATA_TYPE_STRING"}
    assert not {"devices", "log_dir"} & set(types)
    assert texts >= {"trained_on", "neurons", "features", "target", "hidden", "backward", "schedule"}
    assert numbers | texts == set(types)


TABS = {  # an element of each tab, and the minimal number of these elements
    "timeseries": ("line-chart", 2),
    "scalars": ("vz-line-chart2", 5),
    "custom_scalars": ("vz-line-chart2", 3),
    "images": ("tf-image-loader img", 10),
    "graphs": ("g.node", 11),
    "distributions": ("vz-distribution-chart", 3),
    "histograms": ("vz-histogram-timeseries", 3),
    "text": ("tf-text-loader td", 50),
    "pr_curves": ("tf-pr-curve-card", 1),
    "hparams": ("tf-hparams-table-view", 1),
}


@pytest.fixture(scope="module")
def page():
    if not CHROMIUM:  # a program of the system, which pip does not install
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser.new_page(viewport={"width": 1500, "height": 1000})
        browser.close()


@pytest.mark.browser
@pytest.mark.parametrize("tab", TABS)
def test_tab_is_rendered(address, page, tab):
    selector, minimum = TABS[tab]
    page.goto("about:blank")  # changing only the fragment would not reload the page
    page.goto(f"{address}/#{tab}")
    page.wait_for_function("a => document.querySelector(a)", arg="tf-tensorboard, tb-webapp", timeout=30_000)
    elements = page.locator(selector)
    elements.nth(minimum - 1).wait_for(state="attached", timeout=30_000)
    page.wait_for_load_state("networkidle")
    for _ in range(20):  # animations and late loading
        image = Image.open(io.BytesIO(elements.first.screenshot())).convert("RGB")
        if image.getcolors(maxcolors=10) is None:  # it has more
            break
        page.wait_for_timeout(200)
    else:
        raise AssertionError(f"{tab}: {selector} is blank")
    if tab == "images":
        assert elements.first.evaluate("image => [image.naturalWidth, image.width]") == [350, 350]
    if tab == "hparams":
        assert {"manual", "autograd"} <= set(page.locator("vaadin-grid-cell-content").all_inner_texts())
