"""Counting what a compiled GPU program costs, on programs whose cost is known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

HEAD = """HloModule jit_f, is_scheduled=true

FileNames
1 "/lib/jax/lax.py"
2 "/home/flowseg/models/layers.py"
3 "/home/run.py"

FunctionNames
1 "dot"
2 "Dense.<locals>.apply"
3 "main"

FileLocations
1 {file_name_id=3 function_name_id=3 line=9 end_line=9 column=1 end_column=2}
2 {file_name_id=2 function_name_id=2 line=58 end_line=58 column=1 end_column=2}
3 {file_name_id=1 function_name_id=1 line=700 end_line=700 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=3 parent_frame_id=3}

"""
DOT = """%product (p0: f32[8,16], p1: f32[16,4]) -> f32[8,4] {
  %p0 = f32[8,16]{1,0} parameter(0)
  %p1 = f32[16,4]{1,0} parameter(1)
  ROOT %dot.1 = f32[8,4]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

"""
ENTRY = """ENTRY %main (a: f32[8,16], b: f32[16,4], c: pred[]) -> f32[8,4] {
  %a = f32[8,16]{1,0} parameter(0)
  %b = f32[16,4]{1,0} parameter(1)
  %c = pred[] parameter(2)
"""
FUSION = 'fusion(%a, %b), kind=kCustom, calls=%product, metadata={op_name="f/dot" stack_frame_id=3}'
PRODUCT_BYTES = 4 * (8 * 16 + 16 * 4 + 8 * 4)
PRODUCT_FLOP = 2 * 8 * 16 * 4


@pytest.fixture(scope="module")
def cost() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import program_cost
        import program_text

        card = program_cost.Card("test", 1e9, 1e9, {"f32": 1e9, "bf16": 2e9})

        def count(text: str) -> tuple[list[Any], dict[str, Any]]:
            found = program_cost.kernels(program_text.read_program(HEAD + text), card)
            return found, program_cost.totals(found, card)

        yield count


def test_a_product_reads_its_inputs_once_and_names_its_line(cost: Any) -> None:
    found, sums = cost(DOT + ENTRY + f"  ROOT %f = f32[8,4]{{1,0}} {FUSION}\n}}\n")
    assert (sums["kernels"], sums["bytes"], sums["flop"]) == (1, PRODUCT_BYTES, PRODUCT_FLOP)
    assert found[0].place == "flowseg/models/layers.py:58 Dense.apply"
    assert found[0].dtype == "f32"


def test_the_time_is_that_of_what_takes_longest(cost: Any) -> None:
    _, sums = cost(DOT + ENTRY + f"  ROOT %f = f32[8,4]{{1,0}} {FUSION}\n}}\n")
    assert sums["roofline_ms"] == pytest.approx(max(PRODUCT_BYTES, PRODUCT_FLOP, 2000) / 1e6)
    large = DOT.replace("16", "1600") + ENTRY.replace("16", "1600")
    _, sums = cost(large + f"  ROOT %f = f32[8,4]{{1,0}} {FUSION}\n}}\n")
    assert sums["roofline_ms"] == pytest.approx(100 * PRODUCT_FLOP / 1e6)


def test_the_expected_time_is_by_kind(cost: Any) -> None:
    from program_cost import SLOWER

    found, sums = cost(DOT + ENTRY + f"  ROOT %f = f32[8,4]{{1,0}} {FUSION}\n}}\n")
    assert found[0].slower == SLOWER["fusion with products"] != SLOWER["fusion"]
    assert sums["expected_ms"] == pytest.approx(SLOWER["fusion with products"] * sums["roofline_ms"])
    assert replace(found[0], kind="__cudnn$fmhaSoftmaxBackward").slower == SLOWER["__cudnn$fmha"]
    assert replace(found[0], kind="copy").slower == 1


def test_a_loop_counts_as_often_as_it_runs(cost: Any) -> None:
    loop = """%body (t: (f32[8,16], f32[16,4])) -> (f32[8,16], f32[16,4]) {
  %t = (f32[8,16]{1,0}, f32[16,4]{1,0}) parameter(0)
  %a = f32[8,16]{1,0} get-tuple-element(%t), index=0
  %b = f32[16,4]{1,0} get-tuple-element(%t), index=1
  %f = f32[8,4]{1,0} FUSION
  ROOT %r = (f32[8,16]{1,0}, f32[16,4]{1,0}) tuple(%a, %b)
}

""".replace("FUSION", FUSION)
    whole = DOT + loop + ENTRY + "  %t = (f32[8,16]{1,0}, f32[16,4]{1,0}) tuple(%a, %b)\n"
    run = "  ROOT %w = (f32[8,16]{1,0}, /*index=1*/f32[16,4]{1,0}) while(%t), condition=%cond, body=%body"
    _, sums = cost(whole + run + ', backend_config={"known_trip_count":{"n":"7"}}\n}\n')
    assert (sums["kernels"], sums["bytes"], sums["flop"]) == (7, 7 * PRODUCT_BYTES, 7 * PRODUCT_FLOP)
    with pytest.raises(ValueError, match="loop w: the program does not say how often it runs"):
        cost(whole + run + "\n}\n")


def test_of_a_conditional_the_costlier_branch_counts(cost: Any) -> None:
    branches = """%small (t.1: f32[8,16]) -> f32[8,4] {
  %t.1 = f32[8,16]{1,0} parameter(0)
  ROOT %s = f32[8,4]{1,0} slice(%t.1), slice={[0:8], [0:4]}
}

%large (t.2: (f32[8,16], f32[16,4])) -> f32[8,4] {
  %t.2 = (f32[8,16]{1,0}, f32[16,4]{1,0}) parameter(0)
  %a = f32[8,16]{1,0} get-tuple-element(%t.2), index=0
  %b = f32[16,4]{1,0} get-tuple-element(%t.2), index=1
  %first = f32[8,4]{1,0} FUSION
  ROOT %second = f32[8,4]{1,0} FUSION
}

""".replace("FUSION", FUSION)
    for order in ("%small, %large", "%large, %small"):
        entry = ENTRY + "  %t = (f32[8,16]{1,0}, f32[16,4]{1,0}) tuple(%a, %b)\n"
        entry += f"  ROOT %d = f32[8,4]{{1,0}} conditional(%c, %t, %t), branch_computations={{{order}}}\n}}\n"
        _, sums = cost(DOT + branches + entry)
        assert (sums["kernels"], sums["flop"]) == (2, 2 * PRODUCT_FLOP)


def test_what_is_sliced_or_written_in_place_counts_as_much_as_is_touched(cost: Any) -> None:
    body = """%sliced (p0: f32[100,16], p1: f32[100,16], p2: s32[]) -> f32[100,16] {
  %p0 = f32[100,16]{1,0} parameter(0)
  %p1 = f32[100,16]{1,0} parameter(1)
  %p2 = s32[] parameter(2)
  %s = f32[3,16]{1,0} slice(%p0), slice={[0:3], [0:16]}
  ROOT %u = f32[100,16]{1,0} dynamic-update-slice(%p1, %s, %p2, %p2)
}

ENTRY %main (a: f32[100,16], b: f32[100,16], i: s32[]) -> f32[100,16] {
  %a = f32[100,16]{1,0} parameter(0)
  %b = f32[100,16]{1,0} parameter(1)
  %i = s32[] parameter(2)
  ROOT %f = f32[100,16]{1,0} fusion(%a, %b, %i), kind=kLoop, calls=%sliced
}
"""
    found, _ = cost(body)
    assert (found[0].read, found[0].written) == (3 * 16 * 4 + 4, 3 * 16 * 4)


def test_of_an_array_that_is_converted_and_sliced_only_the_slices_are_read(cost: Any) -> None:
    body = """%layer (p0: f32[1000]) -> bf16[4,3] {
  %p0 = f32[1000]{0} parameter(0)
  %h = bf16[1000]{0} convert(%p0)
  %s = bf16[12]{0} slice(%h), slice={[60:72]}
  %t = bf16[20]{0} slice(%h), slice={[0:20]}
  %r = bf16[4,3]{1,0} bitcast(%s)
  USE
}

ENTRY %main (a: f32[1000]) -> bf16[4,3] {
  %a = f32[1000]{0} parameter(0)
  ROOT %f = bf16[4,3]{1,0} fusion(%a), kind=kLoop, calls=%layer
}
"""
    found, _ = cost(body.replace("USE", "ROOT %n = bf16[4,3]{1,0} negate(%r)"))
    assert found[0].read == 32 * 4
    whole = "%m = bf16[] reduce(%h, %z), dimensions={0}, to_apply=%add\n  ROOT %n = bf16[4,3]{1,0} negate(%r)"
    found, _ = cost(body.replace("USE", whole))
    assert found[0].read == 1000 * 4


X, DY = "bf16[2,64,64,8]{3,2,1,0}", "bf16[2,64,64,32]{3,2,1,0}"
KERNEL = "bf16[3,3,8,32]{3,2,1,0}"


@pytest.mark.parametrize(
    ("target", "operands", "result"),
    [("Forward", (X, KERNEL), DY), ("BackwardInput", (DY, KERNEL), X), ("BackwardFilter", (X, DY), KERNEL)],
)
def test_the_three_convolutions_of_a_layer_cost_the_same(
    cost: Any, target: str, operands: tuple[str, str], result: str
) -> None:
    text = f"""ENTRY %main (a: {operands[0]}, b: {operands[1]}) -> {result} {{
  %a = {operands[0]} parameter(0)
  %b = {operands[1]} parameter(1)
  %conv = ({result}, u8[4096]{{0}}) custom-call(%a, %b), window={{size=3x3 pad=1_1x1_1}}, dim_labels=b01f_01io->b01f, \
custom_call_target="__cudnn$conv{target}"
  ROOT %r = {result} get-tuple-element(%conv), index=0
}}
"""
    found, sums = cost(text)
    assert sums["flop"] == 2 * (2 * 64 * 64 * 32) * (3 * 3 * 8)
    assert sums["bytes"] == 2 * (2 * 64 * 64 * (8 + 32) + 3 * 3 * 8 * 32)  # without the workspace
    assert found[0].dtype == "bf16"


@pytest.mark.parametrize(("target", "products"), [("__cudnn$fmhaSoftmax", 2), ("__cudnn$fmhaSoftmaxBackward", 5)])
def test_attention_costs_its_products(cost: Any, target: str, products: int) -> None:
    text = f"""ENTRY %main (q: bf16[2,256,4,32], k: bf16[2,100,4,32]) -> bf16[2,4,256,32] {{
  %q = bf16[2,256,4,32]{{3,2,1,0}} parameter(0)
  %k = bf16[2,100,4,32]{{3,2,1,0}} parameter(1)
  ROOT %o = bf16[2,4,256,32]{{3,2,1,0}} custom-call(%q, %k, %k), custom_call_target="{target}"
}}
"""
    assert cost(text)[1]["flop"] == products * 2 * (2 * 4) * 256 * 100 * 32


def test_a_text_that_is_no_program_is_refused(cost: Any) -> None:
    with pytest.raises(ValueError, match="no ENTRY"):
        cost("nothing here")


def test_figures_that_grow_are_named() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from gpu_program import FIGURES, grown

        earlier = {"sampler": dict.fromkeys(FIGURES, 100)}
        assert grown({"sampler": dict.fromkeys(FIGURES, 101)}, earlier) == []
        assert grown({"sampler": {**dict.fromkeys(FIGURES, 100), "kernels": 103}}, earlier) == [
            "sampler: kernels has grown from 100 to 103"
        ]
