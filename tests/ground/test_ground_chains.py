"""Chains of known updates against one jump: the cheapest path, ties, what is avoided, when a chain is worth its contacts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orbitloop.ground.chains import Edge, cheapest_chain, choose


def e(base: str, result: str, size: int, number: int = 1) -> Edge:
    return Edge(base, result, size, number)


LINE = [e("0", "1", 40, 1), e("1", "2", 40, 2), e("2", "3", 40, 3)]


def test_the_chain_of_all_rounds_is_found_whatever_their_order():
    assert cheapest_chain(LINE, "0", "3") == tuple(LINE)
    assert cheapest_chain(reversed(LINE), "1", "3") == tuple(LINE[1:])
    assert cheapest_chain(LINE, "3", "3") == ()
    assert cheapest_chain(LINE, "3", "0") is None
    assert cheapest_chain([], "0", "1") is None
    assert cheapest_chain(LINE, "unknown", "3") is None


def test_a_jump_over_a_round_is_taken_where_it_is_smaller():
    known = [*LINE, e("0", "2", 70, 2), e("1", "3", 90, 3)]
    assert cheapest_chain(known, "0", "3") == (known[3], LINE[2])


def test_of_equals_fewer_updates_then_newer_ones():
    assert cheapest_chain([*LINE, e("0", "3", 120, 3)], "0", "3") == (e("0", "3", 120, 3),)
    older, newer = e("0", "1", 40, 1), e("0", "1", 40, 4)
    for known in ([older, newer], [newer, older]):
        assert cheapest_chain(known, "0", "1") == (newer,)


def test_no_path_leads_over_a_model_that_was_given_up():
    assert cheapest_chain(LINE, "0", "3", avoid={"1"}) is None
    around = e("0", "2", 500, 2)
    assert cheapest_chain([*LINE, around], "0", "3", avoid={"1"}) == (around, LINE[2])
    assert cheapest_chain(LINE, "0", "3", avoid={"3"}) is None
    assert cheapest_chain(LINE, "0", "3", avoid={"0"}) == tuple(LINE), "what is held may be left, whatever it was"


def test_circles_and_updates_to_themselves_end():
    known = [e("0", "0", 0), e("0", "1", 5), e("1", "0", 5), e("1", "2", 5)]
    assert cheapest_chain(known, "0", "2") == (known[1], known[3])
    assert cheapest_chain(known, "0", "9") is None


@pytest.mark.parametrize(
    ("jump_bytes", "wins"),
    [(200, "chain"), (151, "chain"), (150, "jump"), (120, "jump"), (119, "jump"), (10, "jump")],
)
def test_a_chain_of_three_must_save_a_fifth(jump_bytes, wins):
    jump = e("0", "x", jump_bytes)
    route = choose(LINE, jump)
    assert route.edges == (tuple(LINE) if wins == "chain" else (jump,))
    assert "120 B" in route.reason
    assert f"{jump_bytes} B" in route.reason
    assert route.bytes == min(120, jump_bytes) if wins == "chain" else jump_bytes
    assert route.result == ("3" if wins == "chain" else "x")


def test_one_known_update_is_taken_unless_a_new_one_is_smaller():
    known, jump = e("0", "1", 40), e("0", "x", 40)
    assert choose([known], jump).edges == (known,)
    assert choose([known], e("0", "x", 39)).edges == (e("0", "x", 39),)


def test_where_one_way_is_missing_the_other_is_taken():
    jump = e("0", "x", 10)
    assert choose(None, jump).edges == (jump,)
    assert choose(LINE, None).edges == tuple(LINE)
    assert choose((), None).edges == ()
    assert choose(None, None).result == ""


nodes = st.sampled_from("012345")
graphs = st.lists(st.builds(Edge, nodes, nodes, st.integers(0, 9), st.integers(0, 5)), max_size=9)


@given(graphs, nodes, nodes)
@settings(max_examples=100, deadline=None)
def test_no_walk_of_known_updates_is_cheaper(known, base, goal):
    walks = [()] if base == goal else []
    for count in range(1, 5):
        for walk in itertools.permutations(known, count):
            ends = [base, *(edge.result for edge in walk)]
            if ends[-1] == goal and all(edge.base == at for edge, at in zip(walk, ends, strict=False)):
                walks.append(walk)
    found = cheapest_chain(known, base, goal)
    if found is None:
        assert not walks
        return
    assert [edge.base for edge in found] == [base, *(edge.result for edge in found)][: len(found)]
    assert ([base] + [edge.result for edge in found])[-1] == goal
    assert sum(edge.bytes for edge in found) <= min((sum(edge.bytes for edge in walk) for walk in walks), default=99)
    assert cheapest_chain(reversed(known), base, goal) == found
