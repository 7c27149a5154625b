"use strict";
// Shows the OpenAPI description of the server as a list.

const make = (tag, text, ...children) => { const node = document.createElement(tag); node.append(...(text ? [text] : []), ...children); return node; };

async function show() {
  const api = await (await fetch("/openapi.json")).json();
  const main = document.getElementById("routes");
  main.style.display = "block";
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, route] of Object.entries(methods)) {
      const section = make("section", "", make("h2", `${method.toUpperCase()} ${path}`), make("p", route.description || ""));
      const form = route.requestBody && route.requestBody.content["multipart/form-data"];
      if (form) {
        const schema = api.components.schemas[form.schema.$ref.split("/").pop()];
        const list = make("ul");
        for (const [name, field] of Object.entries(schema.properties)) list.append(make("li", "", make("code", name), `: ${field.description || ""}${field.default === undefined ? "" : ` Default ${field.default}.`}`));
        section.append(list);
      }
      section.style.marginBottom = "12px";
      main.append(section);
    }
  }
}

show();
