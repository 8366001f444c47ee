// RabbitMQ's own client for Go, amqp091-go, as Debian has it. It does not reconnect by itself: reconnect is the loop
// that its documentation shows.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var (
	url     = os.Getenv("AMQP_URL")
	answers = bufio.NewReader(os.Stdin)

	confirms sync.Map // by channel

	scenarios = map[string]func(){
		"connect": connect, "auth_failure": authFailure, "no_vhost": noVhost, "publish_confirm": publishConfirm,
		"mandatory_return": mandatoryReturn, "get": get, "work_queue": workQueue, "fanout": fanout, "topic": topic,
		"headers": headers, "rpc": rpc, "ordering": ordering, "large_message": largeMessage,
		"many_channels": manyChannels, "table_types": tableTypes, "exclusive": exclusive, "auto_delete": autoDelete,
		"priorities": priorities, "retry_loop": retryLoop, "tx": tx, "recover": recoverUnacked,
		"unbind_purge_delete": unbindPurgeDelete, "consumer_cancel": consumerCancel, "blocked": blocked,
		"reconnect": reconnect, "heartbeat_loss": heartbeatLoss, "non_ascii": nonASCII, "update_secret": updateSecret,
		"error_codes": errorCodes, "version": version,
	}
)

func main() {
	time.AfterFunc(50*time.Second, func() { panic("still waiting after 50 s") })
	scenarios[os.Args[1]]()
}

func connect() {
	connection, _ := open()
	fmt.Println(connection.Properties["product"], connection.Properties["version"])
	capabilities := connection.Properties["capabilities"].(amqp.Table)
	for _, name := range []string{"publisher_confirms", "basic.nack", "connection.blocked", "consumer_cancel_notify"} {
		same(true, capabilities[name])
	}
	closed := connection.NotifyClose(make(chan *amqp.Error, 1))
	check(connection.Close())
	same((*amqp.Error)(nil), <-closed)
}

func authFailure() {
	uri := must(amqp.ParseURI(url))
	uri.Password = "wrong"
	_, err := amqp.Dial(uri.String())
	same(amqp.ErrCredentials, err) // 403: what it makes of it, whatever the text was
}

func noVhost() {
	uri := must(amqp.ParseURI(url))
	uri.Vhost = "nowhere"
	_, err := amqp.Dial(uri.String())
	same(amqp.ErrVhost, err)
}

func publishConfirm() {
	_, channel := open()
	declare(channel, "q", nil)
	send(channel, "", "q", amqp.Publishing{DeliveryMode: amqp.Persistent}, numbers(100)...)
	same(100, must(channel.QueueInspect("q")).Messages)
	same(numbers(100), texts(channel, "q"))
}

func mandatoryReturn() {
	_, channel := open()
	returned := channel.NotifyReturn(make(chan amqp.Return, 1))
	message := amqp.Publishing{MessageId: "m1", Body: []byte("lost")}
	check(channel.Publish("amq.direct", "nobody", true, false, message))
	back := <-returned
	same([]any{uint16(312), "NO_ROUTE"}, []any{back.ReplyCode, back.ReplyText})
	same([]string{"amq.direct", "nobody", "m1", "lost"},
		[]string{back.Exchange, back.RoutingKey, back.MessageId, string(back.Body)})
}

func get() {
	_, channel := open()
	declare(channel, "q", nil)
	send(channel, "", "q", amqp.Publishing{}, "a", "b")
	message, ok, err := channel.Get("q", false)
	check(err)
	same([]any{true, "a", uint32(1), false}, []any{ok, string(message.Body), message.MessageCount, message.Redelivered})
	check(message.Ack(false))
	same([]string{"b"}, texts(channel, "q"))
	_, ok, err = channel.Get("q", false)
	check(err)
	same(false, ok)
}

func workQueue() {
	connection, channel := open()
	declare(channel, "q", nil)
	var lock sync.Mutex
	done := map[int][]string{}
	count := func() int { lock.Lock(); defer lock.Unlock(); return len(done[0]) + len(done[1]) }
	for number := 0; number < 2; number++ {
		worker := must(connection.Channel())
		check(worker.Qos(1, 0, false))
		go func(number int, deliveries <-chan amqp.Delivery) {
			for message := range deliveries {
				time.Sleep(5 * time.Millisecond)
				check(message.Ack(false))
				lock.Lock()
				done[number] = append(done[number], string(message.Body))
				lock.Unlock()
			}
		}(number, consume(worker, "q", false))
	}
	send(channel, "", "q", amqp.Publishing{}, numbers(20)...)
	until(func() bool { return count() == 20 })
	all := append(append([]string{}, done[0]...), done[1]...)
	expected := numbers(20)
	sort.Strings(all)
	sort.Strings(expected)
	same(expected, all)
	sure(len(done[0]) > 0 && len(done[1]) > 0, done)
	until(func() bool { return must(channel.QueueInspect("q")).Messages == 0 })
}

func fanout() {
	_, channel := open()
	check(channel.ExchangeDeclare("news", amqp.ExchangeFanout, true, false, false, false, nil))
	for _, queue := range []string{"a", "b", "c"} {
		bind(channel, queue, "news", "", nil)
	}
	send(channel, "news", "any", amqp.Publishing{}, "hello")
	for _, queue := range []string{"a", "b", "c"} {
		same([]string{"hello"}, texts(channel, queue))
	}
}

func topic() {
	_, channel := open()
	check(channel.ExchangeDeclare("logs", amqp.ExchangeTopic, true, false, false, false, nil))
	for queue, pattern := range map[string]string{"star": "*.error", "hash": "app.#", "all": "#", "middle": "app.*.disk"} {
		bind(channel, queue, "logs", pattern, nil)
	}
	keys := []string{"app", "app.error", "db.error", "app.error.disk", "db.error.disk"}
	for _, key := range keys {
		send(channel, "logs", key, amqp.Publishing{}, key)
	}
	same([]string{"app.error", "db.error"}, texts(channel, "star"))
	same([]string{"app", "app.error", "app.error.disk"}, texts(channel, "hash"))
	same(keys, texts(channel, "all"))
	same([]string{"app.error.disk"}, texts(channel, "middle"))
}

func headers() {
	_, channel := open()
	check(channel.ExchangeDeclare("h", amqp.ExchangeHeaders, true, false, false, false, nil))
	for _, match := range []string{"all", "any"} {
		bind(channel, match, "h", "", amqp.Table{"x-match": match, "kind": "report", "pages": 2})
	}
	send(channel, "h", "", amqp.Publishing{Headers: amqp.Table{"kind": "report", "pages": 2, "more": true}}, "both")
	send(channel, "h", "", amqp.Publishing{Headers: amqp.Table{"kind": "report", "pages": 3}}, "one")
	send(channel, "h", "", amqp.Publishing{Headers: amqp.Table{"kind": "note"}}, "none")
	same([]string{"both"}, texts(channel, "all"))
	same([]string{"both", "one"}, texts(channel, "any"))
}

func rpc() {
	_, server := open()
	declare(server, "double", nil)
	go func() {
		for call := range consume(server, "double", true) {
			sure(strings.HasPrefix(call.ReplyTo, "amq.rabbitmq.reply-to."), call.ReplyTo)
			answer := strconv.Itoa(2 * must(strconv.Atoi(string(call.Body))))
			send(server, "", call.ReplyTo, amqp.Publishing{CorrelationId: call.CorrelationId}, answer)
		}
	}()
	_, client := open()
	replies := consume(client, "amq.rabbitmq.reply-to", true)
	for number := 0; number < 10; number++ {
		text := strconv.Itoa(number)
		send(client, "", "double", amqp.Publishing{CorrelationId: text, ReplyTo: "amq.rabbitmq.reply-to"}, text)
		reply := <-replies
		same([]string{text, strconv.Itoa(2 * number)}, []string{reply.CorrelationId, string(reply.Body)})
	}
}

func ordering() {
	_, channel := open()
	declare(channel, "q", nil)
	inbox := consume(channel, "q", true)
	send(channel, "", "q", amqp.Publishing{}, numbers(1000)...)
	same(numbers(1000), take(inbox, 1000))
}

func largeMessage() {
	_, channel := open()
	declare(channel, "q", nil)
	body := make([]byte, 10<<20)
	rand.Read(body)
	send(channel, "", "q", amqp.Publishing{DeliveryMode: amqp.Persistent}, string(body))
	sure(bytes.Equal(body, (<-consume(channel, "q", true)).Body), "another body")
}

func manyChannels() {
	connection, channel := open()
	declare(channel, "q", nil)
	others := []*amqp.Channel{}
	for len(others) < 999 {
		others = append(others, must(connection.Channel()))
	}
	for number, other := range others {
		must(confirming(other))
		send(other, "", "q", amqp.Publishing{}, strconv.Itoa(number))
	}
	same(numbers(999), texts(channel, "q"))
	for _, other := range others {
		check(other.Close())
	}
}

func tableTypes() {
	_, channel := open()
	declare(channel, "q", nil)
	table := amqp.Table{
		"byte": byte(255), "int8": int8(-128), "int16": int16(-32768), "int32": int32(-1 << 31), "int64": int64(-1 << 63),
		"float32": float32(0.5), "float64": 0.1, "yes": true, "no": false, "nothing": nil, "bytes": []byte{0, 255, 128},
		"price": amqp.Decimal{Scale: 2, Value: 1999}, "when": time.Unix(1700000000, 0), "unicode": "ü漢字🐰",
		"empty": "", "long": strings.Repeat("x", 20_000),
		"list":  []interface{}{int32(1), "two", []interface{}{int64(3)}, amqp.Table{"four": int16(4)}, nil},
		"table": amqp.Table{"inner": amqp.Table{"deeper": []interface{}{true}}, "nobody": amqp.Table{}},
	}
	send(channel, "", "q", amqp.Publishing{Headers: table}, "x")
	same(table, (<-consume(channel, "q", true)).Headers)
}

func exclusive() {
	connection, mine := open()
	must(mine.QueueDeclare("mine", false, false, true, false, nil))
	elsewhere, other := open()
	_, err := other.QueueInspect("mine")
	same(405, codeOf(err))
	sure(strings.HasPrefix(err.(*amqp.Error).Reason, "RESOURCE_LOCKED"), err)
	check(connection.Close())
	until(func() bool { return !exists(elsewhere, "mine") })
}

func autoDelete() {
	connection, channel := open()
	must(channel.QueueDeclare("q", false, true, false, false, nil))
	for _, tag := range []string{"first", "second"} {
		must(channel.Consume("q", tag, true, false, false, false, nil))
	}
	check(channel.Cancel("first", false))
	sure(exists(connection, "q"), "gone before its last consumer")
	check(channel.Cancel("second", false))
	until(func() bool { return !exists(connection, "q") })
}

func priorities() {
	_, channel := open()
	declare(channel, "q", amqp.Table{"x-max-priority": 10})
	for _, priority := range []uint8{1, 9, 5, 10, 0, 5} {
		send(channel, "", "q", amqp.Publishing{Priority: priority}, strconv.Itoa(int(priority)))
	}
	same([]string{"10", "9", "5", "5", "1", "0"}, take(consume(channel, "q", true), 6))
}

func retryLoop() {
	_, channel := open()
	declare(channel, "work", amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "retry"})
	declare(channel, "retry", amqp.Table{"x-message-ttl": 50, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work"})
	send(channel, "", "work", amqp.Publishing{}, "try me")
	inbox := consume(channel, "work", false)
	first := <-inbox
	check(first.Nack(false, false))
	for round := int64(1); round <= 2; round++ {
		message := <-inbox
		deaths := map[string]any{}
		for _, death := range message.Headers["x-death"].([]interface{}) {
			deaths[fmt.Sprint(death.(amqp.Table)["queue"], " ", death.(amqp.Table)["reason"])] = death.(amqp.Table)["count"]
		}
		same(map[string]any{"retry expired": round, "work rejected": round}, deaths)
		check(message.Reject(false))
	}
}

func tx() {
	channel := must(must(amqp.Dial(url)).Channel())
	declare(channel, "q", nil)
	_, other := open()
	check(channel.Tx())
	publish := func(text string) { check(channel.Publish("", "q", false, false, amqp.Publishing{Body: []byte(text)})) }
	publish("rolled back")
	check(channel.TxRollback())
	publish("committed")
	same(0, must(other.QueueInspect("q")).Messages)
	check(channel.TxCommit())
	same([]string{"committed"}, texts(other, "q"))
	send(other, "", "q", amqp.Publishing{}, "acked")
	message, _, err := channel.Get("q", false)
	check(err)
	check(message.Ack(false))
	check(channel.TxRollback()) // the ack: the message is unacked until it is acked again
	check(message.Ack(false))
	check(channel.TxCommit())
	check(channel.Close())
	same([]string{}, texts(other, "q"))
}

func recoverUnacked() {
	_, channel := open()
	declare(channel, "q", nil)
	send(channel, "", "q", amqp.Publishing{}, "again")
	inbox := consume(channel, "q", false)
	retry := []func(amqp.Delivery) error{
		func(message amqp.Delivery) error { return channel.Recover(true) },
		func(message amqp.Delivery) error { return message.Nack(false, true) },
		func(message amqp.Delivery) error { return message.Reject(true) },
	}
	for round, giveBack := range retry {
		message := <-inbox
		same(round > 0, message.Redelivered)
		check(giveBack(message))
	}
	message := <-inbox
	same([]any{"again", true}, []any{string(message.Body), message.Redelivered})
	check(message.Reject(false))
	same(0, must(channel.QueueInspect("q")).Messages)
}

func unbindPurgeDelete() {
	_, channel := open()
	bind(channel, "q", "amq.direct", "key", amqp.Table{"reason": "test"})
	send(channel, "amq.direct", "key", amqp.Publishing{}, "a", "b", "c")
	check(channel.QueueUnbind("q", "key", "amq.direct", amqp.Table{"reason": "test"}))
	send(channel, "amq.direct", "key", amqp.Publishing{}, "unheard")
	same(3, must(channel.QueuePurge("q", false)))
	send(channel, "", "q", amqp.Publishing{}, "d", "e")
	same(2, must(channel.QueueDelete("q", false, false, false)))
	same(0, must(channel.QueueDelete("q", false, false, false)))
}

func consumerCancel() {
	_, channel := open()
	declare(channel, "q", nil)
	cancelled := channel.NotifyCancel(make(chan string, 1))
	deliveries := must(channel.Consume("q", "me", false, false, false, false, nil))
	ask("delete_queue q")
	same("me", <-cancelled)
	_, ok := <-deliveries
	same(false, ok)
}

func blocked() {
	connection, channel := open()
	declare(channel, "q", nil)
	told := connection.NotifyBlocked(make(chan amqp.Blocking, 2))
	ask("block")
	check(channel.Publish("", "q", false, false, amqp.Publishing{Body: []byte("waits")}))
	blocking := <-told
	sure(blocking.Active && strings.Contains(blocking.Reason, "memory"), blocking)
	ask("unblock")
	same(false, (<-told).Active)
	sure(isConfirmed(channel), "refused")
	same([]string{"waits"}, texts(channel, "q"))
}

func reconnect() {
	var seen sync.Map
	count := func() (count int) {
		seen.Range(func(any, any) bool { count++; return true })
		return
	}
	session := func() (*amqp.Channel, error) {
		connection, err := amqp.Dial(url)
		if err != nil {
			return nil, err
		}
		channel, err := connection.Channel()
		if err != nil {
			return nil, err
		}
		for _, queue := range []string{"kept", "work"} {
			if _, err := channel.QueueDeclare(queue, true, false, false, false, nil); err != nil {
				return nil, err
			}
		}
		return confirming(channel)
	}
	go func() {
		for ; ; time.Sleep(50 * time.Millisecond) {
			channel, err := session()
			if err != nil {
				continue
			}
			deliveries, err := channel.Consume("work", "", false, false, false, false, nil)
			if err != nil {
				continue
			}
			for message := range deliveries { // until the connection is lost
				seen.Store(string(message.Body), true)
				_ = message.Ack(false)
			}
		}
	}()
	publisher := must(session())
	publish := func(queue string, texts ...string) {
		for _, text := range texts {
			message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(text)}
			for {
				if publisher.Publish("", queue, false, false, message) == nil && isConfirmed(publisher) {
					break
				}
				time.Sleep(50 * time.Millisecond)
				if again, err := session(); err == nil {
					publisher = again
				}
			}
		}
	}
	publish("kept", numbers(20)...)
	killed := make(chan bool)
	go func() { ask("kill"); close(killed) }()
	publish("work", numbers(40)...)
	<-killed
	publish("work", "after", "that")
	until(func() bool { return count() == 42 })
	same(numbers(20), texts(publisher, "kept"))
}

func heartbeatLoss() {
	connection := must(amqp.DialConfig(url, amqp.Config{Heartbeat: time.Second}))
	same(time.Second, connection.Config.Heartbeat)
	lost := connection.NotifyClose(make(chan *amqp.Error, 1))
	time.Sleep(3 * time.Second) // heartbeats go both ways meanwhile
	same(0, len(lost))
	ask("freeze 6")
	err := <-lost
	sure(err != nil && !err.Server && strings.Contains(err.Reason, "i/o timeout"), err)
	_, channel := open()
	declare(channel, "back", nil)
}

func nonASCII() {
	connection, channel := open()
	queue, exchange, key, text := "größe-漢字", "обмен-🐰", "ключ.ü.漢", "Grüße, 世界 🐇"
	check(channel.ExchangeDeclare(exchange, amqp.ExchangeTopic, true, false, false, false, nil))
	bind(channel, queue, exchange, "ключ.*.漢", nil)
	inbox := must(channel.Consume(queue, "täg-🏷", true, false, false, false, nil))
	send(channel, exchange, key, amqp.Publishing{Headers: amqp.Table{"schlüssel-鍵": text}, Type: "typ-ü"}, text)
	message := <-inbox
	same([]string{exchange, key, "täg-🏷", "typ-ü"}, []string{message.Exchange, message.RoutingKey, message.ConsumerTag, message.Type})
	same([]any{text, text}, []any{message.Headers["schlüssel-鍵"], string(message.Body)})
	sure(exists(connection, queue), "no such queue")
}

func updateSecret() {
	connection, channel := open()
	check(connection.UpdateSecret("guest", "it was time"))
	declare(channel, "q", nil)
}

func errorCodes() {
	connection, channel := open()
	must(channel.QueueDeclare("durable", true, false, false, false, nil))
	told := func(code int, name string, provoke func(*amqp.Channel) error) {
		channel := must(connection.Channel())
		closed := channel.NotifyClose(make(chan *amqp.Error, 1))
		_ = provoke(channel)
		err := <-closed
		same([]any{code, true}, []any{err.Code, err.Server})
		sure(strings.HasPrefix(err.Reason, name+" - "), err.Reason)
	}
	told(404, "NOT_FOUND", func(channel *amqp.Channel) error {
		_, err := channel.QueueInspect("missing")
		return err
	})
	told(406, "PRECONDITION_FAILED", func(channel *amqp.Channel) error {
		_, err := channel.QueueDeclare("durable", false, false, false, false, nil)
		return err
	})
	told(403, "ACCESS_REFUSED", func(channel *amqp.Channel) error {
		return channel.ExchangeDeclare("amq.mine", "direct", false, false, false, false, nil)
	})
	told(406, "PRECONDITION_FAILED", func(channel *amqp.Channel) error { return channel.Ack(7, false) })
	told(404, "NOT_FOUND", func(channel *amqp.Channel) error {
		return channel.Publish("missing", "", false, false, amqp.Publishing{})
	})
	told(405, "RESOURCE_LOCKED", func(channel *amqp.Channel) error {
		_, other := open()
		must(other.QueueDeclare("mine", false, false, true, false, nil))
		_, err := channel.QueueInspect("mine")
		return err
	})
	told(540, "NOT_IMPLEMENTED", func(channel *amqp.Channel) error { return channel.Qos(1, 1, false) }) // here connections end
	connection, _ = open()
	told(540, "NOT_IMPLEMENTED", func(channel *amqp.Channel) error {
		return channel.Publish("", "q", false, true, amqp.Publishing{})
	})
	connection, _ = open()
	told(530, "NOT_ALLOWED", func(channel *amqp.Channel) error {
		must(channel.Consume("durable", "twice", false, false, false, false, nil))
		_, err := channel.Consume("durable", "twice", false, false, false, false, nil)
		return err
	})
	connection, _ = open()
	told(503, "COMMAND_INVALID", func(channel *amqp.Channel) error {
		return channel.ExchangeDeclare("x", "no-such-type", false, false, false, false, nil)
	})
}

func version() {
	name := "golang-github-rabbitmq-amqp091-go-dev" // the client tells its version to brokers only
	fmt.Println("version", string(must(exec.Command("dpkg-query", "--show", "--showformat=${Version}", name).Output())))
}

// What the scenarios share.

func ask(words string) {
	fmt.Println("ask", words)
	same("done\n", must(answers.ReadString('\n')))
}

// open makes a channel with confirms on a connection of its own.
func open() (*amqp.Connection, *amqp.Channel) {
	connection := must(amqp.Dial(url))
	return connection, must(confirming(must(connection.Channel())))
}

func declare(channel *amqp.Channel, queue string, arguments amqp.Table) {
	must(channel.QueueDeclare(queue, true, false, false, false, arguments))
}

func bind(channel *amqp.Channel, queue, exchange, key string, arguments amqp.Table) {
	declare(channel, queue, nil)
	check(channel.QueueBind(queue, key, exchange, false, arguments))
}

// confirming asks for confirms. They are taken from a channel: of a DeferredConfirmation 1.5.0 may miss the ack that comes
// before it is made, which is after the message was sent.
func confirming(channel *amqp.Channel) (*amqp.Channel, error) {
	confirms.Store(channel, channel.NotifyPublish(make(chan amqp.Confirmation, 1000)))
	return channel, channel.Confirm(false)
}

func isConfirmed(channel *amqp.Channel) bool {
	told, _ := confirms.Load(channel)
	return (<-told.(chan amqp.Confirmation)).Ack
}

// send publishes up to 1,000 texts with the properties of message, and returns when all are confirmed.
func send(channel *amqp.Channel, exchange, key string, message amqp.Publishing, texts ...string) {
	for _, text := range texts {
		message.Body = []byte(text)
		check(channel.Publish(exchange, key, false, false, message))
	}
	for range texts {
		sure(isConfirmed(channel), "refused")
	}
}

func consume(channel *amqp.Channel, queue string, isAutoAck bool) <-chan amqp.Delivery {
	return must(channel.Consume(queue, "", isAutoAck, false, false, false, nil))
}

func take(inbox <-chan amqp.Delivery, count int) []string {
	texts := []string{}
	for len(texts) < count {
		texts = append(texts, string((<-inbox).Body))
	}
	return texts
}

func texts(channel *amqp.Channel, queue string) []string {
	texts := []string{}
	for {
		message, ok, err := channel.Get(queue, true)
		check(err)
		if !ok {
			return texts
		}
		texts = append(texts, string(message.Body))
	}
}

func exists(connection *amqp.Connection, queue string) bool {
	_, err := must(connection.Channel()).QueueInspect(queue)
	sure(err == nil || codeOf(err) == 404, err)
	return err == nil
}

func codeOf(err error) int {
	var told *amqp.Error
	sure(errors.As(err, &told), err)
	return told.Code
}

func numbers(count int) []string {
	numbers := []string{}
	for number := 0; number < count; number++ {
		numbers = append(numbers, strconv.Itoa(number))
	}
	return numbers
}

func until(isTrue func() bool) {
	for !isTrue() {
		time.Sleep(20 * time.Millisecond)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func same(expected, actual any) {
	sure(reflect.DeepEqual(expected, actual), fmt.Sprintf("expected %v, got %v", expected, actual))
}

func sure(isTrue bool, otherwise any) {
	if !isTrue {
		panic(otherwise)
	}
}
