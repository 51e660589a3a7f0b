# A server that opens the files that it is told to. It speaks JSON-RPC by lines.
import json, os, subprocess, sys, threading, time


def write(wanted):
    for path in wanted["paths"]:
        with open(os.fsencode(path), "w") as file:
            file.write("x")
    time.sleep(0.3)  # the call is in flight as long as its files may be told


def read(wanted):
    for path in wanted["paths"]:
        with open(path) as file:
            file.read(1)
    subprocess.run(["/bin/sh", "-c", ": > /dev/null"])
    time.sleep(0.3)


def by_child(wanted):
    status = subprocess.run(["/bin/sh", "-c", wanted["script"]]).returncode
    time.sleep(0.3)
    return status


def flood(wanted):
    def some():
        for number in range(wanted["each"]):
            for path in ("same", str(number)):
                os.close(os.open(wanted["folder"] + "/" + path, os.O_WRONLY | os.O_CREAT))

    threads = [threading.Thread(target=some) for _ in range(wanted["threads"])]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]


tools = {"write": write, "read": read, "by_child": by_child, "flood": flood, "echo": str}
