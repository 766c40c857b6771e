"""Protocols and personality as files: what ships, and what a wrong file in their place is told."""

from importlib.resources import files
from pathlib import Path

import pytest

from auren.health import UnhealthyError
from auren.modes import Mode
from auren.neuros import personality, protocols
from auren.neuros.documents import LARGEST_BYTES, DocumentError
from auren.neuros.guard.settings import Texts, VoiceSettings
from auren.neuros.personality import PERSONALITY
from auren.neuros.protocols import PROTOCOLS, suited
from auren.settings import load

PROTOCOL = """\
walk:
  title: A walk
  goal: to get out
  duration_minutes: 10
  steps:
    - Go out.
    - Come back.
  measured: [steps]
  stop_when: your feet hurt
  modes: [baseline]
"""


def test_the_five_exercises_are_there_and_every_calling_mode_has_one() -> None:
    assert set(PROTOCOLS) == {
        *("breathing-4-7-8", "sleep-recovery", "circadian-anchor", "midday-focus", "stress-recoding")
    }
    assert PROTOCOLS["breathing-4-7-8"].duration_minutes == 5
    assert all(suited(mode) for mode in Mode)


def test_a_file_in_place_of_ours_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "protocols.yaml"
    path.write_text(PROTOCOL)
    found = protocols.load(path)
    assert found["walk"].steps == ("Go out.", "Come back.")
    assert suited(Mode.BASELINE, found) == (found["walk"],)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[steps]", "[mood]", "p.yaml line 8, walk.measured.0: there is no metric mood; give one of heart_rate"),
        ("  goal: to get out\n", "", "p.yaml line 2, walk.goal: is missing; add it"),
        ("  goal:", "  gaol: x\n  goal:", "p.yaml line 3, walk.gaol: is not known; remove it or correct its name"),
        ("duration_minutes: 10", "duration_minutes: long", "p.yaml line 4, walk.duration_minutes: "),
        ("duration_minutes: 10", "duration_minutes: 0", "p.yaml line 4, walk.duration_minutes: "),
        ("    - Go out.\n    - Come back.\n", "    []\n", "walk.steps: "),
        ("[baseline]", "[party]", "p.yaml line 10, walk.modes.0: "),
        ("Go out.", "Take 400 mg of ibuprofen.", "'Take 400 mg of ibuprofen.' may not be said (treatment: ibuprofen)"),
        ("Go out.", "See https://example.org now.", "may not be said (address"),
        ("  goal:", "  title: Again\n  goal:", "p.yaml line 3, title: stands there twice; keep one"),
        ("  goal:", " goal:", "p.yaml line 3: no YAML ("),
        ("walk:", "A Walk!:", "p.yaml line 2, A Walk!: "),
        (PROTOCOL, "", "p.yaml: empty; write its fields"),
        (PROTOCOL, "{}", "p.yaml line 1, the whole: there are 0 protocols; give 1 to 20"),
        (PROTOCOL, "- a\n- b\n", "p.yaml line 1, the whole: "),
        ("to get out", "\t\x07", "p.yaml"),
    ],
)
def test_a_wrong_file_is_told_where_and_what_to_do(old: str, new: str, told: str) -> None:
    assert old in PROTOCOL
    with pytest.raises(DocumentError) as error:
        protocols.parse(PROTOCOL.replace(old, new), "p.yaml")
    assert told in str(error.value)


def test_the_personality_has_a_tone_for_every_mode_and_examples_that_keep_its_rules() -> None:
    assert set(PERSONALITY.tone) == set(Mode)
    assert len(PERSONALITY.avoid) >= 10
    assert {example.mode for example in PERSONALITY.examples} >= {Mode.COMPANION, Mode.GUARDIAN, Mode.REFLEX}


OURS = files("auren.neuros").joinpath("personality.yaml").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("  reflex: Very", "  reflexes: Very", "tone.reflexes: Input should be"),
        ("  - crush it", "  - slow walk", "may not be said (phrase: slow walk); say it without that"),
        ("      - That sounds like a heavy morning.", "      - You have the flu.", "may not be said (diagnosis"),
        ("voice: >-", "voices: >-", "voice: is missing; add it"),
        ("mode: reflex\n", "mode: rest\n", "examples.3.mode: "),
    ],
)
def test_a_wrong_personality_is_told(old: str, new: str, told: str) -> None:
    assert OURS.count(old) == 1
    with pytest.raises(DocumentError, match=r"^v\.yaml line \d+, ") as error:
        personality.parse(OURS.replace(old, new), "v.yaml")
    assert told in str(error.value)


def test_a_mode_without_a_tone_is_told() -> None:
    with pytest.raises(DocumentError, match="tone: there is none for hypothesis; write a sentence for each"):
        personality.parse("\n".join(line for line in OURS.splitlines() if not line.startswith("  hypothesis:")))


async def test_the_settings_take_the_files_and_a_wrong_one_leaves_ours_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert VoiceSettings().texts() == Texts(PROTOCOLS, PERSONALITY)
    path = tmp_path / "protocols.yaml"
    path.write_text(PROTOCOL)
    voice = tmp_path / "personality.yaml"
    voice.write_text(OURS.replace("crush it", "crush them"))
    monkeypatch.setenv("AUREN_PROTOCOLS_FILE", str(path))
    monkeypatch.setenv("AUREN_PERSONALITY_FILE", str(voice))
    texts = load(VoiceSettings).texts()
    assert list(texts.protocols) == ["walk"]
    assert "crush them" in texts.personality.avoid
    await texts.check()
    path.write_text(PROTOCOL.replace("Go out.", "Take a pill."))
    texts = load(VoiceSettings).texts()
    assert texts.protocols is PROTOCOLS
    assert "crush them" in texts.personality.avoid
    with pytest.raises(UnhealthyError, match=r"AUREN_PROTOCOLS_FILE: .*protocols\.yaml line 2, walk: .*not be said"):
        await texts.check()
    path.unlink()
    with pytest.raises(UnhealthyError, match=r"AUREN_PROTOCOLS_FILE: .*cannot be read"):
        await load(VoiceSettings).texts().check()


def test_a_huge_file_and_a_binary_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("#" * (LARGEST_BYTES + 1))
    with pytest.raises(DocumentError, match="larger than"):
        protocols.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DocumentError, match="cannot be read"):
        protocols.load(path)
