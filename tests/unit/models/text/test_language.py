import pytest

from models.text.language import detect_language

SENTENCES = {
    "en": "I would like to know what you think about this",
    "de": "Ich möchte gern wissen, was du darüber denkst",
    "fr": "Je voudrais savoir ce que vous en pensez",
    "es": "Me gustaría saber qué piensas de esto",
    "ru": "Я хотел бы знать, что вы об этом думаете",
    "el": "Θα ήθελα να μάθω τι πιστεύεις γι' αυτό",
    "ar": "أود أن أعرف رأيك في هذا الموضوع",
    "he": "הייתי רוצה לדעת מה אתה חושב על זה",
    "hi": "मैं जानना चाहता हूँ कि आप इसके बारे में क्या सोचते हैं",
    "ja": "これについてどう思うか知りたいです",
    "ko": "이것에 대해 어떻게 생각하는지 알고 싶습니다",
    "zh": "我想知道你对此有什么看法",
    "th": "ฉันอยากรู้ว่าคุณคิดอย่างไรเกี่ยวกับเรื่องนี้",
    "tr": "Bu konuda ne düşündüğünü bilmek istiyorum",
}


@pytest.mark.parametrize(("tag", "text"), SENTENCES.items())
def test_a_sentence_has_its_language(tag: str, text: str) -> None:
    assert detect_language(text) == tag


def test_capitals_lines_and_names_of_people_and_pages_do_not_matter() -> None:
    assert detect_language("ICH MÖCHTE GERN\nWISSEN, WAS DU DARÜBER DENKST") == "de"
    assert detect_language("@username https://example.org/some/english/words je voudrais savoir #tag") == "fr"


@pytest.mark.parametrize(
    "text", ["", " \n\0", "123 456", "!?", "😀😀", "x", "\ud800\udfff", "https://example.org/english/words", "qwrtz"]
)
def test_what_cannot_be_told_is_und(text: str) -> None:
    assert detect_language(text) == "und"


def test_a_megabyte_and_a_broken_character_are_no_trouble() -> None:
    assert detect_language("what do you think about this? " * 40_000) == "en"
    assert detect_language("what do you \ud800 think about this?") == "en"
