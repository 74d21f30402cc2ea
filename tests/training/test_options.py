import pytest

from nnmath.training.options import TrainOptions


@pytest.mark.parametrize(("devices", "num_nodes"), [(2, 1), (1, 2), (2, 2)])
def test_a_comparison_is_made_on_one_device(devices, num_nodes):
    TrainOptions(compare=("manual", "autograd"))
    with pytest.raises(ValueError, match="compare needs manual and autograd, on one device, got manual autograd"):
        TrainOptions(compare=("manual", "autograd"), devices=devices, num_nodes=num_nodes)
