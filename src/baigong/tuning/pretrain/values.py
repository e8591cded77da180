"""Made-up names, numbers and codes of many shapes, so that copying is learnt and not remembered."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from baigong.tuning.pretrain.recipe import Language

_ONSETS = "b br c ch d dr f g gr h j k kl l m n p r s sh st t th tr v w y z".split()
_VOWELS = "a e i o u ai ea ee io ou".split()
_CODAS = ["", "", "n", "l", "r", "s", "t", "m", "nd", "ck", "sh", "lle", "son"]
_FIRST = (
    "Alice Bob Carol David Emma Frank Grace Henry Irene Jack Karen Leo Maria Nina Oscar Paul Rosa "
    "Sam Tina Victor Wendy Yusuf Zoe Ahmed Priya Chen Liam Olivia Noah Ava Ethan Mia Lucas"
).split()
_LAST = (
    "Smith Jones Brown Garcia Miller Davis Wilson Anderson Thomas Moore Martin Lee White Clark "
    "Lewis Walker Hall Young King Wright Green Baker Adams Nelson Patel Kim Singh Rossi Novak"
).split()
_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈"
_GIVEN = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉萍红建国文辉力波宁贵福生龙元全胜学祥才发武新利清"
    "飞彬富顺信子昌成康星光天达安岩中茂进林有坚和彪博诚先敬震振壮会思群豪心邦承乐绍功松善厚庆民友裕河哲"
    "江浩亮政谦亨奇固之轮翰朗伯宏言若鸣朋斌梁栋维启克伦翔旭鹏泽晨辰士以家致树炎德行时泰盛雄琛钧冠策腾"
)
# The same things in the same order, so that one can be told by the other's name.
THINGS: dict[Language, list[str]] = {
    "en": (
        "kettle,desk lamp,office chair,phone case,backpack,keyboard,monitor,headphones,rain jacket,"
        "coffee machine,router,water filter,running shoes,pram,tent,blender,printer,mouse,"
        "air purifier,bookshelf,camera,power bank,rice cooker,vacuum cleaner,helmet,tablet,thermos,"
        "mattress,air conditioner,washing machine,fan,heater,humidifier,iron,toaster,oven,lamp,"
        "fridge,microwave,hair dryer,electric toothbrush,scale,speaker,watch,phone,laptop,charger,"
        "sofa,table,curtain,pillow,umbrella,suitcase,bicycle,drill,frying pan,knife,cup,plate,toy"
    ).split(","),
    "zh": (
        "水壶 台灯 办公椅 手机壳 双肩包 键盘 显示器 耳机 雨衣 咖啡机 路由器 净水器 跑步鞋 婴儿车 帐篷 "
        "搅拌机 打印机 鼠标 空气净化器 书架 相机 充电宝 电饭煲 吸尘器 头盔 平板电脑 保温杯 床垫 空调 洗衣机 "
        "风扇 取暖器 加湿器 熨斗 烤面包机 烤箱 灯 冰箱 微波炉 吹风机 电动牙刷 体重秤 音箱 手表 手机 笔记本电脑 "
        "充电器 沙发 桌子 窗帘 枕头 雨伞 行李箱 自行车 电钻 平底锅 刀 杯子 盘子 玩具"
    ).split(),
}
_LOOKS: dict[Language, list[str]] = {
    "en": "black white red blue large small steel wooden folding portable pro mini classic".split(),
    "zh": "黑色 白色 红色 蓝色 大号 小号 不锈钢 木质 折叠 便携 升级款 迷你 经典款".split(),
}
_PLACES: dict[Language, list[str]] = {
    "en": (
        "London Paris Boston Chicago Berlin Madrid Oslo Cairo Toronto Sydney Denver Seattle Dublin "
        "Lisbon Vienna Nairobi Mumbai Tokyo Austin Milan Prague Leeds Geneva Lagos Lima"
    ).split(),
    "zh": (
        "北京 上海 广州 深圳 杭州 南京 成都 武汉 西安 重庆 苏州 天津 长沙 青岛 郑州 宁波 厦门 合肥 昆明 大连 沈阳 济南 "
        "福州 无锡 哈尔滨 贵阳 南昌 太原 兰州 海口"
    ).split(),
}
_MONTHS = (
    "January February March April May June July August September October November December".split()
)
_HAN_COMPANY = "华安恒瑞天宏远泰信达博创新科海金德隆盛通宇嘉美康龙源星辰宝利佳联众鼎"
_TRADES_ZH = "科技 贸易 物流 电子 医药 食品 建筑 软件 信息技术 机械 保险 文化".split()
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


def digits(chance: random.Random, low: int, high: int) -> str:
    return "".join(chance.choices("0123456789", k=chance.randint(low, high)))


def letters(chance: random.Random, low: int, high: int) -> str:
    return "".join(chance.choices(_LETTERS, k=chance.randint(low, high)))


def word(chance: random.Random) -> str:
    return "".join(
        chance.choice(_ONSETS) + chance.choice(_VOWELS) + chance.choice(_CODAS)
        for _ in range(chance.choice((1, 2, 2, 3)))
    )


def code(language: Language, chance: random.Random) -> str:
    """An order, ticket, policy or contract number."""
    shape = chance.randrange(7)
    if shape == 0:
        return digits(chance, 5, 14)
    if shape == 1:
        return f"{letters(chance, 1, 4)}-{digits(chance, 3, 8)}"
    if shape == 2:
        return f"{letters(chance, 1, 4)}{digits(chance, 4, 12)}"
    if shape == 3:
        return f"{letters(chance, 2, 3)}-{chance.randint(2015, 2030)}-{digits(chance, 3, 6)}"
    if shape == 4:
        return "".join(chance.choices(_LETTERS + "0123456789", k=chance.randint(6, 12)))
    if shape == 5:
        return "#" + digits(chance, 4, 8)
    return f"{digits(chance, 2, 4)}-{digits(chance, 4, 7)}-{digits(chance, 1, 3)}"


def canonical_code(chance: random.Random) -> tuple[str, str]:
    """A number as its owner writes it, and the one way a desk files it."""
    prefix, number = letters(chance, 1, 3), digits(chance, 4, 7)
    mark = chance.choice(("-", "-", "", "/"))
    said = chance.choice((prefix, prefix, prefix.lower(), prefix.lower(), prefix.capitalize(), ""))
    between = chance.choice((mark, mark, "", " ")) if said else ""
    return f"{said}{between}{number}", f"{prefix}{mark}{number}"


def date(language: Language, chance: random.Random) -> str:
    year, month, day = chance.randint(1990, 2035), chance.randint(1, 12), chance.randint(1, 28)
    if language == "zh":
        shapes = (
            f"{year}年{month}月{day}日",
            f"{month}月{day}日",
            f"{year}-{month:02d}-{day:02d}",
            f"{year}/{month}/{day}",
            f"{month}月{day}号",
            f"{year}年{month}月",
        )
    else:
        name = _MONTHS[month - 1]
        shapes = (
            f"{year}-{month:02d}-{day:02d}",
            f"{month:02d}/{day:02d}/{year}",
            f"{name} {day}, {year}",
            f"{day} {name} {year}",
            f"{name[:3]} {day}",
            f"{name} {day}",
        )
    return chance.choice(shapes)


def amount(language: Language, chance: random.Random) -> str:
    whole = chance.choice((
        chance.randint(1, 99),
        chance.randint(100, 9999),
        chance.randint(1, 90) * 100,
    ))
    cents = chance.choice(("", "", f".{chance.randint(0, 99):02d}", f".{chance.randint(1, 9)}"))
    grouped = f"{whole:,}" if chance.random() < 0.4 else str(whole)
    if language == "zh":
        return chance.choice(("{}元", "￥{}", "¥{}", "{}块", "{}人民币", "{}万元")).format(
            grouped + cents
        )
    return chance.choice(("${}", "€{}", "£{}", "USD {}", "{} dollars", "{} euros")).format(
        grouped + cents
    )


def person(language: Language, chance: random.Random) -> str:
    if language == "zh":
        given = "".join(chance.choices(_GIVEN, k=chance.choice((1, 2, 2))))
        return chance.choice(_SURNAMES) + given
    first = chance.choice(_FIRST) if chance.random() < 0.5 else word(chance).capitalize()
    last = chance.choice(_LAST) if chance.random() < 0.4 else word(chance).capitalize()
    return chance.choice((
        f"{first} {last}",
        f"{first} {last}",
        first,
        f"{first} {last[0]}. {last}",
    ))


def company(language: Language, chance: random.Random) -> str:
    if language == "zh":
        name = "".join(chance.choices(_HAN_COMPANY, k=2)) + chance.choice(_TRADES_ZH)
        return name + chance.choice(("", "公司", "有限公司", "集团"))
    return word(chance).capitalize() + chance.choice((
        " Ltd",
        " Inc",
        " GmbH",
        " Group",
        " & Co",
        "",
    ))


def product(language: Language, chance: random.Random) -> str:
    thing = chance.choice(THINGS[language])
    style = chance.random()
    if style < 0.4:
        return thing
    if style < 0.65:
        return chance.choice(_LOOKS[language]) + (" " if language == "en" else "") + thing
    model = f"{letters(chance, 1, 2)}{digits(chance, 1, 4)}"
    if style < 0.85:
        return f"{thing} {model}" if language == "en" else f"{thing}{model}"
    return f"{word(chance).capitalize()} {model}"


def email(language: Language, chance: random.Random) -> str:
    user = chance.choice((
        word(chance),
        f"{word(chance)}.{word(chance)}",
        word(chance) + digits(chance, 1, 4),
    ))
    host = chance.choice(("example", "mail", "post", word(chance)))
    return f"{user}@{host}.{chance.choice(('com', 'org', 'net', 'cn', 'io', 'com.cn'))}"


def phone(language: Language, chance: random.Random) -> str:
    if language == "zh":
        return chance.choice(("13", "15", "18", "17")) + digits(chance, 9, 9)
    return chance.choice((
        f"+{chance.randint(1, 99)} {digits(chance, 3, 3)} {digits(chance, 3, 3)} {digits(chance, 4, 4)}",
        f"{digits(chance, 3, 3)}-{digits(chance, 3, 4)}-{digits(chance, 4, 4)}",
        f"({digits(chance, 3, 3)}) {digits(chance, 3, 3)}-{digits(chance, 4, 4)}",
    ))  # fmt: skip


def place(language: Language, chance: random.Random) -> str:
    if language == "en" and chance.random() < 0.4:
        return word(chance).capitalize()
    return chance.choice(_PLACES[language])


def quantity(language: Language, chance: random.Random) -> str:
    return str(chance.choice((chance.randint(1, 12), chance.randint(13, 500))))


def clock(language: Language, chance: random.Random) -> str:
    hour, minute = chance.randint(0, 23), chance.randint(0, 59)
    if language == "zh":
        return chance.choice((f"{hour}:{minute:02d}", f"{hour}点", f"下午{hour % 12 + 1}点"))
    return chance.choice((
        f"{hour:02d}:{minute:02d}",
        f"{hour % 12 + 1} pm",
        f"{hour % 12 + 1}:{minute:02d} am",
    ))


MAKERS: Mapping[str, Callable[[Language, random.Random], str]] = {
    "order": code,
    "date": date,
    "amount": amount,
    "person": person,
    "company": company,
    "product": product,
    "email": email,
    "phone": phone,
    "place": place,
    "quantity": quantity,
    "time": clock,
}
