"""Which implementations run a step, by its mode's policy, and the sentence that says why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.errors import Fault
from tandem_orchestrator.model.catalogue import Action, Catalogue, Implementation, nearest
from tandem_orchestrator.model.effects import may_repeat
from tandem_orchestrator.model.plans import Assignment
from tandem_orchestrator.model.policies import Policy, RouteQuestion
from tandem_orchestrator.model.routing import UNSIZED, Estimate, RouteOption, RouteRecord
from tandem_orchestrator.plan.options import PlanOptions
from tandem_orchestrator.plan.router import choose
from tandem_orchestrator.plan.sizing import size_of
from tandem_orchestrator.plan.trial import with_trial


@dataclass(frozen=True, slots=True)
class Away:
    """The step needs a layer that is not there, and its policy says to refuse."""

    layer: str
    reason: str


def assign(
    action: Action,
    policy: Policy,
    mode: str,
    wanted: Sequence[str] | None,
    catalogue: Catalogue,
    options: PlanOptions,
    path: str,
    payload: Any = None,
) -> Assignment | Fault | Away:
    """Choose implementations for one step.

    Args:
        action: The catalogue's entry; it has at least one implementation.
        policy: What the mode means.
        mode: Its name, for the reason.
        wanted: Implementations the step names itself, or None.
        path: Where the step stands, for faults.
        payload: The step's own, references in it not yet resolved.
    """
    if wanted:
        return _forced(action, policy, mode, wanted, catalogue, options, path)
    if policy.implementations == "router":
        return _route(action, policy, mode, catalogue, options, path, payload)
    if policy.implementations == "pair":
        return _pair(action, policy, mode, catalogue, options, path)
    return _named(action, policy, mode, policy.implementations, catalogue, path)


def _named(
    action: Action,
    policy: Policy,
    mode: str,
    names: Sequence[str],
    catalogue: Catalogue,
    path: str,
) -> Assignment | Fault | Away:
    found: list[Implementation] = []
    for name in names:
        implementation = action.implementation(name)
        if implementation is None:
            if name == "c" and (reason := catalogue.away.get("c")):
                return Away("c", reason)
            have = ", ".join(i.name for i in action.implementations) or "none"
            text = (
                f"{action.agent}.{action.name} has no {name} implementation, which "
                f"{mode.upper()} needs; it has: {have}"
            )
            return Fault("no_native" if name == "c" else "unknown_action", path, text, name)
        if reason := catalogue.away.get(implementation.layer):
            return Away(implementation.layer, reason)
        found.append(implementation)
    low = next((i for i in found if i.rung != "native"), None)
    note = f"; its rung {low.rung!r} is overridden" if low else ""
    return Assignment(
        implementations=tuple(i.name for i in found),
        layers=tuple(i.layer for i in found),
        reason=f"{mode.upper()} runs {' and '.join(names)}{note}",
        verdict=policy.verdict if len(found) > 1 else "none",
        forced=low is not None,
    )


def _forced(
    action: Action,
    policy: Policy,
    mode: str,
    wanted: Sequence[str],
    catalogue: Catalogue,
    options: PlanOptions,
    path: str,
) -> Assignment | Fault | Away:
    comparing = policy.verdict != "none"
    names = tuple(dict.fromkeys(wanted))
    why = "named"
    if len(names) > 1 and (not comparing or not may_repeat(action.effects)):
        names = names[:1]
        why = "external"
    for name in names:
        if action.implementation(name) is None and not (name == "c" and catalogue.away.get("c")):
            have = ", ".join(i.name for i in action.implementations)
            text = f"{action.agent}.{action.name} has no implementation {name!r}; it has: {have}"
            near = nearest(name, (i.name for i in action.implementations))
            return Fault("unknown_action", f"{path}.implementations", text, name, near)
    if fault := _too_few_voters(action, policy, names, options, path):
        return fault
    result = _named(action, policy, mode, names, catalogue, path)
    if isinstance(result, Assignment):
        low = (action.implementation(name) for name in result.implementations)
        rung = next((one.rung for one in low if one is not None and one.rung != "native"), "")
        note = f"; its rung {rung!r} is overridden" if rung else ""
        return Assignment(
            implementations=result.implementations,
            layers=result.layers,
            reason=f"the step names {' and '.join(names)}{note}",
            verdict=policy.verdict if len(names) > 1 else "none",
            not_compared=why if comparing and len(names) == 1 else None,
            forced=True,
        )
    return result


def _too_few_voters(
    action: Action, policy: Policy, names: Sequence[str], options: PlanOptions, path: str
) -> Fault | None:
    """Refuse a vote of two: neither of them could ever win."""
    if policy.verdict != "compare" or options.conflict_resolution != "vote" or len(names) != 2:
        return None
    text = (
        f"conflict_resolution='vote' needs three implementations, and {action.agent}.{action.name} "
        f"is compared in {' and '.join(names)}; add a third with @action.twin(NAME), name three "
        "with implementations=, or choose another conflict_resolution"
    )
    return Fault("nothing_to_compare", path, text, list(names))


def _route(
    action: Action,
    policy: Policy,
    mode: str,
    catalogue: Catalogue,
    options: PlanOptions,
    path: str,
    payload: Any = None,
) -> Assignment | Fault | Away:
    present = [i for i in action.implementations if not catalogue.away.get(i.layer)]
    allowed = [i for i in present if i.rung == "native"]
    if not present:
        layer = action.implementations[0].layer
        return Away(layer, catalogue.away[layer])
    if not allowed:
        text = (
            f"{action.agent}.{action.name}: no implementation has reached the rung 'native' yet; "
            "name one with implementations="
        )
        return Fault("unknown_action", path, text, None)
    away = catalogue.away.get("c", "")
    record: RouteRecord | None = None
    if len(allowed) == 1 and policy.route is None:
        choice = allowed[0].name
        reason = f"{choice} is the only implementation"
        if away and choice != "c":
            reason += f" here; the C layer is away: {away}"
        elif low := [f"{i.name}: {i.rung}" for i in present if i.rung != "native"]:
            reason += f" trusted so far ({', '.join(low)})"
    else:
        chosen_by = _chosen(action, policy, mode, catalogue, options, allowed, path, payload)
        if isinstance(chosen_by, Fault):
            return chosen_by
        choice, reason, record = chosen_by
    chosen = next(i for i in allowed if i.name == choice)
    spare = next((i.name for i in allowed if i.layer == "python"), None)
    fallback = spare if chosen.layer == "c" and policy.if_away == "python" else None
    routed = Assignment(
        implementations=(chosen.name,),
        layers=(chosen.layer,),
        reason=reason,
        fallback=fallback,
        route=record,
    )
    if not options.trial_shares:
        return routed
    well = [i for i in present if (action.agent, action.name, i.name) not in options.resting]
    well = well if chosen in well else [chosen, *well]
    return with_trial(routed, action, well, options.trial_shares, options.roll)


def _chosen(
    action: Action,
    policy: Policy,
    mode: str,
    catalogue: Catalogue,
    options: PlanOptions,
    allowed: Sequence[Implementation],
    path: str,
    payload: Any,
) -> tuple[str, str, RouteRecord] | Fault:
    """Choose among several: (name, reason, record), or what is wrong with the mode's own route."""
    size, bucket = size_of(payload)
    standing = options.costs.get((action.agent, action.name, bucket))
    known = {} if standing is None else standing.estimates
    if standing is not None and bucket == UNSIZED:
        size = max(size, standing.typical_bytes)
    resting = {i.name for i in allowed if (action.agent, action.name, i.name) in options.resting}
    if len(resting) == len(allowed):
        resting.clear()  # All of them were lost lately: none is a better choice than another.
    open_names = tuple(i.name for i in allowed if i.name not in resting)
    layers = {i.name: i.layer for i in allowed}
    explored = False
    if policy.route is not None:
        costs = {name: known[name].seconds for name in open_names if name in known}
        costs = {name: seconds for name, seconds in costs.items() if seconds > 0.0}
        question = RouteQuestion(
            action.agent, action.name, size, options.load, costs, open_names, layers
        )
        name = policy.route(question)
        if name not in open_names:
            names = ", ".join(open_names)
            text = f"the route of mode {mode!r} gave {name!r}, expected one of {names}"
            return Fault("no_policy", path, text, name)
        reason = f"the route of mode {mode!r} chose {name}"
    else:
        # What happens once only is no place for trying out.
        share = options.explore_share if may_repeat(action.effects) else 0.0
        choice = choose(open_names, standing, explore_share=share, layers=layers, load=options.load)
        name, reason, explored = choice.name, choice.reason, choice.explored
    if resting:
        reason += f"; resting after lost attempts: {', '.join(sorted(resting))}"
    record = RouteRecord(
        bytes=size,
        bucket=bucket,
        options=tuple(_option(i, known, resting, catalogue) for i in action.implementations),
        chosen=name,
        explored=explored,
        asked=mode if policy.route is not None else "",
        load=dict(options.load),
    )
    return name, reason, record


def _option(
    implementation: Implementation,
    known: Mapping[str, Estimate],
    resting: Collection[str],
    catalogue: Catalogue,
) -> RouteOption:
    """Describe one alternative as it stood."""
    one = known.get(implementation.name)
    excluded = ""
    if away := catalogue.away.get(implementation.layer):
        excluded = f"its layer is away: {away}"
    elif implementation.rung != "native":
        excluded = f"its rung is {implementation.rung}"
    elif implementation.name in resting:
        excluded = "it rests after lost attempts"
    return RouteOption(
        implementation=implementation.name,
        layer=implementation.layer,
        rung=implementation.rung,
        seconds=one.seconds if one is not None and one.samples else None,
        samples=one.samples if one is not None else 0,
        excluded=excluded,
    )


def _pair(
    action: Action,
    policy: Policy,
    mode: str,
    catalogue: Catalogue,
    options: PlanOptions,
    path: str,
) -> Assignment | Fault | Away:
    if not may_repeat(action.effects):
        return _once(action, mode, catalogue, options, path, "external")
    names = [i.name for i in action.implementations]
    if len(names) < 2:
        if "c" not in names and (reason := catalogue.away.get("c")):
            # Whether there is a native twin cannot be known without its layer.
            return Away("c", reason)
        return _once(action, mode, catalogue, options, path, "single")
    pair: tuple[str, ...]
    if policy.verdict == "compare" and options.conflict_resolution == "vote" and len(names) > 2:
        pair = tuple(names)
    elif "python" in names and "c" in names:
        pair = ("python", "c")
    elif len(names) == 2:
        pair = ("python", next(n for n in names if n != "python")) if "python" in names else (
            names[0], names[1],
        )  # fmt: skip
    else:
        text = (
            f"{action.agent}.{action.name} has {', '.join(names)}: name the twins to compare "
            "with implementations="
        )
        return Fault("nothing_to_compare", path, text, names)
    if fault := _too_few_voters(action, policy, pair, options, path):
        return fault
    return _named(action, policy, mode, pair, catalogue, path)


def _once(
    action: Action, mode: str, catalogue: Catalogue, options: PlanOptions, path: str, why: str
) -> Assignment | Fault | Away:
    """Run on the router's layer alone, and report why nothing was compared."""
    result = _route(action, Policy(), mode, catalogue, options, path)
    if not isinstance(result, Assignment):
        return result
    cause = {
        "external": "its effects are external, so it runs once",
        "single": "it has one implementation",
    }[why]
    return Assignment(
        implementations=result.implementations,
        layers=result.layers,
        reason=f"not compared: {cause}; {result.reason}",
        fallback=result.fallback,
        not_compared=why,
    )
