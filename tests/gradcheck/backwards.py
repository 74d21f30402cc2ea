"""Right hand-written backward passes, as people write them: in NumPy and in torch, with loops, classes and caches.

Each is a row of BACKWARDS: forward in torch (or NumPy), backward, and the inputs.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

GENERATOR = torch.Generator().manual_seed(7)


class Case(NamedTuple):
    forward: object
    backward: object
    inputs: dict

    @property
    def name(self):
        return self.backward.__name__


def normal(*shape, scale=1.0):
    return scale * torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


def labels(classes, *shape):
    return torch.randint(classes, shape, generator=GENERATOR)


def one_hot(classes, n):
    return F.one_hot(labels(classes, n), classes).double()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


BACKWARDS = []


def case(forward, **inputs):
    def add(backward):
        BACKWARDS.append(Case(forward, backward, inputs))
        return backward

    return add


def forward_logistic(X, y, w, b):
    return F.binary_cross_entropy(torch.sigmoid(X @ w + b), y)


@case(forward_logistic, X=normal(7, 3), y=(normal(7) > 0).double(), w=normal(3), b=normal(1))
def logistic_regression(X, y, w, b):
    n = len(y)
    p = sigmoid(X @ w + b)
    error = p - y
    dw = X.T @ error / n
    db = np.sum(error, keepdims=True) / n
    return {"w": dw, "b": db}


def forward_article(x, y, wi, bi, wo, bo):
    h = torch.sigmoid(wi @ x + bi)
    return ((torch.sigmoid(wo @ h + bo) - y) ** 2).sum() / (2 * x.shape[1])


ARTICLE = {
    "x": normal(2, 6),
    "y": normal(1, 6),
    "wi": normal(4, 2),
    "bi": normal(4, 1),
    "wo": normal(1, 4),
    "bo": normal(1, 1),
}


@case(forward_article, **ARTICLE)
def article_network(x, y, wi, bi, wo, bo):
    n = x.shape[1]
    h = sigmoid(wi @ x + bi)
    o = sigmoid(wo @ h + bo)
    delta_o = (o - y) * o * (1 - o)
    delta_i = wo.T @ delta_o * h * (1 - h)
    return {
        "wo": delta_o @ h.T / n,
        "bo": delta_o.sum(axis=1, keepdims=True) / n,
        "wi": delta_i @ x.T / n,
        "bi": delta_i.sum(axis=1, keepdims=True) / n,
    }


def forward_mlp(X, y, W1, b1, W2, b2, W3, b3):
    h1 = torch.relu(X @ W1 + b1)
    h2 = torch.tanh(h1 @ W2 + b2)
    return F.cross_entropy(h2 @ W3 + b3, y)


MLP = {
    "X": normal(8, 5),
    "y": labels(3, 8),
    "W1": normal(5, 6),
    "b1": normal(6),
    "W2": normal(6, 4),
    "b2": normal(4),
    "W3": normal(4, 3),
    "b3": normal(3),
}


@case(forward_mlp, **MLP)
def three_layers(X, y, W1, b1, W2, b2, W3, b3):
    z1 = X.dot(W1) + b1
    h1 = np.maximum(0, z1)
    h2 = np.tanh(h1.dot(W2) + b2)
    dscores = softmax(h2.dot(W3) + b3)
    dscores[np.arange(len(y)), y] -= 1
    dscores /= len(y)
    grads = {}
    grads["W3"] = h2.T.dot(dscores)
    grads["b3"] = dscores.sum(axis=0)
    dh2 = dscores.dot(W3.T) * (1 - h2**2)
    grads["W2"] = h1.T.dot(dh2)
    grads["b2"] = dh2.sum(axis=0)
    dh1 = dh2.dot(W2.T)
    dh1[z1 <= 0] = 0
    grads["W1"] = X.T.dot(dh1)
    grads["b1"] = dh1.sum(axis=0)
    return grads


@case(forward_mlp, **MLP)
def three_layers_in_a_loop(X, y, W1, b1, W2, b2, W3, b3):
    weights, biases = [W1, W2, W3], [b1, b2, b3]
    acts = [X]
    for i in range(3):
        z = acts[-1] @ weights[i] + biases[i]
        acts.append(np.maximum(z, 0) if i == 0 else np.tanh(z) if i == 1 else z)
    delta = (softmax(acts[-1]) - np.eye(W3.shape[1])[y]) / X.shape[0]
    grads = {}
    for i in reversed(range(3)):
        grads[f"W{i + 1}"] = acts[i].T @ delta
        grads[f"b{i + 1}"] = delta.sum(0)
        if i > 0:
            delta = delta @ weights[i].T
            if i == 2:
                delta = delta * (1 - acts[i] ** 2)
            if i == 1:
                delta = delta * (acts[i] > 0)
    return grads


class Dense:
    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def forward(self, x):
        self.x = x
        return x @ self.weight + self.bias

    def backward(self, grad):
        self.dweight = self.x.T @ grad
        self.dbias = grad.sum(axis=0)
        return grad @ self.weight.T


class Tanh:
    def forward(self, x):
        self.out = np.tanh(x)
        return self.out

    def backward(self, grad):
        return grad * (1 - self.out**2)


class Relu:
    def forward(self, x):
        self.mask = x > 0
        return x * self.mask

    def backward(self, grad):
        return grad * self.mask


@case(forward_mlp, **MLP)
def layer_objects(X, y, W1, b1, W2, b2, W3, b3):
    layers = [Dense(W1, b1), Relu(), Dense(W2, b2), Tanh(), Dense(W3, b3)]
    out = X
    for layer in layers:
        out = layer.forward(out)
    grad = softmax(out)
    grad[range(len(y)), y] -= 1
    grad = grad / len(y)
    for layer in reversed(layers):
        grad = layer.backward(grad)
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    result = {f"W{k}": layer.dweight for k, layer in enumerate(dense, 1)}
    result.update({f"b{k}": layer.dbias for k, layer in enumerate(dense, 1)})
    return result


def forward_columns(X, Y, W1, b1, W2, b2):
    z = W2 @ F.leaky_relu(W1 @ X + b1, 0.1) + b2
    return -(Y * F.log_softmax(z, dim=0)).sum() / X.shape[1]


@case(
    forward_columns,
    X=normal(4, 6),
    Y=one_hot(3, 6).T.contiguous(),
    W1=normal(5, 4),
    b1=normal(5, 1),
    W2=normal(3, 5),
    b2=normal(3, 1),
)
def columns_leaky(X, Y, W1, b1, W2, b2):
    m = X.shape[1]
    Z1 = np.dot(W1, X) + b1
    A1 = np.where(Z1 > 0, Z1, 0.1 * Z1)
    Z2 = np.dot(W2, A1) + b2
    E = np.exp(Z2 - Z2.max(axis=0))
    A2 = E / E.sum(axis=0)
    dZ2 = A2 - Y
    dW2 = (1 / m) * np.dot(dZ2, A1.T)
    db2 = (1 / m) * np.sum(dZ2, axis=1, keepdims=True)
    dZ1 = np.dot(W2.T, dZ2) * np.where(Z1 > 0, 1, 0.1)
    dW1 = (1 / m) * np.dot(dZ1, X.T)
    db1 = (1 / m) * np.sum(dZ1, axis=1, keepdims=True)
    return {"W1": dW1, "b1": db1, "W2": dW2, "b2": db2}


def forward_rnn(xs, targets, Wxh, Whh, Why, bh, by):
    h, loss = torch.zeros(Whh.shape[0], dtype=xs.dtype), 0.0
    for t in range(len(xs)):
        h = torch.tanh(Wxh @ xs[t] + Whh @ h + bh)
        loss = loss + F.cross_entropy(Why @ h + by, targets[t])
    return loss


@case(
    forward_rnn,
    xs=normal(4, 3),
    targets=labels(3, 4),
    Wxh=normal(5, 3),
    Whh=normal(5, 5, scale=0.5),
    Why=normal(3, 5),
    bh=normal(5),
    by=normal(3),
)
def character_rnn(xs, targets, Wxh, Whh, Why, bh, by):
    hs, ps = {-1: np.zeros(Whh.shape[0])}, {}
    for t in range(len(xs)):
        hs[t] = np.tanh(Wxh @ xs[t] + Whh @ hs[t - 1] + bh)
        e = np.exp(Why @ hs[t] + by)
        ps[t] = e / np.sum(e)
    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dhnext = np.zeros_like(hs[0])
    for t in reversed(range(len(xs))):
        dy = np.copy(ps[t])
        dy[targets[t]] -= 1
        dWhy += np.outer(dy, hs[t])
        dby += dy
        dh = Why.T @ dy + dhnext
        dhraw = (1 - hs[t] * hs[t]) * dh
        dbh += dhraw
        dWxh += np.outer(dhraw, xs[t])
        dWhh += np.outer(dhraw, hs[t - 1])
        dhnext = Whh.T @ dhraw
    return {"Wxh": dWxh, "Whh": dWhh, "Why": dWhy, "bh": dbh, "by": dby}


def forward_batch_norm(x, gamma, beta, c):
    mean, var = x.mean(0), x.var(0, unbiased=False)
    return ((gamma * (x - mean) / torch.sqrt(var + 1e-5) + beta) * c).sum()


BATCH_NORM = {"x": normal(6, 4), "gamma": normal(4), "beta": normal(4), "c": normal(6, 4)}


@case(forward_batch_norm, **BATCH_NORM)
def batch_norm_step_by_step(x, gamma, beta, c):
    N = x.shape[0]
    xmu = x - x.mean(axis=0)
    var = np.mean(xmu**2, axis=0)
    sqrtvar = np.sqrt(var + 1e-5)
    ivar = 1.0 / sqrtvar
    xhat = xmu * ivar
    dbeta = np.sum(c, axis=0)
    dgamma = np.sum(c * xhat, axis=0)
    dxhat = c * gamma
    divar = np.sum(dxhat * xmu, axis=0)
    dxmu1 = dxhat * ivar
    dsqrtvar = -1.0 / (sqrtvar**2) * divar
    dvar = 0.5 * 1.0 / np.sqrt(var + 1e-5) * dsqrtvar
    dsq = 1.0 / N * np.ones_like(x) * dvar
    dxmu2 = 2 * xmu * dsq
    dx1 = dxmu1 + dxmu2
    dmu = -1 * np.sum(dxmu1 + dxmu2, axis=0)
    dx2 = 1.0 / N * np.ones_like(x) * dmu
    return {"x": dx1 + dx2, "gamma": dgamma, "beta": dbeta}


@case(forward_batch_norm, **BATCH_NORM)
def batch_norm_short(x, gamma, beta, c):
    n = len(x)
    inv_std = 1 / torch.sqrt(x.var(0, unbiased=False) + 1e-5)
    xhat = (x - x.mean(0)) * inv_std
    g = c * gamma
    dx = inv_std / n * (n * g - g.sum(0) - xhat * (g * xhat).sum(0))
    return {"x": dx, "gamma": (c * xhat).sum(0), "beta": c.sum(0)}


def forward_layer_norm(x, w, b, c):
    return (F.layer_norm(x, (x.shape[1],), w, b) * c).sum()


@case(forward_layer_norm, x=normal(3, 5), w=normal(5), b=normal(5), c=normal(3, 5))
def layer_norm(x, w, b, c):
    mean = x.mean(-1, keepdim=True)
    rstd = (x.var(-1, unbiased=False, keepdim=True) + 1e-5) ** -0.5
    norm = (x - mean) * rstd
    dnorm = c * w
    dx = dnorm - dnorm.mean(-1, keepdim=True) - norm * (dnorm * norm).mean(-1, keepdim=True)
    dx *= rstd
    return {"x": dx, "w": (c * norm).sum(0), "b": c.sum(0)}


def forward_rms(x, w, c):
    return (x * torch.rsqrt((x**2).mean(-1, keepdim=True) + 1e-6) * w * c).sum()


@case(forward_rms, x=normal(3, 4), w=normal(4), c=normal(3, 4))
def rms_norm(x, w, c):
    r = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
    g = c * w
    dx = r * g - x * r**3 * (g * x).sum(-1, keepdim=True) / x.shape[-1]
    return {"x": dx, "w": (c * x * r).sum(0)}


def forward_attention(q, k, v, c):
    return (F.scaled_dot_product_attention(q, k, v) * c).sum()


@case(forward_attention, q=normal(4, 3), k=normal(5, 3), v=normal(5, 2), c=normal(4, 2))
def attention(q, k, v, c):
    scale = 1 / q.shape[-1] ** 0.5
    p = torch.softmax(q @ k.T * scale, dim=-1)
    dv = p.T @ c
    dp = c @ v.T
    ds = p * (dp - (dp * p).sum(dim=-1, keepdim=True)) * scale
    return {"q": ds @ k, "k": ds.T @ q, "v": dv}


def forward_embedding(table, W, tokens, y):
    return F.cross_entropy(torch.tanh(table[tokens].mean(1) @ W), y)


@case(forward_embedding, table=normal(6, 4), W=normal(4, 3), tokens=labels(6, 5, 3), y=labels(3, 5))
def bag_of_words(table, W, tokens, y):
    n, length = tokens.shape
    bag = table[tokens].mean(axis=1)
    out = np.tanh(bag @ W)
    d = softmax(out)
    d[np.arange(n), y] -= 1
    d = d / n * (1 - out**2)
    dbag = d @ W.T
    dtable = np.zeros_like(table)
    np.add.at(dtable, tokens, dbag[:, None, :] / length)
    return {"table": dtable, "W": bag.T @ d}


def forward_skip_gram(center, context, negatives):
    return -F.logsigmoid(context @ center) - F.logsigmoid(-negatives @ center).sum()


@case(forward_skip_gram, center=normal(5), context=normal(5), negatives=normal(4, 5))
def negative_sampling(center, context, negatives):
    positive = sigmoid(context @ center) - 1
    other = sigmoid(negatives @ center)
    return {
        "center": positive * context + negatives.T @ other,
        "context": positive * center,
        "negatives": np.outer(other, center),
    }


def forward_svm(X, y, W):
    scores = X @ W
    margins = torch.relu(scores - scores.gather(1, y[:, None]) + 1).sum() - len(y)
    return margins / len(y) + 0.5 * (W**2).sum()


@case(forward_svm, X=normal(7, 4), y=labels(3, 7), W=normal(4, 3))
def hinge_loss(X, y, W):
    n = X.shape[0]
    scores = X.dot(W)
    correct = scores[np.arange(n), y][:, np.newaxis]
    mask = (scores - correct + 1 > 0).astype(float)
    mask[np.arange(n), y] = 0
    mask[np.arange(n), y] = -mask.sum(axis=1)
    dW = X.T.dot(mask) / n
    dW += W
    return {"W": dW}


def forward_conv(x, w, b, c):
    return (torch.relu(F.conv2d(x, w, b)) * c).sum()


CONV = {"x": normal(2, 2, 5, 4), "w": normal(3, 2, 2, 3), "b": normal(3), "c": normal(2, 3, 4, 2)}


@case(forward_conv, **CONV)
def convolution_by_loops(x, w, b, c):
    _N, _C, H, W = x.shape
    _K, _, kh, kw = w.shape
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    dout = np.zeros_like(c)
    for i in range(H - kh + 1):
        for j in range(W - kw + 1):
            patch = x[:, :, i : i + kh, j : j + kw]
            out = np.tensordot(patch, w, axes=([1, 2, 3], [1, 2, 3])) + b
            d = c[:, :, i, j] * (out > 0)
            dout[:, :, i, j] = d
            dw += np.tensordot(d, patch, axes=([0], [0]))
            dx[:, :, i : i + kh, j : j + kw] += np.tensordot(d, w, axes=([1], [0]))
    return {"x": dx, "w": dw, "b": dout.sum(axis=(0, 2, 3))}


@case(forward_conv, **CONV)
def convolution_unfolded(x, w, b, c):
    n, k = x.shape[0], w.shape[0]
    columns = F.unfold(x, w.shape[2:])
    out = torch.einsum("kp,npl->nkl", w.reshape(k, -1), columns) + b[:, None]
    dout = c.reshape(n, k, -1) * (out > 0)
    dw = torch.einsum("nkl,npl->kp", dout, columns).reshape(w.shape)
    dcolumns = torch.einsum("kp,nkl->npl", w.reshape(k, -1), dout)
    return {"x": F.fold(dcolumns, x.shape[2:], w.shape[2:]), "w": dw, "b": dout.sum(dim=(0, 2))}


def forward_lstm(x, h0, c0, W, b):
    i, f, g, o = (torch.cat([x, h0], 1) @ W + b).chunk(4, 1)
    c = torch.sigmoid(f) * c0 + torch.sigmoid(i) * torch.tanh(g)
    return (torch.sigmoid(o) * torch.tanh(c)).pow(2).sum()


@case(forward_lstm, x=normal(3, 2), h0=normal(3, 2), c0=normal(3, 2), W=normal(4, 8), b=normal(8))
def lstm_cell(x, h0, c0, W, b):
    H = h0.shape[1]
    z = np.hstack([x, h0])
    a = z @ W + b
    i, f, o = sigmoid(a[:, :H]), sigmoid(a[:, H : 2 * H]), sigmoid(a[:, 3 * H :])
    g = np.tanh(a[:, 2 * H : 3 * H])
    c = f * c0 + i * g
    tc = np.tanh(c)
    dh = 2 * o * tc
    do = dh * tc
    dc = dh * o * (1 - tc**2)
    df = dc * c0
    dc0 = dc * f
    di = dc * g
    dg = dc * i
    da = np.hstack([di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)])
    dz = da @ W.T
    return {"W": z.T @ da, "b": da.sum(axis=0), "x": dz[:, :2], "h0": dz[:, 2:], "c0": dc0}


def forward_gru(x, h, Wz, Wr, Wh):
    xh = torch.cat([x, h])
    z, r = torch.sigmoid(Wz @ xh), torch.sigmoid(Wr @ xh)
    new = torch.tanh(Wh @ torch.cat([x, r * h]))
    return (((1 - z) * h + z * new) ** 2).sum() / 2


@case(forward_gru, x=normal(3), h=normal(4), Wz=normal(4, 7), Wr=normal(4, 7), Wh=normal(4, 7))
def gru_cell(x, h, Wz, Wr, Wh):
    n = x.numel()
    xh = torch.cat([x, h])
    z = torch.sigmoid(Wz.mv(xh))
    r = torch.sigmoid(Wr.mv(xh))
    xrh = torch.cat([x, r * h])
    new = torch.tanh(Wh.mv(xrh))
    d_out = (1 - z) * h + z * new
    d_new = d_out * z * (1 - new**2)
    d_z = d_out * (new - h) * z * (1 - z)
    d_xrh = Wh.t().mv(d_new)
    d_r = d_xrh[n:] * h * r * (1 - r)
    d_xh = Wz.t().mv(d_z) + Wr.t().mv(d_r)
    d_h = d_out * (1 - z) + d_xrh[n:] * r + d_xh[n:]
    d_x = d_xrh[:n] + d_xh[:n]
    return {"x": d_x, "h": d_h, "Wz": torch.outer(d_z, xh), "Wr": torch.outer(d_r, xh), "Wh": torch.outer(d_new, xrh)}


def forward_tied(x, W, b, c):
    return ((torch.sigmoid(x @ W + b) @ W.T + c - x) ** 2).mean()


@case(forward_tied, x=normal(5, 4), W=normal(4, 3), b=normal(3), c=normal(4))
def tied_autoencoder(x, W, b, c):
    h = sigmoid(x @ W + b)
    out = h @ W.T + c
    dout = 2 * (out - x) / x.size
    dh = dout @ W
    dz = dh * h * (1 - h)
    dW = x.T @ dz + dout.T @ h
    return {"W": dW, "b": dz.sum(0), "c": dout.sum(0)}


def forward_gelu(x, W, c):
    return (F.gelu(x @ W, approximate="tanh") * c).sum()


@case(forward_gelu, x=normal(5, 3), W=normal(3, 4), c=normal(5, 4))
def gelu(x, W, c):
    z = x @ W
    s = np.sqrt(2 / np.pi)
    t = np.tanh(s * (z + 0.044715 * z**3))
    dz = c * (0.5 * (1 + t) + 0.5 * z * (1 - t**2) * s * (1 + 3 * 0.044715 * z**2))
    return {"W": x.T @ dz, "x": dz @ W.T}


def forward_huber(x, w, b, y):
    return F.huber_loss(F.softplus(x @ w + b), y, delta=0.7)


@case(forward_huber, x=normal(9, 3), w=normal(3), b=normal(1), y=3 * normal(9))
def softplus_huber(x, w, b, y):
    z = x @ w + b
    r = torch.log1p(torch.exp(z)) - y
    d = torch.where(r.abs() <= 0.7, r, 0.7 * torch.sign(r)) / len(y)
    dz = d * torch.sigmoid(z)
    return {"w": x.T @ dz, "b": dz.sum().reshape(1)}


def forward_vae(mu, logvar, eps, W, x):
    z = mu + torch.exp(logvar / 2) * eps
    kl = -0.5 * (1 + logvar - mu**2 - torch.exp(logvar)).sum()
    return 0.5 * ((z @ W - x) ** 2).sum() + kl


@case(forward_vae, mu=normal(4, 2), logvar=normal(4, 2), eps=normal(4, 2), W=normal(2, 3), x=normal(4, 3))
def variational_autoencoder(mu, logvar, eps, W, x):
    std = np.exp(0.5 * logvar)
    z = mu + std * eps
    diff = z @ W - x
    dz = diff @ W.T
    dmu = dz + mu
    dlogvar = dz * eps * 0.5 * std + 0.5 * (np.exp(logvar) - 1)
    return {"mu": dmu, "logvar": dlogvar, "W": z.T @ diff}


def forward_cosine(a, b, y):
    return ((F.cosine_similarity(a, b, dim=1) - y) ** 2).sum()


@case(forward_cosine, a=normal(4, 3), b=normal(4, 3), y=normal(4))
def cosine_similarity(a, b, y):
    na, nb = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    s = (a * b).sum(1, keepdim=True) / (na * nb)
    ds = 2 * (s - y[:, None])
    da = ds * (b / (na * nb) - s * a / na**2)
    db = ds * (a / (na * nb) - s * b / nb**2)
    return {"a": da, "b": db}


def forward_residual(x, W1, W2, mask, y):
    h = torch.relu(x @ W1) * mask / 0.8
    return 0.5 * ((x + h @ W2 - y) ** 2).sum(1).mean()


@case(
    forward_residual,
    x=normal(6, 3),
    W1=normal(3, 5),
    W2=normal(5, 3),
    mask=(normal(6, 5) > -0.8).double(),
    y=normal(6, 3),
)
def residual_block_with_dropout(x, W1, W2, mask, y):
    a = x @ W1
    h = a.clip(0) * mask / 0.8
    dout = (x + h @ W2 - y) / x.shape[0]
    dW2 = h.T @ dout
    da = dout @ W2.T * mask / 0.8 * (a > 0)
    dx = dout + da @ W1.T
    return {"x": dx, "W1": x.T @ da, "W2": dW2}


def forward_pool(x, w, y):
    h = torch.sigmoid(F.max_pool1d(x[:, None], 2)[:, 0])
    return F.binary_cross_entropy(torch.sigmoid(h @ w), y)


@case(forward_pool, x=normal(5, 6), w=normal(3), y=(normal(5) > 0).double())
def max_pooling(x, w, y):
    pairs = x.reshape(len(x), -1, 2)
    top = pairs.max(axis=2)
    h = sigmoid(top)
    d = (sigmoid(h @ w) - y) / len(y)
    dh = np.outer(d, w)
    dtop = dh * h * (1 - h)
    dpairs = dtop[:, :, None] * (pairs == top[:, :, None])
    return {"x": dpairs.reshape(x.shape), "w": h.T @ d}


def forward_numpy(x, y, W, b, v):
    h = np.tanh(np.dot(x, W) + b)
    p = 1 / (1 + np.exp(-np.dot(h, v)))
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)) + 0.01 * np.sum(W**2)


@case(forward_numpy, x=normal(6, 3), y=(normal(6) > 0).double(), W=normal(3, 4), b=normal(4), v=normal(4))
def numpy_both_ways(x, y, W, b, v):
    h = np.tanh(np.dot(x, W) + b)
    p = 1 / (1 + np.exp(-np.dot(h, v)))
    dz = (p - y) / x.shape[0]
    dv = np.dot(h.T, dz)
    dh = np.outer(dz, v) * (1 - h**2)
    dW = np.dot(x.T, dh) + 2 * 0.01 * W
    db = np.sum(dh, axis=0)
    return {"W": dW, "b": db, "v": dv}


def forward_poisson(X, y, w, b):
    z = X @ w + b
    return (torch.exp(z) - y * z).mean() + 0.1 * w.abs().sum()


@case(forward_poisson, X=normal(6, 3, scale=0.5), y=labels(4, 6).double(), w=normal(3), b=normal(1))
def poisson_regression(X, y, w, b):
    rate = np.exp(X @ w + b)
    residual = rate - y
    dw = X.T @ residual / len(y) + 0.1 * np.sign(w)
    db = np.mean(residual)
    return {"w": dw, "b": np.array([db])}


def forward_bilinear(x, y, A, t):
    return 0.5 * ((torch.einsum("ni,ij,nj->n", x, A, y) - t) ** 2).sum()


@case(forward_bilinear, x=normal(5, 3), y=normal(5, 4), A=normal(3, 4), t=normal(5))
def bilinear_form(x, y, A, t):
    e = torch.einsum("ni,ij,nj->n", x, A, y) - t
    dA = torch.einsum("n,ni,nj->ij", e, x, y)
    dx = e[:, None] * (y @ A.T)
    dy = e[:, None] * (x @ A)
    return {"A": dA, "x": dx, "y": dy}
