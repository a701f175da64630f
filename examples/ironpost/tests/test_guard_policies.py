"""Policies: who is concerned by an alert, which policy counts, and what a file may say."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsm_plugins import ConfigError
from ironpost import guard
from ironpost.events import AlertEvent, Severity
from ironpost.guard import Container, Policies, Policy, decide, load_policies
from ironpost.guard.policies import Action

IDS = ["a" * 64, "ab" * 32, "c" * 64]
globs = st.lists(st.sampled_from(["*", "web-*", "web-1", "db", "[wd]*", "?b"]), min_size=1, max_size=2).map(tuple)
names = st.sampled_from(["web-1", "web-2", "db", "x"])
actions: st.SearchStrategy[Action] = st.sampled_from(["pause", "stop", "network-disconnect", "kill"])
policy_sets = st.lists(
    st.builds(
        Policy,
        st.just("p"),
        actions,
        severity=st.sampled_from(["low", "high", "critical"]),
        rules=st.sampled_from([("*",), ("ssh-*",), ("osv", "ssh-x")]),
        containers=globs,
        images=st.sampled_from([("*",), ("*nginx*",), ("busybox",)]),
        priority=st.integers(-1, 1),
        every=st.booleans(),
    ),
    max_size=5,
)
inventories = st.lists(
    st.builds(
        Container,
        st.sampled_from(IDS),
        names,
        st.sampled_from(["busybox", "library/nginx:1", ""]),
        addresses=st.sampled_from([frozenset[str](), frozenset({"10.0.0.1"}), frozenset({"10.0.0.1", "10.0.0.2"})]),
    ),
    max_size=4,
    unique_by=lambda container: container.name,
)
fields = st.dictionaries(
    st.sampled_from(["container", "container_name", "container_id", "src", "dst", "message"]),
    st.sampled_from(["web-1", "/db", "10.0.0.1", "a" * 12, "a" * 11, "", "../x"]) | st.just([1]) | st.none(),
    max_size=3,
)


def alert(
    fields: dict[str, object] | None = None, rule: str = "ssh-x", severity: Severity = Severity.HIGH
) -> AlertEvent:
    return AlertEvent(source="test", rule=rule, title="t", severity=severity, fields=fields or {})


@given(
    policy_sets, inventories, fields, st.sampled_from(["osv", "ssh-x", "net"]), st.sampled_from(Severity), st.booleans()
)
def test_decisions_are_those_of_the_rules_read_one_by_one(
    policies: list[Policy],
    inventory: list[Container],
    given_fields: dict[str, object],
    rule: str,
    severity: Severity,
    complete: bool,
) -> None:
    """At most one action for a container: the highest priority, and of equals the first."""
    event = alert(given_fields, rule, severity)
    decision = decide(Policies(tuple(policies)), event, inventory, complete=complete)
    wanted = []
    for container in inventory:
        best: Policy | None = None
        for policy in policies:
            texts = [given_fields.get(key) for key in ("container", "container_name", "container_id")]
            named = any(
                isinstance(text, str)
                and text
                and (text.lstrip("/") == container.name or (len(text) >= 12 and container.id.startswith(text)))
                for text in texts
            )
            concerned = policy.every or named or given_fields.get("src") in list(container.addresses)
            suits = severity >= Severity[policy.severity.upper()] and any(
                fnmatchcase(rule, each) for each in policy.rules
            )
            covers = any(fnmatchcase(container.name, each) for each in policy.containers) and any(
                fnmatchcase(container.image, each) for each in policy.images
            )
            if concerned and suits and covers and (best is None or policy.priority > best.priority):
                best = policy
        if best is not None:
            wanted.append((best, container))
    assert [step for step in decision.steps if step[1].id] == wanted
    if complete:
        assert len(decision.steps) == len(wanted)
    assert bool(decision.reason) != bool(decision.steps)
    assert all(container.name not in ("../x", "") for _, container in decision.steps)


def test_an_id_may_be_given_in_short() -> None:
    """By twelve digits, which is what engines show, or more; fewer could be anybody's."""
    container = Container(IDS[1], "web-1")
    policies = Policies((Policy("p", "pause"),))
    named = {size: decide(policies, alert({"container_id": IDS[1][:size]}), [container]).steps for size in (11, 12, 64)}
    assert [size for size, steps in named.items() if steps] == [12, 64]


def test_the_target_of_an_attack_is_left_alone() -> None:
    """Whoever can send packets could else switch it off. The source of one is not."""
    container = Container(IDS[0], "web-1", addresses=frozenset({"10.0.0.1"}))
    policies = Policies((Policy("p", "kill"),))
    assert decide(policies, alert({"dst": "10.0.0.1"}), [container]).reason == "no container"
    assert decide(policies, alert({"src": "10.0.0.1"}), [container]).steps == ((policies.policies[0], container),)


def test_without_an_engine_names_are_taken_at_their_word() -> None:
    """Those of the alert, and those that a policy for all names without a wildcard; nothing that is no name."""
    named, every = Policy("n", "pause"), Policy("e", "stop", containers=("db", "web-*"), every=True, priority=-1)
    policies = Policies((every, named))
    found = decide(policies, alert({"container": "/web-9"}), [], complete=False).steps
    assert [(policy.name, container.name, container.id) for policy, container in found] == [
        ("e", "db", ""),
        ("n", "web-9", ""),
    ]
    assert decide(policies, alert({"container": "web-9"}), []).reason == "no container"
    for text in ("../../images/prune", "a b", "x" * 300, "a?force=1", "-a"):
        steps = decide(Policies((named,)), alert({"container": text}), [], complete=False)
        assert steps.reason == "no container"
    with_image = Policies((Policy("i", "pause", images=("busybox",)),))
    assert decide(with_image, alert({"container": "web-9"}), [], complete=False).reason == "no container"


def load(tmp_path: Path, text: str) -> Policies:
    path = tmp_path / "policies.toml"
    path.write_text(text)
    return load_policies(path)


def test_a_file_of_policies(tmp_path: Path) -> None:
    """All keys, and the defaults; in the order in which they count."""
    text = """
    [[policy]]
    name = "hold what is bad"
    action = "pause"

    [[policy]]
    name = "cut off the attacker"
    action = "network-disconnect"
    severity = "medium"
    rules = ["port-scan", "syn-*"]
    containers = ["web-*"]
    images = ["*/nginx:*"]
    priority = 10
    every = true
    """
    first, second = load(tmp_path, text).policies
    assert second == Policy("hold what is bad", "pause", "high", ("*",), ("*",), ("*",), 0, False)
    assert (first.name, first.severity, first.rules, first.every) == (
        "cut off the attacker",
        "medium",
        ("port-scan", "syn-*"),
        True,
    )
    assert load(tmp_path, "").policies == ()


def test_everything_that_is_wrong_is_told_with_its_place(tmp_path: Path) -> None:
    """At once."""
    text = """
    policies = 1
    [[policy]]
    name = "a"
    action = "explode"
    [[policy]]
    name = "b"
    action = "stop"
    severty = "high"
    rules = []
    priority = "high"
    [[policy]]
    action = "kill"
    containers = [""]
    [[policy]]
    name = "c"
    action = "kill"
    [[policy]]
    name = "c"
    action = "kill"
    [[policy]]
    name = " "
    action = "kill"
    """
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert [str(problem) for problem in refused.value.problems] == [
        "policies: unknown key; policies are [[policy]] tables",
        "policy[0].action: expected 'pause', 'stop', 'network-disconnect' or 'kill', got 'explode'",
        "policy[1].severty: unknown key (did you mean 'severity'?)",
        "policy[1].rules: 'rules' has no glob, so that nothing would match; leave it out for all",
        "policy[1].priority: expected an integer, got 'high'",
        "policy[2].containers: 'containers' has no glob, so that nothing would match; leave it out for all",
        "policy[2].name: missing; expected a string",
        "policy[4].name: there is another policy 'c'; their names are told",
        "policy[5].name: 'name' is empty",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("policy = 1", "policy: expected an array of tables"),
        ("policy = [1]", r"policy\[0\]: expected a table"),
        ("[[policy]", "not TOML: "),
        ("a = " + "[" * 5000, "not TOML: "),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, says: str) -> None:
    """Is refused in words."""
    with pytest.raises(ConfigError, match=says):
        load(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(ConfigError, match=r"none\.toml: 1 problem\n  it cannot be read: No such file"):
        load_policies(tmp_path / "none.toml")


@given(st.text(max_size=60) | st.text(st.sampled_from('[]policy="a\n ={}'), max_size=60))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Without another exception."""
    path = tmp_path_factory.mktemp("fuzz") / "a.toml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    try:
        load_policies(path)
    except ConfigError as error:
        assert error.problems


def test_the_policies_that_come_with_it_make_sense() -> None:
    """They load, and the attacker is cut off before it is paused."""
    path = Path(guard.__file__).parents[1] / "policies" / "default.toml"
    container = Container(IDS[0], "web-1", "nginx", addresses=frozenset({"10.0.0.1"}))
    scan = alert({"src": "10.0.0.1"}, "network-port-scan", Severity.CRITICAL)
    ((policy, _),) = decide(load_policies(path), scan, [container]).steps
    assert policy.action == "network-disconnect"
