"""Labelling: a set of labels in the system line, in any order, and the one that fits."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from .corpus import Document
from .extraction import WORDINGS, message
from .passages import take_passage
from .recipe import Language
from .values import MAKERS

_ASKS: Mapping[Language, tuple[str, ...]] = {
    "en": ("Labels: {}", "Classify into: {}", "Choose one of: {}", "Route to one of: {}",
           "Which fits: {}? Answer with the label."),
    "zh": ("标签：{}", "分类为：{}", "从中选择一个：{}", "转给：{}", "属于哪一类：{}？只回答标签。"),
}  # fmt: skip

# Small intents with several names each, so that the label must be read from the system line.
Intent = tuple[tuple[str, ...], tuple[str, ...]]
_INTENTS_EN: tuple[Intent, ...] = (
    (("refund", "return", "money back"),
     ("I want my money back", "please refund me", "I would like to return it",
      "it is not what I ordered, take it back", "how do I get a refund")),
    (("delivery", "shipping", "logistics"),
     ("where is my parcel", "it has not arrived", "when will it be delivered",
      "the courier lost my package", "tracking shows nothing")),
    (("invoice", "billing", "payment"),
     ("the invoice is wrong", "I was charged twice", "please send me a receipt",
      "my card was declined", "why is the bill so high")),
    (("account", "login", "password"),
     ("I cannot log in", "I forgot my password", "please close my account",
      "my account is locked", "how do I change my username")),
    (("technical", "repair", "support"),
     ("it does not turn on", "the screen is broken", "the app crashes",
      "it makes a strange noise", "the connection keeps dropping")),
    (("complaint", "feedback", "dissatisfied"),
     ("I am very unhappy", "your service is terrible", "nobody answered me for days",
      "I want to complain", "this is unacceptable")),
    (("praise", "thanks", "compliment"),
     ("great service", "thank you so much", "I love it", "works perfectly", "five stars from me")),
    (("booking", "appointment", "reservation"),
     ("I want to book a room", "can I see a doctor", "please reserve a table",
      "I need to move my appointment", "cancel my booking")),
    (("address", "change of address", "contact data"),
     ("please change the address", "I have moved", "send it to another city",
      "update my phone number", "my address is wrong")),
    (("greeting", "small talk", "other"),
     ("hello there", "how are you", "good evening", "nice to meet you", "are you a robot")),
)  # fmt: skip
_INTENTS_ZH: tuple[Intent, ...] = (
    (("退款", "退货", "售后"),
     ("我要退款", "不想要了，想退掉", "怎么申请退货", "和描述不符，给我退钱", "退款什么时候到账")),
    (("物流", "快递", "配送"),
     ("快递到哪了", "怎么还没发货", "包裹丢了", "什么时候能送到", "物流一直不更新")),
    (("发票", "账单", "支付"),
     ("发票开错了", "被重复扣款了", "请给我开发票", "付款失败", "账单为什么这么高")),
    (("账号", "登录", "密码"),
     ("登录不上", "忘记密码了", "我要注销账号", "账号被锁了", "怎么改用户名")),
    (("维修", "技术支持", "故障"),
     ("开不了机", "屏幕坏了", "应用闪退", "有奇怪的声音", "总是断线")),
    (("投诉", "不满", "意见"),
     ("我非常不满意", "服务太差了", "几天都没人回复", "我要投诉", "简直不能接受")),
    (("表扬", "感谢", "好评"),
     ("服务真好", "太感谢了", "我很喜欢", "用起来很好", "给五星")),
    (("预约", "挂号", "预订"),
     ("我想订房间", "可以挂号吗", "帮我留个位子", "我要改预约时间", "取消预订")),
    (("地址", "修改地址", "资料变更"),
     ("请修改地址", "我搬家了", "寄到别的城市", "更新我的手机号", "地址填错了")),
    (("问候", "闲聊", "其他"),
     ("你好呀", "最近怎么样", "晚上好", "很高兴认识你", "你是机器人吗")),
)  # fmt: skip
_INTENTS: Mapping[Language, tuple[Intent, ...]] = {"en": _INTENTS_EN, "zh": _INTENTS_ZH}
_LANGUAGES: Mapping[Language, Mapping[Language, str]] = {
    "en": {"en": "English", "zh": "Chinese"},
    "zh": {"en": "英文", "zh": "中文"},
}


def label_task(
    documents: Mapping[Language, Sequence[Document]],
    labels: Mapping[str, Mapping[Language, str]],
    language: Language,
    chance: random.Random,
) -> tuple[str, str, str]:
    draw = chance.random()
    if draw < 0.45:
        return _intent(language, chance)
    if draw < 0.75:
        return _title(documents[language], language, chance)
    if draw < 0.92 and labels:
        return _source(documents[language], labels, language, chance)
    return _language(documents, language, chance)


def _system(names: Sequence[str], language: Language, chance: random.Random) -> str:
    shuffled = chance.sample(names, len(names))
    joint = (
        chance.choice((", ", " | ", " / "))
        if language == "en"
        else chance.choice(("、", "，", " / "))
    )
    return chance.choice(_ASKS[language]).format(joint.join(shuffled))


def _intent(language: Language, chance: random.Random) -> tuple[str, str, str]:
    chosen = chance.sample(_INTENTS[language], chance.randint(2, 6))
    names = [chance.choice(names) for names, _ in chosen]
    said = chance.choice(chosen[0][1])
    about = chance.sample(list(WORDINGS[language]), chance.choice((0, 0, 1, 2)))
    clauses = [chance.choice(("the {}", "it was {}") if language == "en" else ("{}", "关于{}")).format(
        MAKERS[name](language, chance)) for name in about]  # fmt: skip
    parts = [said, *clauses]
    chance.shuffle(parts)
    text = (", " if language == "en" else "，").join(parts)
    if not clauses and chance.random() < 0.3:
        text = message([said], language, random.Random(0))
    return _system(names, language, chance), text, names[0]


def _title(
    documents: Sequence[Document], language: Language, chance: random.Random
) -> tuple[str, str, str]:
    """Which of these titles does the passage belong to."""
    found: dict[str, str] = {}
    wanted = chance.randint(2, 5)
    for _ in range(60):
        passage = take_passage(documents, language, chance)
        if 0 < len(passage.title) <= 32 and not set(passage.title) & set(",、，|/"):
            found.setdefault(passage.title, passage.text)
        if len(found) == wanted:
            break
    if len(found) < 2:
        return _intent(language, chance)
    names = list(found)
    return _system(names, language, chance), found[names[0]], names[0]


def _source(
    documents: Sequence[Document],
    labels: Mapping[str, Mapping[Language, str]],
    language: Language,
    chance: random.Random,
) -> tuple[str, str, str]:
    passage = take_passage(documents, language, chance)
    if passage.source not in labels:
        return _intent(language, chance)
    name = labels[passage.source][language]
    others = sorted({label[language] for label in labels.values()} - {name})
    chosen = chance.sample(others, min(len(others), chance.randint(1, 4)))
    return _system([name, *chosen], language, chance), passage.text, name


def _language(
    documents: Mapping[Language, Sequence[Document]], language: Language, chance: random.Random
) -> tuple[str, str, str]:
    of: Language = chance.choice(("en", "zh"))
    text = chance.choice(take_passage(documents[of], of, chance).sentences)
    names = _LANGUAGES[language]
    return _system(list(names.values()), language, chance), text, names[of]
