#!/bin/sh
# Runs on a host for as long as it is up: heartbeat.sh POOL_DIRECTORY
# Writes another text every two seconds to POOL_DIRECTORY/heartbeats/HOST_NAME, which is how the
# sweeper sees by the shared storage that the host is alive. Stop it and remove the file when the
# host shall have no such witness.
set -u
folder=$1/heartbeats
name=$(hostname)
beat=0
while :; do
    beat=$((beat + 1))
    mkdir -p "$folder" &&
        echo "$(date +%s) $beat" >"$folder/.$name" &&
        mv "$folder/.$name" "$folder/$name"
    sleep 2
done
