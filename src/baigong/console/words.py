"""Every word of the pages, in English and Chinese, and which of the two a reader wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from starlette.requests import Request

Language = Literal["en", "zh"]
Say = Callable[..., str]

COOKIE = "baigong_language"


class Words(NamedTuple):
    en: str
    zh: str


TEXT: dict[str, Words] = {
    "name": Words("Baigong", "百工"),
    "tagline": Words(
        "Industry models, proven before they are live", "先证明更好，再上线的行业模型"
    ),
    "skip": Words("Skip to the content", "跳到正文"),
    "language": Words("中文", "English"),
    "language_label": Words("切换到中文", "Switch to English"),
    "log_out": Words("Log out", "退出"),
    "json": Words("This page as JSON", "本页的 JSON"),
    # What is live.
    "live_models": Words("Live models", "已上线的模型"),
    "live": Words("live", "已上线"),
    "not_live": Words("not live", "未上线"),
    "releases": Words("Other releases", "其他版本"),
    "passed": Words("passed its gate", "通过准入检验"),
    "refused": Words("refused by its gate", "未通过准入检验"),
    "task_chat": Words("conversation", "对话"),
    "task_classification": Words("classification", "分类"),
    "task_extraction": Words("extraction", "信息抽取"),
    "task_grounded": Words("answers from documents", "依据文档作答"),
    "task_text": Words("plain text", "纯文本"),
    "task_preference": Words("preferred answers", "偏好应答"),
    "task_regression": Words("numbers", "数值预测"),
    "task_pairs": Words("search", "检索"),
    "task_images": Words("pictures", "图像分类"),
    # Nothing is live.
    "nothing_title": Words("Nothing is live yet", "还没有模型上线"),
    "nothing_text": Words(
        "Build a recipe: it tunes a base model on a trade's rows, grounds it in the trade's documents, "
        "and goes live only if it is measurably better.",
        "先构建一份配方：用行业数据微调基座模型，接上行业文档，只有测得更好才会上线。",
    ),
    "nothing_demo": Words("The sample recipe, in a few minutes:", "几分钟跑完示例配方："),
    "nothing_build": Words("Or a recipe of your own:", "或者构建自己的配方："),
    "nothing_base": Words(
        "Until then these foundation models answer by name at /v1:",
        "在那之前，/v1 可以直接调用这些基座模型：",
    ),
    "nothing_refused": Words(
        "These releases were built and did not pass their gate, or were not promoted:",
        "下面的版本已构建，但没有通过准入检验或尚未上线：",
    ),
    # Asking.
    "ask_title": Words("Ask it", "问一问"),
    "ask_label": Words("Your question", "你的问题"),
    "ask_hint": Words("Enter sends, Shift+Enter begins a new line", "回车发送，Shift+回车换行"),
    "ask": Words("Ask", "提问"),
    "stop": Words("Stop", "停止"),
    "answer": Words("Answer", "回答"),
    "sources": Words("What it stands on", "出处"),
    "sources_none": Words(
        "No passage was found for this question.", "没有找到与这个问题有关的段落。"
    ),
    "open_document": Words("Open the document here", "打开文档并定位到这里"),
    "thinking": Words("Reading…", "正在作答……"),
    "stopped": Words("Stopped.", "已停止。"),
    "spent": Words("{tokens} tokens, {seconds} s", "{tokens} 个词元，{seconds} 秒"),
    "cut": Words("The answer was cut at its longest length.", "回答达到长度上限，已被截断。"),
    "lost": Words(
        "The server did not answer. Is it still running?", "服务器没有回应，它还在运行吗？"
    ),
    "try": Words("For example", "例如"),
    "needs_script": Words(
        "Asking here needs JavaScript; the API does not.", "在这里提问需要 JavaScript，API 不需要。"
    ),
    "small_base": Words(
        "Its base is a small model that came with Baigong. It does the narrow task it was tuned for, "
        "quickly and on a CPU; it does not write free prose.",
        "它的基座是百工自带的小模型：在 CPU 上就能快速完成微调过的专门任务，不会自由写作。",
    ),
    # The gate.
    "gate_title": Words("What its gate found", "准入检验的结论"),
    "holds": Words("holds", "满足"),
    "fails": Words("fails", "不满足"),
    "warning": Words("note", "注意"),
    "contender": Words("Contender", "参评者"),
    "score": Words("Score", "得分"),
    "interval": Words("{percent} % interval", "{percent}% 置信区间"),
    "candidate": Words("This release", "本版本"),
    "incumbent": Words("Live before it", "此前上线的版本"),
    "base": Words("The base model alone", "仅基座模型"),
    "baseline": Words("Plain TF-IDF, no model", "朴素 TF-IDF 基线"),
    "measured_on": Words("{metric} on {rows} held-out rows", "{rows} 条预留测试数据上的{metric}"),
    "slices_title": Words("By slice", "分组结果"),
    "slice": Words("Slice", "分组"),
    "rows": Words("Rows", "条数"),
    "difference": Words("Difference", "差值"),
    "wins_title": Words("Examples where it does better", "它更好的例子"),
    "losses_title": Words("Examples where it does worse", "它更差的例子"),
    "prompt": Words("Question", "问题"),
    "wanted": Words("Wanted", "应答"),
    "other_metrics": Words("Other measures", "其他指标"),
    "metric": Words("Measure", "指标"),
    "no_report": Words(
        "This release has no report that this version of Baigong can read.",
        "这个版本没有当前百工能读取的评测报告。",
    ),
    # Training.
    "curve_title": Words("How it learned", "训练过程"),
    "curve_text": Words(
        "Loss by step: from {first} to {last} in {steps} steps.",
        "各步的损失：{steps} 步内从 {first} 到 {last}。",
    ),
    "training_loss": Words("training loss", "训练损失"),
    "validation_loss": Words("validation loss", "验证损失"),
    "step": Words("step", "步"),
    "loss": Words("loss", "损失"),
    # Calling.
    "call_title": Words("Call it from your program", "在程序里调用"),
    "call_text": Words(
        "Any OpenAI client works: change the base URL and name the model.",
        "任何 OpenAI 客户端都可以用：改掉 base URL，写上模型名。",
    ),
    "call_key": Words("Put your key where YOUR_KEY stands.", "把 YOUR_KEY 换成你的密钥。"),
    "call_open": Words("No key is needed on this machine yet.", "本机目前不需要密钥。"),
    "copy": Words("Copy", "复制"),
    "copied": Words("Copied", "已复制"),
    # Lineage.
    "lineage_title": Words("What it is made of", "组成与来历"),
    "built": Words("Built", "构建时间"),
    "adapter": Words("Adapter", "适配器"),
    "base_model": Words("Base model", "基座模型"),
    "knowledge": Words("Knowledge base", "知识库"),
    "recipe": Words("Recipe", "配方"),
    "dataset": Words("Data set", "数据集"),
    "digest": Words("Signed digest", "签名摘要"),
    "none": Words("none", "无"),
    # Knowledge bases.
    "knowledge_title": Words("Knowledge bases", "知识库"),
    "knowledge_text": Words(
        "Documents that answers stand on, searched as soon as they are in.",
        "回答所依据的文档，写入后立即可以检索。",
    ),
    "knowledge_none": Words(
        "There is none yet. This reads a folder, a site or a repository into one:",
        "还没有知识库。用这条命令读入文件夹、网站或代码仓库：",
    ),
    "base_empty": Words("It holds no document yet.", "其中还没有文档。"),
    "documents": Words("Documents", "文档"),
    "document_title": Words("Document", "文档"),
    "passages": Words("Passages", "段落"),
    "embedder": Words("Embedder", "向量模型"),
    "changed": Words("Last change", "最近变更"),
    "source": Words("Source", "来源"),
    "search_title": Words("Search it", "检索"),
    "search": Words("Search", "检索"),
    "more": Words("More", "更多"),
    # Documents.
    "document_from": Words("From the knowledge base {knowledge}", "来自知识库 {knowledge}"),
    "document_passage": Words("Go to the passage", "跳到引用处"),
    # The hub.
    "hub": Words("Hub", "资源库"),
    "models": Words("Models", "模型"),
    "datasets": Words("Data sets", "数据集"),
    "recipes": Words("Recipes", "配方"),
    "hub_search": Words("Search names, titles and tags", "搜索名称、标题和标签"),
    "field_task": Words("Task", "任务"),
    "field_library": Words("Library", "框架"),
    "field_language": Words("Language", "语言"),
    "field_license": Words("Licence", "许可证"),
    "field_base": Words("Made from", "源自模型"),
    "field_owner": Words("Owner", "所有者"),
    "any": Words("Any", "不限"),
    "sort": Words("Order", "排序"),
    "sort_modified": Words("Updated last", "最近更新"),
    "sort_created": Words("Newest", "最新创建"),
    "sort_downloads": Words("Most downloaded", "下载最多"),
    "sort_likes": Words("Most liked", "点赞最多"),
    "sort_name": Words("By name", "按名称"),
    "take_off": Words("remove", "移除"),
    "clear": Words("Clear all", "清除全部"),
    "counted": Words("{first} to {last} of {total}", "第 {first} 到 {last} 个，共 {total} 个"),
    "repository": Words("Repository", "仓库"),
    "parameters": Words("Parameters", "参数量"),
    "size_all": Words("Size", "大小"),
    "likes": Words("Likes", "点赞"),
    "downloads": Words("Downloads", "下载"),
    "updated": Words("Updated", "更新"),
    "private": Words("private", "私有"),
    "gated": Words("gated", "需申请"),
    "turn": Words("Pages", "翻页"),
    "before": Words("Previous", "上一页"),
    "after": Words("Next", "下一页"),
    "hub_none_found": Words(
        "Nothing here is like that. Try fewer words, or clear a filter.",
        "没有符合条件的结果。减少几个词，或清除某个筛选条件再试。",
    ),
    "hub_no_models": Words(
        "There is no model yet. This brings one from Hugging Face or ModelScope:",
        "还没有模型。用这条命令从 Hugging Face 或魔搭拉取一个：",
    ),
    "hub_no_datasets": Words(
        "There is no data set yet. This makes one of a file of rows:",
        "还没有数据集。用这条命令把一个数据文件变成数据集：",
    ),
    "hub_no_recipes": Words("There is no recipe yet.", "还没有配方。"),
    "hub_upload": Words(
        "Or send a folder with Hugging Face's own client:",
        "或者用 Hugging Face 自带的客户端上传一个文件夹：",
    ),
    "just_now": Words("just now", "刚刚"),
    "minutes_ago": Words("{count} min ago", "{count} 分钟前"),
    "hours_ago": Words("{count} h ago", "{count} 小时前"),
    "days_ago": Words("{count} d ago", "{count} 天前"),
    # A repository.
    "kind_dataset": Words("Data set", "数据集"),
    "like": Words("Like", "点赞"),
    "liked": Words("Liked", "已点赞"),
    "parts_of": Words("Parts of the repository", "仓库内容"),
    "card": Words("Card", "简介"),
    "files": Words("Files", "文件"),
    "history": Words("History", "历史"),
    "revision": Words("Revision", "版本"),
    "branches": Words("Branches", "分支"),
    "tags": Words("Tags", "标签"),
    "show": Words("Show", "显示"),
    "use_title": Words("Use it", "使用方法"),
    "card_none": Words(
        "It has no card yet. Write README.md and send it:", "还没有简介。写好 README.md 后上传："
    ),
    "facts_title": Words("Facts", "基本信息"),
    "dtypes": Words("Kept as", "存储类型"),
    "architecture": Words("Architecture", "架构"),
    "made_from": Words("Made from", "源自模型"),
    "made_with": Words("Made with", "使用的数据集"),
    "made_of": Words("Made of it", "衍生作品"),
    "not_here": Words("not here", "不在这里"),
    "file": Words("File", "文件"),
    "files_none": Words("It has no files yet. Send some:", "还没有文件。上传文件："),
    "download": Words("Download", "下载"),
    "first_of": Words("The first {count} of {total}.", "仅显示前 {count} 个，共 {total} 个。"),
    "sum": Words("sha256:", "校验和 sha256："),
    "tensors_counted": Words("{count} tensors", "共 {count} 个张量"),
    "tensor": Words("Tensor", "张量"),
    "shape": Words("Shape", "形状"),
    "dtype": Words("Type", "类型"),
    "weights_broken": Words(
        "This file is no whole safetensors file:", "这个文件不是完整的 safetensors 文件："
    ),
    "text_cut": Words(
        "Only the beginning is shown. Download it for the rest.", "仅显示开头，完整内容请下载。"
    ),
    "file_not_shown": Words(
        "This file is not shown here. Download it.", "这个文件无法在此显示，请下载。"
    ),
    "file_elsewhere": Words(
        "Its bytes are still at the hub that is mirrored. Downloading brings them here.",
        "文件内容还在被镜像的站点上，下载时会取到本地。",
    ),
    # Jobs.
    "jobs": Words("Jobs", "任务"),
    "jobs_text": Words(
        "Long work of this server and of the command line: it survives restarts, and goes on where it was.",
        "本服务器和命令行的长任务：重启后不丢失，从中断处继续。",
    ),
    "jobs_none": Words(
        "There is no job yet. This tunes a model on rows of yours:",
        "还没有任务。用这条命令以你的数据微调模型：",
    ),
    "job": Words("Job", "任务"),
    "state": Words("State", "状态"),
    "state_running": Words("running", "运行中"),
    "state_queued": Words("queued", "排队中"),
    "state_paused": Words("paused", "已暂停"),
    "state_interrupted": Words("interrupted", "已中断"),
    "state_done": Words("done", "已完成"),
    "state_refused": Words("refused", "未通过"),
    "state_failed": Words("failed", "失败"),
    "state_cancelled": Words("cancelled", "已取消"),
    "state_pause": Words("pausing", "正在暂停"),
    "state_cancel": Words("cancelling", "正在取消"),
    "kind_build": Words("build", "构建"),
    "kind_tuning": Words("fine-tuning job", "微调任务"),
    "kind_ingest": Words("ingest", "读入文档"),
    "step_plan": Words("plan", "计划"),
    "step_prepare": Words("prepare", "准备数据"),
    "step_ground": Words("ground", "接入知识"),
    "step_tune": Words("tune", "微调"),
    "step_parity": Words("parity", "一致性核对"),
    "step_evaluate": Words("evaluate", "评测"),
    "step_gate": Words("gate", "准入检验"),
    "step_release": Words("release", "发布版本"),
    "step_promote": Words("promote", "上线"),
    "step_ingest": Words("ingest", "读入文档"),
    "step_of": Words("step {step} of {steps}", "第 {step} 步，共 {steps} 步"),
    "started_by": Words("by {owner}", "由 {owner} 发起"),
    "waits": Words("waits for its turn", "等待轮到它"),
    "stage": Words("Step", "步骤"),
    "now": Words("Now", "当前"),
    "left": Words("Time left", "剩余时间"),
    "loss_now": Words("Loss", "损失"),
    "tokens_per_second": Words("Tokens/s", "词元/秒"),
    "memory": Words("Memory", "内存"),
    "took": Words("Took", "用时"),
    "begun": Words("Begun", "开始"),
    "acts": Words("What it can be told", "可做的操作"),
    "outcome": Words("Outcome", "结果"),
    "pause": Words("Pause", "暂停"),
    "resume": Words("Resume", "继续"),
    "cancel": Words("Cancel", "取消"),
    "cancel_sure": Words(
        "End {name} for good? It cannot be resumed.", "确定终止 {name}？终止后无法继续。"
    ),
    "span_seconds": Words("{seconds} s", "{seconds} 秒"),
    "span_minutes": Words("{minutes} min {seconds} s", "{minutes} 分 {seconds} 秒"),
    "span_hours": Words("{hours} h {minutes} min", "{hours} 小时 {minutes} 分"),
    "one_point": Words(
        "One point so far: at step {step} the loss is {loss}. A curve begins with the second.",
        "目前只有一个点：第 {step} 步的损失为 {loss}。有了第二个点就画出曲线。",
    ),
    "events_title": Words("On the way", "途中"),
    "event_evaluation": Words(
        "Step {step}: evaluated, validation loss {loss}, {right} % right",
        "第 {step} 步：已评测，验证损失 {loss}，正确 {right}%",
    ),
    "event_checkpoint": Words("Checkpoint at step {step}", "第 {step} 步存下检查点"),
    "event_memory": Words(
        "Step {step}: memory ran out; {tokens} tokens at once from here on",
        "第 {step} 步：内存不足，此后每次处理 {tokens} 个词元",
    ),
    "earlier": Words("{count} earlier", "更早的 {count} 条"),
    "steps_title": Words("Steps", "步骤"),
    "choices_title": Words("Settings, and why", "设置与理由"),
    "setting": Words("Setting", "设置"),
    "value": Words("Value", "取值"),
    "why": Words("Why", "理由"),
    "rows_title": Words("What became of the rows", "数据的去向"),
    "rows_train": Words("To learn from", "用于训练"),
    "rows_validation": Words("To watch by", "用于验证"),
    "rows_test": Words("Kept back to judge by", "预留评判"),
    "dropped": Words("Left out", "剔除"),
    "dropped_duplicate": Words("duplicates", "重复"),
    "dropped_contradiction": Words("one text, several answers", "同一文本有多种答案"),
    "dropped_leak": Words("nearly a test row", "与测试数据几乎相同"),
    "dropped_long": Words("too long for the context", "超出上下文长度"),
    "length": Words("Length", "长度"),
    "lengths": Words(
        "half below {half} tokens, the longest {longest}", "半数短于 {half} 个词元，最长 {longest}"
    ),
    "near": Words("Nearly alike, kept", "几乎相同，保留"),
    "personal": Words("What may be personal", "可能的个人信息"),
    "links_title": Words("What it used and made", "所用与所得"),
    "release": Words("Release", "版本"),
    "tuned": Words("Tuned model", "微调后的模型"),
    "checkpoint_of": Words("Checkpoint, step {step}", "第 {step} 步的检查点"),
    "remedy_failed": Words(
        "Mend what it names, then resume: it goes on at the step that failed.",
        "按提示改正后点“继续”：从失败的步骤接着做。",
    ),
    "remedy_new": Words("Mend what it names and send it again.", "按提示改正后重新提交。"),
    "remedy_refused": Words("What is live stays as it is.", "已上线的版本不受影响。"),
    "remedy_interrupted": Words(
        "Its process is gone. Resume goes on from where it was, in this server.",
        "它的进程已经不在了。点“继续”由本服务器从中断处接着做。",
    ),
    "remedy_paused": Words(
        "Resume goes on from its last checkpoint, in this server.",
        "点“继续”由本服务器从最近的检查点接着做。",
    ),
    "remedy_again": Words(
        "The command or request that began it goes on where it was.",
        "再次运行当初的命令或请求，会从中断处继续。",
    ),
    # Keys.
    "key_title": Words("This server asks for a key", "这台服务器需要密钥"),
    "key_label": Words("Key", "密钥"),
    "key_text": Words(
        "It is kept in a cookie of this browser that no script can read.",
        "密钥保存在本浏览器的 Cookie 里，任何脚本都读不到。",
    ),
    "key_wrong": Words("That key is unknown or revoked.", "密钥不存在或已撤销。"),
    "key_make": Words("Whoever runs the server makes one with", "由服务器管理员用这条命令生成："),
    "key_enter": Words("Continue", "继续"),
    # Errors.
    "error_title": Words("That did not work", "没有成功"),
    "error_missing": Words("There is nothing at this address.", "这个地址下没有内容。"),
    "error_home": Words("Back to what is live", "回到首页"),
}


def language_of(request: Request) -> Language:
    """What the address asks for, else the cookie, else the browser, else English."""
    for wish in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if wish in {"en", "zh"}:
            return "zh" if wish == "zh" else "en"
    return _preferred(request.headers.get("accept-language", ""))


def speaker(language: Language) -> Say:
    """A function from a word's key, and what it holds, to the words."""

    def say(key: str, **holds: object) -> str:
        words = getattr(TEXT[key], language)
        return str(words.format(**holds)) if holds else str(words)

    return say


def pick(texts: Mapping[str, str] | None, language: Language) -> str:
    """A recipe's text in this language, or in the one it has."""
    texts = texts or {}
    return texts.get(language) or texts.get("en") or next(iter(texts.values()), "")


def _preferred(header: str) -> Language:
    """The better liked of the two in `Accept-Language: zh-CN,zh;q=0.9,en;q=0.8`."""
    best, liked = 0.0, "en"
    for entry in header.split(","):
        tag, _, quality = entry.strip().partition(";q=")
        weight = _weight(quality)
        if tag[:2].lower() in {"en", "zh"} and weight > best:
            best, liked = weight, tag[:2].lower()
    return "zh" if liked == "zh" else "en"


def _weight(quality: str) -> float:
    try:
        return float(quality) if quality else 1.0
    except ValueError:
        return 0.0
