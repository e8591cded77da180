"""What people write to a desk for: intents with several names each, and how they are said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from baigong.tuning.pretrain.recipe import Language


class Intent(NamedTuple):
    """`{}` in a phrase takes a thing, such as a kettle. Names are what a desk may call it."""

    names: Mapping[Language, tuple[str, ...]]
    phrases: Mapping[Language, tuple[str, ...]]


def _intent(names_en: str, names_zh: str, said_en: str, said_zh: str) -> Intent:
    return Intent(
        {"en": _parts(names_en), "zh": _parts(names_zh)},
        {"en": _parts(said_en), "zh": _parts(said_zh)},
    )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


INTENTS: tuple[Intent, ...] = (
    _intent(
        "refund|refunds|returns|money_back", "退款|退货|退换货|售后",
        "I want my money back|please refund the {}|I would like to send the {} back|how do I return "
        "a {}|the {} is not what I expected, take it back|you sent the wrong {}, I want to swap it|"
        "can I exchange the {} for another size|my refund has not come yet|cancel it and refund me",
        "我要退款|{}不想要了，怎么退|怎么申请退货|{}和描述不符，给我退钱|退款什么时候到账|发错货了，要换{}|"
        "能换个尺码吗|拆封了还能退吗|退货的运费谁出|取消订单，把钱退给我",
    ),
    _intent(
        "shipping|delivery|logistics|parcel", "物流|快递|配送|发货",
        "where is my parcel|my {} has not arrived|when will the {} be delivered|the courier lost my "
        "package|tracking has not moved for days|can you ship it faster|how much is postage|the box "
        "was crushed when it came|do you deliver abroad|half of the order is missing",
        "快递到哪了|{}怎么还没发货|包裹丢了|{}什么时候能送到|物流一直不更新|能不能加急发货|运费多少钱|"
        "箱子压坏了|能送到国外吗|少发了一件|派送员没打电话就放门口了",
    ),
    _intent(
        "invoice|invoices|receipt|tax", "发票|开票|票据|税务",
        "please send me an invoice|the invoice has the wrong company name|I need a receipt for the {}|"
        "my tax number is missing on the bill|can I get the invoice by mail|the receipt is lost|"
        "is the tax included in the invoice",
        "请给我开发票|发票抬头写错了|{}的发票什么时候开|税号填错了能改吗|要电子发票|发票丢了怎么补|"
        "可以开增值税发票吗|开票要多久",
    ),
    _intent(
        "payment|payments|billing|pay", "支付|付款|账单|扣款",
        "I was charged twice|my card was declined|which cards do you take|can I pay in parts|the "
        "payment is stuck|why is my bill so high|I paid but it still says unpaid|the coupon does "
        "not work|is there a fee for paying by card",
        "被重复扣款了|付款失败|支持哪些支付方式|可以分期吗|支付卡住了|账单为什么这么高|付了钱还显示未支付|"
        "优惠券用不了|信用卡付款有手续费吗|余额怎么用",
    ),
    _intent(
        "repair|repairs|broken|fault", "维修|报修|故障|修理",
        "the {} does not turn on|my {} is broken, can you fix it|the {} makes a strange noise|water "
        "leaks out of the {}|the screen is cracked|it stopped working yesterday|I need a technician|"
        "where can I get a spare part for the {}|the button fell off",
        "{}开不了机|{}坏了，能修吗|{}有奇怪的声音|{}漏水|屏幕裂了|昨天突然不工作了|要找师傅上门修|"
        "{}的配件哪里买|按键掉了|维修要多少钱",
    ),
    _intent(
        "warranty|guarantee|cover", "保修|质保|保修期|三包",
        "is the {} still under guarantee|how long is the warranty|does the warranty cover batteries|"
        "I lost the warranty card|will opening the {} void the guarantee|can I extend the warranty",
        "{}还在保修期吗|保修多久|电池在不在保修范围|保修卡丢了怎么办|自己拆开{}还保修吗|能延长保修吗|"
        "人为损坏保不保",
    ),
    _intent(
        "usage|care|howto|instructions", "使用|使用说明|保养|操作方法",
        "how do I clean the {}|how do I set the timer on the {}|what does the red light mean|how "
        "often should I change the filter|can I wash the {} in water|I cannot find the manual|how "
        "do I connect the {} to the network|which size of cable fits",
        "{}怎么清洗|{}怎么定时|红灯亮是什么意思|滤芯多久换一次|{}能水洗吗|说明书找不到了|{}怎么联网|"
        "第一次使用要注意什么|怎么恢复出厂设置",
    ),
    _intent(
        "account|login|profile|password", "账号|账户|登录|密码",
        "I cannot log in|I forgot my password|please close my account|my account is locked|how do I "
        "change my user name|the code by text message never comes|someone else is using my account",
        "登录不上|忘记密码了|我要注销账号|账号被锁了|怎么改用户名|收不到验证码|有人盗用我的账号|"
        "怎么绑定新手机号",
    ),
    _intent(
        "privacy|data|personal_data", "隐私|个人信息|数据",
        "what data do you keep about me|please delete my data|who can see my address|stop sending "
        "me advertising|I want a copy of my personal data|did you share my number with anyone",
        "你们保存了我哪些信息|请删除我的个人信息|谁能看到我的地址|别再给我发广告|我要导出我的数据|"
        "是不是泄露了我的电话",
    ),
    _intent(
        "store|stores|shops|opening_hours", "门店|店铺|营业时间|实体店",
        "when do you open on sunday|where is the nearest shop|is there a shop in my city|can I try "
        "the {} in the shop|do you have parking|are you open on holidays",
        "周末几点开门|最近的门店在哪|我们市里有店吗|店里能试用{}吗|有地方停车吗|节假日营业吗|"
        "门店有现货吗",
    ),
    _intent(
        "wholesale|business|partnership|bulk", "企业采购|批发|合作|大客户",
        "we need fifty of the {} for our office|do you have prices for resellers|I would like to sell "
        "your goods|can our company pay after delivery|who handles bulk orders|we want a quote",
        "公司要采购一批{}|有批发价吗|想做你们的经销商|公司可以月结吗|大量购买找谁|请给我们报价|"
        "想谈合作",
    ),
    _intent(
        "complaint|complaints|dissatisfied", "投诉|不满|意见",
        "I am very unhappy|your service is terrible|nobody has answered me for days|I want to speak "
        "to your boss|this is unacceptable|I will never buy here again|the man on the phone was rude",
        "我非常不满意|服务太差了|几天都没人回复|叫你们经理来|简直不能接受|再也不买了|客服态度恶劣|"
        "我要投诉你们",
    ),
    _intent(
        "praise|thanks|compliment", "表扬|感谢|好评",
        "great service|thank you so much|I love the {}|the {} works perfectly|five stars from me|your "
        "colleague was very kind",
        "服务真好|太感谢了|我很喜欢这个{}|{}用起来很好|给五星|你们的同事很热心|物超所值",
    ),
    _intent(
        "availability|stock|presale", "库存|有货|预售|缺货",
        "is the {} in stock|when will the {} be back|can I reserve the {}|do you have it in another "
        "colour|it says sold out|will there be a new {} this year",
        "{}有货吗|{}什么时候补货|能预订{}吗|有别的颜色吗|显示售罄|今年会出新款{}吗|还剩几件",
    ),
    _intent(
        "price|discount|promotion", "价格|优惠|活动|折扣",
        "how much is the {}|is there a discount|the {} got cheaper after I bought it|when is the next "
        "sale|do students pay less|can I use two coupons",
        "{}多少钱|有优惠吗|{}刚买就降价了|下次活动什么时候|学生有折扣吗|两张券能一起用吗|满减怎么算",
    ),
    _intent(
        "address|change_order|order_change", "修改地址|改订单|订单修改|地址",
        "please change the address|I moved, send it to the new place|I typed the wrong phone number|"
        "can I add a {} to the order|change the colour before you ship|take one {} off my order",
        "请修改地址|我搬家了，寄到新地址|电话填错了|订单里能加一个{}吗|发货前帮我改颜色|去掉一个{}",
    ),
    _intent(
        "membership|points|loyalty", "会员|积分|会员权益",
        "how do I become a member|my points are gone|how many points for a {}|what does the gold "
        "card give me|can I give my points to a friend|when do the points expire",
        "怎么成为会员|积分不见了|买{}送多少积分|金卡有什么好处|积分能送人吗|积分什么时候过期|会员怎么升级",
    ),
    _intent(
        "booking|appointment|reservation", "预约|预订|挂号|约时间",
        "I want to book a room|can I see the doctor on monday|please reserve a table|I need to move my "
        "appointment|cancel my booking|is there a free slot in the afternoon",
        "我想订房间|周一能挂号吗|帮我留个位子|我要改预约时间|取消预订|下午还有空位吗|预约错了日期",
    ),
    _intent(
        "card|lost_card|bank_card", "银行卡|挂失|卡片",
        "I lost my card|my card was stolen|the machine kept my card|when does my new card come|I want "
        "to block my card|how do I change the pin of my card",
        "银行卡丢了|卡被偷了|卡被机器吞了|新卡什么时候到|我要挂失|怎么改卡的密码|卡过期了",
    ),
    _intent(
        "transfer|bank_transfer|remittance", "转账|汇款|到账",
        "my transfer has not arrived|I sent money to the wrong person|how long does a transfer take|is "
        "there a limit on transfers|the transfer was refused|what are the fees for sending money",
        "转账还没到|钱转错人了|转账要多久|转账有限额吗|转账被拒绝了|汇款手续费多少|跨行转账什么时候到",
    ),
    _intent(
        "loan|credit|mortgage", "贷款|借款|信贷",
        "I want to borrow money for a house|what is the interest rate|can I pay back the loan early|my "
        "loan was turned down|how much can I borrow|I missed a rate of my loan",
        "想贷款买房|利率是多少|贷款能提前还吗|贷款申请被拒|我能借多少|这个月忘了还款|贷款要什么材料",
    ),
    _intent(
        "insurance|claim|policy", "保险|理赔|保单",
        "I had an accident and want to claim|is flood damage insured|how do I end my policy|my claim "
        "was refused|which papers do I need for the claim|when does my insurance start",
        "出了事故要理赔|水灾保不保|怎么退保|理赔被拒了|理赔要哪些材料|保险什么时候生效|保费涨了",
    ),
    _intent(
        "network|internet|outage", "网络|宽带|断网",
        "the internet is down|my line is very slow|no signal since this morning|the router blinks red|"
        "the connection drops every hour|when will the outage end",
        "断网了|网速很慢|早上起就没信号|路由器闪红灯|老是掉线|什么时候恢复网络|无线连不上",
    ),
    _intent(
        "medical|health|symptoms", "就医|健康|症状",
        "I have had a fever for three days|my back hurts|can I take these pills together|the results "
        "of my blood test|do I need a prescription|my child keeps coughing",
        "发烧三天了|腰疼|这两种药能一起吃吗|验血结果出来了吗|需要处方吗|孩子一直咳嗽|挂哪个科",
    ),
    _intent(
        "legal|contract|law", "法律|合同|法务",
        "can I end the contract early|my landlord keeps the deposit|please check this contract|what "
        "happens if I do not sign|I want to sue|is this clause valid",
        "合同能提前解除吗|房东不退押金|请审一下这份合同|不签字会怎样|我要起诉|这个条款有效吗|怎么申请仲裁",
    ),
    _intent(
        "job|hr|hiring", "招聘|人事|求职",
        "are you hiring|I sent my application last week|how many days of leave do I have|when is "
        "payday|I want to hand in my notice|who signs my holiday",
        "你们招人吗|上周投的简历有消息吗|我还有几天年假|几号发工资|我想离职|请假找谁批|试用期多久",
    ),
    _intent(
        "smalltalk|greeting|other", "问候|闲聊|其他",
        "hello there|how are you|good evening|nice to meet you|are you a robot|what is your name",
        "你好呀|最近怎么样|晚上好|很高兴认识你|你是机器人吗|你叫什么名字|在不在",
    ),
)  # fmt: skip
