"""Clients as people have them, unchanged: redis-cli, redis-benchmark, hiredis and redis-py against the edge."""

import ctypes
import ctypes.util
import glob
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = 60


def _run(command, text=None):
    """(output, None) or (None, what went wrong)."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None, f"{' '.join(command[:4])}: not done within {SECONDS} s"
    if done.returncode:
        return None, f"{' '.join(command[:4])}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-1500:]}"
    return done.stdout + done.stderr, None


_CLI = (("PING", "PONG"), ("SET cli:k v", "OK"), ("GET cli:k", '"v"'), ("INCR cli:n", "(integer) 1"),
        ("HSET cli:h f 1 g 2", "(integer) 2"),
        ("HGET cli:h g", '"2"'), ("GET cli:none", "(nil)"), ("LRANGEX", "(error) ERR unknown command"),
        ("DEL cli:k cli:n cli:h", "(integer) 3"))


def redis_cli(socket):
    for options in ([], ["-3"]):
        text = "".join(command + "\n" for command, _ in _CLI)
        out, wrong = _run(["redis-cli", "-s", socket, "--no-raw", *options], text)
        if wrong:
            return [wrong]
        lines = out.splitlines()
        for command, wanted in _CLI:
            if not any(line.startswith(wanted) for line in lines):
                return [f"redis-cli {' '.join(options)}: {command}: no line {wanted} in {lines}"]
    for arguments in (["--scan", "--pattern", "cli:*"], ["--bigkeys"], ["--memkeys"]):
        out, wrong = _run(["redis-cli", "-s", socket, *arguments])
        if wrong:
            return [wrong]
        if "ERR" in out:
            return [f"redis-cli {' '.join(arguments)}: {out[-500:]}"]
    pipe = "".join(f"*3\r\n$3\r\nSET\r\n$6\r\npipe:{i}\r\n$1\r\nv\r\n" for i in range(10))
    out, wrong = _run(["redis-cli", "-s", socket, "--pipe"], pipe)
    if wrong or "errors: 0, replies: 10" not in out:
        return [wrong or f"redis-cli --pipe: {out[-500:]}"]
    return []


def redis_benchmark(socket):
    for options in (["-P", "1"], ["-P", "16"], ["-P", "16", "-3"]):
        out, wrong = _run(["redis-benchmark", "-s", socket, "-n", "2000", "-c", "10", "-r", "100", "--csv", "-t",
                           "ping,set,get,incr,mset,hset", *options])
        if wrong:
            return [wrong]
        tests = [line for line in out.splitlines() if line.startswith('"') and not line.startswith('"test"')]
        if len(tests) < 7 or "rror" in out:
            return [f"redis-benchmark {' '.join(options)}: {len(tests)} tests: {out[-800:]}"]
    return []


# read.h of hiredis 0.14 and 1.x: they agree on the fields used here, but for `dval` between integer and len.
def _reply_type(with_double):
    fields = [("type", ctypes.c_int), ("integer", ctypes.c_longlong)]
    fields += [("dval", ctypes.c_double)] if with_double else []
    fields += [("len", ctypes.c_size_t), ("str", ctypes.c_void_p)]
    return type("Reply", (ctypes.Structure,), {"_fields_": fields})


_STRING, _ARRAY, _INTEGER, _NIL, _STATUS, _ERROR = 1, 2, 3, 4, 5, 6


def _hiredis_library():
    for name in [ctypes.util.find_library("hiredis"), *sorted(glob.glob("/usr/lib/*/libhiredis.so*"))]:
        if name:
            return name
    return None


def hiredis(socket):
    name = _hiredis_library()
    library = ctypes.CDLL(name)
    library.redisConnectUnix.restype = ctypes.c_void_p
    library.redisConnectUnix.argtypes = [ctypes.c_char_p]
    library.redisCommandArgv.restype = ctypes.c_void_p
    library.redisCommandArgv.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p),
                                         ctypes.POINTER(ctypes.c_size_t)]
    library.freeReplyObject.argtypes = [ctypes.c_void_p]
    library.redisFree.argtypes = [ctypes.c_void_p]
    reply_type = _reply_type(with_double="0.1" not in os.path.realpath(name).rsplit("so.", 1)[-1][:3])
    context = library.redisConnectUnix(socket.encode())
    if not context:
        return ["hiredis: no connection"]

    def ask(*words):
        words = [word.encode() if isinstance(word, str) else word for word in words]
        found = library.redisCommandArgv(context, len(words), (ctypes.c_char_p * len(words))(*words),
                                         (ctypes.c_size_t * len(words))(*map(len, words)))
        if not found:
            return None, b"the connection broke"
        reply = reply_type.from_address(found)
        text = ctypes.string_at(reply.str, reply.len) if reply.type in (_STRING, _STATUS,
                                                                        _ERROR) else reply.integer if reply.type == _INTEGER else None
        answer = reply.type, text
        library.freeReplyObject(found)
        return answer

    try:
        for words, wanted in ((("PING",), (_STATUS, b"PONG")), (("SET", "hi:k", b"a\x00b"), (_STATUS, b"OK")),
                              (("GET", "hi:k"), (_STRING, b"a\x00b")),
                              (("GET", "hi:none"), (_NIL, None)), (("INCR", "hi:n"), (_INTEGER, 1)),
                              (("HSET", "hi:h", "f", "1"), (_INTEGER, 1)),
                              (("HGETALL", "hi:h"), (_ARRAY, None)), (("GET",),
                                                                      (_ERROR, b"ERR wrong number of arguments for 'get' command")),
                              (("DEL", "hi:k", "hi:n", "hi:h"), (_INTEGER, 3))):
            got = ask(*words)
            if got != wanted:
                return [f"hiredis: {words}: {got}, wanted {wanted}"]
    finally:
        library.redisFree(context)
    return []


def _python_with_redis():
    for python in (sys.executable, "/usr/bin/python3"):
        if python and subprocess.run([python, "-c", "import redis"], capture_output=True,
                                     timeout=SECONDS).returncode == 0:
            return python
    return None


def redis_py(socket):
    _, wrong = _run([_python_with_redis(), os.path.join(HERE, "redis_py_client.py"), socket])
    return [wrong] if wrong else []


CLIENTS = (("redis-cli", "redis-tools", lambda: shutil.which("redis-cli"), redis_cli),
           ("redis-benchmark", "redis-tools", lambda: shutil.which("redis-benchmark"), redis_benchmark),
           ("hiredis", "redis-tools, which brings libhiredis", _hiredis_library, hiredis),
           ("redis-py", "python3-redis", _python_with_redis, redis_py))


def run(socket):
    """What went wrong, as text."""
    failures = []
    for name, package, installed, use in CLIENTS:
        if not installed():
            missing = f"{name} is not installed (Debian: {package})"
            if os.environ.get("CI") == "true":  # `./dev setup` installs all of them: a run that cannot look must not say that all is well
                failures.append(missing)
            else:
                print(f"SKIPPED {missing}")
            continue
        found = use(socket)
        print(f"client {name}: {'FAILED' if found else 'works unchanged'}")
        failures += found
    return failures
