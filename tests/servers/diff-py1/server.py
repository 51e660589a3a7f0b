"""An MCP server on the official Python SDK 1.x for the differential suite.

It checks nothing: each call that reaches a tool is written down as this language saw it, one line a call.
"""

import asyncio
import json
import os

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

TOOLS = ("allowed", "denied", "limited")
KINDS = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
TYPES = {"tag": "string", "text": "string", "n": "number", "flag": "boolean", "nested": "object"}
SCHEMA = {"type": "object", "properties": {name: {"type": kind} for name, kind in TYPES.items()}}


def seen(value):
    """A value with its leaves as strings, type first: JSON cannot write all that Python reads (NaN)."""
    if isinstance(value, dict):
        return {key: seen(member) for key, member in value.items()}
    if isinstance(value, list):
        return [seen(item) for item in value]
    text = {True: "true", False: "false", None: ""}[value] if value is None or isinstance(value, bool) else str(value)
    return f"{KINDS[type(value)]}:{text}"


server = Server("diff-py1")


@server.list_tools()
async def list_tools():
    return [types.Tool(name=name, description=f"The tool {name}", inputSchema=SCHEMA) for name in TOOLS]


@server.call_tool(validate_input=False)
async def call_tool(name, arguments):
    if name not in TOOLS:
        raise ValueError("no such tool")
    with open(os.environ["EXECUTED"], "a", encoding="utf-8") as log:
        log.write(json.dumps({"tool": name, "arguments": seen(arguments)}) + "\n")
    return [types.TextContent(type="text", text="done")]


async def main():
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


asyncio.run(main())
