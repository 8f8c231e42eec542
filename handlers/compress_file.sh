#!/bin/sh
# `compress_file`: a file to FILE.gz beside it, which appears as a whole or not at all. The file itself stays.
#
# jobwarden add compress_file '"app.log"' --wait
set -eu

refuse() {
    echo "error $1" >&3       # goes into the job's error history
    exit 1                    # trying again would not help
}

read -r payload               # JSON on one line; here a string, and none that would have to be unescaped
file=${payload#\"}
file=${file%\"}
[ "$payload" = "\"$file\"" ] || refuse "the payload is not the path of a file"
case $file in *[\\\"]*) refuse "paths with quotes or backslashes are not for this handler" ;; esac
[ -f "$file" ] || refuse "$file: there is no such file"

part=$file.gz.$JOBWARDEN_JOB_ID.part
trap 'rm -f "$part"' EXIT
trap 'exit 143' TERM          # at the job's limit, or when it is cancelled
echo 'progress 1' >&3
gzip -c -- "$file" >"$part" || exit 75     # a full disk, perhaps: another attempt may find room
bytes=$(wc -c <"$part")
mv -- "$part" "$file.gz"
printf '{"target": "%s.gz", "bytes": %d}\n' "$file" "$bytes"
