"""Disguises are undone and counted; texts without one come back as they were."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.text.normalise import MAX_CHARACTERS, normalise

DISGUISED = {
    "k1ll h4te n1gg3r b!tch a$$": ("kill hate nigger bitch ass", "leet"),
    "P0RN and $ex and h€ll": ("PORN and sex and hell", "leet"),
    "he11o": ("hello", "leet"),
    "your рaypal аccount": ("your paypal account", "lookalikes"),
    "fucк": ("fuck", "lookalikes"),
    "ѕеx": ("sex", "lookalikes"),
    "cука": ("сука", "lookalikes"),  # a Russian word with a Latin c becomes Russian again
    "k\u200bi\u200dl\u2060l": ("kill", "invisible"),
    "kill\U000e0068\U000e0069": ("kill", "invisible"),
    "a\ufe0fb\ufe01c": ("abc", "invisible"),
    "\u202ellik\u202c": ("llik", "overrides"),
    "𝐟𝐮𝐜𝐤 ⓕⓤⓒⓚ ᴋɪʟʟ": ("fuck fuck kill", "letterforms"),
    "f\u0336u\u0336c\u0336k\u0336": ("fuck", "marks"),
    "ki\u0300\u0301\u0302\u0303ll": ("kìll", "marks"),
    "k i l l and f.u.c.k": ("kill and fuck", "spaced"),
    "soooo gooood": ("soo good", "repeated"),
    "علـــيكم": ("عليكم", "repeated"),
}

BENIGN = [
    "The quick brown fox can't jump over 13 lazy dogs, can it? See https://example.org/a1b2?q=h4x",
    "Mail me@m4il.example or @us3r_1: h264, mp3, covid19, i18n, k8s, sha256, 3D, 10k, x86, C3PO, log4j, US$5, $AAPL",
    "At 3h15m we play e4e5; 0x7fffffff is VIII times www, hmm! Stop!now #blessed 24/7 it's 50% off",
    "Das schöne Mädchen wohnt übrigens in Straßburg und isst Käse.",
    "L'été, où êtes-vous allés ? Ça coûte 5 € à l'hôtel.",
    "El niño comió piñas en la mañana, ¿verdad? ¡Sí!",
    "O coração não tem razão; você está aí.",
    "Привет, как дела? Это обычный русский текст с PR-отделом и USB.",
    "Η γρήγορη αλεπού πηδάει πάνω από το σκυλί.",
    "هذا نص عربي عادي عن الطقس والطعام والسفر.",
    "می‌خواهم به خانه‌ام بروم",
    "זהו טקסט רגיל בעברית על מזג האוויר.",
    "यह हिंदी में एक साधारण वाक्य है, क्‍या नहीं?",
    "今日はいい天気ですね。ラーメンを食べたい!",
    "오늘 날씨가 정말 좋네요 ㅋㅋㅋ",
    "今天天气很好,我们去公园吧。",
    "วันนี้อากาศดีมาก ไปเที่ยวกันไหม",
    "Hôm nay trời đẹp quá, chúng ta đi chơi nhé. Đường phố rất đông.",
    "İstanbul'da ılık bir akşam, çok güzel değil mi?",
    "Zażółć gęślą jaźń, źdźbło trawy i łąka.",
    "Årets bästa köttbullar på ön",
    "👩‍👩‍👧‍👦 ❤️‍🔥 1️⃣ 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 🇩🇪 ☎️",
    "葛\U000e0100城市",
]


@pytest.mark.parametrize(("written", "expected"), DISGUISED.items(), ids=DISGUISED.keys())
def test_a_disguise_is_undone_and_named(written: str, expected: tuple[str, str]) -> None:
    text, kind = expected
    found = normalise(written)
    assert found.text == text
    assert set(found.found) == {kind}
    assert 0 < found.changed <= 1


@pytest.mark.parametrize("text", BENIGN)
def test_a_text_without_a_disguise_stays(text: str) -> None:
    found = normalise(text)
    assert found.text == " ".join(unicodedata.normalize("NFKC", text).split())
    assert found.changed == 0
    assert not found.found


def test_white_space_and_control_characters_become_one_space() -> None:
    assert normalise(" one\t\ttwo\x00three\u3000\u2800four\n\nfive ").text == "one two three four five"


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    found = normalise("word " * 10_000)
    assert found.cut
    assert len(found.text) <= MAX_CHARACTERS
    assert not normalise("word").cut


def test_what_compatibility_forms_make_longer_is_bounded_too() -> None:
    assert len(normalise("\ufdfa" * MAX_CHARACTERS).text) <= MAX_CHARACTERS


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a1",
        "1h",
        "a!",
        "A.",
        "a ",
        "аa",
        "ᴀ",
        "@a",
        "a@b.",
        "x\u200d",
        "e\u0301",
        "\u0336",
        "$",
        "ـب",
        "🇩",
        "ab\u0455",
    ],
)
def test_no_text_takes_time_that_grows_with_its_square(unit: str) -> None:
    """At 20,000 characters a quadratic step takes seconds, and pytest's limit for this test is 5."""
    for _ in range(3):
        normalise((unit * MAX_CHARACTERS)[:MAX_CHARACTERS])


_TRICKY = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "aeikoABxyz013457@$!€ .-*\u200b\u200c\u200d\ufe0f\u202e\u0336\u0301аеосхѕкΑοιᴀⓐ𝐚👩❤\U0001f3f4\U000e0067ـب"
        ),
    ),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(_TRICKY)
@example("\ud800a")
@example("a\u0336\u0301\u0336")
def test_twice_is_the_same_as_once(text: str) -> None:
    once = normalise(text)
    assert normalise(once.text).text == once.text
    assert 0 <= once.changed <= 1
    once.text.encode("utf-8")  # raises for what is no valid Unicode
