"""Segments are connected, convex and of native steps; checked against plain reachability."""

from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.plan.segment import Cell, cut_segments


@st.composite
def flat_plans(draw: st.DrawFn) -> list[Cell]:
    """Up to 14 steps without nesting, in an order that respects their dependencies."""
    cells = []
    for i in range(draw(st.integers(1, 14))):
        needs = draw(st.sets(st.integers(0, max(0, i - 1)), max_size=3)) if i else set()
        cells.append(
            Cell(
                f"n{i}",
                "",
                tuple(f"n{n}" for n in sorted(needs)),
                draw(st.booleans()),
                draw(st.integers(0, 4)) == 0,
            )
        )
    return cells


def reach(cells: list[Cell]) -> dict[str, set[str]]:
    """Give every step's descendants, by plain search."""
    below: dict[str, set[str]] = {cell.id: set() for cell in cells}
    for cell in reversed(cells):
        for other in cell.needs:
            below[other] |= {cell.id} | below[cell.id]
    return below


@given(flat_plans())
def test_exactly_the_native_steps_are_in_one_segment_each(cells: list[Cell]) -> None:
    segments = cut_segments(cells)

    members = [step for segment in segments for step in segment]
    assert sorted(members) == sorted(cell.id for cell in cells if cell.native)
    assert len(members) == len(set(members))


@given(flat_plans(), st.booleans())
def test_no_path_leaves_a_segment_and_returns(cells: list[Cell], whole: bool) -> None:
    below = reach(cells)

    for segment in cut_segments(cells, whole=whole):
        inside = set(segment)
        for start in segment:
            left = below[start] - inside
            assert not [step for step in left if below[step] & inside], (segment, start)


@given(flat_plans(), st.booleans())
def test_segments_can_be_run_one_after_the_other(cells: list[Cell], whole: bool) -> None:
    """Contracting each segment to one node leaves no cycle."""
    from graphlib import TopologicalSorter

    owner = {cell.id: cell.id for cell in cells}
    for number, segment in enumerate(cut_segments(cells, whole=whole)):
        owner |= dict.fromkeys(segment, f"segment {number}")
    graph: dict[str, set[str]] = {name: set() for name in owner.values()}
    for cell in cells:
        graph[owner[cell.id]] |= {owner[n] for n in cell.needs} - {owner[cell.id]}

    TopologicalSorter(graph).prepare()  # raises CycleError


@given(flat_plans())
def test_a_segment_is_connected_by_dependencies_among_its_own_steps(cells: list[Cell]) -> None:
    needs = {cell.id: set(cell.needs) for cell in cells}

    for segment in cut_segments(cells):
        inside, seen, todo = set(segment), set(), [segment[0]]
        while todo:
            step = todo.pop()
            if step not in seen:
                seen.add(step)
                todo += [o for o in inside if o in needs[step] or step in needs[o]]
        assert seen == inside


@given(flat_plans(), st.booleans())
def test_what_python_must_look_at_is_followed_by_nothing_in_its_segment(
    cells: list[Cell], whole: bool
) -> None:
    looks = {cell.id for cell in cells if cell.ends_segment}
    needs = {cell.id: set(cell.needs) for cell in cells}

    for segment in cut_segments(cells, whole=whole):
        for step in segment:
            assert not needs[step] & looks & set(segment)


@given(flat_plans())
def test_steps_and_segments_keep_the_plans_order(cells: list[Cell]) -> None:
    place = {cell.id: i for i, cell in enumerate(cells)}

    places = [[place[step] for step in segment] for segment in cut_segments(cells)]

    assert all(members == sorted(members) for members in places)
    firsts = [members[0] for members in places]
    assert firsts == sorted(firsts)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_a_plan_that_is_native_throughout_is_one_segment_when_it_must_be(
    seeds: list[int],
) -> None:
    cells = [
        Cell(f"n{i}", "", (f"n{i - 1 - seed}",) if i - 1 - seed >= 0 else (), True, False)
        for i, seed in enumerate(seeds)
    ]

    assert len(cut_segments(cells, whole=True)) == 1


def cell(
    step: str, *needs: str, parent: str = "", native: bool = True, looks: bool = False
) -> Cell:
    """Make a step."""
    return Cell(step, parent, needs, native, looks)


@st.composite
def nested_plans(draw: st.DrawFn) -> list[Cell]:
    """Up to five outer steps, some of them groups with up to four steps of their own."""
    cells: list[Cell] = []

    def add(parent: str, names: list[str], depth: int) -> None:
        for i, name in enumerate(names):
            needs = draw(st.lists(st.sampled_from(names[:i]), max_size=2)) if i else []
            group = depth < 2 and draw(st.integers(0, 2)) == 0
            native = not group and draw(st.booleans())
            cells.append(Cell(name, parent, tuple(dict.fromkeys(needs)), native, False))
            if group:
                inner = [f"{name}/{k}" for k in range(draw(st.integers(1, 4)))]
                add(name, inner, depth + 1)

    add("", [f"n{i}" for i in range(draw(st.integers(2, 5)))], 0)
    return cells


@given(nested_plans(), st.booleans())
def test_no_path_through_a_group_leaves_a_segment_and_returns(
    cells: list[Cell], whole: bool
) -> None:
    """A group begins before all that it holds and ends after it: two nodes, with edges between."""
    after: dict[str, set[str]] = {}
    for one in cells:
        after.setdefault(f"{one.id} begins", set()).add(f"{one.id} ends")
        after.setdefault(f"{one.id} ends", set())
        for other in one.needs:
            after[f"{other} ends"].add(f"{one.id} begins")
        if one.parent:
            after[f"{one.parent} begins"].add(f"{one.id} begins")
            after[f"{one.id} ends"].add(f"{one.parent} ends")

    def below(node: str) -> set[str]:
        seen: set[str] = set()
        todo = [node]
        while todo:
            fresh = after[todo.pop()] - seen
            seen |= fresh
            todo += fresh
        return seen

    for segment in cut_segments(cells, whole=whole):
        inside = {f"{step} begins" for step in segment} | {f"{step} ends" for step in segment}
        outside = {node for step in segment for node in below(f"{step} ends")} - inside
        assert not [node for node in outside if below(node) & inside], segment


def test_a_diamond_with_python_on_one_side_is_cut_behind_it() -> None:
    cells = [cell("a"), cell("py", "a", native=False), cell("c", "a"), cell("d", "py", "c")]

    assert cut_segments(cells) == (("a", "c"), ("d",))


def test_a_step_behind_a_group_is_not_joined_with_what_is_before_it() -> None:
    cells = [
        cell("a"),
        cell("g", "a", native=False),
        cell("g/x", parent="g"),
        cell("g/y", "g/x", parent="g"),
        cell("z", "g", "a"),
    ]

    segments = cut_segments(cells)

    assert ("g/x", "g/y") in segments
    assert ("a",) in segments and ("z",) in segments
