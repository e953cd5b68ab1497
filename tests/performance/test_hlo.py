"""Collectives read from small HLO texts, as CPU and TPU print them."""

import pytest

from ipad_jax.performance.hlo import collectives, hbm_bytes

TEXT = """
HloModule jit_train_step, is_scheduled=true, num_partitions=16

%region (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

ENTRY %main (p0: f32[4,8]) -> f32[4,8] {
  %p0 = f32[4,8]{1,0:T(8,128)} parameter(0), sharding={replicated}
  %all-reduce.3 = (f32[4,8]{1,0:T(8,128)}, bf16[16]{0:T(128)}) all-reduce(%p0, %b), channel_id=1, \
replica_groups=[1,16]<=[16], use_global_device_ids=true, to_apply=%region, \
metadata={op_name="jit(train_step)/transpose(jvp(decoder))/reduce_sum"}
  %all-reduce-start.1 = f32[2]{0} all-reduce-start(%c), replica_groups={{0,1},{2,3}}, to_apply=%region
  %all-reduce-done.1 = f32[2]{0} all-reduce-done(%all-reduce-start.1)
  %ag = (f32[2,8]{1,0}, f32[8,8]{1,0}) all-gather-start(%d), replica_groups=[4,4]<=[16], dimensions={0}
  %agd = f32[8,8]{1,0} all-gather-done(%ag)
  %rs = f32[2]{0} reduce-scatter(%e), replica_groups={{0,1,2,3}}, dimensions={0}, to_apply=%region
  ROOT %cp = (u8[10]{0}, u8[10]{0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%f), \
source_target_pairs={{0,1},{1,0}}
  %fusion = f32[4,8]{1,0} fusion(%all-reduce.3), kind=kLoop, calls=%fused
  %get = f32[4,8]{1,0} get-tuple-element(%all-reduce.3), index=0
}
"""


def test_every_collective_is_found_once_with_its_bytes():
    found = collectives(TEXT)
    assert [(c.kind, c.payload, c.group) for c in found] == [
        ("all-reduce", 4 * 8 * 4 + 16 * 2, 16),
        ("all-reduce", 2 * 4, 2),
        ("all-gather", 8 * 8 * 4, 4),  # the result, not the operand beside it
        ("reduce-scatter", 4 * 2 * 4, 4),  # the operand is as large as all results
        ("collective-permute", 10, 2),
    ]
    assert found[0].source == "jit(train_step)/transpose(jvp(decoder))/reduce_sum"
    assert found[0].shapes == ("f32[4,8]", "bf16[16]")


@pytest.mark.parametrize(
    ("shape", "count"),
    [("pred[3]", 3), ("bf16[2,5]", 20), ("s4[8]", 4), ("c64[2]", 16), ("f32[]", 4), ("u8[7]", 7)],
)
def test_bytes_of_a_shape(shape, count):
    (found,) = collectives(f"  %x = {shape}{{0}} all-gather(%y), dimensions={{0}}")
    assert found.payload == count
    assert found.group == 0  # not said: all devices


def test_a_program_for_one_device_sends_nothing():
    assert collectives("ENTRY %main { ROOT %d = f32[2,2]{1,0} dot(%a, %b) }") == []


MEMORY = """
%fused (p: f32[8,128]) -> f32[8,128] {
  ROOT %never = f32[1000,1000]{1,0:T(8,128)} negate(%p)
}

ENTRY %main (p0: f32[8,128]) -> f32[8,128] {
  %p0 = f32[8,96]{1,0:T(8,128)} parameter(0)
  %exp = f32[8,96]{1,0:T(8,128)} exponential(%p0)
  %near = f32[8,96]{1,0:T(8,128)S(1)} negate(%exp)
  %far = bf16[3,200]{0,1:T(8,128)(2,1)} convert(%near)
  %cut = f32[2,96]{1,0:T(8,128)} slice(%p0), slice={[0:2], [0:96]}
  %there = (f32[8,96]{1,0:T(8,128)S(1)}, f32[8,96]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%p0)
  %here = f32[8,96]{1,0:T(8,128)S(1)} copy-done(%there)
  %some = ((f32[200,128]{1,0:T(8,128)}), f32[8,128]{1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%big)
  ROOT %out = f32[8,128]{1,0:T(8,128)} fusion(%near, %p0), kind=kLoop, calls=%fused
}
"""


def test_bytes_of_main_memory_are_added_line_by_line():
    whole = 8 * 128 * 4  # 96 columns take 128
    assert hbm_bytes(MEMORY) == (
        2 * whole  # exp: reads and writes
        + whole  # near: writes on the chip
        + 2 * 200 * 128  # far: the fast axis is the first, 3 of 128, and 200 is a multiple of 8
        + 2 * whole  # cut: two rows take eight, both ways
        + whole  # there: read alone, since it is written on the chip
        + whole  # some: the slice alone
        + 2 * whole  # out: one operand is on the chip
    )


def test_groups_named_by_axes_of_a_mesh():
    line = "%r = f32[4]{0} all-reduce(%x), replica_groups=mesh['a'=4,'b'=2,'c'=3] {'a','c'}"
    assert collectives(line)[0].group == 12
