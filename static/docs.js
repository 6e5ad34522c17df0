// Draws /openapi.json as a readable reference. Everything is set as text, never as markup.

const METHODS = ["get", "post", "put", "patch", "delete"];

/** An element with text or children; `undefined` children are left out. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== undefined && child !== ""));
  return node;
}

function slug(text) {
  return text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
}

/** A type in words; names of schemas link to their tables below. */
function typeOf(schema) {
  if (!schema) return "anything";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return el("a", { href: `#schema-${slug(name)}` }, name);
  }
  const choices = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (choices) return joined(choices.map(typeOf), " or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  const types = [schema.type].flat().filter(Boolean);
  if (types.includes("array")) return joined(["list of ", typeOf(schema.items)], "");
  if (schema.additionalProperties) return joined(["map to ", typeOf(schema.additionalProperties)], "");
  return types.join(" or ") || "anything";
}

function joined(parts, separator) {
  const span = el("span");
  parts.forEach((part, index) => span.append(index ? separator : "", part));
  return span;
}

function table(head, rows) {
  const header = el("tr", {}, ...head.map((text) => el("th", {}, text)));
  const body = rows.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell ?? ""))));
  return el("div", { class: "wide" }, el("table", {}, el("thead", {}, header), el("tbody", {}, ...body)));
}

function paragraphs(text) {
  return (text ?? "").split(/\n\s*\n/).filter(Boolean).map((part) => el("p", {}, part));
}

function operation(path, method, details) {
  const parameters = (details.parameters ?? []).map((parameter) => [
    el("code", {}, parameter.name), parameter.in, typeOf(parameter.schema), parameter.description,
  ]);
  const responses = Object.entries(details.responses ?? {}).map(([status, response]) => {
    const content = Object.entries(response.content ?? {}).map(([type, body]) => joined([type, typeOf(body.schema)], ": "));
    return [el("code", {}, status), response.description, joined(content, ", ")];
  });
  const bodies = Object.entries(details.requestBody?.content ?? {}).map(([type, body]) => [el("code", {}, type), typeOf(body.schema)]);
  return el("section", { id: slug(`${method} ${path}`) },
    el("h3", {}, el("span", { class: `method ${method}` }, method.toUpperCase()), path),
    ...paragraphs(details.summary), ...paragraphs(details.description),
    ...(parameters.length ? [el("h4", {}, "Parameters"), table(["name", "in", "type", "meaning"], parameters)] : []),
    ...(bodies.length ? [el("h4", {}, "Body"), table(["media type", "schema"], bodies)] : []),
    el("h4", {}, "Answers"), table(["status", "when", "body"], responses));
}

/** What a member means; of an optional reference, the reference says it. */
const meaning = (member) => member.description ?? member.oneOf?.find(({ $ref }) => $ref)?.description;

function properties(schema) {
  const parts = schema.allOf ?? [schema];
  return parts.flatMap((part) => Object.entries(part.properties ?? {}).map(([name, member]) => [
    el("code", {}, name + ((part.required ?? []).includes(name) ? "" : "?")), typeOf(member), meaning(member),
  ]));
}

function schemaSection(name, schema) {
  const members = properties(schema);
  return el("section", { id: `schema-${slug(name)}` },
    el("h3", {}, name), ...paragraphs(schema.description),
    members.length ? table(["member", "type", "meaning"], members) : el("p", {}, typeOf(schema)));
}

function draw(api) {
  document.getElementById("about").textContent = `${api.info.title} ${api.info.version}. ${api.info.description ?? ""}`;
  const groups = new Map((api.tags ?? []).map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const group = item[method].tags?.[0] ?? "other";
      groups.set(group, [...(groups.get(group) ?? []), [path, method, item[method]]]);
    }
  }
  const contents = document.getElementById("contents");
  const main = document.getElementById("operations");
  main.replaceChildren();
  for (const [group, operations] of groups) {
    contents.append(el("h2", {}, group));
    main.append(el("h2", {}, group));
    for (const [path, method, details] of operations) {
      const label = el("span", { class: `method ${method}` }, method.toUpperCase());
      contents.append(el("a", { href: `#${slug(`${method} ${path}`)}`, title: details.summary ?? "" }, label, path));
      main.append(operation(path, method, details));
    }
  }
  const schemas = Object.entries(api.components?.schemas ?? {});
  contents.append(el("h2", {}, "schemas"));
  main.append(el("h2", {}, "Schemas"));
  for (const [name, schema] of schemas) {
    contents.append(el("a", { href: `#schema-${slug(name)}` }, name));
    main.append(schemaSection(name, schema));
  }
  // The browser looked for the fragment before there was anything to find.
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

try {
  const response = await fetch("/openapi.json");
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  draw(await response.json());
} catch (error) {
  document.getElementById("operations").replaceChildren(el("p", {}, `openapi.json cannot be read: ${error.message}`));
}
