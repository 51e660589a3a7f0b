

# The end of a server that has `tools`, functions by name: JSON-RPC by lines, each request in a thread of its own.
def respond(message):
    if message["method"] == "initialize":
        version = message["params"]["protocolVersion"]
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    if message["method"] == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in tools]}
    if message["method"] == "tools/call":
        done = tools[message["params"]["name"]](message["params"]["arguments"])
        return {"content": [{"type": "text", "text": json.dumps(done)}]}
    return {}


def answer(message):
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": respond(message)}), flush=True)


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        threading.Thread(target=answer, args=(message,)).start()
