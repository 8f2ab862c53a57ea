// The server: requests, words for what went wrong, and one stream of what changes.

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let askToken = async () => {};
export const whenTokenIsNeeded = (ask) => { askToken = ask; };

async function said(response) {
  try {
    const { error } = await response.json();
    return new Refused(response.status, error.code, error.message);
  } catch {
    return new Refused(response.status, "http", `the server answered ${response.status}`);
  }
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refused(0, "away", "the server does not answer; is it still running?");
  }
  if (response.status === 401 && path !== "/v1/session") {
    await askToken();
    return call(path, options);
  }
  if (!response.ok) throw await said(response);
  return response.status === 204 ? null : response.json();
}

const withJson = (method, data) => ({ method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(data) });

export const get = (path, options = {}) => call(path, options);
export const openSession = (token) => call("/v1/session", withJson("POST", { token }));
export const generate = (request) => call("/v1/generations", withJson("POST", request));
export const cancel = (id) => call(`/v1/generations/${id}`, { method: "DELETE" });
export const remove = (id) => call(`/v1/generations/${id}?delete=true`, { method: "DELETE" });

export function upload(file) {
  const form = new FormData();
  form.append("file", file, "recording");
  return call("/v1/recordings", { method: "POST", body: form });
}

const place = (id) => (id.startsWith("rec-") ? "recordings" : "generations");
export const audioOf = (id, query = "") => `/v1/${place(id)}/${id}/audio${query}`;
export const pictureOf = (id, columns, bands, signal) => get(`/v1/${place(id)}/${id}/picture?columns=${columns}&bands=${bands}`, { signal });

// An EventSource connects again by itself; what was missed meanwhile is asked for.
export function follow(changed, again) {
  const source = new EventSource("/v1/events");
  let before = false;
  source.addEventListener("generation", (event) => changed(JSON.parse(event.data)));
  source.addEventListener("open", () => { if (before) again(); before = true; });
  return source;
}
