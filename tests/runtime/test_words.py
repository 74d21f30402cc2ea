import pytest

from nnmath.runtime.words import normalise_words

HINTS = {
    "features": list[str] | None,
    "neurons": int | list[int],
    "epochs": int,
    "target": str,
    "rate": float | tuple[float, ...],
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--features a b", ['--features=["a", "b"]']),
        ("--features a,b", ['--features=["a", "b"]']),
        ("--features [a, b]", ['--features=["a", "b"]']),
        ("--features=[a,b]", ['--features=["a", "b"]']),
        ("--features a, b --epochs 3", ['--features=["a", "b"]', "--epochs", "3"]),
        ("--features 2019 no null", ['--features=["2019", "no", "null"]']),
        ("--features []", ["--features=[]"]),
        ("--neurons 8", ["--neurons=8"]),
        ("--neurons 8,8", ["--neurons=[8, 8]"]),
        ("--neurons 8 8", ["--neurons=[8, 8]"]),
        ("--neurons [8, 8]", ["--neurons=[8, 8]"]),
        ("--neurons [8]", ["--neurons=[8]"]),
        ("--neurons []", ["--neurons=[]"]),
        ("--rate 1e-1 .3", ["--rate=[1e-1, .3]"]),
        ("--epochs 1e3", ["--epochs", "1000"]),
        ("--epochs=1.5e1", ["--epochs=15"]),
        ("--epochs 1e-3", ["--epochs", "1e-3"]),
        ("--target 1e3", ["--target", "1e3"]),
        ("--neurons", ["--neurons"]),
        ("--check-point x", ["--check_point", "x"]),
    ],
)
def test_words(words, expected):
    assert normalise_words(words.split(" "), HINTS) == expected


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["[ph: raw, # of pumps]"], '["ph: raw", "# of pumps"]'),
        (["worst radius", "worst area"], '["worst radius", "worst area"]'),
        (['["2019", "a,b"]'], '["2019", "a,b"]'),
        (["['2019', 'b']"], '["2019", "b"]'),
        (["größe"], '["größe"]'),
    ],
)
def test_names_are_text_whatever_they_look_like(words, names):
    assert normalise_words(["--features", *words], HINTS) == [f"--features={names}"]
