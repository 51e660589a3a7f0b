"""An MCP server on the official Python SDK 2.x for the differential suite.

It checks nothing: each call that reaches a tool is written down as this language saw it, one line a call.
"""

import asyncio
import json
import os

import mcp_types as types
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


async def list_tools(context, params):
    return types.ListToolsResult(
        tools=[types.Tool(name=name, description=f"The tool {name}", input_schema=SCHEMA) for name in TOOLS]
    )


async def call_tool(context, params):
    if params.name not in TOOLS:
        raise ValueError("no such tool")
    with open(os.environ["EXECUTED"], "a", encoding="utf-8") as log:
        log.write(json.dumps({"tool": params.name, "arguments": seen(params.arguments or {})}) + "\n")
    return types.CallToolResult(content=[types.TextContent(type="text", text="done")])


server = Server("diff-py2", on_list_tools=list_tools, on_call_tool=call_tool)


async def main():
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


asyncio.run(main())
