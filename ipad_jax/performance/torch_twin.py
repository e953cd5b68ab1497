"""The model's twin in PyTorch, for timing and for proof that ours learns the same.

Functions over a dict of tensors with our names, so that the weights convert by a transposition each;
the operations are those of torchvision's `swin3d` and of IPAD's `VST3DDecoder`; memory and period head
are `video/ipad/memory.py` and `period_head.py` by PyTorch's own functions. PyTorch comes with the extra
`bench` and is imported only where it is used.
"""

import importlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import numpy as np
from flax import nnx

from ipad_jax.nn.attention import Size3, clip_window, relative_position_index, shift_mask
from ipad_jax.nn.conv_layers import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM
from ipad_jax.training.state import named_leaves
from ipad_jax.video.ipad.decoder import LEAKY_SLOPE
from ipad_jax.video.ipad.model import VideoModel, VideoModelConfig
from ipad_jax.video.ipad.period_head import POOLED_GRID
from ipad_jax.video.ipad.swin import LAYER_NORM_EPSILON


def import_torch() -> Any:
    """PyTorch, seen as Any: it is not installed where types are checked."""
    return importlib.import_module("torch")


class TorchTwin:
    """The model as PyTorch would have it.

    Attributes:
      parameters: tensors by our names, in PyTorch's layouts; those that are trained.
      statistics: BatchNorm's running averages.

    Args:
      model: whose weights to take.
      device: PyTorch's name of where it computes: "cpu", "cuda".

    Raises:
      ModuleNotFoundError: PyTorch is not installed.
      ValueError: a model with parts that the twin lacks: the published period head, a memory that
        raises its slots by another rule than "log".
    """

    def __init__(self, model: VideoModel, device: str = "cpu"):
        torch = import_torch()
        self.torch, self.functional = torch, torch.nn.functional
        cfg: VideoModelConfig = model.cfg
        if cfg.period_head == "published" or (cfg.use_memory and cfg.memory.boost != "log"):
            raise ValueError(
                f"the twin has the pooled period head and a memory that adds log(1 + P); got "
                f"period_head={cfg.period_head!r}, memory.boost={cfg.memory.boost!r}."
            )
        if cfg.use_memory and cfg.memory.softmax_over != "slots":
            raise ValueError("the twin's memory takes its softmax over slots: memory.softmax_over.")
        self.cfg, self.device = cfg, device
        self._constants: dict[Hashable, Any] = {}
        self.parameters = {
            name: torch.tensor(
                _layout(name, np.asarray(value), cfg), device=device
            ).requires_grad_()
            for name, value in named_leaves(nnx.state(model, nnx.Param)).items()
        }
        self.statistics = {
            name: torch.tensor(np.asarray(value), device=device)
            for name, value in named_leaves(nnx.state(model, nnx.BatchStat)).items()
        }

    def __call__(self, clip: Any, *, train: bool) -> Any:
        """uint8 tensor [b, t, h, w, 3] -> float32 [b, 3, t, h, w] in [-1, 1]."""
        return self._run(_normalise(clip), train)[0]

    def loss(
        self,
        clip: Any,
        phase: Any = None,
        *,
        entropy: float = 0.0,
        period: float = 0.0,
        width: float = 0.0,
    ) -> Any:
        """A batch's mean squared error in training mode, and what the paper adds to it.

        Args:
          clip: uint8 tensor [b, t, h, w, 3].
          phase: float tensor [b] in [0, 1), the true phases, NaN unknown; needed where `period` is.
          entropy: weight of the attention's entropy.
          period: weight of the cross-entropy of the phase's class, over clips whose phase is known.
          width: of its target in cycles; see `losses.phase_target`.
        """
        target = _normalise(clip)
        frames, logits, attention = self._run(target, True)
        loss = (frames - target).square().mean()
        if attention is not None:
            loss = loss - entropy * (attention * (attention + 1e-12).log()).sum(-1).mean()
        if logits is not None and phase is not None and (known := phase.isfinite()).any():
            wanted = self._phase_target(phase[known], logits.shape[-1], width)
            loss = loss + period * self.functional.cross_entropy(logits[known], wanted)
        return loss

    def _phase_target(self, phase: Any, classes: int, width: float) -> Any:
        """The phase's class of each clip [n], or probabilities of all classes [n, classes]."""
        if width == 0:
            return (phase * classes).long()
        away = (
            self.torch.arange(classes, device=self.device) + 0.5 - phase[:, None] * classes
        ).abs()
        away = self.torch.minimum(away, classes - away)
        return (-0.5 * (away / (width * classes)) ** 2).softmax(-1)

    def _run(self, x: Any, train: bool) -> tuple[Any, Any, Any]:
        """[b, 3, t, h, w] -> frames of that shape, phase logits, attention; None for a part that is off."""
        logits = attention = None
        features = self._encode(x)
        if self.cfg.period_head != "none":
            logits = self._phase_logits(features)
        if self.cfg.use_memory:
            features, attention = self._remember(features, logits)
        return self._decode(features, train), logits, attention

    def _phase_logits(self, x: Any) -> Any:
        """[b, t, h, w, c] -> [b, classes], by adaptive average pooling to the head's grid."""
        f = self.functional
        x = f.leaky_relu(self._linear(x, "period_head.reduce"), LEAKY_SLOPE)
        b, t, h, w, _ = x.shape
        grid = (t, min(h, POOLED_GRID), min(w, POOLED_GRID))
        x = f.adaptive_avg_pool3d(x.permute(0, 4, 1, 2, 3), grid).permute(0, 2, 3, 4, 1)
        hidden = f.leaky_relu(self._linear(x.reshape(b, -1), "period_head.hidden"), LEAKY_SLOPE)
        return self._linear(hidden, "period_head.out")

    def _remember(self, x: Any, logits: Any) -> tuple[Any, Any]:
        """Features from the memory's slots, and each token's weights over them; IPAD, eq. 1-6."""
        f, cfg = self.functional, self.cfg.memory
        slots = self.parameters["memory.slots"]
        weights = x.reshape(x.shape[0], -1, x.shape[-1]) @ slots.T
        if logits is not None:
            probability, phase = logits.softmax(-1).max(-1)
            slot = (2 * phase + 1) * cfg.num_slots // (2 * logits.shape[-1])
            raised = f.one_hot(slot, cfg.num_slots) * probability.log1p()[:, None]
            weights = weights + raised[:, None]
        weights = weights.softmax(-1)
        if cfg.shrink:
            weights = f.threshold(weights, cfg.shrink / cfg.num_slots, 0.0)
            weights = f.normalize(weights, p=1, dim=-1, eps=1e-12)
        return (weights @ slots).reshape(x.shape), weights

    def _encode(self, x: Any) -> Any:
        """[b, 3, t, h, w] -> [b, t', h', w', features]."""
        f = self.functional
        p, cfg = self.parameters, self.cfg.encoder
        prefix = "encoder.patch_embed.proj"
        x = f.conv3d(x, p[f"{prefix}.kernel"], p[f"{prefix}.bias"], stride=cfg.patch_size)
        x = x.permute(0, 2, 3, 4, 1)
        if cfg.patch_norm:
            x = self._norm(x, "encoder.patch_embed.norm")
        for stage, (depth, heads) in enumerate(zip(cfg.depths, cfg.num_heads)):
            for index in range(depth):
                name = f"encoder.features.{2 * stage}.{index}"
                x = x + self._attend(self._norm(x, f"{name}.norm1"), name, heads, index % 2 == 1)
                hidden = f.gelu(self._linear(self._norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
                x = x + self._linear(hidden, f"{name}.mlp.fc2")
            if stage < len(cfg.depths) - 1:
                x = self._merge(x, f"encoder.features.{2 * stage + 1}")
        return self._norm(x, "encoder.norm")

    def _attend(self, x: Any, name: str, heads: int, shifted: bool) -> Any:
        """Attention over (shifted) windows, [b, t, h, w, c] -> the same; torchvision's steps."""
        torch = self.torch
        f = self.functional
        full: Size3 = self.cfg.encoder.window_size
        half: Size3 = tuple(w // 2 if shifted else 0 for w in full)  # type: ignore[assignment]
        b, t, h, w, c = x.shape
        window, shift = clip_window((t, h, w), full, half)
        pads = [(-size) % side for size, side in zip((t, h, w), window)]
        x = f.pad(x, (0, 0, 0, pads[2], 0, pads[1], 0, pads[0]))
        padded: Size3 = tuple(x.shape[1:4])
        if any(shift):
            x = torch.roll(x, [-s for s in shift], dims=(1, 2, 3))
        counts = [size // side for size, side in zip(padded, window)]
        (nt, nh, nw), (wt, wh, ww) = counts, window
        x = x.view(b, nt, wt, nh, wh, nw, ww, c).permute(0, 1, 3, 5, 2, 4, 6, 7)
        n = wt * wh * ww
        qkv = self._linear(x.reshape(-1, n, c), f"{name}.attn.qkv")
        qkv = qkv.reshape(-1, n, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        scores = (qkv[0] * (c // heads) ** -0.5).matmul(qkv[1].transpose(-2, -1))
        index = self._constant(lambda: relative_position_index(full)[:n, :n].astype(np.int64), n)
        table = self.parameters[f"{name}.attn.relative_position_bias_table"]
        scores = scores + table[index].permute(2, 0, 1)
        if any(shift):
            mask = self._constant(
                lambda: shift_mask(padded, window, shift), (padded, window, shift)
            )
            scores = scores.view(b, -1, heads, n, n) + mask[None, :, None]
            scores = scores.view(-1, heads, n, n)
        x = scores.softmax(-1).to(qkv.dtype).matmul(qkv[2]).transpose(1, 2).reshape(-1, n, c)
        x = self._linear(x, f"{name}.attn.proj")
        x = x.view(b, nt, nh, nw, wt, wh, ww, c).permute(0, 1, 4, 2, 5, 3, 6, 7)
        x = x.reshape(b, *padded, c)
        if any(shift):
            x = torch.roll(x, shift, dims=(1, 2, 3))
        return x[:, :t, :h, :w]

    def _merge(self, x: Any, name: str) -> Any:
        """Halve h and w, double the channels."""
        torch = self.torch
        f = self.functional
        x = f.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
        corners = [x[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self._linear(self._norm(torch.cat(corners, -1), f"{name}.norm"), f"{name}.reduction")

    def _decode(self, x: Any, train: bool) -> Any:
        """[b, t, h, w, c] -> [b, 3, T, H, W]."""
        f = self.functional
        p, cfg = self.parameters, self.cfg.decoder
        x = x.permute(0, 4, 1, 2, 3)
        for index, stride in enumerate(cfg.strides):
            name = f"decoder.convs.{index}"
            x = f.conv_transpose3d(
                x, p[f"{name}.kernel"], p[f"{name}.bias"], stride=stride, padding=1,
                output_padding=tuple(s - 1 for s in stride),
            )  # fmt: skip
            if index < len(cfg.channels):
                norm = f"decoder.norms.{index}"
                x = f.batch_norm(
                    x, self.statistics[f"{norm}.mean"], self.statistics[f"{norm}.var"],
                    p[f"{norm}.scale"], p[f"{norm}.bias"], training=train,
                    momentum=1 - BATCH_NORM_MOMENTUM, eps=BATCH_NORM_EPSILON,
                )  # fmt: skip
                x = f.leaky_relu(x, LEAKY_SLOPE)
        return x.float().tanh()

    def _constant(self, make: Callable[[], np.ndarray], key: Hashable) -> Any:
        """A tensor that goes to the device once, as torchvision's buffers do."""
        if key not in self._constants:
            with self.torch.inference_mode(False):  # the training step uses the forward pass's
                self._constants[key] = self.torch.from_numpy(make()).to(self.device)
        return self._constants[key]

    def _linear(self, x: Any, name: str) -> Any:
        f = self.functional
        return f.linear(x, self.parameters[f"{name}.kernel"], self.parameters.get(f"{name}.bias"))

    def _norm(self, x: Any, name: str) -> Any:
        f = self.functional
        scale, bias = self.parameters[f"{name}.scale"], self.parameters[f"{name}.bias"]
        return f.layer_norm(x, x.shape[-1:], scale, bias, LAYER_NORM_EPSILON)


def _normalise(clip: Any) -> Any:
    """uint8 [b, t, h, w, 3] -> float32 [b, 3, t, h, w] in [-1, 1]."""
    return clip.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def _layout(name: str, value: np.ndarray, cfg: VideoModelConfig) -> np.ndarray:
    """An array of ours in PyTorch's order of axes."""
    if name == "encoder.patch_embed.proj.kernel":  # [pt*ph*pw*3, c] -> [c, 3, pt, ph, pw]
        value = value.reshape(*cfg.encoder.patch_size, 3, -1).transpose(4, 3, 0, 1, 2)
    elif name.endswith(".kernel"):  # [a, c] -> [c, a]; [3, 3, 3, cin, cout] -> [cin, cout, 3, 3, 3]
        value = value.T if value.ndim == 2 else value.transpose(3, 4, 0, 1, 2)
    return np.ascontiguousarray(value)


def train_steps(
    twin: TorchTwin,
    clip: Any,
    dtype: str,
    lr: float = 1e-4,
    loss_fn: Callable[[Any], Any] | None = None,
) -> Iterator[float]:
    """Endless steps of Adam on one batch, a tensor where the twin computes; yields each step's loss.

    `loss_fn` is the twin's `loss`, or what `torch.compile` made of it.
    """
    torch = import_torch()
    optimizer = torch.optim.Adam(list(twin.parameters.values()), lr=lr)
    loss_fn = loss_fn or twin.loss
    while True:
        with torch.autocast(twin.device, torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = loss_fn(clip)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield loss.item()
