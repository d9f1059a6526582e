"""What the packaged policy does with the packaged model, on harmless sentences with words that harm is made of."""

from core.moderation import HARM_CLASSES
from core.settings import TextEncoderSettings
from models.moderation.policy import load_policy
from models.moderation.posts import bare_posts
from models.moderation.score import HarmModel
from models.moderation.sentences import edgy_posts
from models.moderation.wording import ProfaneWords
from models.registry.packaged import open_registry
from models.text.load import load_text_encoder


def test_no_harmless_sentence_is_taken_down_however_much_it_sounds_like_harm(tmp_path):
    encoder = load_text_encoder(TextEncoderSettings(), tmp_path)
    model = HarmModel.load(open_registry(tmp_path).resolve("moderation@champion").folder)
    texts = edgy_posts()
    vectors = encoder.encode([text.text for text in texts])
    posts = bare_posts([text.text for text in texts], vectors, [text.language for text in texts], ProfaneWords())
    scores = model.probabilities(model.encode(posts))
    assert scores.shape == (266, len(HARM_CLASSES))
    for harm, of_harm in zip(HARM_CLASSES, scores.T, strict=True):
        enforce = load_policy(None).classes.of(harm).enforce
        assert enforce is None or of_harm.max() < enforce, f"{harm}: {texts[int(of_harm.argmax())]}"
