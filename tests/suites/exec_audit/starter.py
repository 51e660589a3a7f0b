# A server that starts the programs that it is told to. It speaks JSON-RPC by lines.
import json, os, subprocess, sys, threading, time


def run(wanted):
    done = [subprocess.run([os.fsencode(word) for word in command], capture_output=True) for command in wanted["commands"]]
    time.sleep(0.3)  # the call is in flight as long as its programs may be told
    return [one.returncode for one in done]


def status_of(command):
    try:
        return subprocess.run(command, capture_output=True).returncode
    except OSError as error:
        return -error.errno


def attempt(wanted):
    done = [status_of(command) for command in wanted["commands"]]
    time.sleep(0.3)
    return done


def by_descriptor(wanted):
    program = os.open(wanted["program"], os.O_RDONLY)
    child = os.fork()
    if child == 0:
        os.execve(program, ["true"], {})
    status = os.waitpid(child, 0)[1]
    time.sleep(0.3)
    return status


def by_thread(wanted):
    child = os.fork()
    if child == 0:
        threading.Thread(target=os.execv, args=(wanted["program"], ["true"])).start()
        time.sleep(10)
    status = os.waitpid(child, 0)[1]
    time.sleep(0.3)
    return status


def flood(wanted):
    shells = [subprocess.Popen(["/bin/sh", "-c", wanted["script"]]) for _ in range(wanted["shells"])]
    return [shell.wait() for shell in shells] if wanted["wait"] else []


tools = {"run": run, "attempt": attempt, "by_descriptor": by_descriptor, "by_thread": by_thread, "flood": flood, "echo": str}
