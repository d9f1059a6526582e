"""Reading policies: what is accepted, and what is said about every mistake."""

import pytest

from core.errors import ConfigurationError
from models.moderation.policy import load_policy, parse_policy
from models.moderation.policy.load import MAX_BYTES, packaged_policy
from tests.unit.models.moderation.policy.cases import KNOWN, PLAIN, policy, rules


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy(text, source="p.yaml")
    return str(caught.value).splitlines()


def test_the_packaged_policy_is_valid_and_acts_on_every_class():
    policy = load_policy(None)
    assert policy.name == "default"
    for name in ("violence", "nudity", "hate", "self_harm", "spam"):
        part = getattr(policy.classes, name)
        assert part.review is not None and part.demote is not None and part.review < part.demote
    assert policy.classes.self_harm.enforce is None
    assert policy.on_failure == "review"
    assert policy.known_harm["intimate-images"].action == "enforce"


def test_a_policy_is_read_from_its_file(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(PLAIN)
    assert load_policy(path).name == "plain"


def test_a_file_that_is_not_there_names_the_setting(tmp_path):
    with pytest.raises(ConfigurationError, match=r"missing\.yaml: cannot be read \(No such file.*moderation\.policy"):
        load_policy(tmp_path / "missing.yaml")


def test_a_huge_file_is_refused_without_reading_it_all(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigurationError, match="at most"):
        load_policy(path)


def test_the_version_is_of_the_content_not_of_comments_order_or_defaults():
    one = policy("on_failure: review\nfactor: 0.5\n")
    two = parse_policy("factor: 0.5   # as it is anyway\n" + PLAIN)
    assert one.version == two.version == policy().version
    assert len(one.version) == 8 and int(one.version, 16) >= 0


@pytest.mark.parametrize(
    "more", ["on_failure: demote", "factor: 0.4", KNOWN, "strikes: [{count: 3, days: 90, at_least: review}]"]
)
def test_another_content_is_another_version(more):
    assert policy(more).version != policy().version


def test_a_threshold_out_of_order_says_which_and_where():
    text = PLAIN.replace("nudity: {review: 0.5, demote: 0.7", "nudity: {review: 0.8, demote: 0.7")
    (line,) = mistakes(text)
    assert line.startswith("p.yaml:5: classes.nudity: review (0.8) is above demote (0.7); write review <= demote")


def test_the_order_holds_across_an_action_that_is_never_taken():
    text = PLAIN.replace(
        "nudity: {review: 0.5, demote: 0.7, enforce: 0.9", "nudity: {review: 0.95, demote: null, enforce: 0.9"
    )
    (line,) = mistakes(text)
    assert "review (0.95) is above enforce (0.9)" in line


def test_equal_thresholds_and_missing_actions_are_fine():
    parsed = parse_policy(PLAIN.replace("review: 0.3, demote: 0.7, enforce: null", "review: 0.7, demote: 0.7"))
    assert parsed.classes.self_harm.review == parsed.classes.self_harm.demote == 0.7
    assert parsed.classes.self_harm.enforce is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("review: 0.3,", "reviw: 0.3,", "p.yaml:7: classes.self_harm.reviw is unknown; did you mean review?"),
        ("review: 0.3,", "color: 0.3,", "p.yaml:7: classes.self_harm.color is unknown; there are review, demote"),
        ("review: 0.3", "review: 1.3", "p.yaml:7: classes.self_harm.review: input should be less than or equal to 1"),
        ("review: 0.3", "review: 0", "p.yaml:7: classes.self_harm.review: input should be greater than 0; found 0"),
        (
            "review: 0.3",
            "review: yes",
            "p.yaml:7: classes.self_harm.review: input should be a valid number; found True",
        ),
        ("review: 0.3", "review: '0.3'", "p.yaml:7: classes.self_harm.review: input should be a valid number"),
        ("review: 0.3", "review: .nan", "p.yaml:7: classes.self_harm.review:"),
        ("name: plain", "name: A policy", "p.yaml:2: name: 'A policy' must be small letters, digits and hyphens"),
        ("name: plain", "label: plain", "p.yaml:2: label is unknown; "),
        ("urgency: batch", "urgency: soon", "p.yaml:8: classes.spam.urgency: input should be 'real-time' or 'batch'"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_to_write(old, new, said):
    assert any(line.startswith(said) for line in mistakes(PLAIN.replace(old, new, 1)))


def test_every_mistake_is_told_at_once_in_the_order_of_the_lines():
    text = PLAIN.replace("review: 0.3", "review: 7").replace("name: plain\n", "") + "on_failure: allow\n"
    told = mistakes(text)
    assert [line.split(":")[1] for line in told] == ["2", "6", "8"]
    assert told[0].endswith("name is missing; add it")
    assert "on_failure" in told[2] and "'review' or 'demote'" in told[2]


def test_a_class_cannot_be_forgotten():
    text = "\n".join(line for line in PLAIN.splitlines() if "spam" not in line)
    assert mistakes(text) == ["p.yaml:3: classes.spam is missing; add it"]


def test_a_rule_that_is_wrong_is_named_by_number_and_line():
    text = PLAIN + rules(
        "{name: good, when: scores.spam > 0.5, action: review, reason: r}",
        "{name: bad, when: scores.spma > 0.5, action: review, reason: r}",
    )
    (line,) = mistakes(text)
    assert line == "p.yaml:11: rules[2]: column 1: there is no 'scores.spma'; did you mean scores.spam?"


def test_two_rules_of_one_name_are_refused():
    one = "{name: same, when: scores.spam > 0.5, action: review, reason: r}"
    assert "two rules are called 'same'" in mistakes(PLAIN + rules(one, one))[0]


def test_a_rule_may_only_ask_for_lists_that_there_are():
    rule = rules("{name: a, when: known.terror and post.media > 2, action: review, reason: r}")
    assert policy(KNOWN + rule).rules[0].expression.names == ("known.terror", "post.media")
    assert "asks for known.terror, but known_harm has no list 'terror'; there are: none" in mistakes(PLAIN + rule)[0]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{name: a, when: scores.spam > 0.5, reason: r}", "action is missing"),
        ("{name: a, when: scores.spam > 0.5, action: review}", "reason is missing"),
        ("{name: a, when: scores.spam > 0.5, action: review, reason: '  '}", "reason: string should have at least 1"),
        ("{name: a, kind: exempt, when: scores.spam > 0.5}", "reason is missing"),
        ("{name: a, kind: exempt, when: scores.spam > 0.5, action: enforce, reason: r}", "lowers nothing"),
    ],
)
def test_a_rule_has_an_action_and_a_reason(rule, said):
    assert any(said in line for line in mistakes(PLAIN + rules(rule)))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("strikes: [{count: 3, days: 90}]", "the step does nothing"),
        (
            "strikes: [{count: 0, days: 90, at_least: review}]",
            "strikes[1].count: input should be greater than or equal",
        ),
        ("reports: {review_at: 1.0, unproven_cap: 1.0}", "unproven_cap (1) must be below review_at (1)"),
        ("reports: {review_at: 2.0, demote_at: 1.9}", "demote_at (1.9) is below review_at (2)"),
        ("known_harm: {terror: {harm: violence, action: allow}}", "known_harm.terror.action: input should be"),
        ("known_harm: {terror: {harm: violence, action: enforce, distance: 13}}", "less than or equal to 12"),
        ("known_harm: {terror: {harm: violence, action: enforce, distanse: 3}}", "did you mean distance?"),
        ("known_harm: {Bad Name: {harm: violence, action: enforce}}", "small letters, digits and hyphens"),
        ("rules: [{name: a, wehn: known.x}]", "p.yaml:9: rules[1].wehn is unknown; did you mean when?"),
        ("factor: 0", "factor: input should be greater than 0"),
        ("rulez: []", "rulez is unknown; did you mean rules?"),
    ],
)
def test_other_parts_are_checked_as_well(more, said):
    assert any(said in line for line in mistakes(PLAIN + more))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "p.yaml:1: a policy is a mapping"),
        ("- a\n- b", "p.yaml:1: a policy is a mapping"),
        ("name: [", "p.yaml:1: not YAML"),
        ("name: a\n\tclasses: b", "p.yaml:2: not YAML"),
        ("name: a\nname: b", "p.yaml:2: name is there twice"),
        ("a: {b: 1, b: 2}", "p.yaml:1: a.b is there twice"),
        ("a: &x [1]\nb: *x", "p.yaml:2: *x is not supported"),
        ("? [a, b]\n: c", "p.yaml:1: a key must be a plain word"),
        ("a: {<<: {b: 1}}", "p.yaml:1: a key must be a plain word"),
        ("a: !!python/object/apply:os.system ['true']", "p.yaml:1: not YAML: could not determine a constructor"),
        ("[" * 3000, "nested more than 12 deep"),
        ("name: \x00", "not YAML"),
        ("a: 2026-99-99", "not YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(text, said):
    assert any(said in line for line in mistakes(text))


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        parse_policy(b"name: \xff")


def test_a_stored_policy_is_read_back_as_the_same_version():
    for one in (load_policy(None), policy(KNOWN)):
        assert type(one).model_validate_json(one.model_dump_json()).version == one.version


def test_every_field_is_described():
    from pydantic import BaseModel

    from models.moderation.policy import schema

    for part in vars(schema).values():
        if isinstance(part, type) and issubclass(part, BaseModel) and part not in (BaseModel, schema.Classes):
            for name, field in part.model_fields.items():
                assert field.description or name == "classes", f"{part.__name__}.{name} has no description"


def test_the_packaged_text_is_what_is_loaded():
    assert parse_policy(packaged_policy()).version == load_policy(None).version
