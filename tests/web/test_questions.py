"""The words of the secret questions fit the catalogue of accounts."""

import pytest

from idp.accounts.errors import AnswerRefused, AnswerRule
from idp.accounts.passwords import normalise_answer
from idp.accounts.questions import QUESTIONS, check_answer
from idp.accounts.usernames import parse_username
from idp.web.questions import question_choices, question_text
from tools.check_translations import read_catalogue

USERNAME = parse_username("EKU9003173C9")


def test_each_question_has_words_of_its_own() -> None:
    shown = question_choices()
    assert tuple(key for key, _ in shown) == QUESTIONS
    assert len(QUESTIONS) >= 12
    assert len({str(text) for _, text in shown}) == len(QUESTIONS)
    assert all(str(text).startswith("¿") and str(text).endswith("?") for _, text in shown)
    with pytest.raises(KeyError):
        question_text("password")


@pytest.mark.spec("Q-4")
@pytest.mark.parametrize("key", QUESTIONS)
def test_no_word_of_a_question_is_its_answer_in_any_language(key: str) -> None:
    spanish = str(question_text(key))
    message = read_catalogue().get(spanish)
    texts = [spanish] if message is None else [spanish, str(message.string)]
    for text in texts:
        long = [word for word in normalise_answer(text).split() if len(word) > 3]
        assert long
        for given in (*long, text):
            with pytest.raises(AnswerRefused) as refusal:
                check_answer(given, key, USERNAME)
            assert AnswerRule.QUESTION in refusal.value.broken, given
    assert check_answer("cacomixtle " + spanish[:100], key, USERNAME)
