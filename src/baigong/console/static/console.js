// Asks a model and shows the answer as it comes, with the passages beside it. Text only ever
// enters the page as text nodes, so that nothing a model or a document says becomes markup.

const form = document.getElementById("ask");
if (form) prepareAsking(form);
prepareCopying();
prepareChoices();
prepareLiking();
prepareSureness();
watch();
openAtFragment();

function prepareAsking(form) {
  const question = form.querySelector("textarea");
  const stop = document.getElementById("stop");
  let running = null;

  const submit = async () => {
    if (!question.value.trim()) return;
    running?.abort();
    const mine = (running = new AbortController());
    stop.hidden = false;
    await ask(form, question.value.trim(), mine);
    if (running === mine) {
      running = null;
      stop.hidden = true;
    }
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  question.addEventListener("keydown", (event) => {
    // While an input method is composing, Enter chooses a character.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    }
  });
  stop.addEventListener("click", () => running?.abort());
  for (const chip of document.querySelectorAll("[data-example]")) {
    chip.addEventListener("click", () => {
      question.value = chip.dataset.example;
      submit();
    });
  }
}

async function ask(form, question, controller) {
  const say = form.dataset;
  const answer = document.getElementById("answer");
  const spent = document.getElementById("spent");
  document.getElementById("reply").hidden = false;
  document.getElementById("sources").hidden = true;
  answer.className = "answer waiting";
  answer.setAttribute("aria-busy", "true");
  answer.textContent = say.waiting;
  spent.textContent = "";
  const began = performance.now();
  let text = "";
  let cut = false;
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      signal: controller.signal,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        model: say.model,
        messages: [{ role: "user", content: question }],
        stream: true,
        stream_options: { include_usage: true },
      }),
    });
    if (!response.ok) throw new Refusal((await response.json()).error.message);
    for await (const chunk of events(response.body)) {
      if (chunk.error) throw new Refusal(chunk.error.message);
      const choice = chunk.choices[0];
      if (choice?.delta.role) showCitations(choice.delta.citations ?? [], say);
      if (choice?.delta.content) {
        text += choice.delta.content;
        answer.className = "answer";
        answer.textContent = text;
      }
      cut ||= choice?.finish_reason === "length";
      if (chunk.usage) {
        const seconds = ((performance.now() - began) / 1000).toFixed(1);
        spent.textContent = fill(say.spent, { tokens: chunk.usage.completion_tokens, seconds });
      }
    }
    finish(answer, text, "labels" in say && !cut);
    markCited(text);
    if (cut) spent.textContent += ` · ${say.cut}`;
  } catch (error) {
    fail(error, controller, answer, spent, text, say);
  } finally {
    answer.removeAttribute("aria-busy");
  }
}

class Refusal extends Error {}

function fail(error, controller, answer, spent, text, say) {
  answer.textContent = text;
  answer.className = "answer";
  if (controller.signal.aborted) {
    spent.textContent = say.stopped;
    return;
  }
  const told = error instanceof Refusal ? error.message : say.lost;
  const line = element("p", "bad", told);
  line.setAttribute("role", "alert");
  answer.append(line);
  if (!(error instanceof Refusal)) console.error(error);
}

// A grounded answer names its passages as [1]; the others step back.
function markCited(text) {
  const sources = document.getElementById("sources");
  const items = document.getElementById("citations").children;
  const cited = new Set([...text.matchAll(/\[(\d{1,3})\]/g)].map((match) => Number(match[1])));
  let any = false;
  for (const item of items) {
    const is = cited.has(Number(item.dataset.number));
    item.classList.toggle("cited", is);
    any ||= is;
  }
  sources.classList.toggle("chosen", any);
}

// An answer that is JSON, or a label, is shown as what it is.
function finish(answer, text, isLabel) {
  answer.className = "answer";
  answer.textContent = text;
  try {
    const value = JSON.parse(text);
    if (value !== null && typeof value === "object") {
      answer.classList.add("json");
      answer.textContent = JSON.stringify(value, null, 2);
    }
  } catch {
    if (isLabel) answer.classList.add("label");
  }
}

async function* events(body) {
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += decoder.decode(value, { stream: true });
    const lines = rest.split("\n\n");
    rest = lines.pop();
    for (const line of lines) {
      const data = line.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

function showCitations(citations, say) {
  const list = document.getElementById("citations");
  const grounded = "grounded" in say;
  const sources = document.getElementById("sources");
  sources.classList.remove("chosen");
  sources.hidden = !citations.length && !grounded;
  list.replaceChildren();
  if (!citations.length && grounded) list.append(element("p", "muted", say.none));
  for (const citation of citations) {
    const item = citationItem(citation, say);
    list.append(item);
    const quote = item.querySelector("mark");
    quote.parentElement.scrollTop = quote.offsetTop - 24; // a passage can be longer than its box
  }
}

function citationItem(citation, say) {
  const link = element("a", "", citation.title || citation.document);
  const document_ = citation.document.split("/").map(encodeURIComponent).join("/");
  const span = `${citation.quote_start}-${citation.quote_end}`;
  link.href = `/knowledge/${encodeURIComponent(citation.knowledge)}/${document_}?span=${span}#passage`;
  link.title = say.open;
  const where = element("span", "muted", citation.document + (citation.page ? ` · ${citation.page}` : ""));
  const passage = element("p", "passage", "");
  const [before, quote, after] = slices(citation);
  passage.append(before, element("mark", "", quote), after);
  const item = element("li", "", "");
  item.dataset.number = citation.number;
  item.append(link, " ", where);
  if (citation.table) item.append(quotedTable(citation.table));
  item.append(passage);
  return item;
}

// A quoted row under the head of its table, and the caption above; it comes as Markdown.
function quotedTable(markdown) {
  const lines = markdown.split("\n");
  const at = lines.findIndex((line) => line.startsWith("|"));
  const [head, , ...rows] = lines.slice(at).map((line) => line.replace(/^\||\|$/g, "").split("|"));
  const table = element("table", "", "");
  const caption = lines.slice(0, at).join("\n").trim();
  if (caption) table.append(element("caption", "", caption));
  for (const [kind, row] of [["th", head], ...rows.map((row) => ["td", row])]) {
    const line = element("tr", "", "");
    line.append(...row.map((cell) => element(kind, "", cell.trim())));
    table.append(line);
  }
  const box = element("div", "scroll quoted", "");
  box.append(table);
  return box;
}

// Spans count bytes of UTF-8 in the document; the passage begins at `start`.
function slices({ text, start, quote_start, quote_end }) {
  const bytes = new TextEncoder().encode(text);
  const decode = (from, to) => new TextDecoder().decode(bytes.slice(Math.max(0, from), Math.max(0, to)));
  const [from, to] = [quote_start - start, quote_end - start];
  return [decode(0, from), decode(from, to), decode(to, bytes.length)];
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function fill(words, holds) {
  return words.replace(/\{(\w+)\}/g, (_, name) => holds[name]);
}

function prepareCopying() {
  for (const button of document.querySelectorAll(".copy")) {
    if (!navigator.clipboard) continue; // absent on plain http beyond localhost
    button.hidden = false;
    const before = button.textContent;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.nextElementSibling.textContent);
      button.textContent = button.dataset.copied;
      setTimeout(() => (button.textContent = before), 1500);
    });
  }
}

// A choice in a list needs no further button.
function prepareChoices() {
  for (const select of document.querySelectorAll("[data-submits]")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }
}

// Without a script the form loads the page anew; with one it alone is replaced.
function prepareLiking() {
  const form = document.getElementById("like");
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const reply = await fetch(form.action, { method: "POST" });
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    const fresh = page.getElementById("like");
    if (!fresh) return location.reload();
    form.replaceWith(document.adoptNode(fresh));
    prepareLiking();
    fresh.querySelector("button").focus();
  });
}

// What cannot be undone is asked for twice.
function prepareSureness() {
  document.addEventListener("submit", (event) => {
    const sure = event.target.dataset.sure;
    if (sure && !confirm(sure)) event.preventDefault();
  });
}

// What runs changes by itself: the page is read again, and where it differs it is replaced.
function watch() {
  const every = Number(document.querySelector("[data-every]")?.dataset.every);
  if (every) setTimeout(look, every);
}

async function look() {
  const text = document.hidden ? "" : await read(location.href);
  document.getElementById("stale").hidden = text !== null;
  if (text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    settle(document.getElementById("content"), page.getElementById("content"));
  }
  watch();
}

// The page, or null where nobody answers.
async function read(address) {
  try {
    return await (await fetch(address)).text();
  } catch {
    return null;
  }
}

// Elements that stay keep their focus, their scroll and whether they are open.
function settle(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  const stays = old.nodeName === fresh.nodeName && old.id === fresh.id && old.childNodes.length === fresh.childNodes.length;
  if (old.nodeType !== Node.ELEMENT_NODE || !stays) return old.replaceWith(document.adoptNode(fresh));
  for (const name of old.getAttributeNames()) {
    if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const name of fresh.getAttributeNames()) old.setAttribute(name, fresh.getAttribute(name));
  const children = [...fresh.childNodes]; // those that are moved over leave it
  [...old.childNodes].forEach((child, place) => settle(child, children[place]));
}

// A citation's address ends in `#from-to`, which a server never sees: ask again with the span.
function openAtFragment() {
  if (!document.getElementById("document")) return;
  const span = /^#(\d+-\d+)$/.exec(location.hash);
  if (span) location.replace(`${location.pathname}?span=${span[1]}#passage`);
}
