# %% [markdown]
# # Simplified Mathematics behind Neural Networks, in ten cells and four exercises
#
# Each cell computes what the article says, with the functions of `nnmath.equations`. In the exercises a gradient has a
# mistake: find it before you run the cell. Editors open this file as a notebook; `python scripts/lesson.py` runs it.

# %%
import torch

from nnmath.equations import (
    SIGMOID,
    Layer,
    backward,
    cosine_annealing,
    critical_learning_rate,
    error,
    error_gradient,
    fires,
    forward,
    gradient_step,
    half_mse,
    half_mse_gradient,
    half_mse_hessian,
    hidden_delta,
    output_delta,
    relu,
    sigmoid,
    sigmoid_derivative,
    tanh,
    training_step,
    weight_gradient,
    zero_velocities,
)
from nnmath.gradcheck import check_backward

torch.manual_seed(0)

# %% [markdown]
# ## 1. A neuron fires above its threshold (Fig. 1)
# Each column is a sample: x₁ + x₂ is 30, 40 and 50, and the threshold is 40.

# %%
print(fires(torch.tensor([[10.0, 20.0, 20.0], [20.0, 20.0, 30.0]]), threshold=40))

# %% [markdown]
# ## 2. Activation functions (Figs. 3 to 5)
# σ maps every number to (0, 1), tanh to (−1, 1). ReLU sets negative numbers to 0.

# %%
z = torch.tensor([-4.0, -1.0, 0.0, 1.0, 4.0])
for function in (sigmoid, tanh, relu):
    print(f"{function.__name__:8}", function(z))

# %% [markdown]
# ## 3. The derivative of σ, by hand and by autograd
# σ′(z) = σ(z) (1 − σ(z)). It is largest at 0, where it is ¼, and almost 0 at both ends: there a neuron hardly learns.

# %%
z.requires_grad_()
(autograd,) = torch.autograd.grad(sigmoid(z).sum(), z)
print(sigmoid_derivative(z.detach()))
print(autograd)

# %% [markdown]
# ## 4. The cost of a straight line, and its gradient
# C = 1/(2n) Σ (θ₀ + xθ₁ − y)². The points lie on y = 1 + 2x, so the gradient is 0 at θ = (1, 2).

# %%
x, y = torch.linspace(0, 2, 5), 1 + 2 * torch.linspace(0, 2, 5)
for theta in (torch.tensor([0.0, 0.0]), torch.tensor([1.0, 2.0])):
    gradient = torch.stack(half_mse_gradient(x, theta[0], theta[1], y))
    print(f"θ = {theta.tolist()}: C = {half_mse(theta[0] + x * theta[1], y):.4f}, gradient {gradient.tolist()}")

# %% [markdown]
# ## 5. Gradient descent: θ ← θ − η ∂C/∂θ (Fig. 8)
# It converges below η = 2/λ, where λ is the largest eigenvalue of the Hessian, and diverges above.

# %%
critical = float(critical_learning_rate(half_mse_hessian(torch.stack([torch.ones(5), x]))))
for eta in (0.9 * critical, 1.1 * critical):
    theta = torch.zeros(2)
    for _ in range(100):
        theta = gradient_step(theta, torch.stack(half_mse_gradient(x, theta[0], theta[1], y)), eta)
    print(f"η = {eta:.3f}: θ after 100 steps is {theta.tolist()}")

# %% [markdown]
# ## 6. Forward through the network 2-4-1 (Figs. 6 and 9)
# h = σ(wᵢ x + bᵢ), O = σ(wₒ h + bₒ). The samples are the truth table of XOR, one in each column.

# %%
x = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
y = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
layers = [Layer(torch.randn(4, 2), torch.randn(4)), Layer(torch.randn(1, 4), torch.randn(1))]
activations = (SIGMOID, SIGMOID)
values = forward(x, layers, activations)
h, output = values[1:]
print(f"O = {output.tolist()}, E = {error(output, y):.4f}")

# %% [markdown]
# ## 7. Case 1: the output layer (Fig. 10)
# ∂E/∂wₒ = (O − y) O (1 − O) h. All factors but the last are δₒ = ∂E/∂μ₂.

# %%
print("∂E/∂O  ", error_gradient(output, y))
delta_o = output_delta(output, y, SIGMOID.derivative_from_output)
print("∂E/∂wₒ ", weight_gradient(delta_o, h))

# %% [markdown]
# ## 8. Case 2: the hidden layer (Fig. 11)
# δᵢ = wₒᵀ δₒ · h (1 − h), and ∂E/∂wᵢ = δᵢ xᵀ.

# %%
delta_i = hidden_delta(delta_o, layers[1].weight, h, SIGMOID.derivative_from_output)
print("∂E/∂wᵢ ", weight_gradient(delta_i, x))

# %% [markdown]
# ## 9. Both cases are what autograd computes

# %%
for layer in layers:
    layer.weight.requires_grad_()
truth = torch.autograd.grad(error(forward(x, layers, activations)[-1], y), [layer.weight for layer in layers])
for layer in layers:
    layer.weight.requires_grad_(False)
manual = backward(values, layers, activations, y)
print("largest difference:", max(float((m.weight - t).abs().max()) for m, t in zip(manual, truth, strict=True)))

# %% [markdown]
# ## 10. Training: forward, Case 1, Case 2, update; repeated
# With momentum 0.9, and a learning rate that falls along a cosine, the network learns XOR.

# %%
velocities, epochs = zero_velocities(layers), 1000
for epoch in range(epochs):
    rate = cosine_annealing(epoch, epochs, learning_rate=1.0)
    layers, velocities = training_step(x, y, layers, velocities, activations, rate, momentum=0.9)
print("O =", [round(o, 3) for o in forward(x, layers, activations)[-1].flatten().tolist()])

# %% [markdown]
# # Exercises
# Each backward below has one mistake. Find it, then run the cell: the report names the line and what it should compute.
# Mend the line and run the cell again, until the report says that all gradients are right.

# %%
w1, b1, w2, b2 = torch.randn(4, 2), torch.randn(4, 1), torch.randn(1, 4), torch.randn(1, 1)
inputs = {"x": torch.randn(2, 8), "y": torch.rand(1, 8), "w1": w1, "b1": b1, "w2": w2, "b2": b2}
inputs = {name: value.double() for name, value in inputs.items()}


def loss(x, y, w1, b1, w2, b2):
    return 0.5 * ((torch.sigmoid(w2 @ torch.sigmoid(w1 @ x + b1) + b2) - y) ** 2).sum()


# %% [markdown]
# ## Exercise 1


# %%
def exercise_1(x, y, w1, b1, w2, b2):
    h = torch.sigmoid(w1 @ x + b1)
    o = torch.sigmoid(w2 @ h + b2)
    delta_o = o - y
    delta_h = (w2.T @ delta_o) * h * (1 - h)
    return {
        "w1": delta_h @ x.T,
        "b1": delta_h.sum(1, keepdim=True),
        "w2": delta_o @ h.T,
        "b2": delta_o.sum(1, keepdim=True),
    }


print(check_backward(loss, exercise_1, inputs))

# %% [markdown]
# ## Exercise 2


# %%
def exercise_2(x, y, w1, b1, w2, b2):
    mu = w1 @ x + b1
    h = torch.sigmoid(mu)
    o = torch.sigmoid(w2 @ h + b2)
    delta_o = (o - y) * o * (1 - o)
    delta_h = (w2.T @ delta_o) * mu * (1 - mu)
    return {
        "w1": delta_h @ x.T,
        "b1": delta_h.sum(1, keepdim=True),
        "w2": delta_o @ h.T,
        "b2": delta_o.sum(1, keepdim=True),
    }


print(check_backward(loss, exercise_2, inputs))

# %% [markdown]
# ## Exercise 3


# %%
def exercise_3(x, y, w1, b1, w2, b2):
    h = torch.sigmoid(w1 @ x + b1)
    o = torch.sigmoid(w2 @ h + b2)
    delta_o = (o - y) * o * (1 - o)
    delta_h = (w2.T @ delta_o) * h * (1 - h)
    return {
        "w1": delta_h @ x.T,
        "b1": delta_h.mean(1, keepdim=True),
        "w2": delta_o @ h.T,
        "b2": delta_o.sum(1, keepdim=True),
    }


print(check_backward(loss, exercise_3, inputs))

# %% [markdown]
# ## Exercise 4
# The classic mistake: Case 2 uses a weight that has already been updated.


# %%
def exercise_4(x, y, w1, b1, w2, b2):
    h = torch.sigmoid(w1 @ x + b1)
    o = torch.sigmoid(w2 @ h + b2)
    delta_o = (o - y) * o * (1 - o)
    grad_w2 = delta_o @ h.T
    w2 = w2 - 0.1 * grad_w2
    delta_h = (w2.T @ delta_o) * h * (1 - h)
    return {
        "w1": delta_h @ x.T,
        "b1": delta_h.sum(1, keepdim=True),
        "w2": grad_w2,
        "b2": delta_o.sum(1, keepdim=True),
    }


print(check_backward(loss, exercise_4, inputs))
