"""A caller who gives a run a stderr that he can keep from taking anything. Usage: unread.py KIND POLICY PATIENCE COMMAND...

Prints one line of JSON: how the run ended (null: not within PATIENCE seconds) and what it said."""
import fcntl, json, os, pty, signal, socket, struct, subprocess, sys, time

TIOCSPTLCK = 0x40045431
kind, policy, patience, command = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:]


def run(stderr):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr)


def end_of(child):
    try:
        return child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return None


def given(kind):
    if kind == "eventfd":
        return os.eventfd(0), None
    leader, terminal = pty.openpty()
    fcntl.ioctl(leader, TIOCSPTLCK, struct.pack("i", kind == "locked terminal"))
    return terminal, leader


def refused_or_not():
    stderr, leader = given(kind)
    child = run(stderr)
    child.stdin.close()
    code = end_of(child)
    said = ""
    if leader is not None:
        os.set_blocking(leader, False)
        try:
            said = os.read(leader, 65536).decode()
        except BlockingIOError:
            pass
    return code, said


def a_full_socket():
    ours, theirs = socket.socketpair()
    child = run(theirs)
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    child.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode() + b"\n")
    child.stdin.flush()
    child.stdout.readline()
    # The time is the socket's and not the descriptor's: who gave it away still sets it.
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 0))
    try:
        while True:
            theirs.send(b"x", socket.MSG_DONTWAIT)
    except BlockingIOError:
        pass
    with open(policy, "w") as file:
        file.write("name: [")
    child.send_signal(signal.SIGHUP)
    return end_of(child), ""


code, said = a_full_socket() if kind == "socket" else refused_or_not()
print(json.dumps({"code": code, "said": said}))
