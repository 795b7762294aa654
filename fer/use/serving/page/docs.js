"use strict";
// shows /openapi.json
function make(tag, text, ...children) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.map((value) => `"${value}"`).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  if (schema.additionalProperties) return `string to ${typeOf(schema.additionalProperties)}`;
  return schema.type;
}

function operation(path, method, about) {
  const rows = Object.entries(about.responses).map(([status, reply]) => {
    const content = Object.values(reply.content ?? {})[0]?.schema;
    return make("tr", "", make("td", status), make("td", content ? typeOf(content) : ""), make("td", reply.description));
  });
  const body = about.requestBody ? [make("p", `Body: ${Object.keys(about.requestBody.content).join(", ")}. ${about.requestBody.description}.`)] : [];
  const asked = (about.parameters ?? []).map((one) => `${one.name}${one.required ? "" : " (optional)"}: ${one.description}`);
  const address = asked.length ? [make("p", `In the address: ${asked.join("; ")}.`)] : [];
  return [make("h2", `${method.toUpperCase()} ${path}`), make("p", about.description ?? ""), ...address, ...body, make("table", "", ...rows)];
}

function schema([name, about]) {
  const rows = Object.entries(about.properties ?? {}).map(([key, value]) =>
    make("tr", "", make("td", "", make("code", key)), make("td", typeOf(value)), make("td", value.description ?? "")));
  return [make("h3", name), make("p", about.description ?? ""), make("table", "", ...rows)];
}

async function show() {
  document.querySelectorAll(".origin").forEach((place) => { place.textContent = location.origin; });
  const described = await (await fetch("openapi.json")).json();
  const operations = Object.entries(described.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, about]) => [path, method, about]));
  operations.sort((a, b) => (b[1] === "post") - (a[1] === "post"));
  document.getElementById("operations").append(...operations.flatMap((one) => operation(...one)));
  document.getElementById("schemas").append(...Object.entries(described.components.schemas).flatMap(schema));
}
show();
