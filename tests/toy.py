"""A task small enough to train in milliseconds, with everything the trainer has to cope with."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

SIZE = 8


class ToyModel(nnx.Module):
    """Two layers, BatchNorm and dropout; the first layer is frozen."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.encoder = nnx.Linear(SIZE, SIZE, rngs=rngs)
        self.norm = nnx.BatchNorm(SIZE, momentum=0.9, rngs=rngs)
        self.drop = nnx.Dropout(0.1)
        self.decoder = nnx.Linear(SIZE, SIZE, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        return self.decoder(self.drop(self.norm(self.encoder(x)), rngs=rngs))


class ToyTask:
    """Reconstructs random rows. `config.data` may ask for one memorised batch, or for a NaN at a step."""

    unit = "rows"

    def __init__(self, config: ConfigDict):
        self.config = config
        self.seen: list[int] = []  # steps whose batch was asked for
        self.num_examples = 16

    @staticmethod
    def trainable(path, value) -> bool:
        return isinstance(value, nnx.Param) and path[0] != "encoder"

    def init_model(self, key):
        return ToyModel(rngs=nnx.Rngs(key))

    def train_data(self, first_step, process_index, process_count):
        data, size = self.config.data, self.config.batch_size
        step = first_step
        while True:
            self.seen.append(step)
            rng = np.random.default_rng([self.config.seed, 0 if data.memorise else step])
            x = rng.normal(size=(size, SIZE)).astype(np.float32)
            if step == data.nan_step:
                x[0, 0] = np.nan
            local = size // process_count
            yield {"x": x[process_index * local : (process_index + 1) * local]}
            step += 1

    def val_data(self, process_index, process_count):
        if not self.config.data.holdout:
            return None
        rng = np.random.default_rng(99)
        size = self.config.batch_size
        local = size // process_count
        rows = slice(process_index * local, (process_index + 1) * local)
        return iter(
            [{"x": rng.normal(size=(size, SIZE)).astype(np.float32)[rows]} for _ in range(2)]
        )

    def loss_fn(self, model, batch, key):
        out = model(batch["x"], rngs=nnx.Rngs(dropout=key))
        error = jnp.mean((out - batch["x"]) ** 2)
        spread = jnp.std(out)
        return error + 0.01 * spread, {"error": error, "spread": spread}

    def predict_fn(self, model, batch):
        return {"out": model(batch["x"])}

    def describe(self):
        return "a toy"


def toy_config(**overrides) -> ConfigDict:
    """A config of the toy: 4 steps, one device, every step reported."""
    config = ConfigDict(
        {
            "task": "toy:ToyTask",
            "seed": 0,
            "batch_size": 4,
            "total_steps": 4,
            "epochs": 0.0,
            "max_seconds": 0.0,
            "log_every": 1,
            "checkpoint_every": 2,
            "eval_every": 0,
            "fsdp": 1,
            "fsdp_min_bytes": 0,
            "num_devices": 1,
            "num_workers": 0,
            "init_from": "",
            "data": {"memorise": False, "nan_step": 0, "holdout": True, "data_dir": ""},
            "optim": {
                "lr": 1e-2,
                "schedule": "constant",
                "warmup_steps": 0,
                "clip_norm": 0.0,
                "weight_decay": 0.0,
            },
            "checkpoint": {"keep": 2},
        }
    )
    config.update_from_flattened_dict(overrides)
    return config
