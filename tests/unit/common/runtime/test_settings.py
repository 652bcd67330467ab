"""Settings and secrets: what is missing or wrong is said with the setting's name."""

from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from common.runtime.kafka import Security
from common.runtime.settings import SECRETS_DIR, ServiceSettings, read_settings, with_password


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="SOME_", frozen=True, extra="ignore")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "DATABASE_URL": "postgresql://some@db:5432/some",
        "KAFKA_BOOTSTRAP": "k:9092",
        "PORT": "1",
        "JWKS_FILE": "j",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"SOME_{name}", value)


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        read_settings(Settings)
    assert ended.value.code == 2
    return capsys.readouterr().err


def secret(folder: Path, mode: int) -> None:
    path = folder / "some_database_password"
    path.write_text("p@ss/word")
    path.chmod(mode)


def test_a_secret_file_completes_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret(tmp_path, 0o440)
    monkeypatch.setenv(SECRETS_DIR, str(tmp_path))
    assert read_settings(Settings).dsn == "postgresql://some:p%40ss%2Fword@db:5432/some"


def test_a_password_goes_into_the_address_and_leaves_the_rest_of_it() -> None:
    assert (
        with_password("postgresql://a:old@h:1/d?sslmode=verify-full", "new")
        == "postgresql://a:new@h:1/d?sslmode=verify-full"
    )
    assert with_password("postgresql://a:old@h:1/d", "") == "postgresql://a:old@h:1/d"


def test_a_missing_secret_says_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SECRETS_DIR, str(tmp_path))
    said = refused(capsys)
    assert "setting SOME_DATABASE_PASSWORD: missing" in said and str(tmp_path / "some_database_password") in said


def test_a_secret_that_everybody_may_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret(tmp_path, 0o444)
    monkeypatch.setenv(SECRETS_DIR, str(tmp_path))
    assert "everybody may read" in refused(capsys)


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SECRETS_DIR, str(tmp_path / "gone"))
    assert f"setting {SECRETS_DIR}: there is no folder" in refused(capsys)


def test_a_kafka_password_never_goes_over_an_open_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_KAFKA_USERNAME", "some")
    assert "KAFKA_CA_FILE" in refused(capsys)
    with pytest.raises(ValueError, match="in the clear"):
        Security(username="some", password="x").options()
    scram = Security(username="some", password="x", mechanism="SCRAM-SHA-512").options()
    assert (scram["security_protocol"], scram["sasl_mechanism"]) == ("SASL_PLAINTEXT", "SCRAM-SHA-512")
    monkeypatch.setenv("SOME_KAFKA_MECHANISM", "SCRAM-SHA-512")
    assert read_settings(Settings).kafka_security.mechanism == "SCRAM-SHA-512"
    assert "secret" not in repr(Security(username="some", password="secret"))
