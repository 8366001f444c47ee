# Perl's Mojo::RabbitMQ::Client: promises, here waited for one by one; no confirms, and no recovery of its own.
use v5.36;
use utf8;
use Encode qw(encode_utf8);
use FindBin;
use lib "$FindBin::Bin/..";
use List::Util qw(uniq);
use Mojo::IOLoop;
use Mojo::Promise;
use Mojo::RabbitMQ::Client;
use Mojo::RabbitMQ::Client::Channel;
use Net::AMQP::Value;
use Stagehand;
use Time::HiRes qw(sleep);

# What a promise comes to: its values, or dies of what it was rejected with.
sub settled ($promise) {
    my (@values, $error);
    $promise->then(sub { @values = @_ }, sub { $error = "@_" || 'rejected' })->wait;
    die $error if defined $error;
    return wantarray ? @values : $values[0];
}

sub wait_until ($is_true) {
    Mojo::IOLoop->one_tick until $is_true->();
}

# A connection; what it is closed with is in its `why`, as it tells no more than the text.
my @clients;

sub client (%changes) {
    my %url    = (url(), %changes);
    my $client = Mojo::RabbitMQ::Client->new(map { $_ => $url{$_} } qw(host port user pass vhost));
    $client->tls(0);
    push @clients, $client;
    my $opened = Mojo::Promise->new;
    $client->on(open  => sub { $opened->resolve });
    $client->on(error => sub ($client, $error) { $opened->reject($error) });
    $client->on(disconnect => sub ($client, $why = 'lost') { $client->{why} //= $why; $opened->reject($why) });
    $client->connect;
    settled($opened);
    return $client;
}

# A channel; a method of its close is in its `why`.
sub channel ($client = client()) {
    my $channel = Mojo::RabbitMQ::Client::Channel->new;
    my $opened  = Mojo::Promise->new;
    $channel->on(open  => sub { $opened->resolve });
    $channel->on(error => sub ($channel, $error) { $opened->reject($error) });
    $channel->on(close => sub ($channel, $frame = undef) { $channel->{why} = $frame->method_frame if $frame });
    $client->open_channel($channel);
    settled($opened);
    return $channel;
}

# The method that answers another; dies when the channel or the connection is closed instead.
sub done ($channel, $name, %arguments) {
    my ($answer, $error);
    my $method = $channel->$name(%arguments);
    $method->on(success => sub ($method, $frame) { $answer = $frame->method_frame });
    $method->on(error   => sub ($method, $why, @) { $error = $why });
    $method->deliver or die 'channel closed';
    wait_until(sub { $answer || defined $error || $channel->{why} || $channel->client->{why} });
    return $answer // die $error // $channel->{why} // $channel->client->{why};
}

sub declare ($channel, $queue, %arguments) {
    return done($channel, 'declare_queue', queue => $queue, %arguments);
}

sub count ($channel, $queue) {
    return declare($channel, $queue, passive => 1)->message_count;
}

# Its texts are never '0', which it takes for no body at all.
sub put ($channel, $to, $key, $texts, %header) {
    for my $text (@$texts) {
        settled($channel->publish_p(exchange => $to, routing_key => $key, body => $text, header => {%header}));
    }
}

# A consumer: a function that waits for its next message, and its tag.
sub inbox ($channel, $queue, %arguments) {
    my @messages;
    my $consumer = $channel->consume(queue => $queue, %arguments);
    my $tag;
    $consumer->on(success => sub ($consumer, $frame) { $tag = $frame->method_frame->consumer_tag });
    $consumer->on(message => sub ($consumer, $message) { push @messages, $message });
    $consumer->deliver;
    wait_until(sub { $tag });
    my $next = sub { wait_until(sub { @messages }); return shift @messages };
    return $next, $tag;
}

sub body ($message) {
    return $message->{body}->payload;
}

sub tag_of ($message) {
    return $message->{deliver}->method_frame->delivery_tag;
}

# Acks and rejects take the next answer on their channel for theirs, which never comes: so other methods have another channel.
sub settle ($channel, $name, %arguments) {
    my $method = $channel->$name(%arguments);
    $method->on(error => sub { });
    $method->deliver;
}

sub texts ($queue, $count) {
    my ($next) = inbox(channel(), $queue);
    return [map { body($next->()) } 1 .. $count];
}

sub exists_queue ($queue) {
    my $channel = channel();
    return 1 if eval { declare($channel, $queue, passive => 1) };
    same($channel->{why}->reply_code, 404);
    return 0;
}

sub until_gone ($queue) {
    sleep 0.02 while exists_queue($queue);
}

sub text_of ($closed) {
    wait_until(sub { $closed->{why} });
    return $closed->{why};
}

my %scenarios = (
    connect => sub {
        my $client = client();
        same($client->is_open, 1);    # it keeps the server's properties to itself
        my $closed;
        $client->on(close => sub { $closed = 1 });
        $client->close;
        wait_until(sub { $closed });
    },

    auth_failure => sub {
        # It does not announce that it understands more, so that a broker only closes its socket.
        same(scalar eval { client(pass => 'wrong') }, undef);
        like($@, qr/^lost/) or exit 1;
    },

    no_vhost => sub {
        same(scalar eval { client(vhost => 'nowhere') }, undef);
        like($@, qr/^Server side disconnection: NOT_ALLOWED - vhost nowhere not found/) or exit 1;
    },

    mandatory_return => sub {
        my $channel = channel();
        my $returned;
        my $method = $channel->publish(
            exchange => 'amq.direct', routing_key => 'nobody', body => 'lost', mandatory => 1,
            header   => {message_id => 'm1'},
        );
        $method->on(reject => sub ($method, $message) { $returned = $message });
        $method->deliver;
        wait_until(sub { $returned });
        my $frame = $returned->{return}->method_frame;
        same([map { $frame->$_ } qw(reply_code reply_text exchange routing_key)], [312, 'NO_ROUTE', 'amq.direct', 'nobody']);
        same([$returned->{header}->message_id, body($returned)], ['m1', 'lost']);
    },

    get => sub {
        my $channel = channel();
        declare($channel, 'q');
        put($channel, '', 'q', [qw(a b)]);
        same(count($channel, 'q'), 2);
        my (undef, $frame, $message) = settled($channel->get_p(queue => 'q', no_ack => 1));
        my $how = $frame->method_frame;
        same([body($message), map { $how->$_ } qw(exchange routing_key redelivered message_count)], ['a', '', 'q', 0, 1]);
        same(body((settled($channel->get_p(queue => 'q')))[2]), 'b');
        (undef, $frame) = settled($channel->get_p(queue => 'q'));
        same($frame->method_frame->isa('Net::AMQP::Protocol::Basic::GetEmpty'), 1);
    },

    work_queue => sub {
        my $channel = channel();
        declare($channel, 'q');
        my @done;
        for my $number (0, 1) {
            my $worker = channel();
            done($worker, 'qos', prefetch_count => 1);
            my $consumer = $worker->consume(queue => 'q', no_ack => 0);
            $consumer->on(message => sub ($consumer, $message) {
                push @done, [$number, body($message)];
                settle($worker, 'ack', delivery_tag => tag_of($message));
            });
            $consumer->deliver;
        }
        sleep 0.02 until declare($channel, 'q', passive => 1)->consumer_count == 2;
        put($channel, '', 'q', [1 .. 20]);
        wait_until(sub { @done == 20 });
        same([sort { $a <=> $b } map { $_->[1] } @done], [1 .. 20]);
        same([sort(uniq(map { $_->[0] } @done))], [0, 1]);
        sleep 0.02 while count($channel, 'q');
    },

    fanout => sub {
        my $channel = channel();
        done($channel, 'declare_exchange', exchange => 'news', type => 'fanout');
        for my $queue (qw(a b c)) {
            declare($channel, $queue);
            done($channel, 'bind_queue', queue => $queue, exchange => 'news', routing_key => '');
        }
        put($channel, 'news', 'any', ['hello']);
        same(texts($_, 1), ['hello']) for qw(a b c);
    },

    topic => sub {
        my $channel = channel();
        done($channel, 'declare_exchange', exchange => 'logs', type => 'topic');
        my %wanted = (
            '*.error' => [qw(app.error db.error)], 'app.*.disk' => ['app.error.disk'],
            'app.#'   => [qw(app app.error app.error.disk)], '#' => [qw(app app.error db.error app.error.disk db.error.disk)],
        );
        for my $pattern (keys %wanted) {
            declare($channel, $pattern);
            done($channel, 'bind_queue', queue => $pattern, exchange => 'logs', routing_key => $pattern);
        }
        put($channel, 'logs', $_, [$_]) for $wanted{'#'}->@*;
        for my $pattern (keys %wanted) {
            same(texts($pattern, scalar $wanted{$pattern}->@*), $wanted{$pattern});
            same(count($channel, $pattern), 0);
        }
    },

    headers => sub {
        my $channel = channel();
        done($channel, 'declare_exchange', exchange => 'h', type => 'headers');
        for my $match (qw(all any)) {
            declare($channel, $match);
            my $arguments = {'x-match' => $match, kind => 'report', pages => 2};
            done($channel, 'bind_queue', queue => $match, exchange => 'h', routing_key => '', arguments => $arguments);
        }
        put($channel, 'h', '', ['both'], headers => {kind => 'report', pages => 2, more => 'yes'});
        put($channel, 'h', '', ['one'],  headers => {kind => 'report', pages => 3});
        put($channel, 'h', '', ['none'], headers => {kind => 'note'});
        same([map { count($channel, $_) } qw(all any)], [1, 2]);
        same([texts('all', 1), texts('any', 2)], [['both'], [qw(both one)]]);
    },

    rpc => sub {
        my $server = channel();
        declare($server, 'double');
        my ($calls) = inbox($server, 'double');
        my $client = channel();
        my ($replies) = inbox($client, 'amq.rabbitmq.reply-to');
        for my $number (1 .. 10) {
            put($client, '', 'double', [$number], reply_to => 'amq.rabbitmq.reply-to', correlation_id => $number);
            my $call = $calls->();
            put($server, '', $call->{header}->reply_to, [2 * body($call)], correlation_id => $call->{header}->correlation_id);
            my $reply = $replies->();
            same([$reply->{header}->correlation_id, body($reply)], [$number, 2 * $number]);
        }
    },

    ordering => sub {
        my $channel = channel();
        declare($channel, 'q');
        put($channel, '', 'q', [1 .. 1000]);
        same(texts('q', 1000), [1 .. 1000]);
    },

    many_channels => sub {
        my $client = client();
        my @channels = map { channel($client) } 1 .. 1000;
        declare($channels[0], 'q');
        put($_, '', 'q', [$_->id]) for @channels;
        declare($_, 'q') for @channels;    # answered when its message is there
        same([sort { $a <=> $b } texts('q', 1000)->@*], [map { $_->id } @channels]);
    },

    table_types => sub {
        my $channel = channel();
        declare($channel, 'q');
        # All that Net::AMQP writes; a null it writes as well, but does not read again.
        my %plain = (
            text  => 'plain', empty => '', long => 'x' x 20_000, bytes => "\x00\xff\x80", unicode => encode_utf8('ü漢字🐰'),
            small => -1, large => 2**31 - 1, fraction => '0.1', list => [1, 'two', [3], {four => 4}],
            table => {inner => {deeper => [2]}}, none => [], nobody => {},
        );
        my %typed = (
            digits => Net::AMQP::Value::String->new('17'), when => Net::AMQP::Value::Timestamp->new(1_700_000_000),
            yes    => Net::AMQP::Value::true, no => Net::AMQP::Value::false,
        );
        put($channel, '', 'q', ['x'], headers => {%plain, %typed});
        my ($next) = inbox($channel, 'q');
        same($next->()->{header}->headers, {%plain, digits => '17', when => 1_700_000_000, yes => 1, no => 0});
    },

    exclusive => sub {
        my $mine = client();
        declare(channel($mine), 'mine', exclusive => 1);
        my $other = channel();
        same(scalar eval { declare($other, 'mine', passive => 1) }, undef);
        same($other->{why}->reply_code, 405);
        like($other->{why}->reply_text, qr/^RESOURCE_LOCKED/) or exit 1;
        $mine->close;
        until_gone('mine');
    },

    auto_delete => sub {
        my $channel = channel();
        declare($channel, 'q', auto_delete => 1);
        my (undef, $first)  = inbox($channel, 'q');
        my (undef, $second) = inbox($channel, 'q');
        done($channel, 'cancel', consumer_tag => $first);
        same(exists_queue('q'), 1);
        done($channel, 'cancel', consumer_tag => $second);
        until_gone('q');
    },

    priorities => sub {
        my $channel = channel();
        declare($channel, 'q', arguments => {'x-max-priority' => 10});
        put($channel, '', 'q', [$_], priority => $_) for 1, 9, 5, 10, 2, 5;
        same(count($channel, 'q'), 6);
        same(texts('q', 6), [10, 9, 5, 5, 2, 1]);
    },

    tx => sub {
        my $other   = channel();
        my $channel = channel();
        declare($channel, 'q');
        done($channel, 'select_tx');
        put($channel, '', 'q', ['kept']);
        same(count($other, 'q'), 0);
        done($channel, 'commit_tx');
        same(count($other, 'q'), 1);
        put($channel, '', 'q', ['forgotten']);
        done($channel, 'rollback_tx');
        same(count($other, 'q'), 1);
        same(texts('q', 1), ['kept']);
    },

    recover => sub {
        my $channel = channel();
        declare($channel, 'q');
        put($channel, '', 'q', ['again']);
        my ($next) = inbox($channel, 'q', no_ack => 0);
        same($next->()->{deliver}->method_frame->redelivered, 0);
        settle($channel, 'recover', requeue => 1);
        my $message = $next->();
        same($message->{deliver}->method_frame->redelivered, 1);
        settle($channel, 'reject', delivery_tag => tag_of($message), requeue => 1);    # it has no nack
        $message = $next->();
        same([body($message), $message->{deliver}->method_frame->redelivered], ['again', 1]);
        settle($channel, 'reject', delivery_tag => tag_of($message));
        same(done(channel(), 'delete_queue', queue => 'q')->message_count, 0);
    },

    unbind_purge_delete => sub {
        my $channel = channel();
        declare($channel, 'q');
        my %binding = (queue => 'q', exchange => 'amq.direct', routing_key => 'key', arguments => {reason => 'test'});
        done($channel, 'bind_queue', %binding);
        put($channel, 'amq.direct', 'key', [qw(a b c)]);
        done($channel, 'unbind_queue', %binding);
        put($channel, 'amq.direct', 'key', ['unheard']);
        same(done($channel, 'purge_queue', queue => 'q')->message_count, 3);
        put($channel, '', 'q', [qw(d e)]);
        same([map { done($channel, 'delete_queue', queue => 'q')->message_count } 1, 2], [2, 0]);
    },

    reconnect => sub {
        # In a transaction each, as it has no confirms: done when it is committed. A new connection whenever one is lost.
        my $channel;
        my $surely = sub ($queue, $text) {
            until (eval {
                unless ($channel) {
                    my $new = channel();
                    declare($new, $_, durable => 1) for qw(kept work);
                    done($new, 'select_tx');
                    $channel = $new;
                }
                put($channel, '', $queue, [$text], delivery_mode => 2);
                done($channel, 'commit_tx');
                1;
            }) {
                say "lost: $@";
                undef $channel;
                sleep 0.1;
            }
        };
        $surely->('kept', $_) for 1 .. 20;
        ask('kill');
        $surely->('work', $_) for 1 .. 40;
        answered();
        $surely->('work', $_) for qw(after that);
        my %seen;
        my ($next) = inbox(channel(), 'work');
        $seen{body($next->())} = 1 while keys %seen < 42;
        same(texts('kept', 20), [1 .. 20]);
    },

    non_ascii => sub {
        my ($name, $to, $key, $pattern, $text, $tag, $header) = map { encode_utf8($_) }
            'größe-漢字', 'обмен-🐰', 'ключ.ü.漢', 'ключ.*.漢', 'Grüße, 世界 🐇', 'täg-🏷', 'schlüssel-鍵';
        my $channel = channel();
        declare($channel, $name);
        done($channel, 'declare_exchange', exchange => $to, type => 'topic');
        done($channel, 'bind_queue', queue => $name, exchange => $to, routing_key => $pattern);
        my ($next) = inbox($channel, $name, consumer_tag => $tag);
        put($channel, $to, $key, [$text], headers => {$header => $text}, type => $tag);
        my $message = $next->();
        my ($how, $properties) = ($message->{deliver}->method_frame, $message->{header});
        same([map { $how->$_ } qw(exchange routing_key consumer_tag)], [$to, $key, $tag]);
        same([$properties->headers, $properties->type, body($message)], [{$header => $text}, $tag, $text]);
    },

    error_codes => sub {
        declare(channel(), 'durable', durable => 1);
        my @soft = (
            [404, 'NOT_FOUND',           sub ($on) { count($on, 'missing') }],
            [406, 'PRECONDITION_FAILED', sub ($on) { declare($on, 'durable') }],
            [403, 'ACCESS_REFUSED',      sub ($on) { done($on, 'declare_exchange', exchange => 'amq.mine') }],
            [406, 'PRECONDITION_FAILED', sub ($on) { settle($on, 'ack', delivery_tag => 7) }],
            [404, 'NOT_FOUND',           sub ($on) { put($on, 'missing', '', ['x']) }],
        );
        for my $provocation (@soft) {
            my ($code, $name, $provoke) = @$provocation;
            my $channel = channel();
            eval { $provoke->($channel) };
            my $why = text_of($channel);
            same($why->reply_code, $code);
            like($why->reply_text, qr/^$name - /) or exit 1;
        }
        my %hard = (    # of these it tells the texts
            COMMAND_INVALID => sub ($on) { done($on, 'declare_exchange', exchange => 'x', type => 'no-such-type') },
            NOT_ALLOWED     => sub ($on) { done($on, 'consume', queue => 'durable', consumer_tag => 'twice') for 1, 2 },
            NOT_IMPLEMENTED => sub ($on) { $on->publish(routing_key => 'q', body => 'x', immediate => 1)->deliver },
        );
        for my $name (sort keys %hard) {
            my $channel = channel();
            eval { $hard{$name}->($channel) };
            like(text_of($channel->client), qr/^Server side disconnection: $name - /) or exit 1;
        }
    },
);

play(\%scenarios, Mojo::RabbitMQ::Client->VERSION);
