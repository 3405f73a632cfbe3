// The page: pictures come in by drop, paste, file or camera; each gets a card, and the card its answer.

import { classify, health, useKey, Refused } from "./ask.js";

const $ = (id) => document.getElementById(id);
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const POLL_MS = 2000; // how often a service that is not ready yet is asked whether it is
let busy = 0; // cards that wait for a busy service

// --- pictures in ---

function add(files) {
  const pictures = [...files];
  if (!pictures.length) return;
  document.body.classList.remove("empty");
  $("answers").hidden = false;
  const cards = pictures.map(newCard);
  $("list").prepend(...cards); // the newest on top, those of one go in their order
  cards.forEach((card, index) => ask(card, pictures[index]));
}

function newCard(picture) {
  const name = picture.name || "Pasted picture";
  const card = $("card").content.cloneNode(true).firstElementChild;
  const image = card.querySelector("img");
  image.onerror = () => card.classList.add("no-preview"); // TIFF, say, which browsers do not show
  image.onload = () => URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(picture);
  image.alt = name;
  card.querySelector("figcaption").textContent = name;
  card.querySelector(".name").textContent = ` ${name}`;
  card.querySelector(".again").onclick = () => ask(card, picture);
  card.querySelector(".remove").onclick = () => remove(card);
  return card;
}

function remove(card) {
  const next = card.nextElementSibling ?? card.previousElementSibling;
  card.remove();
  if (next) next.querySelector(".remove").focus();
  else clear();
}

function clear() {
  $("list").replaceChildren();
  $("answers").hidden = true;
  document.body.classList.add("empty");
  $("choose").focus();
}

// --- answers out ---

async function ask(card, picture) {
  let waits = false;
  const setBusy = (now) => {
    busy += Number(now) - Number(waits);
    waits = now;
    tellState();
  };
  show(card, "waiting", "Looking …");
  try {
    const answer = await classify(picture, (seconds) => {
      setBusy(true);
      show(card, "busy", "The service is busy", `Trying again in ${seconds} s.`);
    });
    showAnswer(card, answer);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    showRefusal(card, error);
  } finally {
    setBusy(false);
  }
}

function show(card, state, title, trouble = "") {
  card.dataset.state = state;
  card.querySelector("h3 .label").textContent = title;
  card.querySelector("h3 .share").textContent = "";
  const paragraph = card.querySelector(".trouble");
  paragraph.textContent = trouble;
  paragraph.hidden = !trouble;
  card.querySelector(".again").hidden = true;
}

function showAnswer(card, { model, predictions, times }) {
  const [first, ...others] = predictions;
  show(card, "answered", "");
  fill(card, first);
  card.querySelector(".others").replaceChildren(...others.map(row));
  card.querySelector(".times").replaceChildren(...spans(times));
  say(`${card.querySelector("img").alt}: ${first.label}, ${share(first.probability)}`);
  showModel(model);
}

function showRefusal(card, error) {
  show(card, "refused", error.title, sentence(error.message));
  card.querySelector(".again").hidden = !(error.again || error.wantsKey);
  say(`${card.querySelector("img").alt}: ${error.title}. ${error.message}`);
  if (error.again) watch(); // what it was when the page was opened it may be no longer
  if (!error.wantsKey) return;
  $("key-form").hidden = false;
  $("key").focus();
}

function row(prediction) {
  return fill($("class").content.cloneNode(true).firstElementChild, prediction);
}

function fill(place, { label, probability }) {
  place.querySelector(".label").textContent = label;
  place.querySelector(".share").textContent = share(probability);
  place.querySelector("i").style.setProperty("--share", probability);
  return place;
}

/** Never "0%" or "100%", which a network is never sure of. */
function share(probability) {
  if (probability < 0.001) return `< ${percent.format(0.001)}`;
  return probability > 0.999 ? `> ${percent.format(0.999)}` : percent.format(probability);
}

function spans(times) {
  const parts = { Decoded: times.decode, waited: times.queue, computed: times.inference, "in all": times.total };
  return Object.entries(parts)
    .filter(([, ms]) => Number.isFinite(ms))
    .map(([what, ms]) => {
      const span = document.createElement("span");
      span.textContent = `${what} ${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
      return span;
    });
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
const say = (text) => ($("status").textContent = text);

// --- the service ---

const STATES = { ready: "", starting: "The service is starting.", draining: "The service is stopping." };
let state = "ready";
let trained = true;

function showModel(model) {
  $("model").textContent = model.name;
  $("model").title = `Version ${model.version}, ${model.precision}, weights: ${model.weights}`;
  trained = model.weights !== "untrained";
  tellState();
}

/** The one notice there is says what matters most. */
function tellState() {
  const untrained = "These weights are untrained: every answer means nothing.";
  const trouble = STATES[state] ?? "The service does not answer.";
  const text = trouble || (busy ? "The service is busy: answers take longer." : "") || (trained ? "" : untrained);
  $("state").dataset.state = busy && state === "ready" ? "busy" : state;
  $("state").textContent = state === "ready" ? (busy ? "busy" : "ready") : state;
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

let next; // look at the service

async function watch() {
  clearTimeout(next);
  const found = await health().catch(() => ({ status: "unreachable" }));
  if (found) {
    state = found.status;
    if (found.model) showModel(found.model);
    tellState();
  }
  clearTimeout(next); // of who looked meanwhile
  if (found && state !== "ready") next = setTimeout(watch, POLL_MS);
}

// --- what a person does ---

$("choose").onclick = () => $("files").click();
$("photograph").onclick = () => $("camera").click();
for (const input of [$("files"), $("camera")]) {
  input.onchange = () => {
    add(input.files);
    input.value = ""; // so that the same file can be chosen again
  };
}
$("sample").onclick = async () => {
  const body = await (await fetch("/web/sample.jpg")).blob();
  add([new File([body], "example.jpg", { type: body.type })]);
};
$("clear").onclick = clear;
$("key-form").onsubmit = (event) => {
  event.preventDefault();
  useKey($("key").value);
  $("key").value = "";
  $("key-form").hidden = true;
  for (const again of document.querySelectorAll('[data-state="refused"] .again:not([hidden])')) again.click();
};

document.addEventListener("paste", (event) => add(event.clipboardData.files));
let within = 0; // dragenter and dragleave come for each element that is passed over
const dragging = (event) => event.dataTransfer?.types.includes("Files");
const highlight = (change) => {
  within = Math.max(0, within + change);
  document.body.classList.toggle("dragging", within > 0);
};
document.addEventListener("dragenter", (event) => dragging(event) && highlight(1));
document.addEventListener("dragleave", (event) => dragging(event) && highlight(-1));
document.addEventListener("dragover", (event) => dragging(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!dragging(event)) return;
  event.preventDefault();
  highlight(-within);
  add(event.dataTransfer.files);
});

$("curl").textContent = `curl --data-binary @photo.jpg ${location.origin}/classify`;
watch();
