"""Field extraction: a message, the fields that are wanted, and one line of compact JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence

from baigong.tuning.pretrain.recipe import Language
from baigong.tuning.pretrain.values import MAKERS

# For each field: the names it goes by, and the clauses it may stand in.
Wording = tuple[tuple[str, ...], tuple[str, ...]]

_EN: Mapping[str, Wording] = {
    "order": (
        ("order_id", "order", "order_number", "ticket", "case_id", "contract", "policy_number"),
        ("order {}", "my order {}", "order number is {}", "the order no. {}", "ref {}",
         "ticket {}", "case {}", "contract {}", "policy {}", "Order: {}", "({})", "it is under {}"),
    ),
    "date": (
        ("date", "order_date", "day", "due_date", "visit_date"),
        ("on {}", "placed on {}", "since {}", "by {}", "dated {}", "Date: {}", "it was {}",
         "the date is {}", "due {}", "before {}"),
    ),
    "amount": (
        ("amount", "price", "total", "sum", "fee"),
        ("for {}", "I paid {}", "the total was {}", "charged {}", "Amount: {}", "it cost {}",
         "worth {}", "a fee of {}", "the price is {}", "a transfer of {}"),
    ),
    "person": (
        ("name", "customer", "person", "patient", "contact"),
        ("I am {}", "my name is {}", "this is {}", "Name: {}", "signed, {}", "for {}", "ask for {}",
         "the patient is {}", "customer {}", "please call {}"),
    ),
    "company": (
        ("company", "seller", "supplier", "employer", "organization"),
        ("from {}", "at {}", "I work for {}", "Company: {}", "the supplier is {}", "sold by {}",
         "we are {}", "an invoice from {}"),
    ),
    "product": (
        ("product", "item", "goods", "device"),
        ("the {}", "a {}", "my {} is broken", "Item: {}", "I bought a {}", "about the {}",
         "the product is {}", "one {}", "I want to return the {}", "the {} never arrived"),
    ),
    "email": (
        ("email", "mail", "contact_email"),
        ("my email is {}", "write to {}", "reach me at {}", "Email: {}", "send it to {}", "({})"),
    ),
    "phone": (
        ("phone", "phone_number", "mobile", "telephone"),
        ("my phone is {}", "call {}", "Tel: {}", "my number is {}", "call me on {}", "mobile {}"),
    ),
    "place": (
        ("city", "place", "address", "destination", "location"),
        ("in {}", "to {}", "I live in {}", "City: {}", "shipped to {}", "from {}", "near {}"),
    ),
    "quantity": (
        ("quantity", "count", "number_of_items", "pieces"),
        ("{} pieces", "quantity {}", "{} units", "Qty: {}", "{} of them", "{} boxes"),
    ),
    "time": (
        ("time", "hour", "pickup_time"),
        ("at {}", "around {}", "Time: {}", "before {}", "after {}"),
    ),
}  # fmt: skip
_ZH: Mapping[str, Wording] = {
    "order": (
        ("订单号", "订单", "单号", "工单号", "合同编号", "保单号", "order_id"),
        ("订单{}", "我的订单号是{}", "订单号：{}", "单号{}", "订单编号为{}", "工单{}", "合同{}",
         "保单{}", "编号{}", "（{}）", "查一下{}"),
    ),
    "date": (
        ("日期", "下单日期", "时间", "到期日", "就诊日期", "date"),
        ("{}", "{}下的单", "在{}", "日期：{}", "{}之前", "截止到{}", "从{}开始", "{}买的",
         "日期是{}", "{}到期"),
    ),
    "amount": (
        ("金额", "价格", "总价", "费用", "amount"),
        ("付了{}", "金额{}", "一共{}", "花了{}", "金额：{}", "价格是{}", "扣款{}", "转账{}",
         "费用为{}", "退我{}"),
    ),
    "person": (
        ("姓名", "客户", "联系人", "患者", "name"),
        ("我是{}", "我叫{}", "姓名：{}", "联系人{}", "收件人{}", "患者{}", "客户{}", "请找{}",
         "名字是{}", "{}先生"),
    ),
    "company": (
        ("公司", "供应商", "单位", "商家", "company"),
        ("{}", "我在{}上班", "公司：{}", "由{}发货", "供应商是{}", "来自{}", "{}开的发票", "单位{}"),
    ),
    "product": (
        ("商品", "产品", "物品", "设备", "product"),
        ("买了{}", "商品：{}", "{}坏了", "我的{}", "关于{}", "一个{}", "想退{}", "{}没收到",
         "产品是{}", "购买的{}"),
    ),
    "email": (
        ("邮箱", "电子邮件", "email"),
        ("邮箱{}", "我的邮箱是{}", "发到{}", "邮箱：{}", "请写信到{}", "电子邮件{}"),
    ),
    "phone": (
        ("电话", "手机号", "联系电话", "phone"),
        ("电话{}", "我的手机号是{}", "请打{}", "电话：{}", "联系方式{}", "手机{}"),
    ),
    "place": (
        ("城市", "地址", "地点", "目的地", "city"),
        ("在{}", "寄到{}", "我住{}", "城市：{}", "发往{}", "从{}出发", "地址{}"),
    ),
    "quantity": (
        ("数量", "件数", "quantity"),
        ("{}件", "数量{}", "共{}个", "数量：{}", "{}台", "{}箱"),
    ),
    "time": (
        ("时刻", "几点", "取件时间", "time"),
        ("{}", "{}左右", "时刻：{}", "{}之前", "{}以后"),
    ),
}  # fmt: skip
WORDINGS: Mapping[Language, Mapping[str, Wording]] = {"en": _EN, "zh": _ZH}

_OPENERS: Mapping[Language, tuple[str, ...]] = {
    "en": ("Hello", "Hi there", "Good morning", "", "", "", "Please help", "Quick question",
           "I would like a refund", "Please change the address", "Where is my parcel",
           "The invoice is wrong", "Can you check this", "Dear team"),
    "zh": ("你好", "您好", "", "", "", "请问", "麻烦帮我查一下", "我想退货", "请修改地址",
           "快递到哪了", "发票开错了", "帮忙看看", "客服你好", "在吗"),
}  # fmt: skip
_CLOSERS: Mapping[Language, tuple[str, ...]] = {
    "en": ("", "", "Thanks", "Thank you", "Please reply soon", "It is urgent", "Best regards"),
    "zh": ("", "", "谢谢", "麻烦尽快处理", "急", "多谢", "请回复"),
}
_ASKS: Mapping[Language, tuple[str, ...]] = {
    "en": ("Extract {} as JSON.", "Fields: {}", "Return JSON with {}; null when absent.",
           "Find {}. Answer in JSON.", "Extract the fields {}.", "JSON: {}"),
    "zh": ("提取{}，输出JSON。", "字段：{}", "以JSON返回{}，没有则为null。", "找出{}，用JSON回答。",
           "抽取字段{}。", "请从消息中提取：{}"),
}  # fmt: skip


def extract_task(language: Language, chance: random.Random) -> tuple[str, str, str]:
    """(system, user, assistant). Values are copied as they stand, absent ones are null."""
    wordings = WORDINGS[language]
    told = chance.sample(list(wordings), chance.randint(1, 5))
    values = {name: MAKERS[name](language, chance) for name in told}
    asked = chance.sample(told, chance.randint(1, len(told)))
    absent = [name for name in wordings if name not in told]
    asked += chance.sample(absent, chance.choice((0, 0, 1, 1, 2)))
    chance.shuffle(asked)
    keys = {name: chance.choice(wordings[name][0][:3] + wordings[name][0]) for name in asked}
    joint = chance.choice((", ", ",")) if language == "en" else chance.choice(("、", ", ", "，"))
    system = chance.choice(_ASKS[language]).format(joint.join(keys[name] for name in asked))
    clauses = [chance.choice(wordings[name][1]).format(values[name]) for name in told]
    answer = {keys[name]: values.get(name) for name in asked}
    return system, message(clauses, language, chance), compact(answer)


def message(clauses: Sequence[str], language: Language, chance: random.Random) -> str:
    """Strings the clauses into one message, with a greeting and an end that carry no field."""
    joints = (", ", ". ", " ", "; ", "\n") if language == "en" else ("，", "。", " ", "；", "\n")
    parts = [chance.choice(_OPENERS[language]), *clauses, chance.choice(_CLOSERS[language])]
    text = ""
    for part in filter(None, parts):
        if text:
            text += chance.choices(joints, (5, 2, 2, 1, 1))[0]
        text += part
    if chance.random() < 0.3:
        text = text[0].upper() + text[1:]
    return text + chance.choice(("", "." if language == "en" else "。"))


def compact(fields: Mapping[str, str | None]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
