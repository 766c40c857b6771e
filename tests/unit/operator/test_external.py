"""A person's own database server: nothing of the store is made, and who needs it goes there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from auren_operator.components import desired_claims, user_objects
from auren_operator.manifests.model import Facts
from tests.unit.operator.built import a_stack, build, containers, environment, everything, one, secrets_of, settled
from tests.unit.operator.spec_cases import EXTERNAL, external

STACK = a_stack(EXTERNAL)
CLIENTS = ("migrations", "neuros-advanced", "biometric-production", "biometric-bridge")
PLACE = {
    "AUREN_DATABASE_HOST": "db.example.com",
    "AUREN_DATABASE_PORT": "6432",
    "AUREN_DATABASE_NAME": "measurements",
    "AUREN_DATABASE_TLS": "verify-full",
    "AUREN_DATABASE_CA_FILE": "/run/auren/secrets/database-ca.crt",
}
MARK = "demo-biometric-bridge-external"


def mounted(component: str, spec: dict[str, object] = EXTERNAL) -> dict[str, tuple[str, str]]:
    """File → (Secret, key) in the pods of a component."""
    manifests = build(a_stack(spec), component).manifests
    workload = next(m for m in manifests if m["kind"] in {"Job", "Deployment"})
    volumes = workload["spec"]["template"]["spec"]["volumes"]
    secrets = next(volume for volume in volumes if volume["name"] == "secrets")
    return {
        item["path"]: (source["secret"]["name"], item["key"])
        for source in secrets["projected"]["sources"]
        for item in source["secret"]["items"]
    }


def test_no_store_is_made_and_no_volume_or_password_wanted() -> None:
    built = build(STACK, "timescaledb")
    assert (built.manifests, built.external, built.withheld) == ([], True, ())
    assert not [name for name in desired_claims(STACK, Facts()) if "timescaledb" in name]
    assert "demo-timescaledb" not in {secret.name for secret in secrets_of(STACK)}
    assert "demo-timescaledb" not in yaml.safe_dump_all(everything(STACK))


@pytest.mark.parametrize("component", CLIENTS)
def test_everybody_goes_to_the_server_and_checks_who_it_is(component: str) -> None:
    for _, container in containers(build(STACK, component).manifests):
        assert environment(container).items() >= PLACE.items()
    assert mounted(component)["database-ca.crt"] == ("db-ca", "ca.crt")


def test_only_the_job_has_the_administrator_s_login() -> None:
    job = mounted("migrations")
    assert job["auren_database_user"] == ("db-admin", "username")
    assert job["auren_database_password"] == ("db-admin", "password")
    ((_, container),) = containers(build(STACK, "migrations").manifests)
    assert "AUREN_DATABASE_USER" not in environment(container)
    for component in CLIENTS[1:]:
        assert "db-admin" not in {secret for secret, _ in mounted(component).values()}
        assert mounted(component)["auren_database_password"] == (f"demo-{component}", "database-password")


@pytest.mark.parametrize("mode", ["disable", "require"])
def test_without_verification_nobody_is_asked_to_vouch(mode: str) -> None:
    spec = external(tls={"mode": mode})
    for component in CLIENTS:
        for _, container in containers(build(a_stack(spec), component).manifests):
            variables = environment(container)
            assert variables["AUREN_DATABASE_TLS"] == mode
            assert "AUREN_DATABASE_CA_FILE" not in variables
        assert "database-ca.crt" not in mounted(component, spec)
    assert [secret.name for secret in user_objects(a_stack(spec))] == ["db-admin"]


def test_defaults_are_postgresql_s_port_and_our_name() -> None:
    database = a_stack(external(port=None, database=None)).timescaledb.external
    assert database is not None
    assert (database.port, database.database, database.tls_mode) == (5432, "auren_production", "verify-full")


def test_the_job_is_another_one_for_another_server_login_or_authority() -> None:
    facts = settled(STACK)
    names = {
        one(build(stack, "migrations", known).manifests, "Job")["metadata"]["name"]
        for stack, known in (
            (STACK, facts),
            (a_stack(external(host="db2.example.com")), facts),
            (a_stack({"timescaledb": {**EXTERNAL["timescaledb"], "retentionDays": 90}}), facts),
            (STACK, replace(facts, given={**facts.given, "db-admin": "rotated"})),
            (STACK, replace(facts, given={**facts.given, "db-ca": "renewed"})),
        )
    }
    assert len(names) == 5


@pytest.mark.parametrize("missing", ["db-admin", "db-ca"])
def test_the_job_is_withheld_while_a_secret_of_the_person_s_is_missing(missing: str) -> None:
    facts = settled(STACK)
    built = build(STACK, "migrations", replace(facts, given={n: h for n, h in facts.given.items() if n != missing}))
    assert built.withheld == ("Job",)
    assert "Job" not in {manifest["kind"] for manifest in built.manifests}


def test_a_new_login_of_the_administrator_rolls_no_service() -> None:
    facts = settled(STACK)
    rotated = replace(facts, given={**facts.given, "db-admin": "rotated"})
    for component in CLIENTS[1:]:
        assert build(STACK, component, rotated) == build(STACK, component, facts)


def test_a_mark_stands_for_the_data_from_when_there_is_a_keyring() -> None:
    facts = settled(STACK)
    mark = one(build(STACK, "biometric-bridge", facts).manifests, "ConfigMap")
    assert mark["metadata"]["name"] == MARK
    assert mark["data"] == {"database": "db.example.com:6432/measurements"}
    assert "ownerReferences" not in mark["metadata"]
    keyless = {name: digest for name, digest in facts.secrets.items() if not name.endswith("-keyring")}
    without = build(STACK, "biometric-bridge", replace(facts, secrets=keyless))
    assert "ConfigMap" in without.withheld
    assert "ConfigMap" not in {manifest["kind"] for manifest in without.manifests}


def test_the_mark_goes_with_the_stack_where_its_data_should() -> None:
    stack = a_stack({**EXTERNAL, "data": {"deletionPolicy": "Delete"}})
    mark = one(build(stack, "biometric-bridge").manifests, "ConfigMap")
    assert mark["metadata"]["ownerReferences"][0]["uid"] == "uid-of-demo"


def test_the_keyring_is_guarded_by_the_mark_whatever_the_spec_says_now() -> None:
    for stack in (STACK, a_stack({})):
        (keyring,) = (secret for secret in secrets_of(stack) if secret.name.endswith("-keyring"))
        assert keyring.guarded_marks == (MARK,)
        assert keyring.guarded_volumes == ("data-demo-timescaledb-0",)
