/* The list of streams. */

import { ROOT, listStreams, pathOf } from "./server.js";
import { STATES, codecNames } from "./texts.js";

const EVERY = 3000; // ms between looks at the list
const THUMBNAIL_EVERY = 30_000; // ms that a picture is shown
const THUMBNAIL_WIDTH = 480;
const SEARCH_FROM = 9; // streams
const PLAY = "M8 5v14l11-7z";

const $ = (id) => document.getElementById(id);
const cards = new Map(); // by name

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function playIcon() {
  const space = "http://www.w3.org/2000/svg";
  const icon = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  icon.setAttribute("viewBox", "0 0 24 24");
  path.setAttribute("d", PLAY);
  icon.append(path);
  return icon;
}

function makeCard(name) {
  const item = make("li", "");
  const link = make("a", "card");
  link.href = new URL(`${pathOf(name)}/`, ROOT).href;
  const picture = make("div", "picture");
  picture.append(playIcon());
  const caption = make("div", "caption");
  const pill = make("span", "pill");
  const about = make("p", "about");
  caption.append(make("strong", "", name), pill);
  link.append(picture, caption, about);
  item.append(link);
  return { item, link, picture, pill, about, name };
}

/** A new picture of a live stream; it replaces the old one when it has come. */
function refreshThumbnail(card) {
  const image = new Image();
  image.alt = "";
  image.onload = () => {
    card.picture.querySelector("img")?.remove();
    card.picture.append(image);
  };
  image.onerror = () => { card.turn = null; }; // asked again with the next look
  const turn = Math.floor(Date.now() / THUMBNAIL_EVERY);
  if (card.turn === turn) return;
  card.turn = turn;
  image.src = new URL(`${pathOf(card.name)}.jpg?w=${THUMBNAIL_WIDTH}&t=${turn}`, ROOT).href;
}

function fill(card, row) {
  card.link.dataset.state = row.state;
  card.pill.dataset.state = row.state;
  card.pill.textContent = STATES[row.state] ?? row.state;
  const size = row.width && row.height ? `${row.width}×${row.height}` : "";
  const codecs = [row.video, row.audio].filter(Boolean).map((c) => codecNames(c) || c).join(", ");
  card.about.textContent = [size, codecs].filter(Boolean).join(" · ");
  if (row.thumbnail) refreshThumbnail(card);
}

function show(rows) {
  const names = new Set(rows.map((row) => row.name));
  for (const [name, card] of cards) {
    if (!names.has(name)) {
      card.item.remove();
      cards.delete(name);
    }
  }
  for (const row of rows) {
    if (!cards.has(row.name)) {
      cards.set(row.name, makeCard(row.name));
      $("cards").append(cards.get(row.name).item);
    }
    fill(cards.get(row.name), row);
  }
  $("search").hidden = rows.length < SEARCH_FROM;
  filter();
}

function filter() {
  const wanted = $("search").hidden ? "" : $("search").value.trim().toLowerCase();
  let shown = 0;
  for (const { item, name } of cards.values()) {
    item.hidden = !name.toLowerCase().includes(wanted);
    shown += item.hidden ? 0 : 1;
  }
  say(shown ? "" : wanted ? "No stream has such a name." : "There are no streams yet.");
}

function say(text) {
  $("plain").textContent = text;
  $("plain").hidden = !text;
}

async function refresh() {
  if (document.visibilityState === "visible") {
    try {
      show(await listStreams());
    } catch {
      say("No connection to the server. Trying again…");
    }
  }
  setTimeout(refresh, EVERY);
}

$("search").addEventListener("input", filter);
refresh();
