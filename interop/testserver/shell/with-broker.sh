#!/bin/sh
# with-broker.sh COMMAND...   runs it beside a broker of its own, whose address is in AMQP_URL
set -e
directory=$(mktemp -d)
trap 'kill "$broker" && wait "$broker"; rm -r "$directory"' EXIT
amqpd testserver --exit-with-parent --ready-file "$directory/ready" > /dev/null &
broker=$!
while [ ! -e "$directory/ready" ]; do
  kill -0 "$broker" # fails, and ends this, if the broker could not start
  sleep 0.05
done
AMQP_URL=$(cut -d'"' -f4 "$directory/ready")
export AMQP_URL
"$@"
