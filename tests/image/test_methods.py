"""Every image method: published sizes, a step that learns, and the contract of its map."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from drawn_images import image_config, spot, stripes
from efficientnet_weights import drawn_state
from flax import nnx

from ipad_jax.image.methods import METHODS
from ipad_jax.image.methods.autoencoder import AutoencoderModel
from ipad_jax.image.methods.cfa import Descriptor
from ipad_jax.image.methods.cflow import Flows as CFlows
from ipad_jax.image.methods.cutpaste import CutPasteModel
from ipad_jax.image.methods.draem import DraemModel
from ipad_jax.image.methods.fastflow import Flows as FastFlows
from ipad_jax.image.methods.favae import Rebuild as FavaeRebuild
from ipad_jax.image.methods.ocrgan import Judge, UNet
from ipad_jax.image.methods.stfpm import Student
from ipad_jax.image.methods.uniad import Rebuild
from ipad_jax.image.scorer import Scorer
from ipad_jax.image.task import SteppedTask
from ipad_jax.nn.backbones import KINDS, stages_of
from ipad_jax.nn.efficientnet import B4
from ipad_jax.nn.efficientnet_weights import fold
from ipad_jax.nn.resnet import ResNet, ResNetConfig
from ipad_jax.nn.vgg import VGG16
from ipad_jax.run.config import CONFIGS, load_config
from ipad_jax.training.optim import make_optimizer
from ipad_jax.training.setup import train_step
from ipad_jax.training.state import create_state, inference_view, start_options
from ipad_jax.training.task import make_task

SPECS = {path.stem: "tiny" for path in CONFIGS.glob("[!_]*.py")}
SPECS = {name: arg for name, arg in SPECS.items() if load_config(name).task.startswith("image.")}


def count(make, of=nnx.Param):
    """Numbers in the parameters of a module, by shapes alone."""
    model = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    return sum(x.size for x in jax.tree.leaves(nnx.state(model, of)))


def stages(network, *names):
    return [stage for stage in stages_of(network) if stage.name in names]


def fastflow(network, names, small_kernels):
    model = load_config("fastflow").model
    model.small_kernels = small_kernels
    return lambda rngs: FastFlows(stages(network, *names), (256, 256), model, rngs=rngs)


def test_a_network_that_rebuilds_all_shows_the_image_itself():
    """At the image's own size, whatever views it is cut into."""
    config = load_config("autoencoder:tiny")
    task = make_task(config)
    scorer = task.make_scorer(SimpleNamespace(rebuild=lambda x: x), {})
    image = np.repeat(np.repeat(stripes(3), 4, 0), 4, 1)  # larger than the views: nothing is lost
    found = scorer.reference(image, None)
    assert (found.shape, found.dtype) == (image.shape, np.uint8)
    assert np.abs(found.astype(int) - image).mean() < 10  # resized twice


STEPS = 6
LAYERS = ("layer1", "layer2", "layer3")
# Published sizes, in numbers that train; counted from the public codes' modules.
PUBLISHED = {
    "stfpm": (lambda rngs: Student((64, 128, 256), rngs=rngs), 2_782_784),
    "fastflow resnet18": (fastflow("resnet18", LAYERS, False), 4_657_408 + 917_504),
    "cflow": (lambda rngs: CFlows((512, 1024, 2048), 8, rngs=rngs), 81_647_616),
    "cflow shallow": (lambda rngs: CFlows((256, 512, 1024), 8, rngs=rngs), 24_705_024),
    "cfa": (lambda rngs: Descriptor(1792, 1792, rngs=rngs), 3_216_640),
    "draem": (lambda rngs: DraemModel((128, 64), rngs=rngs), 97_422_725),
    "autoencoder": (lambda rngs: AutoencoderModel((32, 64, 128, 256), rngs=rngs), 1_545_971),
    "favae's adapters": (lambda rngs: favae(rngs).adapters, 689_920),
    "cutpaste without its head": (lambda rngs: CutPasteModel(4, rngs=rngs).network, 11_176_512),
}


def favae(rngs):
    vgg = ((2, 128), (4, 256), (8, 512))
    return FavaeRebuild(load_config("favae:paper").model, (128, 128), vgg, rngs=rngs)


@pytest.mark.parametrize("loss", ["mse", "ssim", "both"])
def test_the_autoencoders_loss_is_least_for_the_picture_and_largest_for_its_negative(loss):
    task = make_task(load_config("autoencoder:tiny", {"model.loss": loss}))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)

    def of(rebuild):
        batch = {"picture": jnp.asarray(pictures)}
        return float(task.loss_fn(SimpleNamespace(rebuild=rebuild), batch, jax.random.key(0))[0])

    same, grey, negative = of(lambda x: x), of(jnp.zeros_like), of(lambda x: -x)
    assert same == pytest.approx(0, abs=1e-5)  # float32
    assert same < grey < negative


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    make, published = PUBLISHED[name]
    assert count(make) == published


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high", "make"), [
    (41.25e6 + 3.65e6, 41.35e6 + 3.75e6, fastflow("wide_resnet50_2", LAYERS, True)),
    (7.65e6, 7.75e6, lambda rngs: Rebuild(272, (14, 14), load_config("uniad:paper").model, rngs=rngs)),
    (20.25e6, 20.35e6, favae),
    (54.35e6, 54.45e6, lambda rngs: UNet(64, 8, rngs=rngs)),
    (47.95e6, 48.05e6, lambda rngs: Judge(64, 100, (256, 256), rngs=rngs)),
])  # fmt: skip
def test_published_sizes_that_are_stated_rounded(low, high, make):
    """FastFlow with Wide ResNet 41.3M + 3.7M, UniAD 7.7M, FAVAE 20.3M with its adapters of 0.7M, OCR-GAN
    twice 54.4M and 48.0M."""
    assert low < count(make) < high


def test_every_method_has_a_config():
    tasks = {load_config(name).task for name in SPECS}
    assert tasks == {f"image.{name}" for name in METHODS}


@pytest.mark.parametrize("preset", ["", "parts", "tiny", "paper", "paper,parts"])
@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_preset_makes_its_task(name, preset):
    config = load_config(f"{name}:{preset}" if preset else name)
    views = make_task(config).views
    assert (views.height, views.width) == (config.data.height, config.data.width)


def test_a_batch_has_a_tile_of_each_of_its_images(drawn):
    task = make_task(image_config("autoencoder:tiny", drawn, **{"data.tiles": 3}))
    batches = [batch for batch, _ in zip(task.train_data(1, 0, 1), range(8), strict=False)]
    normal, numbers = task.normal_data(), set()
    for batch in batches:
        for picture, index in zip(batch["picture"], batch["index"], strict=True):
            same = (task.views.cut(normal.image(index)) == picture).all((1, 2, 3))
            assert same.any()
            numbers.add((index, int(same.argmax())))
    assert len({number for _, number in numbers}) > 1  # not the first of each


def resnet(cfg):
    network = ResNet(cfg, rngs=nnx.Rngs(0))
    return nnx.view(network, use_running_average=True)


# Networks without a file, by the number of the last stage that is wanted.
UNTRAINED = {
    "resnet18": lambda last: resnet(ResNetConfig.resnet18(last + 1)),
    "wide_resnet50_2": lambda last: resnet(ResNetConfig.wide_resnet50_2(last + 1)),
    "vgg16": lambda last: VGG16(last, rngs=nnx.Rngs(0)),
    "efficientnet_b4": lambda last: fold(drawn_state(last + 1, B4), last + 1, B4),
    "efficientnet_lite0": lambda last: fold(drawn_state(last + 1), last + 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SPECS))
def test_a_published_preset_fits_together(name, tmp_path, monkeypatch):
    """By shapes alone: the loss of a batch of the published size, or the features of every cell."""
    for network, make in UNTRAINED.items():
        kind = dataclasses.replace(KINDS[network], load=lambda _, last, make=make: make(last))
        monkeypatch.setitem(KINDS, network, kind)
    (tmp_path / "weights.npz").touch()
    config = load_config(f"{name}:paper")
    if "backbone" in config.model:
        config.model.weights = str(tmp_path / "weights.npz")
    task, batch = make_task(config), config.batch_size

    def found(key, pictures):
        model = task.init_model(key)
        if isinstance(task, SteppedTask):
            return task.loss_fn(model, {"picture": pictures}, key)[0]
        return task.cells(model, jnp.ones(len(config.model.stages)), pictures)

    pictures = jax.ShapeDtypeStruct((batch, task.views.height, task.views.width, 3), np.uint8)
    shape = jax.eval_shape(found, jax.random.key(0), pictures).shape
    if isinstance(task, SteppedTask):
        assert shape == ()
    else:
        channels = sum(
            stage.channels for stage in stages(config.model.backbone, *config.model.stages)
        )
        assert shape == (batch, *task.grid, channels)


@functools.cache
def stepped(name, data_dir):
    """A tiny method after some steps on one batch: task, model, losses."""
    task = make_task(image_config(f"{name}:tiny", data_dir, **{"optim.warmup_steps": 0}))
    model_key = jax.random.key(1)
    if not hasattr(task, "loss_fn"):
        return task, inference_view(task.init_model(model_key)), []
    tx = optax.flatten(make_optimizer(task.config.optim, STEPS))  # one vector compiles sooner
    graphdefs = []

    def start(key):
        graphdef, state = create_state(task, tx, key)
        graphdefs.append(graphdef)
        return state

    state = jax.jit(start, compiler_options=start_options())(model_key)
    batch = next(task.train_data(1, 0, 1))
    step = jax.jit(
        lambda state, batch: train_step(
            state, batch, model_key, task=task, graphdef=graphdefs[0], tx=tx
        )
    )
    losses = []
    for _ in range(STEPS):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    model = nnx.merge(graphdefs[0], state.trainable, state.frozen, state.variables, copy=True)
    return task, inference_view(model), losses


@functools.cache
def fitted(name, data_dir):
    """The same, with its arrays in place of the losses."""
    task, model, _ = stepped(name, data_dir)
    return task, model, task.fit(model, task.normal_data())


def cases(names):
    """Parameters; deep networks that come in pairs take long to compile."""
    slow = dict.fromkeys(("draem", "ocrgan"), pytest.mark.slow)
    return [pytest.param(name, marks=slow.get(name, ())) for name in sorted(names)]


STEPPED = [name for name in SPECS if name not in ("bank", "pca", "patchcore")]


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(STEPPED))
def test_the_loss_of_a_memorised_batch_falls(name, drawn):
    _, _, losses = stepped(name, drawn)
    assert np.isfinite(losses).all()
    # some draw anew in each step: compare means, not single values
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(SPECS.keys() - {"bank", "patchcore"}))  # test_bank.py
def test_a_map_is_raw_and_that_of_its_image_alone(name, drawn):
    task, model, arrays = fitted(name, drawn)
    scorer = Scorer(task, model, arrays)
    images = [spot(4)[0], stripes(9, (48, 30)), stripes(2), spot(9)[0], stripes(5)]
    together = list(scorer.scored(images))  # batches of 4, the second filled up
    for image, found in zip(images, together, strict=True):
        assert found.map.shape == image.shape[:2]
        assert found.map.dtype == np.float32
    alone = next(scorer.scored([images[3]]))
    np.testing.assert_array_equal(alone.map, together[3].map)
    assert alone.score == task.reduce(together[3].map)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(SPECS))
def test_batches_of_1_and_of_16_have_the_same_maps(name, drawn, monkeypatch):
    """Also by the way of an accelerator, which takes some pictures at a time."""
    task, model, arrays = fitted(name, drawn)
    arrays = {k: jnp.asarray(x) for k, x in arrays.items()}
    sixteen = np.concatenate([task.views.cut(spot(number)[0]) for number in range(16)])
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr("jax.default_backend", lambda backend=backend: backend)
        maps_of = jax.jit(lambda *x: task.map_fn(*x))  # traced anew
        ones = [maps_of(model, arrays, sixteen[i : i + 1]) for i in range(16)]
        alone, together = np.concatenate(ones), np.asarray(maps_of(model, arrays, sixteen))
        # programs of other shapes are fused otherwise: float32 sums in another order
        np.testing.assert_allclose(alone, together, rtol=0, atol=1e-5 * np.abs(together).max())
        assert len(np.unique(together.max((1, 2)))) == 16  # sixteen maps, not one


@pytest.mark.slow
def test_cfas_memory_is_the_mean_of_what_was_seen(drawn):
    """After an epoch it is that of all good images, by the untrained descriptor."""
    task, model, _ = stepped("cfa", drawn)
    batch = next(task.train_data(1, 0, 1))
    seen = jax.jit(task.features)(model, jnp.asarray(batch["picture"])).mean(0)
    np.testing.assert_allclose(model.mean[...], seen, atol=1e-4)  # the same batch again and again
    assert float(model.count[...]) == STEPS * task.config.batch_size


@pytest.mark.slow
def test_a_flows_determinant_is_that_of_its_jacobian():
    flow = CFlows((6,), 3, rngs=nnx.Rngs(3)).levels[0]
    # weights away from the start, where every step is nearly the identity
    state = jax.tree.map(
        lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape),
        nnx.state(flow, nnx.Param),
    )
    nnx.update(flow, state)
    x = jax.random.normal(jax.random.key(0), (6,))
    where = jax.random.normal(jax.random.key(1), (128,))

    def out_and_determinant(x):
        made, logs = flow(x[None], where[None])
        return made[0], logs[0]

    jacobian, stated = jax.jit(jax.jacobian(out_and_determinant, has_aux=True))(x)
    np.testing.assert_allclose(stated, np.linalg.slogdet(jacobian)[1], rtol=1e-3)
