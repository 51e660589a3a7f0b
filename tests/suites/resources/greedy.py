# A server that takes all it can get of one thing, named by its tool's argument. It speaks JSON-RPC by lines.
import json, os, sys, time


def memory():
    held = []
    while True:
        held.append(bytearray(b"x" * (1 << 20)))


def child_memory():
    pid = os.fork()
    if pid == 0:
        memory()
    return f"signal {os.WTERMSIG(os.waitpid(pid, 0)[1])}"


def until_refused(most, take):
    count = 0
    try:
        while count < most:
            take(count)
            count += 1
    except OSError as error:
        return f"{count} {error.errno}"
    return f"{count} 0"


def processes():
    def fork(_):
        if os.fork() == 0:
            time.sleep(600)

    return until_refused(500, fork)


def files():
    return until_refused(5000, lambda _: os.open("/dev/null", os.O_RDONLY))


def space():
    file, block = os.open("/tmp/fill", os.O_CREAT | os.O_WRONLY), b"x" * (1 << 16)
    return until_refused(1 << 15, lambda _: os.write(file, block))


def inodes():
    return until_refused(200_000, lambda count: os.close(os.open(f"/tmp/{count}", os.O_CREAT | os.O_WRONLY)))


def cpu():
    children = [os.fork() for _ in range(2)]
    end = time.monotonic() + 3
    while time.monotonic() < end:
        pass
    return f"{len(children)}"


def noise():
    for _ in range(100):
        sys.stderr.write("n" * (1 << 20) + "\n")
    return "said"


GREED = {f.__name__: f for f in (memory, child_memory, processes, files, space, inodes, cpu, noise)}
SERVER = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "greedy", "version": "1"}}
TOOLS = {"tools": [{"name": "take", "inputSchema": {"type": "object"}}]}

pid = os.getpid()
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    result = {"initialize": SERVER, "tools/list": TOOLS}.get(message["method"], {})
    if message["method"] == "tools/call":
        text = GREED[message["params"]["arguments"]["what"]]()
        if os.getpid() != pid:
            os._exit(0)
        result = {"content": [{"type": "text", "text": text}]}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()
