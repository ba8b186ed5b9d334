"""The workloads on PyTorch, on one thread, behind the protocol that worker.ts describes."""

import json
import math
import sys
import time

import torch
import torch.nn.functional as F

COMPARED = 6

torch.set_num_threads(1)


def values_of(numbers):
    """The numbers that a formula stands for; see workloads.ts."""
    count = math.prod(numbers["shape"])
    mask = 0xFFFFFFFF
    x = (torch.arange(count, dtype=torch.int64) + numbers["seed"] * 0x9E3779B9) & mask
    z = ((x ^ (x >> 16)) * 0x21F0AAAD) & mask
    y = ((z ^ (z >> 15)) * 0x735A2D97) & mask
    hashed = y ^ (y >> 15)
    if "below" in numbers:
        return (hashed % numbers["below"]).reshape(numbers["shape"])
    unit = hashed.double() / 2**32 * 2 - 1
    return (numbers["shift"] + numbers["scale"] * unit).float().reshape(numbers["shape"])


def optimizer_of(spec, parameters):
    if spec["kind"] == "sgd":
        return torch.optim.SGD(parameters, lr=spec["lr"])
    # On one thread the fused implementation is the fastest.
    options = dict(lr=spec["lr"], betas=tuple(spec["betas"]), fused=True)
    if spec["weightDecay"] == 0:
        return torch.optim.Adam(parameters, **options)
    return torch.optim.AdamW(parameters, weight_decay=spec["weightDecay"], **options)


def mlp(spec):
    def loss(parameters, x, y):
        for i in range(0, len(parameters), 2):
            x = F.linear(F.relu(x) if i > 0 else x, parameters[i], parameters[i + 1])
        return F.mse_loss(x, y) if spec["loss"] == "mse" else F.cross_entropy(x, y)

    return loss


def cnn(spec):
    def loss(parameters, x, y):
        w1, b1, w2, b2, w3, b3 = parameters
        x = F.max_pool2d(F.relu(F.conv2d(x, w1, b1, padding=1)), 2)
        x = F.max_pool2d(F.relu(F.conv2d(x, w2, b2, padding=1)), 2)
        return F.cross_entropy(F.linear(x.flatten(1), w3, b3), y)

    return loss


def gpt(spec):
    width, heads = spec["width"], spec["heads"]

    def loss(parameters, tokens, targets):
        rest = iter(parameters)

        def norm(x):
            return F.layer_norm(x, (width,), next(rest), next(rest))

        def dense(x):
            return F.linear(x, next(rest), next(rest))

        table, positions = next(rest), next(rest)
        batch, context = tokens.shape
        x = F.embedding(tokens, table) + positions
        for _ in range(spec["layers"]):
            parts = dense(norm(x)).view(batch, context, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
            x = x + dense(mixed.transpose(1, 2).reshape(batch, context, width))
            x = x + dense(F.gelu(dense(norm(x)), approximate="tanh"))
        logits = F.linear(norm(x), table)
        return F.cross_entropy(logits.view(batch * context, -1), targets.view(-1))

    return loss


def training(task, make_loss):
    parameters = [values_of(numbers).requires_grad_() for numbers in task["parameters"]]
    inputs = [values_of(numbers) for numbers in task["inputs"]]
    optimizer = optimizer_of(task["spec"]["optimizer"], parameters)
    loss = make_loss(task["spec"])

    def step():
        optimizer.zero_grad(set_to_none=True)
        value = loss(parameters, *inputs)
        value.backward()
        optimizer.step()
        return value.item()

    return step, None


def adds(task):
    spec = task["spec"]
    start = values_of(task["parameters"][0]).requires_grad_(spec["gradient"])
    other = values_of(task["inputs"][0])

    def step():
        start.grad = None
        y = start
        for _ in range(spec["count"]):
            y = y + other
        if not spec["gradient"]:
            return y[0].item()
        total = y.sum()
        total.backward()
        return start.grad[0].item() + total.item()

    return step, None


KERNELS = {
    "mulAdd": lambda x, y: x * y + x,
    "exp": lambda x, y: torch.exp(x),
    "tanh": lambda x, y: torch.tanh(x),
    "gelu": lambda x, y: F.gelu(x, approximate="tanh"),
    "sigmoid": lambda x, y: torch.sigmoid(x),
    "sum": lambda x, y: x.sum(),
    "softmax": lambda x, y: torch.softmax(x, -1),
    "layerNorm": lambda x, y: F.layer_norm(x, (x.shape[-1],)),
}


def kernel(task):
    spec = task["spec"]
    apply = KERNELS[spec["operator"]]
    x, y = [values_of(numbers) for numbers in task["inputs"]]
    x.requires_grad_(spec["gradient"])

    def step():
        value = apply(x, y)
        return [value, *torch.autograd.grad(value, x, y)] if spec["gradient"] else [value]

    return step, lambda: [v for out in step() for v in out.flatten()[:COMPARED].tolist()]


def prepare(task):
    kind = task["spec"]["kind"]
    if kind == "adds":
        return adds(task)
    if kind == "kernel":
        return kernel(task)
    return training(task, {"mlp": mlp, "cnn": cnn, "gpt": gpt}[kind])


def main():
    step = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "task" in request:
                step, values = prepare(request["task"])
                losses = [step() for _ in range(COMPARED)]
                reply = {"values": losses if values is None else values()}
            else:
                start = time.perf_counter()
                for _ in range(request["steps"]):
                    step()
                reply = {"milliseconds": 1000 * (time.perf_counter() - start)}
        except Exception as error:  # noqa: BLE001: whatever it is, the other systems go on
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)


main()
