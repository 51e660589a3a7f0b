# A server that makes the system calls that it is told to, and says what became of them. It speaks JSON-RPC by lines.
import ctypes, json, os, subprocess, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)


def call(number, arguments):
    ctypes.set_errno(0)
    words = [ctypes.c_ulong(word) for word in arguments + [0] * (6 - len(arguments))]
    libc.syscall(ctypes.c_long(number), *words)
    return ctypes.get_errno()


def tries(wanted):
    done = [call(number, arguments) for number, arguments in wanted["calls"]]
    time.sleep(wanted.get("pause_s", 0))
    return done


def flood(wanted):
    def many():
        for _ in range(wanted["times"]):
            call(wanted["number"], [])

    for _ in range(wanted["threads"]):
        threading.Thread(target=many, daemon=True).start()
    return "started"


def depart(wanted):
    time.sleep(wanted["before_s"])
    # A notification of one line, which keeps who reads it busy.
    items = ", ".join(['"' + "x" * 60 + '"'] * (wanted["line_mib"] << 14))
    note = '{"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": [%s]}}'
    if items:
        print(note % items, flush=True)
    for number in wanted["numbers"]:
        call(number, [(1 << 53) - 1] * 6)
    os._exit(7)


def ordinary(wanted):
    done = [subprocess.run(command, capture_output=True, text=True) for command in wanted["commands"]]
    return [f"{one.returncode} {one.stdout[-200:]}{one.stderr[-300:]}" for one in done]


def respond(message):
    if message["method"] == "initialize":
        version = message["params"]["protocolVersion"]
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    if message["method"] == "tools/list":
        names = ["tries", "flood", "depart", "ordinary", "echo"]
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
    if message["method"] == "tools/call":
        wanted = message["params"]["arguments"]
        tools = {"tries": tries, "flood": flood, "depart": depart, "ordinary": ordinary, "echo": str}
        done = tools[message["params"]["name"]](wanted)
        return {"content": [{"type": "text", "text": json.dumps(done)}]}
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": respond(message)}), flush=True)
os._exit(0)
