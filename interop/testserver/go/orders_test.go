package orders

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"os/exec"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

var ready struct{ URL string }

func TestMain(m *testing.M) {
	broker := exec.Command("amqpd", "testserver", "--exit-with-parent")
	broker.Stderr = os.Stderr
	stdout, _ := broker.StdoutPipe()
	if err := broker.Start(); err != nil {
		log.Fatal(err)
	}
	if err := json.NewDecoder(stdout).Decode(&ready); err != nil {
		log.Fatal("the broker did not start: ", err)
	}
	os.Exit(m.Run()) // the broker notices, and ends
}

func TestAnOrderArrives(t *testing.T) {
	connection, err := amqp.Dial(ready.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	channel, _ := connection.Channel()
	queue, _ := channel.QueueDeclare("", false, true, true, false, nil)
	order := amqp.Publishing{Body: []byte("one kettle")}
	if err := channel.PublishWithContext(context.Background(), "", queue.Name, false, false, order); err != nil {
		t.Fatal(err)
	}
	message, _, err := channel.Get(queue.Name, true)
	if err != nil || string(message.Body) != "one kettle" {
		t.Fatal("got", string(message.Body), err)
	}
}
