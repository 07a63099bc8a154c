// Draws /openapi.json: for each operation what goes in, what comes out, and a line for the terminal.
"use strict";

let spec = null;

const zh = (thing, key) => language.pick(thing[`x-${key}-zh`] || thing[key] || "", thing[key] || "");

function resolve(schema) {
  while (schema && schema.$ref) schema = schema.$ref.slice(2).split("/").reduce((at, part) => at[part], spec);
  return schema || {};
}

function typeText(schema) {
  schema = resolve(schema);
  if (schema.enum) return schema.enum.map((v) => JSON.stringify(v)).join(" | ");
  if (schema.type === "array") return `[${typeText(schema.items)}]`;
  return schema.type || "object";
}

// Rows of a schema's fields, those of objects inside after them as "outer.inner".
function rows(schema, prefix = "") {
  schema = resolve(schema);
  const required = schema.required || [];
  return Object.entries(schema.properties || {}).flatMap(([name, field]) => {
    const inner = resolve(field);
    const deeper = inner.type === "array" ? resolve(inner.items) : inner;
    const path = `${prefix}${name}${inner.type === "array" ? "[]" : ""}`;
    return [[path, typeText(field), required.includes(name), zh(inner, "description")],
      ...(deeper.properties ? rows(deeper, `${path}.`) : [])];
  });
}

function table(heads, lines, kind = "") {
  return make("div", { class: "scroll" }, make("table", { class: kind },
    make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", text })))),
    make("tbody", {}, ...lines.map((cells) => make("tr", {}, ...cells.map((cell, i) =>
      make("td", {}, i === 0 ? make("code", { text: cell }) : cell)))))));
}

function fieldTable(schema) {
  const heads = [language.pick("字段", "field"), language.pick("类型", "type"), language.pick("必填", "required"), language.pick("说明", "what it is")];
  return table(heads, rows(schema).map(([path, type, required, text]) => [path, type, required ? "✓" : "", text]), "fields");
}

const code = (text) => make("pre", {}, make("code", { text }));
const pretty = (value) => JSON.stringify(value, null, 2);

function curl(verb, path, operation, example) {
  if (operation["x-curl"]) return operation["x-curl"].replaceAll("{origin}", location.origin);
  const body = example === undefined ? "" : ` \\\n  -d '${JSON.stringify(example).replaceAll("'", "'\\''")}'`;
  return `curl -s${verb === "post" || verb === "get" ? "" : ` -X ${verb.toUpperCase()}`} ${location.origin}${path}${body}`;
}

function responses(operation) {
  const lines = Object.entries(operation.responses).map(([status, answer]) => [status, zh(resolve(answer), "description")]);
  return table([language.pick("状态码", "status"), language.pick("意思", "meaning")], lines);
}

function operationCard(path, verb, operation) {
  const body = operation.requestBody && operation.requestBody.content["application/json"];
  const ok = resolve(operation.responses["200"]);
  const answer = ok.content && ok.content["application/json"];
  const parts = [
    make("h2", {}, make("span", { class: "verb", text: verb.toUpperCase() }), make("code", { text: path })),
    make("p", { text: zh(operation, "summary") }),
  ];
  if (operation.description) parts.push(make("p", { text: zh(operation, "description") }));
  if (body) parts.push(make("h3", { text: language.pick("请求", "Request") }), fieldTable(body.schema));
  if (answer && answer.schema) parts.push(make("h3", { text: language.pick("回答", "Answer") }), fieldTable(answer.schema));
  if (answer && answer.example) parts.push(code(pretty(answer.example)));
  parts.push(make("h3", { text: language.pick("状态码", "Status codes") }), responses(operation));
  parts.push(make("h3", { text: language.pick("在终端里", "From a terminal") }), code(curl(verb, path, operation, body && body.example)));
  return make("section", { class: "card doc" }, ...parts);
}

function draw() {
  if (!spec) return;
  document.getElementById("about").textContent = zh(spec.info, "description");
  const cards = Object.entries(spec.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, operation]) => operationCard(path, verb, operation)));
  cards.push(make("section", { class: "card doc" }, make("h2", { text: language.pick("错误的样子", "The shape of an error") }),
    fieldTable(spec.components.schemas.Error), code(pretty(spec.components.schemas.Error.examples[0]))));
  document.getElementById("docs").replaceChildren(...cards);
}

async function startDocs() {
  try {
    spec = await (await fetch("/openapi.json")).json();
    draw();
  } catch (error) {
    document.getElementById("docs").replaceChildren(make("p", { class: "error", role: "alert", text: error.message }));
  }
}

document.addEventListener("language", draw);
startDocs();
