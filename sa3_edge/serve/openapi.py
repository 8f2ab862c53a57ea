"""/openapi.json: what can be asked and what is answered, from the same types that decode and encode it."""

from typing import Any

import msgspec

import sa3_edge
from sa3_edge.audio.formats import FORMATS
from sa3_edge.clips.options import ClipOptions, json_schema
from sa3_edge.generation.noise import SEEDS
from sa3_edge.serve import contracts, views
from sa3_edge.serve.bodies import SessionBody
from sa3_edge.serve.downloads import MEDIA_TYPES
from sa3_edge.serve.security import SESSION, UPLOADS
from sa3_edge.serve.service import FORMAT
from sa3_edge.serve.settings import Settings

Schema = dict[str, Any]
_REF = "#/components/schemas/{name}"
_VIEWS = (
    views.GenerationView,
    views.GenerationList,
    views.ModelList,
    views.RecordingView,
    views.PictureView,
    views.HealthView,
    views.ErrorView,
    contracts.SoundBody,
    contracts.MusicBody,
    SessionBody,
)
_PROBLEMS = {
    401: "the token is missing or wrong",
    403: "the request comes from a page of another site",
    404: "there is nothing with this id",
    408: "the request did not arrive in time",
    409: "the generation has ended, or has no sound",
    413: "the body is too large",
    415: "the body is of another type, or compressed",
    421: "the host name is none of this server's",
    422: "a value cannot be",
    429: "as many generations wait as may; try again after Retry-After seconds",
    503: "too many connections at a time, or the generation was cancelled",
}
_EVERYWHERE = (401, 403, 421, 503)
_BODY = (408, 413, 415, 422)


def document(settings: Settings) -> Schema:
    """The OpenAPI 3.1 document."""
    _, components = msgspec.json.schema_components(_VIEWS, ref_template=_REF)
    schemas: Schema = {**components, "GenerationRequest": request_schema()}
    info = {
        "title": "sa3-edge",
        "version": sa3_edge.__version__,
        "description": "Text to stereo music and sound, on this machine.",
    }
    described: Schema = {"openapi": "3.1.0", "info": info, "paths": _paths(), "components": {"schemas": schemas}}
    if settings.token is not None:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


def request_schema() -> Schema:
    """A clip's options as lists and records have them; the recording is an id, never a path."""
    schema: Schema = json_schema(ClipOptions)
    properties = schema["properties"]
    properties["init_audio"] = {
        "type": ["string", "null"],
        "description": "What to edit: the id of an uploaded recording or of a generation.",
        "pattern": "^(rec|gen)-[0-9a-f]{32}$",
    }
    properties["lora"]["items"] |= {"pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}(:[0-9.eE+\-]+)?$"}
    properties["lora"]["description"] = "Adapters of this machine by name, each with its strength: NAME[:STRENGTH]."
    properties["seed"] |= {"minimum": 0, "maximum": SEEDS - 1}
    properties["seconds"] |= {"exclusiveMinimum": 0}
    properties["model"] = {"type": ["string", "null"], "description": "An installed model; the server's by default."}
    properties["format"] = {
        "enum": [*FORMATS, None],
        "description": f"How the file is stored; {FORMAT} by default.",
    }
    properties["bits"] = {"enum": ["16", "24", "float", None], "description": "24 by default; float is for wav."}
    return schema


def _paths() -> Schema:
    generation_id = _parameter("id", "path", {"type": "string", "pattern": "^gen-[0-9a-f]{32}$"})
    recording_id = _parameter("id", "path", {"type": "string", "pattern": "^rec-[0-9a-f]{32}$"})
    yes_no = {"type": "string", "enum": ["true", "false"]}
    formats = _parameter("format", "query", {"type": "string", "enum": list(MEDIA_TYPES)}, "as stored by default")
    download = _parameter("download", "query", yes_no, "as an attachment")
    picture = [
        _parameter("columns", "query", {"type": "integer", "minimum": 1, "maximum": 2000}),
        _parameter("bands", "query", {"type": "integer", "minimum": 1, "maximum": 256}),
    ]
    generations = "/v1/generations"
    one = f"{generations}/{{id}}"
    found = (404, 422)
    return {
        "/health": {"get": _operation("How the server is", {200: _ref(views.HealthView)})},
        SESSION: {
            "post": _operation(
                "Exchange the token for a cookie (for pages)",
                {204: None},
                body=_json_body(_ref(SessionBody)),
                problems=_BODY,
            )
        },
        "/v1/models": {"get": _operation("Installed models", {200: _ref(views.ModelList)})},
        "/v1/events": {"get": _operation("Every change of any generation, as server-sent events", {200: _events()})},
        generations: {
            "get": _operation(
                "Generations of this run, and all clips in the folder",
                {200: _ref(views.GenerationList)},
                [
                    _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 200}),
                    _parameter("before", "query", {"type": "string"}, "the `next` of the page before"),
                ],
                problems=(422,),
            ),
            "post": _operation(
                "Make a clip",
                {202: _ref(views.GenerationView)},
                body=_json_body({"$ref": _REF.format(name="GenerationRequest")}),
                problems=(*_BODY, 429),
            ),
        },
        one: {
            "get": _operation("A generation", {200: _ref(views.GenerationView)}, [generation_id], problems=found),
            "delete": _operation(
                "Cancel within a step; ?delete=true deletes a finished clip's file",
                {202: _ref(views.GenerationView), 204: None},
                [generation_id, _parameter("delete", "query", yes_no)],
                problems=(*found, 409),
            ),
        },
        f"{one}/events": {
            "get": _operation(
                "Progress by stage, as server-sent events, until the end",
                {200: _events()},
                [generation_id],
                problems=found,
            )
        },
        f"{one}/audio": {
            "get": _operation(
                "The sound, waited for if it is not done",
                {200: _sound()},
                [generation_id, formats, download],
                problems=(*found, 409),
            )
        },
        f"{one}/picture": {
            "get": _operation(
                "Waveform and spectrogram", {200: _ref(views.PictureView)}, [generation_id, *picture], problems=found
            )
        },
        UPLOADS: {
            "post": _operation(
                "Upload a recording to edit", {201: _ref(views.RecordingView)}, body=_upload(), problems=_BODY
            )
        },
        f"{UPLOADS}/{{id}}": {
            "get": _operation("A recording", {200: _ref(views.RecordingView)}, [recording_id], problems=found)
        },
        f"{UPLOADS}/{{id}}/audio": {
            "get": _operation("Its sound", {200: _sound()}, [recording_id, formats, download], problems=found)
        },
        f"{UPLOADS}/{{id}}/picture": {
            "get": _operation(
                "Its waveform and spectrogram",
                {200: _ref(views.PictureView)},
                [recording_id, *picture],
                problems=found,
            )
        },
        contracts.SOUND: {
            "post": _operation(
                "ElevenLabs' sound generation",
                {200: _sound()},
                [_parameter("output_format", "query", {"type": "string", "enum": list(contracts.OUTPUT_FORMATS)})],
                body=_json_body(_ref(contracts.SoundBody)),
                problems=(*_BODY, 429),
            )
        },
        contracts.MUSIC: {
            "post": _operation(
                "mlx-serve's music generation: WAV, or with `stream` server-sent events",
                {200: {**_sound(), **_events()}},
                body=_json_body(_ref(contracts.MusicBody)),
                problems=(400, *_BODY, 429),
            )
        },
    }


def _operation(
    summary: str,
    answers: dict[int, Schema | None],
    parameters: list[Schema] | None = None,
    body: Schema | None = None,
    problems: tuple[int, ...] = (),
) -> Schema:
    responses: Schema = {}
    for status, answer in answers.items():
        responses[str(status)] = {"description": "as asked"}
        if answer is not None:
            is_schema = "$ref" in answer
            responses[str(status)]["content"] = {"application/json": {"schema": answer}} if is_schema else answer
    error = {"application/json": {"schema": _ref(views.ErrorView)}}
    for status in sorted({*problems, *_EVERYWHERE}):
        responses[str(status)] = {"description": _PROBLEMS.get(status, "a value cannot be"), "content": error}
    operation: Schema = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body:
        operation["requestBody"] = body
    return operation


def _parameter(name: str, place: str, schema: Schema, description: str = "") -> Schema:
    parameter: Schema = {"name": name, "in": place, "required": place == "path", "schema": schema}
    return {**parameter, "description": description} if description else parameter


def _ref(kind: type) -> Schema:
    return {"$ref": _REF.format(name=kind.__name__)}


def _json_body(schema: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _upload() -> Schema:
    file = {"type": "string", "format": "binary"}
    schema = {"type": "object", "properties": {"file": file}, "required": ["file"]}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _sound() -> Schema:
    types = dict.fromkeys([*(kind.partition(";")[0] for kind in MEDIA_TYPES.values()), "application/octet-stream"])
    return {media: {"schema": {"type": "string", "format": "binary"}} for media in types}


def _events() -> Schema:
    """One event of the stream: tools that read this document take each for an object of its fields."""
    event = {"type": "object", "properties": {name: {"type": "string"} for name in ("event", "data", "id")}}
    return {"text/event-stream": {"schema": event}}
