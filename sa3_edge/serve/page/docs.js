// The API's documentation, made from /openapi.json, with a form to try each operation.

import { element } from "./words.js";

const described = await (await fetch("/openapi.json")).json();

const resolve = (schema) => (schema.$ref ? described.components.schemas[schema.$ref.split("/").pop()] : schema);
const typeOf = (schema) => {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map(String).join(", ");
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  return [schema.type].flat().join(" or ");
};

function table(rows) {
  return element("table", {}, element("tbody", {}, ...rows.map(([name, type, words]) => element("tr", {},
    element("th", { scope: "row" }, element("code", {}, name)), element("td", {}, type ?? ""), element("td", {}, words ?? "")))));
}

function example(schema) {
  const { properties, required = [] } = resolve(schema);
  const usual = { prompt: "lofi piano", text: "rain on a tin roof", seconds: 5, duration_seconds: 5 };
  const picked = Object.keys(properties).filter((name) => name in usual || required.includes(name));
  return JSON.stringify(Object.fromEntries(picked.map((name) => [name, usual[name] ?? ""])), null, 2);
}

function operation(method, path, { summary, parameters = [], requestBody, responses }) {
  const content = requestBody?.content ?? {};
  const body = content["application/json"]?.schema;
  const id = `${method}-${path}`.replaceAll(/\W+/g, "-");
  const inputs = parameters.map((parameter) => [parameter, element("input", { id: `${id}-${parameter.name}`, type: "text", autocomplete: "off" })]);
  const text = body ? element("textarea", { rows: "6", id: `${id}-body`, spellcheck: "false" }) : null;
  if (text) text.value = example(body);
  const answer = element("pre", { tabindex: "0", "aria-label": "Answer", hidden: true });
  const send = element("button", { type: "button", class: "button", onclick: async () => {
    let url = path;
    const query = new URLSearchParams();
    for (const [parameter, input] of inputs) {
      if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value) query.set(parameter.name, input.value);
    }
    answer.hidden = false;
    answer.textContent = "...";
    const asked = { method: method.toUpperCase(), ...(text ? { headers: { "Content-Type": "application/json" }, body: text.value } : {}) };
    const response = await fetch(query.size ? `${url}?${query}` : url, asked);
    const type = response.headers.get("content-type") ?? "";
    const shown = type.includes("json") ? JSON.stringify(await response.json(), null, 2) : `${(await response.blob()).size} bytes, ${type}`;
    answer.textContent = `${response.status}\n${shown}`;
  } }, "Send");
  const stream = Object.keys(responses["200"]?.content ?? {}).includes("text/event-stream") && !body;
  return element("details", {},
    element("summary", {}, element("span", { class: "method" }, method.toUpperCase()), element("code", {}, path), element("span", { class: "soft" }, summary)),
    body ? table(Object.entries(resolve(body).properties).map(([name, schema]) => [name, typeOf(schema), schema.description])) : null,
    ...inputs.map(([parameter, input]) => element("div", { class: "field" },
      element("label", { for: input.id }, `${parameter.name} (${parameter.in}; ${typeOf(parameter.schema)}) ${parameter.description ?? ""}`), input)),
    text ? element("div", { class: "field" }, element("label", { for: text.id }, "Body"), text) : null,
    stream || content["multipart/form-data"] ? element("p", { class: "help" }, "From a program: see docs/serve.md.") : send,
    answer,
    table(Object.entries(responses).map(([status, { description }]) => [status, "", description])));
}

for (const [path, methods] of Object.entries(described.paths)) {
  for (const [method, about] of Object.entries(methods)) document.getElementById("operations").append(operation(method, path, about));
}
