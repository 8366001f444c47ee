# Debian's amqp-tools (rabbitmq-c): one connection for each command.
set -euo pipefail
out=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$out"' EXIT

same() { # EXPECTED GOT
  [[ "$1" == "$2" ]] || { printf 'expected: %s\ngot: %s\n' "$1" "$2"; exit 1; }
}

fails_with() { # TEXT COMMAND...: the command fails, and says why
  local text=$1 said
  shift
  if said=$("$@" 2>&1); then echo "no failure: $*"; exit 1; fi
  echo "$said"
  [[ "$said" == *"$text"* ]] || { echo "expected: $text"; exit 1; }
}

ask() {
  local answer
  echo "ask $*"
  read -r answer
  same done "$answer"
}

declare_queue() { amqp-declare-queue -u "$AMQP_URL" -q "$@" > /dev/null; }
delete_queue() { amqp-delete-queue -u "$AMQP_URL" -q "$1"; }
put() { amqp-publish -u "$AMQP_URL" -r "$1" -b "$2"; }
get() { amqp-get -u "$AMQP_URL" -q "$1"; }
consume() { amqp-consume -u "$AMQP_URL" -q "$@"; }

# One message of an exchange into a file, by a queue of its own: some time later, so its users publish until it has come.
listener() { # NAME EXCHANGE PATTERN
  consume "" -e "$2" -r "$3" -x -c 1 cat > "$out/$1" &
}

connect() { declare_queue q; delete_queue q; }

auth_failure() {
  fails_with "403, message: ACCESS_REFUSED" amqp-declare-queue -u "${AMQP_URL/:guest@/:wrong@}" -q q
}

no_vhost() { fails_with "530, message: NOT_ALLOWED - vhost nowhere" amqp-declare-queue -u "${AMQP_URL%/*}/nowhere" -q q; }

get_() {
  declare_queue q
  put q a
  put q b
  same a "$(get q)"
  same b "$(get q)"
  local code=0
  get q || code=$?
  same 2 "$code" # empty
}

work_queue() {
  declare_queue q
  consume q -p 1 -c 10 cat > "$out/one" &
  consume q -p 1 -c 10 cat > "$out/two" &
  seq 20 | amqp-publish -u "$AMQP_URL" -r q -l
  wait
  same "$(seq 20)" "$(sort -n "$out/one" "$out/two")"
}

fanout() {
  for name in a b c; do listener $name amq.fanout any; done
  until [[ -s $out/a && -s $out/b && -s $out/c ]]; do amqp-publish -u "$AMQP_URL" -e amq.fanout -b hello; done
  wait
  for name in a b c; do same hello "$(cat "$out/$name")"; done
}

topic() {
  listener star amq.topic '*.error'
  listener hash amq.topic 'app.#'
  until [[ -s $out/star && -s $out/hash ]]; do
    amqp-publish -u "$AMQP_URL" -e amq.topic -r app.disk.full -b hash
    amqp-publish -u "$AMQP_URL" -e amq.topic -r db.error -b star
    amqp-publish -u "$AMQP_URL" -e amq.topic -r other -b nobody
  done
  wait
  same star "$(cat "$out/star")"
  same hash "$(cat "$out/hash")"
}

ordering() {
  declare_queue q
  seq 1000 | amqp-publish -u "$AMQP_URL" -r q -l
  same "$(seq 1000)" "$(consume q -c 1000 cat)"
}

large_message() {
  declare_queue q
  head -c 10485760 /dev/urandom > "$out/body"
  amqp-publish -u "$AMQP_URL" -r q < "$out/body"
  get q > "$out/got"
  cmp "$out/body" "$out/got"
}

exclusive() {
  amqp-consume -u "$AMQP_URL" -q mine -x cat &
  local holder=$!
  until fails_with "" get mine | grep "405, message: RESOURCE_LOCKED"; do sleep 0.05; done
  kill $holder
  until fails_with "" get mine | grep "404, message: NOT_FOUND"; do sleep 0.05; done
}

non_ascii() {
  declare_queue größe-漢字-🐰
  put größe-漢字-🐰 "Grüße, 世界 🐇"
  same "Grüße, 世界 🐇" "$(get größe-漢字-🐰)"
}

error_codes() {
  fails_with "404, message: NOT_FOUND - no queue 'missing'" get missing
  declare_queue durable -d
  fails_with "406, message: PRECONDITION_FAILED" amqp-declare-queue -u "$AMQP_URL" -q durable
  fails_with "403, message: ACCESS_REFUSED" amqp-declare-queue -u "$AMQP_URL" -q amq.mine
  put durable x
  fails_with "406, message: PRECONDITION_FAILED - queue 'durable' in vhost" amqp-delete-queue -u "$AMQP_URL" -q durable -e
}

case $1 in
  version) echo "version $(dpkg-query -W -f '${Version}' amqp-tools 2>/dev/null || echo unknown)" ;;
  get) get_ ;;
  *) "$1" ;;
esac
