// Which of the two languages the page shows: the visitor's last choice, else the browser's.
"use strict";

const language = {
  get() {
    return document.documentElement.lang === "en" ? "en" : "zh";
  },
  set(code) {
    document.documentElement.lang = code === "en" ? "en" : "zh-CN";
    document.dispatchEvent(new Event("language"));
  },
  pick(zh, en) {
    return this.get() === "en" ? en : zh;
  },
};

function remembered() {
  try {
    return localStorage.getItem("language");
  } catch {
    return null; // storage is off
  }
}

function startLanguage() {
  const wish = new URLSearchParams(location.search).get("lang") || remembered() || navigator.language || "zh";
  language.set(wish.toLowerCase().startsWith("zh") ? "zh" : "en");
  document.getElementById("lang").addEventListener("click", () => {
    language.set(language.get() === "en" ? "zh" : "en");
    try {
      localStorage.setItem("language", language.get());
    } catch {
      // storage is off: the choice holds for this page
    }
  });
}

// An element with attributes (class, text and others) and children.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

startLanguage();
