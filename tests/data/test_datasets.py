import numpy as np
import pytest
import sklearn.datasets

from nnmath.data.datasets import NAMES, SYNTHETIC, TARGETS, bundled, load, spirals, xor


@pytest.mark.parametrize("name", TARGETS)
def test_bundled_data_match_scikit_learn(name):
    bunch = getattr(sklearn.datasets, f"load_{name}")()
    first, last = str(bunch.feature_names[1]), str(bunch.feature_names[-1])
    data = bundled(name, [last, first])
    assert data.features == (last, first)
    np.testing.assert_array_equal(data.x, bunch.data[:, [-1, 1]])
    np.testing.assert_array_equal(data.y, bunch.target)
    assert data.classes == (None if name == "diabetes" else tuple(map(str, bunch.target_names)))


def test_features_by_default():
    shapes = {name: load(name).x.shape for name in TARGETS}
    expected = {
        "breast_cancer": (569, 2),
        "iris": (150, 4),
        "wine": (178, 13),
        "digits": (1797, 61),
        "diabetes": (442, 10),
    }
    assert shapes == expected  # three of the 64 pixels of digits are constant


@pytest.mark.parametrize("name", SYNTHETIC)
def test_synthetic_data_are_balanced_and_reproducible(name):
    data = load(name, samples=101, seed=5)
    assert data.x.shape == (101, 2)
    assert set(data.y) == {0, 1}
    assert abs(data.y.mean() - 0.5) < 0.01
    np.testing.assert_array_equal(data.x, load(name, samples=101, seed=5).x)
    assert not np.array_equal(data.x, load(name, samples=101, seed=6).x)


def test_least_samples_and_most_noise():
    assert load("xor", samples=4).x.shape == (4, 2)
    assert load("xor").x.shape == (400, 2)
    for arguments in ({"samples": 3}, {"noise": -0.1}, {"noise": np.inf}):
        with pytest.raises(ValueError, match="samples must be at least 4 and noise finite and not negative"):
            load("xor", **arguments)


def test_all_features_are_by_default_alone():
    assert load("iris").by_default
    assert not load("iris", features=["petal length (cm)"]).by_default


@pytest.mark.parametrize("name", SYNTHETIC)
def test_defaults_of_synthetic_data(name):
    data = SYNTHETIC[name]()
    np.testing.assert_array_equal(data.x, SYNTHETIC[name](400, 0.1, 0).x)


def test_xor_without_noise_is_the_truth_table():
    data = xor(samples=4, noise=0)
    assert np.column_stack([data.x, data.y]).tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize("samples", [200, 201])
def test_spirals_are_point_symmetric(samples):
    data = spirals(samples, noise=0)
    class_1, class_0 = data.x[data.y == 1], data.x[data.y == 0]
    np.testing.assert_allclose(class_0[: len(class_1)], -class_1)
    r = np.hypot(*class_1.T)
    phi = 3 * np.pi * r
    np.testing.assert_allclose(class_1, r[:, None] * np.stack([np.cos(phi), np.sin(phi)], 1), atol=1e-12)
    assert (np.diff(phi) > 0).all()
    assert 0.99 < np.hypot(*class_0.T).max() < 1


def test_gaussians_lie_around_their_centres():
    data = load("gaussians", samples=20_000, noise=0.04, seed=3)
    for label, centre in ((0, -0.5), (1, 0.5)):
        np.testing.assert_allclose(data.x[data.y == label].mean(0), [centre, centre], atol=0.01)
        np.testing.assert_allclose(data.x[data.y == label].std(0), 5 * 0.04, rtol=0.03)


def test_inner_circle_has_half_the_radius():
    data = load("circles", samples=100, noise=0)
    np.testing.assert_allclose(np.hypot(*data.x.T), np.where(data.y == 1, 0.5, 1))


def test_standard_deviation_of_the_noise():
    samples = 20_000
    np.testing.assert_allclose((xor(samples, 0.2).x - xor(samples, 0).x).std(0), 0.2, rtol=0.03)
    np.testing.assert_allclose((spirals(samples, 0.2).x - spirals(samples, 0).x).std(0), 0.02, rtol=0.03)


class TestLoad:
    def test_by_name_and_by_file(self, tmp_path):
        assert all(len(load(name).y) for name in NAMES)
        assert load("xor", samples=10, noise=0).x.shape == (10, 2)
        assert load("breast_cancer", features=["mean radius"]).x.shape == (569, 1)
        path = tmp_path / "table.csv"
        path.write_text("a,y\n1,0\n2,1\n")
        assert load(str(path), features=["a"], target="y").x.shape == (2, 1)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"name": "mnist"}, "dataset must be one of breast_cancer, .* or the path of a .csv file, got 'mnist'"),
            ({"name": "breast-cancer"}, "got 'breast-cancer'; did you mean breast_cancer"),
            ({"name": "a.xlsx"}, "got 'a.xlsx'; save the sheet as a CSV file"),
            ({"name": "a.csv"}, "a CSV file needs a target, the name of the column to predict"),
            ({"name": "xor", "features": ["a"]}, "features are for CSV files and breast_cancer, .*, not for xor"),
            ({"name": "xor", "target": "a"}, "target is for CSV files, not for xor"),
            ({"name": "iris", "missing": "drop"}, "missing is for CSV files, not for iris"),
            ({"name": "xor", "samples": 3}, "samples must be at least 4 .*, got samples=3"),
            ({"name": "xor", "noise": -1}, "noise finite and not negative, got .*noise=-1"),
            ({"name": "xor", "noise": float("nan")}, "noise=nan"),
            ({"name": "xor", "noise": float("inf")}, "noise=inf"),
            ({"name": "breast_cancer", "features": ["size"]}, r"features of breast_cancer must be among .*\['size'\]"),
            ({"name": "breast_cancer", "features": []}, r"features of breast_cancer must be among .*\[\]"),
            ({"name": "breast_cancer", "target": "y"}, "target is for CSV files, not for breast_cancer"),
            ({"name": "iris", "features": ["petal widht (cm)"]}, r"did you mean 'petal width \(cm\)'"),
        ],
    )
    def test_refuses(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            load(**arguments)
