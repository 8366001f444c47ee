// rabbitmq-c (librabbitmq): no recovery of its own, so with a loop around it; confirms, returns and cancellations are
// frames that its user reads.
#define _GNU_SOURCE // vasprintf
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef amqp_connection_state_t Connection;

enum { CHANNELS = 1000, LARGE = 10 * 1024 * 1024 };
static const amqp_table_t NO_TABLE;
static struct timeval PATIENCE = {20, 0};

#define B(text) amqp_cstring_bytes(text)
#define check(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))
#define table_of(entries) ((amqp_table_t){sizeof(entries) / sizeof(*(entries)), entries})
#define FIELD(name, type, member, ...) {B(name), {.kind = AMQP_FIELD_KIND_##type, .value = {.member = __VA_ARGS__}}}

static void fail(int line, const char *what) {
  printf("driver.c:%d: not so: %s\n", line, what);
  exit(1);
}

// --- texts -----------------------------------------------------------------------------------------------------------

static char *format(const char *pattern, ...) {
  char *text;
  va_list values;
  va_start(values, pattern);
  check(vasprintf(&text, pattern, values) >= 0);
  va_end(values);
  return text;
}

static char *text_of(amqp_bytes_t bytes) { return format("%.*s", (int)bytes.len, (char *)bytes.bytes); }

static bool is(const char *expected, amqp_bytes_t bytes) {
  bool same = bytes.len == strlen(expected) && !memcmp(bytes.bytes, expected, bytes.len);
  if (!same) printf("expected %s, got %.*s\n", expected, (int)bytes.len, (char *)bytes.bytes);
  return same;
}

// "0 1 2 " and so on.
static char *numbers(int count) {
  char *all = calloc(count + 1, 12), *end = all;
  for (int number = 0; number < count; number++) end += sprintf(end, "%d ", number);
  return all;
}

static void ask(const char *words) { printf("ask %s\n", words); }

static void answered(void) {
  char answer[200] = "";
  check(fgets(answer, sizeof answer, stdin) && !strcmp(answer, "done\n"));
}

// --- connections -----------------------------------------------------------------------------------------------------

static bool is_good(amqp_rpc_reply_t reply) { return reply.reply_type == AMQP_RESPONSE_NORMAL; }

static bool is_done(Connection c) { return is_good(amqp_get_rpc_reply(c)); }

static amqp_rpc_reply_t logged_in(Connection c, const char *vhost, const char *password, int heartbeat) {
  static const amqp_rpc_reply_t REFUSED = {.reply_type = AMQP_RESPONSE_LIBRARY_EXCEPTION};
  struct amqp_connection_info url;
  check(!amqp_parse_url(strdup(getenv("AMQP_URL")), &url));
  if (amqp_socket_open(amqp_tcp_socket_new(c), url.host, url.port)) return REFUSED;
  // What it does not claim by itself, as its user has to read these frames.
  amqp_table_entry_t understood[] = {FIELD("consumer_cancel_notify", BOOLEAN, boolean, 1),
                                     FIELD("connection.blocked", BOOLEAN, boolean, 1)};
  amqp_table_entry_t capabilities[] = {FIELD("capabilities", TABLE, table, table_of(understood))};
  amqp_table_t properties = table_of(capabilities);
  return amqp_login_with_properties(c, vhost ? vhost : url.vhost, 0, AMQP_DEFAULT_FRAME_SIZE, heartbeat, &properties,
                                    AMQP_SASL_METHOD_PLAIN, url.user, password ? password : url.password);
}

// A connection with channel 1, in confirm mode; NULL when there is none to be had.
static Connection try_open(int heartbeat) {
  Connection c = amqp_new_connection();
  if (is_good(logged_in(c, NULL, NULL, heartbeat)) && amqp_channel_open(c, 1) && amqp_confirm_select(c, 1)) return c;
  amqp_destroy_connection(c);
  return NULL;
}

static Connection open_one(void) {
  Connection c = try_open(0);
  check(c);
  return c;
}

static void *server_error(amqp_rpc_reply_t reply, amqp_method_number_t method) {
  check(reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == method);
  return reply.reply.decoded;
}

static void check_closed(Connection c, int channel, amqp_rpc_reply_t reply, int code, const char *text, int method) {
  amqp_channel_close_t *close = server_error(reply, AMQP_CHANNEL_CLOSE_METHOD);
  printf("%d %s\n", close->reply_code, text_of(close->reply_text));
  check(close->reply_code == code && strstr(text_of(close->reply_text), text));
  check((close->class_id << 16 | close->method_id) == method);
  check(!amqp_send_method(c, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &(amqp_channel_close_ok_t){0}));
}

// The next method, which has to be that one; or a confirm, which is passed over.
static void *next_method(Connection c, amqp_method_number_t method) {
  amqp_frame_t frame;
  do {
    check(!amqp_simple_wait_frame_noblock(c, &frame, &PATIENCE) && frame.frame_type == AMQP_FRAME_METHOD);
  } while (frame.payload.method.id == AMQP_BASIC_ACK_METHOD);
  check(frame.payload.method.id == method);
  return frame.payload.method.decoded;
}

// --- queues ----------------------------------------------------------------------------------------------------------

static void declare_with(Connection c, const char *name, amqp_table_t arguments) {
  check(amqp_queue_declare(c, 1, B(name), 0, 0, 0, 0, arguments));
}

static void declare(Connection c, const char *name) { declare_with(c, name, NO_TABLE); }

static void bind_to(Connection c, const char *queue, const char *exchange, const char *key, amqp_table_t arguments) {
  check(amqp_queue_bind(c, 1, B(queue), B(exchange), B(key), arguments));
}

static void exchange(Connection c, const char *name, const char *type) {
  check(amqp_exchange_declare(c, 1, B(name), B(type), 0, 0, 0, 0, NO_TABLE));
}

static int count_of(Connection c, const char *queue) {
  amqp_queue_declare_ok_t *ok = amqp_queue_declare(c, 1, B(queue), 1, 0, 0, 0, NO_TABLE);
  check(ok);
  return ok->message_count;
}

static bool exists(const char *queue) {
  Connection c = open_one();
  bool there = amqp_queue_declare(c, 1, B(queue), 1, 0, 0, 0, NO_TABLE);
  if (!there) check_closed(c, 1, amqp_get_rpc_reply(c), 404, "NOT_FOUND", AMQP_QUEUE_DECLARE_METHOD);
  amqp_destroy_connection(c);
  return there;
}

static void until_gone(const char *queue) {
  while (exists(queue)) usleep(20000);
}

// --- messages --------------------------------------------------------------------------------------------------------

static bool publish(Connection c, int channel, const char *to, const char *key, amqp_bytes_t body, amqp_basic_properties_t *how) {
  return !amqp_basic_publish(c, channel, B(to), B(key), 0, 0, how, body);
}

// Waits for as many confirms; false when the connection is lost meanwhile.
static bool is_confirmed(Connection c, uint64_t tag) {
  amqp_frame_t frame;
  for (uint64_t seen = 0; seen < tag;) {
    if (amqp_simple_wait_frame_noblock(c, &frame, &PATIENCE) || frame.frame_type != AMQP_FRAME_METHOD) return false;
    if (frame.payload.method.id != AMQP_BASIC_ACK_METHOD) return false;
    amqp_basic_ack_t *ack = frame.payload.method.decoded;
    seen = ack->multiple ? ack->delivery_tag : seen + 1;
  }
  return true;
}

// On a connection of its own: confirms do not mix with what consumers get.
static void put_with(const char *to, const char *key, const char *text, amqp_basic_properties_t *how) {
  Connection c = open_one();
  check(publish(c, 1, to, key, B(text), how) && is_confirmed(c, 1));
  amqp_destroy_connection(c);
}

static void put(const char *to, const char *key, const char *text) { put_with(to, key, text, NULL); }

static bool get(Connection c, const char *queue, bool no_ack, amqp_basic_get_ok_t *how, amqp_message_t *message) {
  amqp_rpc_reply_t reply = amqp_basic_get(c, 1, B(queue), no_ack);
  check(is_good(reply));
  if (reply.reply.id == AMQP_BASIC_GET_EMPTY_METHOD) return false;
  *how = *(amqp_basic_get_ok_t *)reply.reply.decoded;
  return is_good(amqp_read_message(c, 1, message, 0));
}

// All that a queue has, got one by one: "a b ".
static char *texts(Connection c, const char *queue) {
  amqp_basic_get_ok_t how;
  amqp_message_t message;
  char *all = "";
  while (get(c, queue, true, &how, &message)) all = format("%s%s ", all, text_of(message.body));
  return all;
}

static void consume(Connection c, const char *queue, bool no_ack) {
  check(amqp_basic_consume(c, 1, B(queue), B("mine"), 0, no_ack, 0, NO_TABLE));
}

static amqp_envelope_t next_message(Connection c) {
  amqp_envelope_t envelope;
  check(is_good(amqp_consume_message(c, &envelope, &PATIENCE, 0)));
  return envelope;
}

static amqp_field_value_t *header(amqp_table_t table, const char *name) {
  for (int i = 0; i < table.num_entries; i++)
    if (table.entries[i].key.len == strlen(name) && !memcmp(table.entries[i].key.bytes, name, strlen(name)))
      return &table.entries[i].value;
  return NULL;
}

// --- scenarios -------------------------------------------------------------------------------------------------------

static void scenario_connect(void) {
  Connection c = open_one();
  amqp_table_t seen = *amqp_get_server_properties(c);
  printf("%s %s\n", text_of(header(seen, "product")->value.bytes), text_of(header(seen, "version")->value.bytes));
  amqp_table_t capabilities = header(seen, "capabilities")->value.table;
  check(header(capabilities, "publisher_confirms")->value.boolean && header(capabilities, "connection.blocked")->value.boolean);
  check(is_good(amqp_connection_close(c, AMQP_REPLY_SUCCESS)));
}

static void scenario_auth_failure(void) {
  amqp_connection_close_t *close =
      server_error(logged_in(amqp_new_connection(), NULL, "wrong", 0), AMQP_CONNECTION_CLOSE_METHOD);
  check(close->reply_code == AMQP_ACCESS_REFUSED);
  check(strstr(text_of(close->reply_text), "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"));
}

static void scenario_no_vhost(void) {
  amqp_connection_close_t *close =
      server_error(logged_in(amqp_new_connection(), "nowhere", NULL, 0), AMQP_CONNECTION_CLOSE_METHOD);
  check(close->reply_code == AMQP_NOT_ALLOWED && is("NOT_ALLOWED - vhost nowhere not found", close->reply_text));
}

static void scenario_publish_confirm(void) {
  Connection c = open_one();
  check(amqp_queue_declare(c, 1, B("q"), 0, 1, 0, 0, NO_TABLE));
  amqp_basic_properties_t persistent = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2};
  for (int number = 0; number < 100; number++) check(publish(c, 1, "", "q", B(format("%d", number)), &persistent));
  check(is_confirmed(c, 100));
  check(count_of(c, "q") == 100);
  check(!strcmp(numbers(100), texts(c, "q")));
}

static void scenario_mandatory_return(void) {
  Connection c = open_one();
  amqp_basic_properties_t named = {._flags = AMQP_BASIC_MESSAGE_ID_FLAG, .message_id = B("m1")};
  check(!amqp_basic_publish(c, 1, B("amq.direct"), B("nobody"), 1, 0, &named, B("lost")));
  amqp_basic_return_t *back = next_method(c, AMQP_BASIC_RETURN_METHOD);
  check(back->reply_code == AMQP_NO_ROUTE && is("NO_ROUTE", back->reply_text));
  check(is("amq.direct", back->exchange) && is("nobody", back->routing_key));
  amqp_message_t message;
  check(is_good(amqp_read_message(c, 1, &message, 0)));
  check(is("lost", message.body) && is("m1", message.properties.message_id));
  check(is_confirmed(c, 1));
}

static void scenario_get(void) {
  Connection c = open_one();
  amqp_basic_get_ok_t how;
  amqp_message_t message;
  declare(c, "q");
  put("", "q", "a");
  put("", "q", "b");
  check(get(c, "q", false, &how, &message));
  check(is("a", message.body) && is("", how.exchange) && is("q", how.routing_key));
  check(!how.redelivered && how.message_count == 1);
  check(!amqp_basic_ack(c, 1, how.delivery_tag, 0));
  check(!strcmp("b ", texts(c, "q")));
  check(!get(c, "q", false, &how, &message));
}

static void scenario_work_queue(void) {
  Connection workers[] = {open_one(), open_one()};
  declare(workers[0], "q");
  for (int i = 0; i < 2; i++) {
    check(amqp_basic_qos(workers[i], 1, 0, 1, 0));
    consume(workers[i], "q", false);
  }
  for (int number = 0; number < 20; number++) put("", "q", format("%d", number));
  int done[2] = {0}, times[20] = {0};
  for (int turn = 0; done[0] + done[1] < 20; turn = !turn) {
    amqp_envelope_t envelope;
    if (!is_good(amqp_consume_message(workers[turn], &envelope, &(struct timeval){0, 20000}, 0))) continue;
    done[turn]++;
    times[atoi(text_of(envelope.message.body))]++;
    check(!amqp_basic_ack(workers[turn], 1, envelope.delivery_tag, 0));
  }
  for (int number = 0; number < 20; number++) check(times[number] == 1);
  check(done[0] && done[1]);
  Connection c = open_one();
  while (count_of(c, "q")) usleep(20000);
}

static void scenario_fanout(void) {
  Connection c = open_one();
  const char *queues[] = {"a", "b", "c"};
  exchange(c, "news", "fanout");
  for (int i = 0; i < 3; i++) declare(c, queues[i]), bind_to(c, queues[i], "news", "", NO_TABLE);
  put("news", "any", "hello");
  for (int i = 0; i < 3; i++) check(!strcmp("hello ", texts(c, queues[i])));
}

static void scenario_topic(void) {
  Connection c = open_one();
  const char *patterns[] = {"*.error", "app.#", "#", "app.*.disk"};
  const char *keys[] = {"app", "app.error", "db.error", "app.error.disk", "db.error.disk"};
  exchange(c, "logs", "topic");
  for (int i = 0; i < 4; i++) declare(c, patterns[i]), bind_to(c, patterns[i], "logs", patterns[i], NO_TABLE);
  for (int i = 0; i < 5; i++) put("logs", keys[i], keys[i]);
  check(!strcmp("app.error db.error ", texts(c, "*.error")));
  check(!strcmp("app app.error app.error.disk ", texts(c, "app.#")));
  check(!strcmp("app app.error db.error app.error.disk db.error.disk ", texts(c, "#")));
  check(!strcmp("app.error.disk ", texts(c, "app.*.disk")));
}

static void put_headed(const char *text, const char *kind, int pages) {
  amqp_table_entry_t headers[] = {FIELD("kind", UTF8, bytes, B(kind)), FIELD("pages", I32, i32, pages)};
  amqp_basic_properties_t how = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = table_of(headers)};
  put_with("h", "", text, &how);
}

static void scenario_headers(void) {
  Connection c = open_one();
  const char *matches[] = {"all", "any"};
  exchange(c, "h", "headers");
  for (int i = 0; i < 2; i++) {
    amqp_table_entry_t wanted[] = {FIELD("x-match", UTF8, bytes, B(matches[i])), FIELD("kind", UTF8, bytes, B("report")),
                                   FIELD("pages", I32, i32, 2)};
    declare(c, matches[i]);
    bind_to(c, matches[i], "h", "", table_of(wanted));
  }
  put_headed("both", "report", 2);
  put_headed("one", "report", 3);
  put_headed("none", "note", 1);
  check(!strcmp("both ", texts(c, "all")));
  check(!strcmp("both one ", texts(c, "any")));
}

static void scenario_rpc(void) {
  Connection server = open_one(), client = open_one();
  declare(server, "double");
  consume(server, "double", true);
  consume(client, "amq.rabbitmq.reply-to", true);
  for (int number = 0; number < 10; number++) {
    amqp_basic_properties_t call = {._flags = AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG,
                                    .reply_to = B("amq.rabbitmq.reply-to"), .correlation_id = B(format("c%d", number))};
    check(publish(client, 1, "", "double", B(format("%d", number)), &call) && is_confirmed(client, 1));
    amqp_message_t called = next_message(server).message;
    check(!strncmp(text_of(called.properties.reply_to), "amq.rabbitmq.reply-to.", 22));
    amqp_basic_properties_t answer = {._flags = AMQP_BASIC_CORRELATION_ID_FLAG,
                                      .correlation_id = called.properties.correlation_id};
    amqp_bytes_t result = B(format("%d", 2 * atoi(text_of(called.body))));
    check(publish(server, 1, "", text_of(called.properties.reply_to), result, &answer) && is_confirmed(server, 1));
    amqp_message_t reply = next_message(client).message;
    check(is(format("%d", 2 * number), reply.body) && is(format("c%d", number), reply.properties.correlation_id));
  }
}

static void scenario_ordering(void) {
  Connection c = open_one(), publisher = open_one();
  declare(c, "q");
  consume(c, "q", true);
  for (int number = 0; number < 1000; number++) check(publish(publisher, 1, "", "q", B(format("%d", number)), NULL));
  check(is_confirmed(publisher, 1000));
  for (int number = 0; number < 1000; number++) check(is(format("%d", number), next_message(c).message.body));
}

static void scenario_large_message(void) {
  Connection c = open_one();
  declare(c, "q");
  amqp_bytes_t body = amqp_bytes_malloc(LARGE);
  for (int i = 0; i < LARGE; i++) ((char *)body.bytes)[i] = (char)(i * 2654435761u >> 13);
  check(publish(c, 1, "", "q", body, NULL) && is_confirmed(c, 1));
  consume(c, "q", true);
  amqp_bytes_t got = next_message(c).message.body;
  check(got.len == LARGE && !memcmp(got.bytes, body.bytes, LARGE));
}

static void scenario_many_channels(void) {
  Connection c = open_one();
  declare(c, "q");
  for (int channel = 2; channel <= CHANNELS; channel++) {
    check(amqp_channel_open(c, channel) && amqp_confirm_select(c, channel));
    check(publish(c, channel, "", "q", B(format("%d", channel - 2)), NULL) && is_confirmed(c, 1));
  }
  check(!strcmp(numbers(CHANNELS - 1), texts(c, "q")));
  for (int channel = 2; channel <= CHANNELS; channel++) check(is_good(amqp_channel_close(c, channel, AMQP_REPLY_SUCCESS)));
}

static void scenario_table_types(void) {
  Connection c = open_one();
  declare(c, "q");
  amqp_table_entry_t four[] = {FIELD("four", I32, i32, 4)};
  amqp_field_value_t list[] = {{.kind = AMQP_FIELD_KIND_I32, .value = {.i32 = 1}}, {.kind = AMQP_FIELD_KIND_VOID},
                               {.kind = AMQP_FIELD_KIND_TABLE, .value = {.table = table_of(four)}}};
  amqp_table_entry_t headers[] = {
      FIELD("int8", I8, i8, -1), FIELD("uint8", U8, u8, 255), FIELD("int16", I16, i16, -2), FIELD("uint16", U16, u16, 65535),
      FIELD("int32", I32, i32, INT32_MIN), FIELD("uint32", U32, u32, UINT32_MAX), FIELD("int64", I64, i64, INT64_MIN),
      FIELD("float", F32, f32, 0.5f), FIELD("double", F64, f64, 0.1), FIELD("yes", BOOLEAN, boolean, 1),
      FIELD("no", BOOLEAN, boolean, 0), FIELD("nothing", VOID, i8, 0), FIELD("when", TIMESTAMP, u64, 1700000000),
      FIELD("price", DECIMAL, decimal, {2, 1999}), FIELD("bytes", BYTES, bytes, {3, "\0\xff\x80"}),
      FIELD("text", UTF8, bytes, B("ü漢字🐰")), FIELD("long", UTF8, bytes, B(numbers(5000))), FIELD("empty", UTF8, bytes, B("")),
      FIELD("list", ARRAY, array, {3, list}), FIELD("table", TABLE, table, table_of(four)),
  };
  amqp_basic_properties_t how = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = table_of(headers)};
  put_with("", "q", "x", &how);
  amqp_basic_get_ok_t got;
  amqp_message_t message;
  check(get(c, "q", true, &got, &message));
  amqp_table_t back = message.properties.headers;
  check(back.num_entries == how.headers.num_entries);
  char sent[40000], received[40000]; // as they go over the wire: kinds and values
  for (int i = 0; i < back.num_entries; i++) {
    size_t end = 0, other_end = 0;
    amqp_table_t one = {1, &headers[i]}, other = {1, &back.entries[i]};
    check(is(text_of(headers[i].key), back.entries[i].key));
    check(headers[i].value.kind == back.entries[i].value.kind);
    check(!amqp_encode_table((amqp_bytes_t){sizeof sent, sent}, &one, &end));
    check(!amqp_encode_table((amqp_bytes_t){sizeof received, received}, &other, &other_end));
    check(end == other_end && !memcmp(sent, received, end));
  }
}

static void scenario_exclusive(void) {
  Connection mine = open_one(), other = open_one();
  check(amqp_queue_declare(mine, 1, B("mine"), 0, 0, 1, 0, NO_TABLE));
  check(!amqp_queue_declare(other, 1, B("mine"), 1, 0, 0, 0, NO_TABLE));
  check_closed(other, 1, amqp_get_rpc_reply(other), 405, "RESOURCE_LOCKED", AMQP_QUEUE_DECLARE_METHOD);
  check(is_good(amqp_connection_close(mine, AMQP_REPLY_SUCCESS)));
  until_gone("mine");
}

static void scenario_auto_delete(void) {
  Connection c = open_one();
  check(amqp_queue_declare(c, 1, B("q"), 0, 0, 0, 1, NO_TABLE));
  check(amqp_basic_consume(c, 1, B("q"), B("first"), 0, 0, 0, NO_TABLE));
  check(amqp_basic_consume(c, 1, B("q"), B("second"), 0, 0, 0, NO_TABLE));
  check(amqp_basic_cancel(c, 1, B("first")));
  check(exists("q"));
  check(amqp_basic_cancel(c, 1, B("second")));
  until_gone("q");
}

static void scenario_priorities(void) {
  Connection c = open_one();
  amqp_table_entry_t arguments[] = {FIELD("x-max-priority", I32, i32, 10)};
  int priorities[] = {1, 9, 5, 10, 0, 5}, sorted[] = {10, 9, 5, 5, 1, 0};
  declare_with(c, "q", table_of(arguments));
  for (int i = 0; i < 6; i++) {
    amqp_basic_properties_t how = {._flags = AMQP_BASIC_PRIORITY_FLAG, .priority = priorities[i]};
    put_with("", "q", format("%d", priorities[i]), &how);
  }
  consume(c, "q", true);
  for (int i = 0; i < 6; i++) check(is(format("%d", sorted[i]), next_message(c).message.body));
}

static int64_t deaths(amqp_table_t headers, const char *queue, const char *reason) {
  amqp_field_value_t *all = header(headers, "x-death");
  for (int i = 0; all && i < all->value.array.num_entries; i++) {
    amqp_table_t death = all->value.array.entries[i].value.table;
    if (!strcmp(queue, text_of(header(death, "queue")->value.bytes)) &&
        !strcmp(reason, text_of(header(death, "reason")->value.bytes)))
      return header(death, "count")->value.i64;
  }
  return 0;
}

static void scenario_retry_loop(void) {
  Connection c = open_one();
  amqp_table_entry_t to_retry[] = {FIELD("x-dead-letter-exchange", UTF8, bytes, B("")),
                                   FIELD("x-dead-letter-routing-key", UTF8, bytes, B("retry"))};
  amqp_table_entry_t to_work[] = {FIELD("x-dead-letter-exchange", UTF8, bytes, B("")),
                                  FIELD("x-dead-letter-routing-key", UTF8, bytes, B("work")),
                                  FIELD("x-message-ttl", I32, i32, 50)};
  declare_with(c, "work", table_of(to_retry));
  declare_with(c, "retry", table_of(to_work));
  put("", "work", "try me");
  consume(c, "work", false);
  for (int round = 0; round < 3; round++) {
    amqp_envelope_t envelope = next_message(c);
    amqp_table_t headers = envelope.message.properties.headers;
    check(deaths(headers, "work", "rejected") == round && deaths(headers, "retry", "expired") == round);
    if (round < 2) check(!amqp_basic_nack(c, 1, envelope.delivery_tag, 0, 0));
    else check(!amqp_basic_ack(c, 1, envelope.delivery_tag, 0));
  }
}

static void scenario_tx(void) {
  Connection c = open_one();
  amqp_basic_get_ok_t how;
  amqp_message_t message;
  check(is_good(amqp_channel_close(c, 1, AMQP_REPLY_SUCCESS)) && amqp_channel_open(c, 1)); // one without confirms
  declare(c, "q");
  check(amqp_tx_select(c, 1) && publish(c, 1, "", "q", B("kept"), NULL));
  check(count_of(c, "q") == 0);
  check(amqp_tx_commit(c, 1) && count_of(c, "q") == 1);
  check(publish(c, 1, "", "q", B("forgotten"), NULL));
  check(get(c, "q", false, &how, &message) && !amqp_basic_ack(c, 1, how.delivery_tag, 0));
  check(amqp_tx_rollback(c, 1) && amqp_basic_recover(c, 1, 1));
  check(get(c, "q", false, &how, &message));
  check(is("kept", message.body) && how.redelivered && how.message_count == 0);
}

static void scenario_recover(void) {
  Connection c = open_one();
  declare(c, "q");
  put("", "q", "again");
  consume(c, "q", false);
  amqp_envelope_t envelope = next_message(c);
  check(!envelope.redelivered && amqp_basic_recover(c, 1, 1));
  envelope = next_message(c);
  check(envelope.redelivered && !amqp_basic_nack(c, 1, envelope.delivery_tag, 0, 1));
  envelope = next_message(c);
  check(envelope.redelivered && !amqp_basic_reject(c, 1, envelope.delivery_tag, 1));
  envelope = next_message(c);
  check(envelope.redelivered && is("again", envelope.message.body));
  check(!amqp_basic_reject(c, 1, envelope.delivery_tag, 0));
  check(count_of(c, "q") == 0);
}

static void scenario_unbind_purge_delete(void) {
  Connection c = open_one();
  amqp_table_entry_t arguments[] = {FIELD("reason", UTF8, bytes, B("test"))};
  declare(c, "q");
  bind_to(c, "q", "amq.direct", "key", table_of(arguments));
  for (int i = 0; i < 3; i++) put("amq.direct", "key", "x");
  check(amqp_queue_unbind(c, 1, B("q"), B("amq.direct"), B("key"), table_of(arguments)));
  put("amq.direct", "key", "unheard");
  check(amqp_queue_purge(c, 1, B("q"))->message_count == 3);
  for (int i = 0; i < 2; i++) put("", "q", "x");
  check(amqp_queue_delete(c, 1, B("q"), 0, 0)->message_count == 2);
  check(amqp_queue_delete(c, 1, B("q"), 0, 0)->message_count == 0);
}

static void scenario_consumer_cancel(void) {
  Connection c = open_one();
  amqp_envelope_t envelope;
  declare(c, "q");
  consume(c, "q", true);
  ask("delete_queue q");
  answered();
  amqp_rpc_reply_t reply = amqp_consume_message(c, &envelope, &PATIENCE, 0);
  check(reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && reply.library_error == AMQP_STATUS_UNEXPECTED_STATE);
  amqp_basic_cancel_t *cancel = next_method(c, AMQP_BASIC_CANCEL_METHOD);
  check(is("mine", cancel->consumer_tag));
}

static void scenario_blocked(void) {
  Connection c = open_one();
  declare(c, "q");
  ask("block");
  answered();
  check(publish(c, 1, "", "q", B("waits"), NULL));
  amqp_connection_blocked_t *blocked = next_method(c, AMQP_CONNECTION_BLOCKED_METHOD);
  check(strstr(text_of(blocked->reason), "memory"));
  ask("unblock");
  answered();
  next_method(c, AMQP_CONNECTION_UNBLOCKED_METHOD);
  put("", "q", "goes");
  check(!strcmp("waits goes ", texts(open_one(), "q")));
}

// A connection in `place`, a new one when there is none.
static bool is_open(Connection *place) {
  if (!*place) usleep(100000);
  if (!*place) *place = try_open(0);
  return *place;
}

static void lose(Connection *place) {
  printf("lost a connection\n");
  if (*place) amqp_destroy_connection(*place);
  *place = NULL;
}

// Until it is confirmed.
static void publish_surely(Connection *place, const char *queue, const char *text) {
  amqp_basic_properties_t how = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2};
  while (!is_open(place) || !publish(*place, 1, "", queue, B(text), &how) || !is_confirmed(*place, 1)) lose(place);
}

static void scenario_reconnect(void) {
  Connection publisher = NULL, consumer = open_one();
  check(amqp_queue_declare(consumer, 1, B("kept"), 0, 1, 0, 0, NO_TABLE));
  check(amqp_queue_declare(consumer, 1, B("work"), 0, 1, 0, 0, NO_TABLE));
  consume(consumer, "work", false);
  for (int number = 0; number < 20; number++) publish_surely(&publisher, "kept", format("%d", number));
  ask("kill");
  for (int number = 0; number < 40; number++) publish_surely(&publisher, "work", format("%d", number));
  answered();
  publish_surely(&publisher, "work", "40");
  publish_surely(&publisher, "work", "41");
  bool seen[42] = {false};
  for (int count = 0; count < 42;) {
    amqp_envelope_t envelope;
    bool is_new = !consumer;
    if (!is_open(&consumer)) continue;
    if (is_new) consume(consumer, "work", false);
    if (!is_good(amqp_consume_message(consumer, &envelope, &PATIENCE, 0))) {
      lose(&consumer);
      continue;
    }
    int number = atoi(text_of(envelope.message.body));
    count += !seen[number];
    seen[number] = true;
    if (amqp_basic_ack(consumer, 1, envelope.delivery_tag, 0)) lose(&consumer); // it had come before the broker ended
  }
  check(!strcmp(numbers(20), texts(publisher, "kept")));
}

static void scenario_heartbeat_loss(void) {
  Connection c = try_open(1);
  amqp_envelope_t envelope;
  check(c && amqp_get_heartbeat(c) == 1);
  declare(c, "q");
  consume(c, "q", true);
  amqp_rpc_reply_t reply = amqp_consume_message(c, &envelope, &(struct timeval){4, 0}, 0); // heartbeats go both ways
  check(reply.library_error == AMQP_STATUS_TIMEOUT);
  ask("freeze 6");
  answered();
  reply = amqp_consume_message(c, &envelope, &PATIENCE, 0);
  check(reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && reply.library_error == AMQP_STATUS_HEARTBEAT_TIMEOUT);
  declare(open_one(), "back"); // when it moves again
}

static void scenario_non_ascii(void) {
  Connection c = open_one();
  const char *queue = "größe-漢字", *to = "обмен-🐰", *key = "ключ.ü.漢", *text = "Grüße, 世界 🐇", *tag = "täg-🏷";
  declare(c, queue);
  exchange(c, to, "topic");
  bind_to(c, queue, to, "ключ.*.漢", NO_TABLE);
  amqp_table_entry_t headers[] = {FIELD("schlüssel-鍵", UTF8, bytes, B(text))};
  amqp_basic_properties_t how = {._flags = AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_TYPE_FLAG, .headers = table_of(headers),
                                 .type = B("typ-ü")};
  put_with(to, key, text, &how);
  check(amqp_basic_consume(c, 1, B(queue), B(tag), 0, 1, 0, NO_TABLE));
  amqp_envelope_t got = next_message(c);
  check(is(to, got.exchange) && is(key, got.routing_key) && is(tag, got.consumer_tag) && is(text, got.message.body));
  check(is("typ-ü", got.message.properties.type));
  check(is(text, header(got.message.properties.headers, "schlüssel-鍵")->value.bytes));
  check(exists(queue));
}

// What the broker says of a method that has no answer: the next frame is its channel.close.
static amqp_rpc_reply_t closing(Connection c) {
  amqp_rpc_reply_t reply = {.reply_type = AMQP_RESPONSE_SERVER_EXCEPTION, .reply = {.id = AMQP_CHANNEL_CLOSE_METHOD}};
  reply.reply.decoded = next_method(c, AMQP_CHANNEL_CLOSE_METHOD);
  return reply;
}

static void check_lost(Connection c, amqp_connection_close_t *close, int code, const char *name) {
  printf("%d %s\n", close->reply_code, text_of(close->reply_text));
  check(close->reply_code == code && strstr(text_of(close->reply_text), name));
  amqp_destroy_connection(c);
}

static void scenario_error_codes(void) {
  Connection c = open_one();
  check(amqp_queue_declare(c, 1, B("durable"), 0, 1, 0, 0, NO_TABLE));
  for (int channel = 2; channel < 8; channel++) check(amqp_channel_open(c, channel));
  check(!amqp_queue_declare(c, 2, B("missing"), 1, 0, 0, 0, NO_TABLE));
  check_closed(c, 2, amqp_get_rpc_reply(c), 404, "NOT_FOUND", AMQP_QUEUE_DECLARE_METHOD);
  check(!amqp_queue_declare(c, 3, B("durable"), 0, 0, 0, 0, NO_TABLE));
  check_closed(c, 3, amqp_get_rpc_reply(c), 406, "PRECONDITION_FAILED", AMQP_QUEUE_DECLARE_METHOD);
  check(!amqp_exchange_declare(c, 4, B("amq.mine"), B("direct"), 0, 0, 0, 0, NO_TABLE));
  check_closed(c, 4, amqp_get_rpc_reply(c), 403, "ACCESS_REFUSED", AMQP_EXCHANGE_DECLARE_METHOD);
  check(!amqp_basic_ack(c, 5, 7, 0));
  check_closed(c, 5, closing(c), 406, "PRECONDITION_FAILED - unknown delivery tag 7", AMQP_BASIC_ACK_METHOD);
  check(publish(c, 6, "missing", "", B("x"), NULL));
  check_closed(c, 6, closing(c), 404, "NOT_FOUND - no exchange 'missing'", AMQP_BASIC_PUBLISH_METHOD);

  check(!amqp_exchange_declare(c, 7, B("x"), B("no-such-type"), 0, 0, 0, 0, NO_TABLE) && !is_done(c));
  check_lost(c, server_error(amqp_get_rpc_reply(c), AMQP_CONNECTION_CLOSE_METHOD), 503, "COMMAND_INVALID");
  c = open_one();
  check(!amqp_basic_qos(c, 1, 1, 0, 0));
  check_lost(c, server_error(amqp_get_rpc_reply(c), AMQP_CONNECTION_CLOSE_METHOD), 540, "NOT_IMPLEMENTED");
  c = open_one();
  check(!amqp_basic_publish(c, 1, B(""), B("q"), 0, 1, NULL, B("x")));
  check_lost(c, next_method(c, AMQP_CONNECTION_CLOSE_METHOD), 540, "NOT_IMPLEMENTED");
  c = open_one();
  consume(c, "durable", true);
  check(!amqp_basic_consume(c, 1, B("durable"), B("mine"), 0, 1, 0, NO_TABLE));
  check_lost(c, server_error(amqp_get_rpc_reply(c), AMQP_CONNECTION_CLOSE_METHOD), 530, "NOT_ALLOWED");
  c = open_one();
  check(!amqp_queue_declare(c, 9, B("q"), 0, 0, 0, 0, NO_TABLE)); // nobody has opened that channel
  check_lost(c, server_error(amqp_get_rpc_reply(c), AMQP_CONNECTION_CLOSE_METHOD), 504, "CHANNEL_ERROR");
  c = open_one();
  amqp_frame_t body = {.frame_type = AMQP_FRAME_BODY, .channel = 1, .payload = {.body_fragment = B("of nothing")}};
  check(!amqp_send_frame(c, &body));
  check_lost(c, next_method(c, AMQP_CONNECTION_CLOSE_METHOD), 505, "UNEXPECTED_FRAME");
}

static const struct {
  const char *name;
  void (*play)(void);
} SCENARIOS[] = {
#define SCENARIO(name) {#name, scenario_##name}
    SCENARIO(connect), SCENARIO(auth_failure), SCENARIO(no_vhost), SCENARIO(publish_confirm), SCENARIO(mandatory_return),
    SCENARIO(get), SCENARIO(work_queue), SCENARIO(fanout), SCENARIO(topic), SCENARIO(headers), SCENARIO(rpc),
    SCENARIO(ordering), SCENARIO(large_message), SCENARIO(many_channels), SCENARIO(table_types), SCENARIO(exclusive),
    SCENARIO(auto_delete), SCENARIO(priorities), SCENARIO(retry_loop), SCENARIO(tx), SCENARIO(recover),
    SCENARIO(unbind_purge_delete), SCENARIO(consumer_cancel), SCENARIO(blocked), SCENARIO(reconnect),
    SCENARIO(heartbeat_loss), SCENARIO(non_ascii), SCENARIO(error_codes),
};

int main(int count, char **words) {
  const char *scenario = words[count - 1];
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!strcmp(scenario, "version")) {
    printf("version %s\n", amqp_version());
    return 0;
  }
  for (size_t i = 0; i < sizeof SCENARIOS / sizeof *SCENARIOS; i++)
    if (!strcmp(scenario, SCENARIOS[i].name)) {
      SCENARIOS[i].play();
      return 0;
    }
  printf("nobody wrote %s\n", scenario);
  return 77;
}
