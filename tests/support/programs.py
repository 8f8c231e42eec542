"""Three executables that do the same in shell, JavaScript and C, so that one test can ask it of each of them.

They do what the payload's `do` says: `answer` at once; `busy`, which ends with 75 at the first attempt; `wait` at the
payload's gate after a progress of 40; `hang` with a child in a session of its own, after naming both in the file
`pids` of the payload's place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_SHELL = """#!/bin/sh
read -r payload
field() { printf '%s' "$payload" | sed -n "s/.*\\"$1\\": *\\"\\([^\\"]*\\)\\".*/\\1/p"; }
case $(field do) in
busy)
    [ "$JOBWARDEN_ATTEMPT" = 1 ] && { echo 'retry 0.05' >&3; echo 'all lines are busy' >&2; exit 75; } ;;
wait)
    echo 'progress 40' >&3
    echo "$JOBWARDEN_JOB_ID $JOBWARDEN_ATTEMPT $$" > "$(field gate).started"
    head -c 1 "$(field gate).go" > /dev/null ;;
hang)
    setsid sleep 300 &
    echo "$$ $!" > "$(field place)/pids"
    echo 'progress 1' >&3
    trap '' TERM
    wait ;;
esac
echo '{"language": "shell"}'
"""
_NODE = """#!/usr/bin/env node
const fs = require("fs");
const payload = JSON.parse(fs.readFileSync(0, "utf8"));
const env = process.env;
const say = (text) => fs.writeSync(3, text + "\\n");
if (payload.do === "busy" && env.JOBWARDEN_ATTEMPT === "1") {
    say("retry 0.05");
    console.error("all lines are busy");
    process.exit(75);
} else if (payload.do === "wait") {
    say("progress 40");
    fs.appendFileSync(payload.gate + ".started", `${env.JOBWARDEN_JOB_ID} ${env.JOBWARDEN_ATTEMPT} ${process.pid}\\n`);
    fs.readSync(fs.openSync(payload.gate + ".go", "r"), Buffer.alloc(1), 0, 1);
} else if (payload.do === "hang") {
    const child = require("child_process").spawn("sleep", ["300"], {detached: true, stdio: "ignore"});
    fs.writeFileSync(payload.place + "/pids", `${process.pid} ${child.pid}\\n`);
    say("progress 1");
    process.on("SIGTERM", () => {});
    setInterval(() => {}, 1000);
}
if (payload.do !== "hang") console.log(JSON.stringify({language: "node"}));
"""
_C = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char payload[4096];

static const char *field(const char *name) {
    static char found[4][1024];
    static int next;
    char *value = found[next++ % 4], wanted[64];
    snprintf(wanted, sizeof wanted, "\"%s\":", name);
    char *at = strstr(payload, wanted);
    *value = 0;
    if (at && (at = strchr(at + strlen(wanted), '"'))) sscanf(at + 1, "%1000[^\"]", value);
    return value;
}

static FILE *open_beside(const char *name, const char *suffix, const char *mode) {
    char path[2048];
    snprintf(path, sizeof path, "%s%s", field(name), suffix);
    return fopen(path, mode);
}

int main(void) {
    if (!fgets(payload, sizeof payload, stdin)) return 64;
    const char *what = field("do");
    if (!strcmp(what, "busy") && !strcmp(getenv("JOBWARDEN_ATTEMPT"), "1")) {
        dprintf(3, "retry 0.05\n");
        fprintf(stderr, "all lines are busy\n");
        return 75;
    } else if (!strcmp(what, "wait")) {
        dprintf(3, "progress 40\n");
        FILE *started = open_beside("gate", ".started", "w");
        fprintf(started, "%s %s %d\n", getenv("JOBWARDEN_JOB_ID"), getenv("JOBWARDEN_ATTEMPT"), getpid());
        fclose(started);
        FILE *go = open_beside("gate", ".go", "r");
        setvbuf(go, 0, _IONBF, 0);
        fgetc(go);
    } else if (!strcmp(what, "hang")) {
        pid_t child = fork();
        if (!child) { setsid(); for (;;) pause(); }
        FILE *pids = open_beside("place", "/pids", "w");
        fprintf(pids, "%d %d\n", getpid(), child);
        fclose(pids);
        dprintf(3, "progress 1\n");
        for (;;) pause();
    }
    printf("{\"language\": \"compiled\"}\n");
    return 0;
}
"""


def write_programs(folder: Path) -> None:
    """Make `shell.sh`, `node.js` and `compiled` in this folder; their job types are `shell`, `node` and `compiled`."""
    need("node")
    write_program(folder / "shell.sh", _SHELL)
    write_program(folder / "node.js", _NODE)
    compile_c(_C, folder / "compiled")


def write_program(path: Path, text: str) -> None:
    """A script that may be run, in place of what stands there."""
    path.write_text(text)
    path.chmod(0o755)


def compile_c(text: str, target: Path) -> None:
    """A program from C."""
    subprocess.run([need("gcc"), "-x", "c", "-", "-o", str(target)], input=text, text=True, check=True)


def need(program: str) -> str:
    """Where the program is. Without it the test is skipped, except in CI, which installs it."""
    found = shutil.which(program)
    if found is None and os.environ.get("CI") != "true":
        pytest.skip(f"{program} is not there")
    assert found is not None, f"{program} is not there"
    return found
