"""An agent's tool: the official client over stdio."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import soundfile
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


def _talk(folder: Path, calls: list[tuple[str, dict[str, Any]]]) -> tuple[list[Any], list[Any]]:
    """The tools, and the answers to some calls."""
    arguments = ["-m", "sa3_edge", "mcp", "--model", "demo", "--folder", str(folder)]
    parameters = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))

    async def talk() -> tuple[list[Any], list[Any]]:
        async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            tools = (await session.list_tools()).tools
            return list(tools), [await session.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(talk())


def test_an_agent_makes_a_clip_edits_it_and_is_told_what_is_wrong(tmp_path: Path) -> None:
    tools, (made, wrong, unknown, listed) = _talk(
        tmp_path,
        [
            ("generate_audio", {"prompt": "rain", "seconds": 1, "seed": 3}),
            ("generate_audio", {"prompt": "rain", "init_audio": "/etc/passwd"}),
            ("make_coffee", {}),
            ("list_clips", {}),
        ],
    )
    assert {tool.name for tool in tools} == {"generate_audio", "list_clips", "list_models"}
    (generate,) = (tool for tool in tools if tool.name == "generate_audio")
    assert {"prompt", "seconds", "init_audio", "model"} <= set(generate.input_schema["properties"])
    answer = json.loads(made.content[0].text)
    assert soundfile.info(answer["path"]).duration == 1.0
    assert Path(answer["path"]).parent == tmp_path
    assert wrong.is_error
    assert "is the id of no recording" in wrong.content[0].text
    assert unknown.is_error
    assert [clip["id"] for clip in listed.structured_content["clips"]] == [answer["id"]]
