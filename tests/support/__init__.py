"""What tests share: a peer that speaks raw AMQP over a socket, and brokers to speak to."""
