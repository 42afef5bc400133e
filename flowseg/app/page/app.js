"use strict";
const $ = (id) => document.getElementById(id);
const PANES = { image: "Image", overlay: "Mask over the image", probability: "Probability", uncertainty: "Uncertainty" };
const frames = []; // {image, frame, text}, in the order of the select
let asked = 0, timer = 0, shown = null; // shown: the index of the frame whose pictures are shown

async function call(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : { method: "POST", body });
  } catch {
    throw new Error("the server does not answer, or the file cannot be read (a folder?); check that flowseg app runs");
  }
  const content = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (content.error) throw new Error(content.error);
  return content;
}

function say(status, error = "") {
  $("status").textContent = status;
  $("error").textContent = error;
}

async function add(files) {
  const first = frames.length, problems = [];
  for (const file of [...files].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }))) {
    say(`reading ${file.name}`);
    try {
      const { image, name, frames: count } = await call(`images?name=${encodeURIComponent(file.name)}`, file);
      for (let frame = 1; frame <= count; frame++) {
        const text = count > 1 ? `${name}, frame ${frame} of ${count}` : name;
        frames.push({ image, frame });
        $("image").add(new Option(text, frames.length - 1));
      }
    } catch (error) {
      problems.push(error.message);
    }
  }
  say(frames.length > first ? "Ready." : "", problems.join("\n"));
  const none = !frames.length;
  for (const id of ["image", "go", "clear"]) $(id).disabled = none;
  if (frames.length > first) $("image").value = first;
  old();
}

function old() {
  $("panes").classList.toggle("old", shown !== Number($("image").value));
}

async function segment() {
  if (!frames.length || !$("form").reportValidity()) return;
  const index = Number($("image").value), turn = ++asked, start = performance.now();
  const choice = { steps: Number($("steps").value), ensemble: Number($("ensemble").value),
    threshold: Number($("threshold").value) };
  say("segmenting …");
  $("go").disabled = true;
  try {
    const found = await call("segment", JSON.stringify({ image: frames[index].image, frame: frames[index].frame, choice }));
    if (turn !== asked) return;
    shown = index;
    show(found);
    old();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    say(`${found.name}: ${(100 * found.vessel).toFixed(1)} % vessel, expected error (1 - Dice) ` +
      `${found.expected_error.toFixed(3)}, ${seconds} s` +
      (found.turned ? ". The file's EXIF orientation is not applied." : ""));
  } catch (error) {
    if (turn === asked) say("", error.message);
  } finally {
    if (turn === asked) $("go").disabled = !frames.length;
  }
}

function show(found) {
  const link = (kind) => {
    const a = document.createElement("a");
    a.href = found.pictures[kind];
    a.download = `${found.name}_${kind}.png`;
    a.textContent = `Download ${kind} (PNG)`;
    return a;
  };
  const figures = Object.entries(PANES).filter(([kind]) => kind in found.pictures).map(([kind, title]) => {
    const figure = document.createElement("figure"), picture = new Image(), caption = document.createElement("figcaption");
    picture.src = found.pictures[kind];
    picture.alt = title;
    caption.append(title);
    if (kind === "overlay") caption.append(" · ", link("mask"));
    if (kind === "probability" || kind === "uncertainty") caption.append(" · ", link(kind));
    figure.append(picture, caption);
    return figure;
  });
  $("panes").replaceChildren(...figures);
}

const numbers = () => JSON.stringify([...new Set(frames.map(({ image }) => image))]);

$("clear").addEventListener("click", async () => {
  try {
    await call("forget", numbers());
    asked++;
    shown = null;
    frames.length = 0;
    $("image").replaceChildren();
    $("panes").replaceChildren();
    for (const id of ["image", "go", "clear"]) $(id).disabled = true;
    $("files").value = "";
    say("Removed.");
  } catch (error) {
    say("", error.message);
  }
});
$("files").addEventListener("change", () => add($("files").files));
$("form").addEventListener("submit", (event) => { event.preventDefault(); segment(); });
$("image").addEventListener("change", old);
$("threshold").addEventListener("input", () => {
  // The model's own threshold, with which the page starts, may lie between two steps.
  Object.assign($("threshold"), { step: 0.01, value: Number($("threshold").value).toFixed(2) });
  $("shown").textContent = $("threshold").value;
  clearTimeout(timer);
  // The server keeps the probability of the last segmentation, so this does not sample again.
  if (shown === Number($("image").value) && frames.length) timer = setTimeout(segment, 150);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") add(event.dataTransfer.files);
  });
}
addEventListener("pagehide", () => { if (frames.length) navigator.sendBeacon("forget", numbers()); });
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

call("settings").then(({ run, folder, steps, ensemble, threshold }) => {
  $("run").textContent = run;
  $("folder").textContent = folder;
  for (const [id, setting] of Object.entries({ steps, ensemble })) {
    $(id).value = setting.value;
    $(id).max = setting.max;
    $(`${id}-label`).hidden = !setting.used;
  }
  $("threshold").value = $("shown").textContent = threshold.value;
}, (error) => say("", error.message));
